"""Counters in this process alone: what limits go by while the cache server is away.

The same rules as `cache/functions/limits.lua`, in the same words; one test suite holds both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sluice.domain.limit import Check, Left, LimitKind, Rule, Taken

SLICES = 6
COUNTERS_MAX = 100_000
"""Counters in one of the two generations that are kept."""
_CLOSE = 1e-6


class _Window:
    """What was taken in the current slice and in the six before it."""

    __slots__ = ("current", "slices")

    def __init__(self, current: int) -> None:
        self.current = current
        self.slices = [0] * (SLICES + 1)

    def move_to(self, current: int) -> None:
        moved = min(max(0, current - self.current), SLICES + 1)
        if moved:
            self.slices = [0] * moved + self.slices[: SLICES + 1 - moved]
            self.current = current

    def taken(self, oldest_left: float) -> float:
        # One after the other, as in Lua: sums of floats depend on it, and Python's `sum` on more.
        taken = self.slices[SLICES] * oldest_left
        for of_slice in self.slices[:SLICES]:
            taken += of_slice
        return taken

    def wait_for(self, units: float, slice_ms: float, oldest_left: float) -> float:
        """How many ms until so many units have left the window."""
        leaving = self.slices[SLICES] * oldest_left
        if units <= leaving:
            return units / self.slices[SLICES] * slice_ms
        units -= leaving
        wait = slice_ms * oldest_left
        for of_slice in reversed(self.slices[:SLICES]):
            if of_slice and units <= of_slice:
                return wait + units / of_slice * slice_ms
            units, wait = units - of_slice, wait + slice_ms
        return wait


class OwnCounters:
    """Bounded: of the counters that were not asked for longest, those in surplus begin anew."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._young: dict[bytes, _Window | float] = {}
        self._old: dict[bytes, _Window | float] = {}

    async def take(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        now = self._now_ms()
        return [self._decide(request, now) for request in requests]

    async def forget(self, counters: Sequence[bytes]) -> None:
        for counter in counters:
            self._young.pop(counter, None)
            self._old.pop(counter, None)

    def _decide(self, request: Sequence[Check], now: int) -> Taken:
        refused, retry = -1, 0
        for index, check in enumerate(request):
            wait = self._wait(check, now)
            if wait > retry:
                refused, retry = index, wait
        if refused < 0:
            for check in request:
                self._take(check)
        return Taken(refused, retry, tuple(self._left(check, now) for check in request))

    def _wait(self, check: Check, now: int) -> int:
        """After how many ms the units can be taken; 0: now."""
        rule = check.rule
        if rule.kind is LimitKind.WINDOW:
            window, oldest_left = self._window(check, now)
            over = window.taken(oldest_left) + check.units - rule.quota
            if over <= _CLOSE:
                return 0
            return math.ceil(window.wait_for(over, rule.window_ms / SLICES, oldest_left))
        over = self._full_at(check, now) + _cost_ms(check) - now - rule.window_ms
        return 0 if over <= _CLOSE else math.ceil(over)

    def _take(self, check: Check) -> None:
        counter = self._young[check.key]
        if isinstance(counter, _Window):
            counter.slices[0] += check.units
        else:
            self._young[check.key] = counter + _cost_ms(check)

    def _left(self, check: Check, now: int) -> Left:
        rule = check.rule
        if rule.kind is LimitKind.WINDOW:
            window, oldest_left = self._window(check, now)
            taken = window.taken(oldest_left)
            left = math.floor(rule.quota - taken + _CLOSE)
            return Left(max(0, left), rule.window_ms if taken > 0 else 0)
        until_full = self._full_at(check, now) - now
        left = math.floor((rule.window_ms - until_full) * rule.quota / rule.window_ms + _CLOSE)
        return Left(max(0, left), math.ceil(until_full))

    def _window(self, check: Check, now: int) -> tuple[_Window, float]:
        """The counter as it is now, and how much of its oldest slice still counts."""
        slice_ms = check.rule.window_ms / SLICES
        current = math.floor(now / slice_ms)
        window = self._counter(check.key)
        if not isinstance(window, _Window):
            window = self._young[check.key] = _Window(current)
        window.move_to(current)
        return window, min(1.0, max(0.0, 1 - (now - window.current * slice_ms) / slice_ms))

    def _full_at(self, check: Check, now: int) -> float:
        counter = self._counter(check.key)
        full_at = max(float(now), counter) if isinstance(counter, float) else float(now)
        self._young[check.key] = full_at
        return full_at

    def _counter(self, key: bytes) -> _Window | float | None:
        counter = self._young.get(key)
        if counter is None:
            if len(self._young) >= COUNTERS_MAX:
                self._old, self._young = self._young, {}
            counter = self._old.pop(key, None)
            if counter is not None:
                self._young[key] = counter
        return counter


def _cost_ms(check: Check) -> float:
    rule: Rule = check.rule
    return check.units * rule.window_ms / rule.quota
