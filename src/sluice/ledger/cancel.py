"""Cancelling: at once where the ledger has the order, else noted for when it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from sluice.domain import number as numbers_
from sluice.domain.errors import Conflict, NotFound
from sluice.domain.order import Order, OrderState
from sluice.domain.payment import OpenPaymentError
from sluice.ledger.among import among
from sluice.ledger.giveback import Held, give_back
from sluice.ledger.orders import numbered
from sluice.ledger.payment_rows import payment_of
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import (
    REASON_CHARS,
    cancellations,
    dead_letters,
    orders,
    payments,
    shards,
)
from sluice.ledger.upsert import insert_ignore


class Cancel(Store):
    async def cancel(self, number: int, buyer: str | None, reason: str) -> Order:
        """The buyer's order, cancelled now or before; `buyer` None is the operator.

        Raises `NotFound` for another's and for none, `OpenPaymentError` where a payment is open
        that has to be closed at its provider first, `Conflict` in any other state.
        """
        return await self._write(lambda tx: _cancel(tx, number, buyer, reason))

    async def cancel_queued(self, number: int, buyer: str, item_id: int, reason: str) -> None:
        """Has an order that the gate accepted cancelled when it is recorded; its units are never
        sold. Where it was recorded meanwhile it is cancelled now, as by `cancel`.

        The caller knows that the order is the buyer's. One that is rejected stays rejected.
        """

        async def work(tx: Transaction) -> None:
            await _stop_the_recorder(tx, number)
            if await _is_recorded(tx, number):
                await _cancel(tx, number, buyer, reason)
                return
            row = {
                "number": number,
                "item_id": item_id,
                "at_ms": tx.now_ms,
                "applied_at_ms": None,
                "buyer": buyer,
                "reason": reason[:REASON_CHARS],
            }
            await insert_ignore(tx, cancellations, [row])

        await self._write(work)


async def _stop_the_recorder(tx: Transaction, number: int) -> None:
    """It holds the shard's row from before it looks for cancellations until it has committed: the
    order is either recorded by now, or will be with this cancellation in sight."""
    shard = shards.c.shard == numbers_.split(number).shard
    await tx.run(select(shards.c.shard).where(shard).with_for_update())


async def _is_recorded(tx: Transaction, number: int) -> bool:
    found = (await tx.run(select(orders.c.number).where(orders.c.number == number))).first()
    if found is not None:
        return True
    dead = select(dead_letters.c.number).where(dead_letters.c.number == number)
    if (await tx.run(dead)).first() is not None:
        raise Conflict("The order was rejected.")
    return False


async def _cancel(tx: Transaction, number: int, buyer: str | None, reason: str) -> Order:
    row = await locked_order(tx, number, buyer)
    if row.state == OrderState.AWAITING_PAYMENT.value:
        await _check_no_open_payment(tx, number)
        held = Held(row.number, row.item_id, row.quantity)
        await give_back(
            tx,
            [held],
            OrderState.AWAITING_PAYMENT,
            OrderState.CANCELLED,
            reason="cancelled",
            note=reason[:REASON_CHARS],
        )
    elif row.state != OrderState.CANCELLED.value:
        raise Conflict(f"The order is {row.state} and can no longer be cancelled.")
    return (await numbered(tx.connection, [number]))[number]


async def locked_order(tx: Transaction, number: int, buyer: str | None) -> Any:
    """The order's row, ours until the end of the transaction; `buyer` None is the operator.

    Raises `NotFound` for none and for another's, `Conflict` for one that was rejected.
    """
    wanted = select(orders).where(orders.c.number == number).with_for_update()
    row = (await tx.run(wanted)).one_or_none()
    if row is not None and buyer in (None, row.buyer):
        return row
    dead = select(dead_letters.c.buyer).where(dead_letters.c.number == number)
    rejected = (await tx.run(dead)).scalar_one_or_none()
    if row is None and rejected is not None and buyer in (None, rejected):
        raise Conflict("The order was rejected.")
    raise NotFound()


async def _check_no_open_payment(tx: Transaction, number: int) -> None:
    open_one = select(payments).where(payments.c.open_for == number)
    row = (await tx.run(open_one)).one_or_none()
    if row is not None:
        raise OpenPaymentError(payment_of(row))


async def cancelled_while_queued(tx: Transaction, numbers: Sequence[int]) -> dict[int, str]:
    """Orders that were cancelled before they were recorded, number → buyer: those of a batch, and
    perhaps some of another shard between them."""
    if not numbers:
        return {}
    noted = select(cancellations.c.number, cancellations.c.buyer).where(
        cancellations.c.number.between(min(numbers), max(numbers)),
        cancellations.c.applied_at_ms.is_(None),
    )
    return {row.number: row.buyer for row in await tx.run(noted)}


async def close_cancellations(tx: Transaction, numbers: Sequence[int]) -> None:
    mine = among(tx, cancellations.c.number, numbers)
    await tx.run(update(cancellations).where(mine).values(applied_at_ms=tx.now_ms))
