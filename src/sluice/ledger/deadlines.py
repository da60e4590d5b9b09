"""Deadlines by the database's clock: who is reminded, whose order expires, who is asked for money.

A recorded batch has one row per sale and kind, with the numbers between which its orders are: the
recorder pays for no index on every order, and releasers share the rows out among themselves. A row
goes when there is nothing left between its numbers; an order that has an open payment is passed
over, and whoever closes that payment without the money expires the order, or puts a row of its own
here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.order import OrderState
from sluice.domain.payment import Payment
from sluice.ledger.among import among
from sluice.ledger.giveback import Held, give_back
from sluice.ledger.journal import announce
from sluice.ledger.payment_rows import payment_of
from sluice.ledger.store import BATCH_DEADLINE_FACTOR, Store, Transaction
from sluice.ledger.tables import deadlines, inbox, orders, payments, refunds

ROWS_MAX = 64
"""Deadlines in one transaction: batches of a quiet sale hold a few orders each."""
_AWAITING = OrderState.AWAITING_PAYMENT


class Deadlines(Store):
    async def remind_due(self, limit: int) -> list[int]:
        """Numbers of orders whose buyers are reminded now; each is once."""
        return await self._go("remind", limit, _remind)

    async def expire_due(self, limit: int) -> list[int]:
        """Numbers of orders whose time was up and that nobody is paying; they are expired now."""
        return await self._go("expire", limit, _expire)

    async def _go(self, kind: str, limit: int, handle: Handle) -> list[int]:
        return await self._write(
            lambda tx: _go_through(tx, kind, limit, handle),
            deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR,
        )

    async def due_payments(self, limit: int, claim_ms: int) -> list[Payment]:
        """Open payments whose order or whose checkout has reached its end, longest due first: to be
        closed at the provider. They are the caller's for `claim_ms`, and then anybody's again."""

        async def claim(tx: Transaction) -> list[Payment]:
            due = (
                select(payments)
                .where(payments.c.ask_at_ms <= tx.now_ms)
                .order_by(payments.c.ask_at_ms)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = (await tx.run(due)).all()
            if rows:
                mine = among(tx, payments.c.id, [row.id for row in rows])
                later = update(payments).where(mine, payments.c.ask_at_ms <= tx.now_ms)
                await tx.run(later.values(ask_at_ms=tx.now_ms + claim_ms))
            return [payment_of(row) for row in rows]

        return await self._write(claim)

    async def next_deadline_ms(self) -> int | None:
        """When there is something to do next, by the database's clock; None where nothing is."""
        first = (
            select(func.min(column))
            for column in (
                deadlines.c.due_at_ms,
                payments.c.ask_at_ms,
                refunds.c.due_at_ms,
                inbox.c.retry_at_ms,
            )
        )

        async def query(connection: AsyncConnection) -> int | None:
            found = [(await connection.execute(each)).scalar_one() for each in first]
            return min((int(at_ms) for at_ms in found if at_ms is not None), default=None)

        return await self._read(query)


Handle = Callable[[Transaction, Any, int], Awaitable[list[int]]]


async def _go_through(tx: Transaction, kind: str, limit: int, handle: Handle) -> list[int]:
    """Rows that are due, until `limit` orders are handled."""
    due = (
        select(deadlines)
        .where(deadlines.c.kind == kind, deadlines.c.due_at_ms <= tx.now_ms)
        .order_by(deadlines.c.due_at_ms)
        .limit(ROWS_MAX)
        .with_for_update(skip_locked=True)
    )
    done: list[int] = []
    over: list[int] = []
    for row in (await tx.run(due)).all():
        handled = await handle(tx, row, limit - len(done))
        done += handled
        left = await _first_left(tx, row, handled, full=len(done) >= limit)
        if left is None:
            over.append(row.id)
        elif left != (row.first_number, row.due_at_ms):
            shorter = update(deadlines).where(deadlines.c.id == row.id)
            await tx.run(shorter.values(first_number=left.number, due_at_ms=left.due_at_ms))
        if len(done) >= limit:
            break
    if over:
        await tx.run(delete(deadlines).where(deadlines.c.id.in_(over)))
    return done


class _Left(NamedTuple):
    number: int
    due_at_ms: int


async def _first_left(
    tx: Transaction, row: Any, handled: Sequence[int], *, full: bool
) -> _Left | None:
    """Where the next transaction begins, and when; None where nothing is left.

    Of orders that have no open payment, one is left where somebody else holds it just now, and one
    whose time has not come: no row goes before the last of its orders has been looked at.
    """
    if row.kind == "remind":
        more = full and handled[-1] < row.last_number
        return _Left(handled[-1] + 1, row.due_at_ms) if more else None
    left = _awaiting(row).with_only_columns(orders.c.number, orders.c.pay_by_ms)
    first = (await tx.run(left.where(~_has_open_payment()).limit(1))).one_or_none()
    return None if first is None else _Left(*first)


async def _remind(tx: Transaction, row: Any, limit: int) -> list[int]:
    wanted = _awaiting(row).where(orders.c.pay_by_ms > tx.now_ms).limit(limit)
    numbers = [each.number for each in await tx.run(wanted)]
    if numbers:
        await announce(tx, "order.payment_due_soon", {"numbers": numbers})
    return numbers


async def _expire(tx: Transaction, row: Any, limit: int) -> list[int]:
    """Locks first and then looks for open payments, so that it sees what the lock waited for."""
    wanted = _due(row, tx.now_ms).where(~_has_open_payment()).limit(limit)
    locked = [Held(*each) for each in await tx.run(wanted.with_for_update(skip_locked=True))]
    paying = await _being_paid(tx, [order.number for order in locked])
    expired = [order for order in locked if order.number not in paying]
    await give_back(tx, expired, _AWAITING, OrderState.EXPIRED, reason="expired")
    return [order.number for order in expired]


async def _being_paid(tx: Transaction, numbers: Sequence[int]) -> set[int]:
    if not numbers:
        return set()
    open_ones = select(payments.c.open_for).where(among(tx, payments.c.open_for, numbers))
    return set((await tx.run(open_ones)).scalars())


def _awaiting(row: Any) -> Select[Any]:
    """Orders of this row's batch and sale, in the order of their numbers."""
    shard: ColumnElement[int] = literal_column("((orders.number >> 24) & 255)")
    return (
        select(orders.c.number, orders.c.item_id, orders.c.quantity)
        .where(
            orders.c.number.between(row.first_number, row.last_number),
            orders.c.sale_id == row.sale_id,
            orders.c.state == _AWAITING.value,
            shard == row.shard,
        )
        .order_by(orders.c.number)
    )


def _due(row: Any, now_ms: int) -> Select[Any]:
    return _awaiting(row).where(orders.c.pay_by_ms <= now_ms)


def _has_open_payment() -> ColumnElement[bool]:
    return exists().where(and_(payments.c.open_for == orders.c.number)).correlate(orders)


async def add_deadlines(tx: Transaction, rows: Iterable[dict[str, Any]]) -> None:
    wanted = list(rows)
    if wanted:
        await tx.run(insert(deadlines), wanted)


def deadline_row(
    kind: str, due_at_ms: int, sale_id: int, shard: int, first_number: int, last_number: int
) -> dict[str, Any]:
    """Orders of this sale and shard between the numbers, both included."""
    return {
        "kind": kind,
        "due_at_ms": due_at_ms,
        "sale_id": sale_id,
        "shard": shard,
        "first_number": first_number,
        "last_number": last_number,
    }
