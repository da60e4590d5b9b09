"""Says every few seconds that this process is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from sluice.domain.beat import Beat
from sluice.domain.errors import Unavailable

EVERY_S = 2.0


class Drum(Protocol):
    def post(self, beat: Beat) -> Awaitable[None]: ...

    def leave(self, worker: str) -> Awaitable[None]: ...


class Heartbeat:
    """Its word is for looking at alone: a store that is away is passed over."""

    def __init__(self, worker: str, drum: Drum, look: Callable[[], Beat]) -> None:
        self._worker = worker
        self._drum = drum
        self._look = look
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            with suppress(Unavailable):
                await self._drum.post(self._look())
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._stop.wait()
        with suppress(Unavailable):
            await self._drum.leave(self._worker)
