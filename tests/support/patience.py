"""Longer waits for the cache server than the product's own.

Half a second is what a buyer should wait for it at most, and whoever waited for longer goes on
without it: sessions are not known, each process counts for itself. On a machine that stalls for a
second now and then this would be another test than the one that was meant. What happens without the
cache server is tested where it is away for good.
"""

from __future__ import annotations

import os
from pathlib import Path

from sluice.admission import limits
from sluice.admission.challenges import challenges
from sluice.cache import server

WAIT_S = 5.0
_OF_A_PROCESS = f"""
from sluice.admission import limits
from sluice.admission.challenges import challenges
from sluice.cache import server
limits.DEADLINE_S = challenges.DEADLINE_S = server.TIMEOUT_S = {WAIT_S}
"""


def here() -> None:
    """In this process, from now on."""
    limits.DEADLINE_S = challenges.DEADLINE_S = server.TIMEOUT_S = WAIT_S


def of_a_product(folder: Path) -> dict[str, str]:
    """The environment of a product that waits so long; `folder` must be there."""
    (folder / "sitecustomize.py").write_text(_OF_A_PROCESS)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
