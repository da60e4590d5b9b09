"""Makes challenges ahead of time, for every sale that is on or about to begin, at a gentle pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from sluice.admission.challenges.making import Maker
from sluice.domain.challenge import Made, Shelf
from sluice.domain.errors import Unavailable
from sluice.telemetry import get_logger

BATCH = {"arithmetic": 8, "slider": 8, "proof_of_work": 64}
"""Made between two looks at what is missing."""
LOOK_EVERY_S = 2.0
REST = 1.0
"""After each batch it rests for as long as the batch took: recording orders comes first."""

log = get_logger("challenges")


class Pool(Protocol):
    """`cache.challenges.ChallengePool` does it. Raises `CacheUnavailable`."""

    async def missing(self, shelves: Sequence[Shelf], /) -> list[int]: ...

    async def put(self, shelf: Shelf, made: Sequence[Made], /) -> None: ...


class Artist:
    def __init__(
        self, pool: Pool, maker: Maker, wanted: Callable[[], Awaitable[Sequence[Shelf]]]
    ) -> None:
        """`wanted`: the shelves that sales now or soon need."""
        self._pool = pool
        self._maker = maker
        self._wanted = wanted
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`."""
        away = False
        while not self._stopped.is_set():
            try:
                while await self.refill() and not self._stopped.is_set():
                    pass
                away = False
            except Unavailable as error:
                if not away:
                    log.warning("Cannot stock up.", action="challenges.away", detail=str(error))
                away = True
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._stopped.wait()
        self._maker.close()

    def stop(self) -> None:
        self._stopped.set()

    async def refill(self) -> bool:
        """One batch for each shelf that has room; whether there was any."""
        shelves = await self._wanted()
        room = await self._pool.missing(shelves)
        for shelf, missing in zip(shelves, room, strict=True):
            if missing and not self._stopped.is_set():
                await self._batch(shelf, min(missing, BATCH[shelf.kind.value]))
        return any(room)

    async def _batch(self, shelf: Shelf, count: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        made = [await self._maker.make(shelf.kind, shelf.level) for _ in range(count)]
        await self._pool.put(shelf, made)
        await asyncio.sleep((loop.time() - began) * REST)
