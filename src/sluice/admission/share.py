"""What a process gives by itself, so that most requests need no call to the shared counters.

Two ways, and neither ever gives more than the quota:

- The first few requests of every caller within a minute are free of asking. What processes give
  like that is taken off the quota that they share. Most callers never come further. These are
  counted by hash, in fixed memory: two callers that meet in a cell only come to ask sooner.
- Of a counter with a large quota, such as an address with thousands behind it, a process takes a
  hundredth at once and gives from that.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sluice.domain.limit import Rule, per_minute, per_second

CELLS = 1 << 21
MASK = CELLS - 1
FREE_PART = 5
"""One part of so many is given without asking, by all processes together."""
CHUNK_PART = 100
"""A process takes one part of so many at once, where that is more than one request."""
CELL_MAX = 250
"""A cell is a byte."""
WINDOW_S = 60.0
CREDITS_MAX = 10_000


class Limit:
    """One limit of a route. `rule` is as it was declared, `shared` what the counters are told;
    `free` requests need no asking, and those that do take `chunk` at once.
    """

    __slots__ = ("chunk", "free", "head", "rule", "shared", "tail")

    def __init__(self, rule: Rule, shared: Rule, free: int, chunk: int) -> None:
        self.rule = rule
        self.shared = shared
        self.free = free
        self.chunk = chunk
        self.head = f'"{rule.name}";r='
        self.tail = f";t={-(-rule.window_ms // 1000)}"


class _Credit:
    """Units that were taken from the shared counter and not yet given."""

    __slots__ = ("left", "units", "until")

    def __init__(self) -> None:
        self.units = 0
        self.until = 0.0
        self.left = 0


class Share:
    """One for each process; `processes` share the quotas."""

    def __init__(self, processes: int, clock: Callable[[], float] = monotonic) -> None:
        self._processes = processes
        self._clock = clock
        self.now = bytearray(CELLS)
        self.before = bytearray(CELLS)
        """What each caller's cell gave in this minute, and in the one before."""
        self._turn_at = clock() + WINDOW_S
        self._credits: dict[bytes, _Credit] = {}
        self._asking: set[bytes] = set()

    # --- declaring -------------------------------------------------------------------------

    def per_minute(self, name: str, quota: int) -> Limit:
        free = min(quota // (FREE_PART * self._processes), CELL_MAX)
        shared = quota - free * self._processes
        return Limit(per_minute(name, quota), per_minute(name, shared), free, self._chunk(shared))

    def per_second(self, name: str, quota: int) -> Limit:
        rule = per_second(name, quota)
        return Limit(rule, rule, 0, self._chunk(quota))

    def _chunk(self, quota: int) -> int:
        return max(1, quota // (CHUNK_PART * self._processes))

    # --- giving ----------------------------------------------------------------------------

    def give(self, limit: Limit, key: bytes) -> int | None:
        """What is left after one request, or None: ask the shared counters."""
        if limit.free:
            cell = hash(key) & MASK
            taken = self.now[cell] + self.before[cell]
            if taken < limit.free:
                self.now[cell] += 1
                return limit.rule.quota - taken - 1
        if limit.chunk > 1:
            credit = self._credits.get(key)
            if credit is not None and credit.units and credit.until > self._clock():
                credit.units -= 1
                return credit.left + credit.units
        return None

    def take_back(self, limit: Limit, key: bytes) -> None:
        """What was given to a request that another limit refused."""
        credit = self._credits.get(key)
        if credit is not None:
            credit.units += 1
            return
        cell = hash(key) & MASK
        if limit.free and self.now[cell]:
            self.now[cell] -= 1

    # --- asking ----------------------------------------------------------------------------

    def units_to_ask(self, limit: Limit, key: bytes) -> int:
        """A chunk for the first who asks, one for everybody who asks meanwhile."""
        if limit.chunk == 1 or key in self._asking:
            return 1
        self._asking.add(key)
        return limit.chunk

    def asked(self, limit: Limit, key: bytes, units: int, left: int | None) -> None:
        """The answer came; `left` is None where it gave nothing."""
        if units == 1:
            return
        self._asking.discard(key)
        if left is None:
            return
        if len(self._credits) >= CREDITS_MAX:
            self._credits.clear()
        credit = self._credits.setdefault(key, _Credit())
        now = self._clock()
        credit.units = units - 1 + (credit.units if credit.until > now else 0)
        credit.until = now + limit.rule.window_ms / 1000
        credit.left = left

    def turn(self) -> None:
        """Called at least once a second: the minute moves on."""
        now = self._clock()
        if now < self._turn_at:
            return
        silent = now >= self._turn_at + WINDOW_S
        self.before = bytearray(CELLS) if silent else self.now
        self.now = bytearray(CELLS)
        self._turn_at = now + WINDOW_S
