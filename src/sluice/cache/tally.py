"""The tally of sales on the cache server: cells by sale and second, until a worker has stored them.

Also what goes with watching a sale: who is being watched, and what its last audit said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer
from sluice.domain.errors import CacheUnavailable

_ADD = script("tally_add")
_STORED = script("tally_stored")

WAITING_MAX = 20_000
"""Cells that may wait for a worker: some 6 MB. One busy sale fills it in more than five hours, but
cells expire long before."""
DRAIN_MAX = 500
"""Cells in one look."""
HALF_S = 0.5
"""What a process counted began a second ago: it is filed under the middle of that."""
WATCHED_S = 60
"""A sale is watched until nobody has looked for so long."""
WATCHED_MAX = 64


class Counted(NamedTuple):
    """A cell that is to be stored. `total` only grows, so the larger one is the later."""

    sale_id: int
    at_s: int
    counts: dict[str, int]
    total: int


class TallyBoard:
    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def add(self, counts: Mapping[int, Mapping[str, int]]) -> bool:
        """Add what a process counted in the last second, by sale. False where the server was away:
        it is then not known."""
        try:
            second = await self._second(ago_s=HALF_S)
            cells = [keys.tally(sale_id, second) for sale_id in counts]
            packed = [msgspec.json.encode(each) for each in counts.values()]
            arguments = (second, keys.TALLY_EXPIRE_S, WAITING_MAX, *packed)
            await self._server.run(_ADD, [keys.TALLY_NEW, *cells], arguments)
        except CacheUnavailable:
            return False
        return True

    async def recent(self, sale_id: int, seconds: int) -> list[dict[str, int]]:
        """What was counted in the last whole `seconds`, the second that runs and the one before it
        left out: they are still arriving. Raises `CacheUnavailable`."""
        now = await self._second()
        names = [keys.tally(sale_id, second) for second in range(now - 1 - seconds, now - 1)]
        found = await self._server.do_all([("HGETALL", name) for name in names])
        return [_counts(raw)[0] for raw in found]

    # --- the worker's half -----------------------------------------------------------------

    async def to_store(self, older_than_s: int) -> list[Counted]:
        """Cells that are not stored, oldest first, at most `DRAIN_MAX`. Raises
        `CacheUnavailable`."""
        now = await self._second()
        until, expired = now - older_than_s, now - keys.TALLY_EXPIRE_S
        _, names = await self._server.do_all(
            [
                ("ZREMRANGEBYSCORE", keys.TALLY_NEW, "-inf", expired),
                ("ZRANGEBYSCORE", keys.TALLY_NEW, "-inf", until, "LIMIT", 0, DRAIN_MAX),
            ]
        )
        found = await self._server.do_all([("HGETALL", name) for name in names])
        cells = []
        for name, raw in zip(names, found, strict=True):
            counts, total = _counts(raw)
            sale_id, at_s = keys.parse_tally(name)
            if counts:
                cells.append(Counted(sale_id, at_s, counts, total))
        return cells

    async def stored(self, cells: Sequence[Counted]) -> None:
        """They are in the ledger, as they were read. Raises `CacheUnavailable`."""
        names = [keys.tally(cell.sale_id, cell.at_s) for cell in cells]
        await self._server.run(_STORED, [keys.TALLY_NEW, *names], [cell.total for cell in cells])

    async def _second(self, ago_s: float = 0.0) -> int:
        seconds, micros = await self._server.do("TIME")
        return int(int(seconds) + int(micros) / 1_000_000 - ago_s)

    # --- watching --------------------------------------------------------------------------

    async def watch(self, sale_id: int) -> None:
        """Somebody looks at the sale. Raises `CacheUnavailable`."""
        now = await self._second()
        await self._server.do_all(
            [
                ("ZADD", keys.WATCHED, now, sale_id),
                ("ZREMRANGEBYSCORE", keys.WATCHED, "-inf", now - WATCHED_S),
                ("ZREMRANGEBYRANK", keys.WATCHED, 0, -WATCHED_MAX - 1),
                ("EXPIRE", keys.WATCHED, WATCHED_S),
            ]
        )

    async def watched(self) -> list[int]:
        """Raises `CacheUnavailable`."""
        since = await self._second() - WATCHED_S
        found = await self._server.do("ZRANGEBYSCORE", keys.WATCHED, since, "+inf")
        return [int(sale_id) for sale_id in found]

    async def keep_audit(self, sale_id: int, report: Mapping[str, Any]) -> None:
        """Raises `CacheUnavailable`."""
        packed = msgspec.json.encode(report)
        await self._server.do("SET", keys.audited(sale_id), packed, "EX", keys.AUDITED_EXPIRE_S)

    async def last_audit(self, sale_id: int) -> dict[str, Any] | None:
        """Raises `CacheUnavailable`."""
        packed = await self._server.do("GET", keys.audited(sale_id))
        return None if packed is None else msgspec.json.decode(packed, type=dict[str, Any])


def _counts(raw: Any) -> tuple[dict[str, int], int]:
    pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
    counts = {name.decode(): int(count) for name, count in pairs}
    return counts, counts.pop("n", 0)
