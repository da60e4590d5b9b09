"""The outbox, read in an order without gaps.

Ids are given out before a transaction commits: where several write at once, a reader that goes by
ids would pass over one that commits late. So positions are given out afterwards, to what is there,
by whoever reads next, one at a time. SQLite has one writer: there ids commit in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.order import OrderState
from sluice.ledger.records import Event, Party
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import dead_letters, items, orders, outbox, outbox_head
from sluice.ledger.upsert import insert_ignore

PLACE_MAX = 1000
"""Messages that are given their positions in one transaction."""
TRIM_MAX = 5000
CHUNK = 500
"""Keys in one query."""
_HEAD = outbox_head.c.id == 1


class Events(Store):
    async def events_after(self, position: int, limit: int) -> list[Event]:
        """What was committed after the message at `position`, oldest first; never one before
        another that may still come to stand ahead of it."""
        await self._place_new_ones()
        place = self._place
        wanted = (
            select(place, outbox.c.kind, outbox.c.payload, outbox.c.at_ms)
            .where(place > position)
            .order_by(place)
            .limit(limit)
        )

        async def query(connection: AsyncConnection) -> list[Event]:
            rows = await connection.execute(wanted)
            return [Event(row[0], row[1], msgspec.json.decode(row[2]), row[3]) for row in rows]

        return await self._read(query)

    async def last_event(self) -> int:
        """The position of the newest message; 0 where there was never one."""
        await self._place_new_ones()
        newest = select(func.max(self._place))
        head = select(outbox_head.c.position).where(_HEAD)

        async def query(connection: AsyncConnection) -> int:
            last = (await connection.execute(newest)).scalar_one()
            given_out = (await connection.execute(head)).scalar_one_or_none()
            return max(int(last or 0), int(given_out or 0))

        return await self._read(query)

    async def trim_outbox(self, before: int) -> int:
        """Forgets messages at positions below `before`, some at a time; how many."""
        place = self._place
        lowest = select(func.min(place)).scalar_subquery()

        async def work(tx: Transaction) -> int:
            first = (await tx.run(select(lowest))).scalar_one()
            if first is None or first >= before:
                return 0
            until = min(before, first + TRIM_MAX)
            return await tx.changed(delete(outbox).where(place < until))

        return await self._write(work)

    async def parties(self, numbers: Sequence[int]) -> dict[int, Party]:
        """Whom each order concerns, and its present state; cheaper than `orders`."""
        if not numbers:
            return {}

        async def query(connection: AsyncConnection) -> dict[int, Party]:
            found: dict[int, Party] = {}
            for start in range(0, len(numbers), CHUNK):
                found.update(await _parties(connection, numbers[start : start + CHUNK]))
            return found

        return await self._read(query)

    @property
    def _place(self) -> ColumnElement[int]:
        return outbox.c.id if self._engines.dialect == "sqlite" else outbox.c.position

    async def _place_new_ones(self) -> None:
        if self._engines.dialect == "sqlite":
            return
        new = select(outbox.c.id).where(outbox.c.position.is_(None)).limit(1)

        async def any_new(connection: AsyncConnection) -> bool:
            return (await connection.execute(new)).first() is not None

        while await self._read(any_new):
            if await self._write(_give_out_positions) < PLACE_MAX:
                return


async def _give_out_positions(tx: Transaction) -> int:
    """How many were given out. The head's row is locked first: two never give out at once, and
    positions become visible in their order."""
    head = select(outbox_head.c.position).where(_HEAD).with_for_update()
    last = (await tx.run(head)).scalar_one_or_none()
    if last is None:
        await insert_ignore(tx, outbox_head, [{"id": 1, "position": 0}])
        last = (await tx.run(head)).scalar_one()
    new = select(outbox.c.id).where(outbox.c.position.is_(None)).order_by(outbox.c.id)
    ids = list((await tx.run(new.limit(PLACE_MAX))).scalars())
    if ids:
        placed = update(outbox).where(outbox.c.id == bindparam("row_id"))
        rows = [{"row_id": each, "at": last + i} for i, each in enumerate(ids, start=1)]
        await tx.run(placed.values(position=bindparam("at")), rows)
        await tx.run(update(outbox_head).where(_HEAD).values(position=last + len(ids)))
    return len(ids)


async def _parties(connection: AsyncConnection, numbers: Sequence[int]) -> dict[int, Party]:
    recorded = select(
        orders.c.number,
        orders.c.buyer,
        orders.c.sale_id,
        orders.c.item_id,
        orders.c.state,
        orders.c.payment_state,
    ).where(orders.c.number.in_(numbers))
    found = {row.number: Party(*row) for row in await connection.execute(recorded)}
    missing = [number for number in numbers if number not in found]
    if missing:
        rejected = (
            select(dead_letters.c.number, dead_letters.c.buyer, items.c.sale_id, items.c.id)
            .select_from(dead_letters.outerjoin(items, items.c.id == dead_letters.c.item_id))
            .where(dead_letters.c.number.in_(missing))
        )
        for row in await connection.execute(rejected):
            found[row.number] = _rejected(row)
    return found


def _rejected(row: Any) -> Party:
    state = OrderState.REJECTED.value
    return Party(row.number, row.buyer, row.sale_id or 0, row.id or 0, state, "none")
