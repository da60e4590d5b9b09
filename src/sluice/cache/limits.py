"""The counters of limits on the cache server: one call for a whole batch of requests."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer
from sluice.domain.limit import Check, Left, Rule, Taken

KEYS_MAX = 4000
"""Counters in one call; Lua's `unpack` ends near 8,000."""

_LIMITS = script("limits")


class LimitCounters:
    """What all processes count together."""

    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def take(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        """Decide requests in their order. Raises `CacheUnavailable`: then nothing is known."""
        taken: list[Taken] = []
        part: list[Sequence[Check]] = []
        checks = 0
        for request in requests:
            if checks + len(request) > KEYS_MAX:
                taken += await self._take_part(part)
                part, checks = [], 0
            part.append(request)
            checks += len(request)
        if part:
            taken += await self._take_part(part)
        return taken

    async def forget(self, counters: Sequence[bytes]) -> None:
        """These counters begin anew. Raises `CacheUnavailable`."""
        if counters:
            await self._server.delete(*(keys.limit(counter) for counter in counters))

    async def _take_part(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        places: dict[bytes, int] = {}
        rules: dict[Rule, int] = {}
        asked: list[int] = []
        for request in requests:
            asked.append(len(request))
            for rule, counter, units in request:
                asked.append(places.setdefault(counter, len(places)))
                asked.append(rules.setdefault(rule, len(rules)))
                asked.append(units)
        rows = [number for rule in rules for number in rule[1:]]
        packed: bytes = await self._server.run(
            _LIMITS,
            [keys.limit(counter) for counter in places],
            [struct.pack(f">{len(rows)}I", *rows), struct.pack(f">{len(asked)}I", *asked)],
        )
        return _unpacked(packed, requests)


def _unpacked(packed: bytes, requests: Sequence[Sequence[Check]]) -> list[Taken]:
    numbers = struct.unpack(f">{len(packed) // 4}i", packed)
    taken, at = [], 0
    for request in requests:
        end = at + 2 + 2 * len(request)
        left = tuple(map(Left, numbers[at + 2 : end : 2], numbers[at + 3 : end : 2]))
        taken.append(Taken(numbers[at], numbers[at + 1], left))
        at = end
    return taken
