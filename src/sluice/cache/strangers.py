"""Who forwards requests without being trusted: said by the HTTP processes, read by `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sluice.cache import keys
from sluice.cache.server import CacheServer
from sluice.domain.errors import CacheUnavailable

AGAIN_S = 3600.0


class Strangers:
    def __init__(self, server: CacheServer, seen: Callable[[], str]) -> None:
        """`seen`: the address of one that this process met; empty: none."""
        self._server = server
        self._seen = seen
        self._again_at = 0.0

    async def tell(self) -> None:
        """Called every few seconds; says it once an hour. Raises `CacheUnavailable`."""
        address = self._seen()
        if address and monotonic() >= self._again_at:
            await self._server.do("SET", keys.STRANGER, address, "EX", keys.STRANGER_EXPIRE_S)
            self._again_at = monotonic() + AGAIN_S

    async def told(self) -> str:
        """What some process said within a day. Raises `CacheUnavailable`."""
        found = await self._server.do("GET", keys.STRANGER)
        return "" if found is None else found.decode("ascii", "replace")

    async def eviction(self) -> str:
        """What the cache server forgets when it is full; `unknown` where it does not say."""
        try:
            found = await self._server.do("CONFIG", "GET", "maxmemory-policy")
        except CacheUnavailable:
            return "unknown"  # a managed server may forbid it; whether it answers is asked before
        if not found:  # others answer, and with nothing
            return "unknown"
        value = next(iter(found.values())) if isinstance(found, dict) else found[-1]
        return value.decode() if isinstance(value, bytes) else str(value)
