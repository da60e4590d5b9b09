"""What became of the units of an order that could not be recorded, and seeing that they go back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, case, exists, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import NotFound
from sluice.ledger.records import DeadLetter, LetterState
from sluice.ledger.rejects import Reason
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import dead_letters, items, orders, releases
from sluice.ledger.upsert import insert_ignore

_d, _r = dead_letters, releases


class DeadLetters(Store):
    async def dead_letters(self, limit: int, after_id: int = 0) -> list[DeadLetter]:
        """Oldest first."""
        wanted = _wanted().where(_d.c.id > after_id).order_by(_d.c.id).limit(limit)
        return await self._read(lambda c: letters_of(c, wanted))

    async def retry_dead_letter(self, letter_id: int) -> DeadLetter:
        """Has its units given back where nothing has decided that yet; what was decided before
        stands, so done twice it is done once. Raises `NotFound`.

        The release is a row whose primary key is the number: it is there once, and the gate is
        handed it until its log says that it is done. Where the number is another attempt's, that
        one's hold stays.
        """

        async def retry(tx: Transaction) -> DeadLetter:
            mine = _d.c.id == letter_id
            row = (await tx.run(select(_d).where(mine).with_for_update())).one_or_none()
            if row is None:
                raise NotFound
            owner = select(orders.c.number).where(orders.c.number == row.number)
            held = (await tx.run(owner.with_for_update())).one_or_none() is not None
            if not held and row.reason != Reason.NUMBER_TAKEN:
                await insert_ignore(tx, releases, [await _release(tx, row)])
            return (await letters_of(tx.connection, _wanted().where(mine)))[0]

        return await self._write(retry)


def _wanted() -> Select[Any]:
    """With what became of their units."""
    has_order = exists(select(literal(1)).where(orders.c.number == _d.c.number))
    elsewhere = has_order | (_d.c.reason == Reason.NUMBER_TAKEN.value)
    state = case(
        (_r.c.applied_at_ms.is_not(None), LetterState.RETURNED.value),
        (_r.c.number.is_not(None), LetterState.RETURNING.value),
        (elsewhere, LetterState.KEPT.value),
        else_=LetterState.STUCK.value,
    )
    joined = _d.outerjoin(_r, _r.c.number == _d.c.number)
    returned = _r.c.applied_at_ms.label("returned_at_ms")
    return select(_d, state.label("state"), returned).select_from(joined)


async def letters_of(connection: AsyncConnection, wanted: Any) -> list[DeadLetter]:
    return [_letter(row) for row in await connection.execute(wanted)]


def newest_letters(limit: int) -> Select[Any]:
    return _wanted().order_by(_d.c.id.desc()).limit(limit)


async def _release(tx: Transaction, row: Any) -> dict[str, Any]:
    group = select(items.c.limit_group).where(items.c.id == row.item_id)
    return {
        "number": row.number,
        "shard": row.shard,
        "item_id": row.item_id,
        "limit_group": (await tx.run(group)).scalar_one_or_none() or 0,
        "quantity": row.quantity,
        "decided_at_ms": tx.now_ms,
        "buyer": row.buyer,
        "reason": "rejected",
    }


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        number=row.number,
        shard=row.shard,
        item_id=row.item_id,
        buyer=row.buyer,
        quantity=row.quantity,
        reason=row.reason,
        detail=row.detail,
        at_ms=row.at_ms,
        state=LetterState(row.state),
        returned_at_ms=row.returned_at_ms,
    )
