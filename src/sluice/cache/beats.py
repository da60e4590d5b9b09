"""Workers say that they are there, and what they run, so that an operator sees who is not."""

from __future__ import annotations

from typing import Any

import msgspec

from sluice.cache import keys
from sluice.cache.server import CacheServer
from sluice.domain.beat import Beat

KEPT_MS = 3_600_000
"""One that has not been heard of for this long is not shown any more."""
WORKERS_MAX = 256


class Beats:
    """All raise `CacheUnavailable`. Times are the cache server's, so that ages compare."""

    def __init__(self, cache: CacheServer) -> None:
        self._cache = cache

    async def post(self, beat: Beat) -> None:
        said = beat._replace(at_ms=await self._now_ms())
        await self._cache.do("HSET", keys.WORKERS, beat.worker, msgspec.json.encode(said))

    async def leave(self, worker: str) -> None:
        """One that stops in an orderly way is missed by nobody."""
        await self._cache.do("HDEL", keys.WORKERS, worker)

    async def all(self) -> tuple[list[Beat], int]:
        """Whoever was heard of lately, and the time now; forgets the others."""
        now_ms = await self._now_ms()
        raw: Any = await self._cache.do("HGETALL", keys.WORKERS)
        said = raw.values() if isinstance(raw, dict) else raw[1::2]
        beats = [beat for each in said if (beat := _read(each)) is not None]
        old = [beat.worker for beat in beats if beat.at_ms < now_ms - KEPT_MS]
        if old:
            await self._cache.do("HDEL", keys.WORKERS, *old)
        fresh = [beat for beat in beats if beat.at_ms >= now_ms - KEPT_MS]
        return sorted(fresh, key=lambda beat: beat.worker)[:WORKERS_MAX], now_ms

    async def _now_ms(self) -> int:
        seconds, micros = await self._cache.do("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


def _read(said: bytes) -> Beat | None:
    """None for what a worker of another version says."""
    try:
        return msgspec.json.decode(said, type=Beat)
    except msgspec.DecodeError:
        return None
