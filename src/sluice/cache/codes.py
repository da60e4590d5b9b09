"""Log-in codes on the cache server: kept for some minutes, counted and used up in one step."""

from __future__ import annotations

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer

_USE = script("use_code")


class CodeCells:
    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def keep(self, name: str, mac: bytes, ttl_s: int) -> None:
        """Raises `CacheUnavailable`."""
        key = keys.code(name)
        await self._server.do_all(
            [("DEL", key), ("HSET", key, "mac", mac, "tries", 0), ("EXPIRE", key, ttl_s)]
        )

    async def use(self, name: str, mac: bytes, tries_max: int) -> bool:
        """Raises `CacheUnavailable`: whether it was a try is then unknown."""
        return bool(await self._server.run(_USE, [keys.code(name)], [mac, tries_max]))
