"""How long requests wait before anything looks at them, and how much is shed because of it.

Pure rules: what is measured comes in as numbers, what is shed goes out as shares. The reasons for
the constants are in docs/decisions/overload.md.
"""

from __future__ import annotations

import math
import random
from collections import deque
from enum import IntEnum
from typing import Final

GATE_PATIENCE: Final = 2.0
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

BOUND_MIN: Final = 64
"""Fewer at a time would leave the gate idle between two calls."""
BOUND_EVERY_S: Final = 0.1
"""Over which the rate is taken. The best one counts, and fades by `BOUND_FADES` each time: that
less is decided for a moment may be because too many were refused a moment before."""
BOUND_FADES: Final = 0.97
BOUND_ENDS_S: Final = 1.0
"""So long after the last refusal everybody is let in again."""

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


class Bound:
    """How many purchases may be under way, while more come than can be decided: as many as are
    decided within the target, by the rate at which it happens just now.

    Whoever comes while there are as many is refused, and nobody else. A share that is refused by
    chance needs time to find out how large it should be, and meanwhile sends away too many or too
    few; those who were sent away too many stay away for seconds.
    """

    __slots__ = ("_began_s", "_decided", "_full_s", "_rate", "_target_s", "limit", "under_way")

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._rate = 0.0
        self._began_s, self._decided = 0.0, 0
        self._full_s = 0.0
        """When somebody was refused last, or would have been."""
        self.limit = math.inf
        self.under_way = 0
        """Those that were let in since there is a limit."""

    def look(self, now_s: float, decided: int, *, too_many: bool) -> None:
        """`decided`: purchases until now. `too_many`: they wait for too long, or everybody does."""
        elapsed_s = now_s - self._began_s
        if elapsed_s >= BOUND_EVERY_S:
            rate = (decided - self._decided) / elapsed_s
            self._rate = max(rate, self._rate * BOUND_FADES)
            self._began_s, self._decided = now_s, decided
        if too_many or self.under_way >= self.limit:
            self._full_s = now_s
        if too_many or (self.limit < math.inf and now_s - self._full_s < BOUND_ENDS_S):
            self.limit = max(self._rate * self._target_s, BOUND_MIN)
        else:
            self.limit = math.inf

    def is_full(self, now_s: float) -> bool:
        if self.under_way < self.limit:
            return False
        self._full_s = now_s
        return True

    @property
    def level(self) -> float:
        """From 0 to 1, as it fills from half to whole: by then nobody needs a pass."""
        return _part(self.under_way / self.limit * 2.0, 1)


def shares(queue: float, gate: float) -> tuple[float, float, float, float, float]:
    """By kind of work, what part of it is shed at a level of the process and one of the gate.

    What the gate is slow with is passes and purchases; a page of a sale does not need it. `gate` is
    that of the purchases' `Bound`, which says itself which of them are too many.
    """
    first, second, third = _part(queue, 0), _part(queue, 1), _part(queue, 2)
    return (first, max(first, gate), second, third, 0.0)


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
