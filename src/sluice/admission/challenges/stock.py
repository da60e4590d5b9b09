"""What an HTTP process has at hand to give: taken from the shared pool before it is asked for.

In a rush more is asked for than could be drawn. Pictures are then shown again, each to a bounded
number of buyers within a minute (never the same buyer's answer twice: every one of them has an
id of their own). Work is never given twice, since its answer could be shared; it is made on the
spot, in threads, as many at once as there are cores.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from sluice.admission.challenges.making import Maker
from sluice.domain.challenge import Made, Shelf, shelf_of
from sluice.domain.errors import CacheUnavailable, Overloaded
from sluice.domain.sale import Challenge

AT_HAND = {Challenge.ARITHMETIC: 256, Challenge.SLIDER: 128, Challenge.PROOF_OF_WORK: 1024}
"""About 1 MB of each in every process."""
TAKE_MAX = 128
"""From the pool at once."""
SHOWN_AGAIN_MAX = 50
SHOWN_AGAIN_S = 60.0
MAKING_MAX = 64
"""Made on the spot at once, running and waiting; more get 503."""
LOOK_EVERY_S = 1.0


class Pool(Protocol):
    """What is shared; `cache.challenges.ChallengePool` does it. Raises `CacheUnavailable`."""

    async def take(self, shelf: Shelf, count: int, /) -> list[Made]: ...


class _Shown:
    __slots__ = ("made", "times", "until")

    def __init__(self, made: Made) -> None:
        self.made = made
        self.times = 1
        self.until = monotonic() + SHOWN_AGAIN_S


class Stock:
    """One for each HTTP process; `run` must be running."""

    def __init__(self, pool: Pool, maker: Maker, wanted: Callable[[], Sequence[Shelf]]) -> None:
        """`wanted`: the shelves that sales now or soon need."""
        self._pool = pool
        self._maker = maker
        self._wanted = wanted
        self._fresh: dict[Shelf, deque[Made]] = {}
        self._shown: dict[Shelf, deque[_Shown]] = {}
        self._making = 0
        self._low = asyncio.Event()

    async def take(self, kind: Challenge, level: int) -> Made:
        """Raises `Overloaded` where too many wait for one to be made."""
        shelf = shelf_of(kind, level)
        if shelf is not None:
            fresh = self._fresh.get(shelf)
            if fresh is None or len(fresh) < AT_HAND[kind] // 2:
                self._low.set()
            if fresh:
                made = fresh.popleft()
                if kind is not Challenge.PROOF_OF_WORK:
                    self._shown.setdefault(shelf, deque()).append(_Shown(made))
                return made
            again = self._again(shelf)
            if again is not None:
                return again
        return await self._make(kind, level, shelf)

    async def run(self) -> None:
        """Keeps what is wanted at hand, until cancelled."""
        while True:
            with suppress(CacheUnavailable):
                await self.fill()
            self._low.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._low.wait()

    async def fill(self) -> None:
        """Raises `CacheUnavailable`."""
        for shelf in {*self._wanted(), *self._fresh}:
            fresh = self._fresh.setdefault(shelf, deque())
            while len(fresh) < AT_HAND[shelf.kind]:
                count = min(TAKE_MAX, AT_HAND[shelf.kind] - len(fresh))
                taken = await self._pool.take(shelf, count)
                fresh.extend(taken)
                if len(taken) < count:
                    break

    def _again(self, shelf: Shelf) -> Made | None:
        """The picture that was shown longest ago and may be shown once more."""
        shown = self._shown.get(shelf)
        while shown:
            oldest = shown.popleft()
            if oldest.times < SHOWN_AGAIN_MAX and oldest.until > monotonic():
                oldest.times += 1
                shown.append(oldest)
                return oldest.made
        return None

    async def _make(self, kind: Challenge, level: int, shelf: Shelf | None) -> Made:
        if self._making >= MAKING_MAX:
            raise Overloaded()
        self._making += 1
        try:
            made = await self._maker.make(kind, level)
        finally:
            self._making -= 1
        if shelf is not None and kind is not Challenge.PROOF_OF_WORK:
            self._shown.setdefault(shelf, deque()).append(_Shown(made))
        return made
