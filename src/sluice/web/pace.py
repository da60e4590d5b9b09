"""How soon a client is asked to come back: the one place that says `poll_after_ms`.

Every answer is a promise of a request to come, so what we hand out decides what comes in. Half a
second suits whoever is alone. Where more come than `POLLS_MAX` a second in this process, everybody
is asked to wait in proportion, so that the rate settles at about that; at most `AFTER_MS_MAX`, well
below the time for which receipts are sought when a gate is rebuilt. Always spread by a third to
both sides: those who were accepted in the same instant shall not ask in the same instant.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import Final

AFTER_MS: Final = 500
AFTER_MS_MAX: Final = 10_000
SPREAD: Final = 0.35
POLLS_MAX: Final = 1000
"""Polls a second that one process answers without noticing."""


class PollPace:
    """One for each process. `ms` costs two additions for nearly everybody."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._after_ms = float(AFTER_MS)
        self._given = 0
        self._looked = clock()
        self._next = self._looked + AFTER_MS / 1000

    def ms(self) -> int:
        """For one answer."""
        self._given += 1
        # Asking for the time costs more than the rest: not for every one in a rush.
        if not self._given & 15 or self._given < 16:
            self._look()
        return int(self._after_ms * random.uniform(1 - SPREAD, 1 + SPREAD))

    def _look(self) -> None:
        now = self._clock()
        if now < self._next:
            return
        # Everybody came about once in the time they were given, so that many wait; shared out over
        # the polls that are wanted. Looking sooner would count those who come back twice.
        waiting = self._given / (now - self._looked) * self._after_ms / 1000
        self._after_ms = min(max(waiting / POLLS_MAX * 1000, AFTER_MS), AFTER_MS_MAX)
        self._given = 0
        self._looked, self._next = now, now + self._after_ms / 1000
