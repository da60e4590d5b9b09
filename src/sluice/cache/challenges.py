"""Challenges on the cache server: those made ahead of time, and which were answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer
from sluice.domain.challenge import Made, Shelf

_SPEND = script("spend")
_decode = msgspec.msgpack.Decoder(Made).decode


class ChallengePool:
    """Every call raises `CacheUnavailable`."""

    def __init__(self, server: CacheServer) -> None:
        self._server = server

    # --- made ahead of time ----------------------------------------------------------------

    async def missing(self, shelves: Sequence[Shelf]) -> list[int]:
        """How many more each shelf has room for."""
        if not shelves:
            return []
        lengths = await self._server.do_all([("LLEN", keys.pool(s.name)) for s in shelves])
        return [max(0, s.size - length) for s, length in zip(shelves, lengths, strict=True)]

    async def put(self, shelf: Shelf, made: Sequence[Made]) -> None:
        if made:
            packed = [msgspec.msgpack.encode(each) for each in made]
            await self._server.do_all(
                [
                    ("RPUSH", keys.pool(shelf.name), *packed),
                    ("LTRIM", keys.pool(shelf.name), -shelf.size, -1),
                    ("EXPIRE", keys.pool(shelf.name), keys.POOL_EXPIRE_S),
                ]
            )

    async def take(self, shelf: Shelf, count: int) -> list[Made]:
        """At most so many; nobody else gets these."""
        packed = await self._server.do("LPOP", keys.pool(shelf.name), count)
        return [_decode(each) for each in packed or ()]

    # --- answered --------------------------------------------------------------------------

    async def spend(self, answered: Sequence[tuple[bytes, int]]) -> list[bool]:
        """For each (nonce, for how many ms to remember it): whether this is its first answer."""
        first: bytes = await self._server.run(
            _SPEND, [keys.spent(nonce) for nonce, _ in answered], [ms for _, ms in answered]
        )
        return [each == ord("1") for each in first]
