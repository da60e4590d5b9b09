"""How long requests wait before anything looks at them, and how much is shed because of it.

Pure rules: what is measured comes in as numbers, what is shed goes out as shares. The reasons for
the constants are in docs/decisions/overload.md.
"""

from __future__ import annotations

import random
from collections import deque
from enum import IntEnum
from typing import Final

GATE_PATIENCE: Final = 4.0
"""Attempts may wait for the gate so many times longer than requests for a look at them: its disk
may need some time for each call."""
CROWD_MIN: Final = 10
"""Requests within `STANDING_S`. Where fewer come and still wait, it is not because of them: the
machine is busy with something else, and turning somebody away would help nobody."""
STANDING_S: Final = 0.1
"""A queue that was empty once within this time was a burst, and bursts are what queues are for."""
STEP_S: Final = 0.02
"""Time between two looks at the queue."""
GAIN: Final = 0.05
"""By how much one look moves the level where the wait is twice its target, or none at all."""
ERROR_MAX: Final = 3.0
"""However long the wait is, it counts as no more than four times its target."""
LEVEL_MAX: Final = 3.0

AFTER_S_MIN: Final = 1.0
AFTER_S_MAX: Final = 15.0
RETURNS_MAX: Final = 1000.0
"""Those who were turned away by one process and come again, in a second, as far as it can be
chosen by when they are asked to."""


class Work(IntEnum):
    """What kind of work a route is. Those that come first are shed first."""

    BROWSE = 0
    """Looking: sale pages and lists, polls of who holds nothing yet."""
    ENTER = 1
    """The way to a purchase: challenges, passes, the waiting room, log-in."""
    BUY = 2
    """An attempt to buy by who holds a pass, a place in line."""
    OWN = 3
    """About an order that exists: its status, paying, cancelling, what the provider tells."""
    ALWAYS = 4
    """Never shed: operators, probes, metrics."""


class Standing:
    """How long the shortest wait was that was seen within `STANDING_S`: what stands, and does not
    pass by itself. 0 until there was a whole `STANDING_S` of looks.
    """

    __slots__ = ("_looks",)

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()
        """(when, how long the wait was), of the last `STANDING_S` and one before."""

    def look(self, now_s: float, wait_s: float) -> float:
        looks = self._looks
        looks.append((now_s, wait_s))
        while len(looks) > 1 and looks[1][0] <= now_s - STANDING_S:
            looks.popleft()
        return min(wait for _, wait in looks) if looks[0][0] <= now_s - STANDING_S else 0.0


class Level:
    """How much is shed, from 0 to 3: it rises for as long as a queue stands for longer than its
    target, and falls for as long as it does not.
    """

    __slots__ = ("_standing", "_target_s", "value")

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._standing = Standing()
        self.value = 0.0

    def look(self, now_s: float, wait_s: float) -> float:
        """The new level, after a wait of `wait_s` was seen at `now_s`."""
        standing_s = self._standing.look(now_s, wait_s)
        error = min(standing_s / self._target_s - 1.0, ERROR_MAX)
        self.value = min(max(self.value + GAIN * error, 0.0), LEVEL_MAX)
        return self.value


def gate_level(standing_s: float, target_s: float) -> float:
    """The same for the queue before the gate, from 0 to 2. It is this process's own, and what is
    shed leaves it at once, so how long it is says how much to shed: up to 1 from a half to the
    whole of what it may be, up to 2 from there to twice that."""
    over = standing_s / (target_s * GATE_PATIENCE)
    return _part(over * 2.0, 1) + _part(over, 1)


def shares(queue: float, gate: float) -> tuple[float, float, float, float, float]:
    """By kind of work, what part of it is shed at a level of the process and one of the gate.

    What the gate is slow with is passes and purchases; a page of a sale does not need it.
    """
    first, second, third = _part(queue, 0), _part(queue, 1), _part(queue, 2)
    return (first, max(first, _part(gate, 0)), max(second, _part(gate, 1)), third, 0.0)


def _part(level: float, whole: int) -> float:
    return min(max(level - whole, 0.0), 1.0)


class ComeAgain:
    """How long those who are turned away are asked to stay away: in proportion to how many they
    are, so that their coming again costs about the same however many there are."""

    def __init__(self) -> None:
        self.after_s = AFTER_S_MIN
        self._turned_away = 0
        self._since_s = 0.0

    def seconds(self) -> int:
        """For one of them: whole seconds, spread from once to twice the time."""
        self._turned_away += 1
        return int(self.after_s * random.uniform(1.0, 2.0) + 0.5)

    def look(self, now_s: float) -> None:
        """Call it often. Everybody comes about once in the time they were given, so that many are
        away; looking less often would count those twice who have come back already."""
        elapsed_s = now_s - self._since_s
        if elapsed_s < self.after_s and self._turned_away < RETURNS_MAX * self.after_s * 2:
            return
        waiting = self._turned_away * self.after_s / max(elapsed_s, self.after_s)
        self.after_s = min(max(waiting / RETURNS_MAX, AFTER_S_MIN), AFTER_S_MAX)
        self._turned_away, self._since_s = 0, now_s
