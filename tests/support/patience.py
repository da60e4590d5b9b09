"""Longer waits for the cache server than the product's own.

Half a second is what a buyer should wait for it at most, and whoever waited for longer goes on
without it: sessions are not known, each process counts for itself, and what was counted is lost. On
a machine that stalls for a second now and then this would be another test than the one that was
meant. What happens without the cache server is tested where it is away for good.
"""

from __future__ import annotations

from pathlib import Path

from sluice.admission import limits
from sluice.admission.challenges import challenges
from sluice.cache import server

WAIT_S, TURN_S = 5.0, 20.0
START = str(Path(__file__).parent / "patient_start")
"""On `PYTHONPATH` it makes a process so patient from its start."""


def be_patient() -> None:
    """In this process, from now on."""
    limits.DEADLINE_S = challenges.DEADLINE_S = server.TIMEOUT_S = WAIT_S
    server.TURN_S_MAX = TURN_S
