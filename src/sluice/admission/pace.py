"""The pace that a service can keep, found by looking at how it bears the one it has.

More people come in a second for as long as nobody waits for an answer; fewer as soon as requests
queue, or orders do before the recorder. Between the two the pace stays.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PACE_START: Final = 50.0
"""People a second before anything is known; modest, since it soon grows."""
PACE_MIN: Final = 1.0
PACE_MAX: Final = 100_000.0
GROWS: Final = 1.1
"""A second, and by one: from 50 to 1,000 in half a minute."""
SHRINKS: Final = 0.7
"""A second, for as long as it is too much: to a tenth in seven seconds."""
SHED_MUCH: Final = 1.0
"""From this level on purchases are turned away; below it those who look and those who poll are."""
SHED_LITTLE: Final = 0.5
QUEUE_TIMES: Final = 2.0
"""So many times the wait that the process aims at is too long."""
ASKED_FOR: Final = 0.5
"""A level of shedding at which the load asks for a waiting room, where it stays."""


class Strain(NamedTuple):
    """How the service bears the pace it has: the worst of all its processes."""

    queue: float
    """The wait before a request is looked at, in times of what is aimed at."""
    shed_level: float
    """0 to 3; see `admission.overload`."""
    backlog: float
    """What waits for the recorder, in times of what may."""

    @property
    def is_too_much(self) -> bool:
        return self.shed_level >= SHED_MUCH or self.queue >= QUEUE_TIMES or self.backlog >= 1

    @property
    def is_little(self) -> bool:
        return self.shed_level < SHED_LITTLE and self.queue < 1 and self.backlog < 0.5


class Governor:
    """Told once a second. `rate` is people a second."""

    def __init__(self, rate: float = PACE_START) -> None:
        self.rate = rate

    def begin(self, rate: float) -> None:
        """Go on from a pace that was borne before."""
        self.rate = min(max(rate, PACE_MIN), PACE_MAX)

    def look(self, strain: Strain, *, used: bool) -> float:
        """`used`: people did come in at about this pace; what was not tried proves nothing."""
        if strain.is_too_much:
            self.begin(self.rate * SHRINKS)
        elif used and strain.is_little:
            self.begin(self.rate * GROWS + 1)
        return self.rate


class Engaged:
    """Whether the load asks for a waiting room. Told once a second."""

    def __init__(self, after_s: int, released_after_s: int = 5) -> None:
        """`after_s`: so long it must have shed before; 0: it never asks."""
        self._after_s = after_s
        self._released_after_s = released_after_s
        self._strained = 0
        self._calm = 0
        self.now = False

    def look(self, strain: Strain, *, waiting: int) -> bool:
        """`waiting`: how many stand in lines that only the load asked for."""
        strained = strain.shed_level >= ASKED_FOR or strain.backlog >= 1
        self._strained = self._strained + 1 if strained else 0
        self._calm = 0 if strained or waiting else self._calm + 1
        if self._after_s and self._strained >= self._after_s:
            self.now = True
        elif self._calm >= self._released_after_s:
            self.now = False
        return self.now
