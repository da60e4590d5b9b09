"""Reading the waitlists: the ledger's copy of each line, as far as the gate's log was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.ledger.records import WaitEntry
from sluice.ledger.store import Store
from sluice.ledger.tables import items, waitlist

BUYERS_MAX = 500
"""Buyers in one query."""
_WAITING = waitlist.c.ended_as == 0


class Waitlist(Store):
    async def waitlist_entry(self, item_id: int, buyer: str) -> WaitEntry | None:
        """The buyer's entry for the item: the one that waits, else the last one."""
        return (await self.newest_entries(item_id, [buyer])).get(buyer)

    async def newest_entries(self, item_id: int, buyers: Sequence[str]) -> dict[str, WaitEntry]:
        """The same for many buyers of one item, without those who never were in its line."""
        found: dict[str, WaitEntry] = {}
        for start in range(0, len(buyers), BUYERS_MAX):
            wanted = _newest(item_id, buyers[start : start + BUYERS_MAX])
            found.update((entry.buyer, entry) for entry in await self._entries(wanted))
        return found

    async def waited_for(self, item_ids: Sequence[int]) -> set[int]:
        """Those of these items that somebody waits for, or has waited for."""
        if not item_ids:
            return set()
        anybody = select(waitlist.c.id).where(waitlist.c.item_id == items.c.id).exists()
        wanted = select(items.c.id).where(items.c.id.in_(item_ids), anybody)

        async def query(connection: AsyncConnection) -> set[int]:
            return {row.id for row in await connection.execute(wanted)}

        return await self._read(query)

    async def waitlist_entries(self, ids: Sequence[int]) -> dict[int, WaitEntry]:
        if not ids:
            return {}
        found = await self._entries(select(waitlist).where(waitlist.c.id.in_(ids)))
        return {entry.id: entry for entry in found}

    async def waitlist(self, item_id: int, limit: int, after: int = 0) -> list[WaitEntry]:
        """Who waits for the item, first in line first; `after` is the last entry of the page
        before."""
        return await self._entries(
            select(waitlist)
            .where(waitlist.c.item_id == item_id, _WAITING, waitlist.c.id > after)
            .order_by(waitlist.c.id)
            .limit(limit)
        )

    async def waiting_counts(self, item_ids: Sequence[int]) -> dict[int, int]:
        """How many wait for each item; 0 where nobody does."""
        if not item_ids:
            return {}
        counted = (
            select(waitlist.c.item_id, func.count())
            .where(waitlist.c.item_id.in_(item_ids), _WAITING)
            .group_by(waitlist.c.item_id)
        )

        async def query(connection: AsyncConnection) -> dict[int, int]:
            found = {item_id: int(count) for item_id, count in await connection.execute(counted)}
            return {item_id: found.get(item_id, 0) for item_id in item_ids}

        return await self._read(query)

    async def _entries(self, wanted: Any) -> list[WaitEntry]:
        async def query(connection: AsyncConnection) -> list[WaitEntry]:
            return [_entry(row) for row in await connection.execute(wanted)]

        return await self._read(query)


def _newest(item_id: int, buyers: Sequence[str]) -> Any:
    """By the index alone it finds which, however often each has joined and left."""
    waits = case((_WAITING, waitlist.c.id))
    newest = (
        select(func.coalesce(func.max(waits), func.max(waitlist.c.id)).label("id"))
        .where(waitlist.c.item_id == item_id, waitlist.c.buyer.in_(buyers))
        .group_by(waitlist.c.buyer)
        .subquery()
    )
    return select(waitlist).join(newest, waitlist.c.id == newest.c.id)


def _entry(row: Any) -> WaitEntry:
    return WaitEntry(
        id=row.id,
        item_id=row.item_id,
        buyer=row.buyer,
        state=row.state,
        reason=row.reason,
        order_number=row.order_number,
        joined_at_ms=row.joined_at_ms,
        ended_at_ms=row.ended_at_ms,
    )
