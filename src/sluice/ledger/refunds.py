"""Refunds: what an operator asks for, what the worker carries to the provider, what is still owed.

Late money, wrong amounts and second captures make their refunds by themselves (`money.py`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, Invalid, NotFound
from sluice.domain.money import Money as Amount
from sluice.domain.order import Order, OrderState, PaymentState
from sluice.domain.payment import PaymentReason, Refund, RefundState
from sluice.ledger.among import among
from sluice.ledger.cancel import locked_order
from sluice.ledger.giveback import Overtaken, move_orders
from sluice.ledger.idempotency import Idempotency
from sluice.ledger.journal import announce
from sluice.ledger.money import Money
from sluice.ledger.orders import numbered
from sluice.ledger.payment_rows import payment_of, refund_of
from sluice.ledger.records import Answered, Once, OpenMoney
from sluice.ledger.returned_units import Returned, return_units
from sluice.ledger.settling import refund_row
from sluice.ledger.store import Transaction
from sluice.ledger.tables import REASON_CHARS, orders, payments, refunds

ASK_AGAIN_MS = 60_000
"""After a provider took a refund it is asked about it, first after this long, then more rarely."""
ASK_AGAIN_MS_MAX = 6 * 3_600_000
_UNDER_WAY = (RefundState.PENDING.value, RefundState.SENT.value)


class Refunds(Idempotency):
    async def request_refund(
        self,
        number: int,
        quantity: int | None,
        restock: bool,
        reason: str,
        once: Once[Order] | None = None,
    ) -> Order | Answered:
        """Gives the money of `quantity` units back, None for all that are left; their units come
        back on sale with `restock`, else they are written off.

        Raises `NotFound`, `Conflict` where the order is not paid or a refund is under way,
        `Invalid` for more units than it has.
        """
        return await self._write_once(
            lambda tx: _request(tx, number, quantity, restock, reason[:REASON_CHARS]), once
        )

    async def due_refunds(self, limit: int, claim_ms: int) -> list[Refund]:
        """To be sent, or asked about; the caller's for `claim_ms`. `attempts` counts this one."""

        async def claim(tx: Transaction) -> list[Refund]:
            due = (
                select(refunds)
                .where(refunds.c.due_at_ms <= tx.now_ms)
                .order_by(refunds.c.due_at_ms)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            ids = [row.id for row in await tx.run(due)]
            if not ids:
                return []
            mine = among(tx, refunds.c.id, ids)
            claimed = {"due_at_ms": tx.now_ms + claim_ms, "attempts": refunds.c.attempts + 1}
            await tx.run(update(refunds).where(mine).values(claimed))
            rows = await tx.run(select(refunds).where(mine).order_by(refunds.c.id))
            return [refund_of(row) for row in rows]

        return await self._write(claim)

    async def refund_sent(self, refund_id: int, reference: str | None) -> None:
        """The provider has taken it and not finished; it is asked about again later."""

        async def work(tx: Transaction) -> None:
            mine = select(refunds).where(refunds.c.id == refund_id).with_for_update()
            row = (await tx.run(mine)).one_or_none()
            if row is None or row.state not in _UNDER_WAY:
                return
            pause_ms = min(ASK_AGAIN_MS << min(row.attempts, 12), ASK_AGAIN_MS_MAX)
            await tx.run(
                update(refunds)
                .where(refunds.c.id == refund_id)
                .values(
                    state=RefundState.SENT.value,
                    reference=reference or row.reference,
                    due_at_ms=tx.now_ms + pause_ms,
                    error=None,
                )
            )

        await self._write(work)

    async def refund_completed(self, refund_id: int, reference: str | None = None) -> None:
        """The money is back: payment, order and units follow. Said twice, it counts once."""

        async def work(tx: Transaction) -> None:
            money = await _money_of(tx, refund_id)
            if money is not None:
                money.refund_completed(refund_id, reference)
                await money.flush()

        await self._write(work)

    async def refund_failed(self, refund_id: int, error: str, retry_in_ms: int | None) -> None:
        """To be tried again after a while, or, with None, to be looked at by an operator."""

        async def work(tx: Transaction) -> None:
            again = retry_in_ms is not None
            values = {
                "state": RefundState.PENDING.value if again else RefundState.FAILED.value,
                "due_at_ms": tx.now_ms + (retry_in_ms or 0) if again else None,
                "error": error[:REASON_CHARS],
            }
            mine = (refunds.c.id == refund_id) & refunds.c.state.in_(_UNDER_WAY)
            await tx.run(update(refunds).where(mine).values(values))

        await self._write(work)

    async def retry_refund(self, refund_id: int) -> Refund:
        """A new refund in the place of one that failed: to the provider it is another one.

        Raises `NotFound`, and `Conflict` where it has not failed.
        """
        return await self._write(lambda tx: _replace(tx, refund_id))

    async def refund(self, refund_id: int) -> Refund | None:
        async def query(connection: AsyncConnection) -> Refund | None:
            mine = select(refunds).where(refunds.c.id == refund_id)
            row = (await connection.execute(mine)).one_or_none()
            return None if row is None else refund_of(row)

        return await self._read(query)

    async def refunds_of(self, number: int) -> list[Refund]:
        """Of one order, oldest first, those that failed and were replaced too."""
        wanted = select(refunds).where(refunds.c.order_number == number).order_by(refunds.c.id)

        async def query(connection: AsyncConnection) -> list[Refund]:
            return [refund_of(row) for row in await connection.execute(wanted)]

        return await self._read(query)

    async def open_money(self, limit: int, after: int = 0) -> list[OpenMoney]:
        """Money that is owed and not back yet, oldest first; `after` is the id of the last refund
        of the page before."""
        owed = (
            select(refunds)
            .where(refunds.c.closed_at_ms.is_(None), refunds.c.id > after)
            .order_by(refunds.c.id)
            .limit(limit)
        )

        async def query(connection: AsyncConnection) -> list[OpenMoney]:
            found = [refund_of(row) for row in await connection.execute(owed)]
            theirs = payments.c.id.in_([refund.payment_id for refund in found])
            rows = await connection.execute(select(payments).where(theirs))
            by_id = {row.id: payment_of(row) for row in rows}
            return [OpenMoney(refund, by_id[refund.payment_id]) for refund in found]

        return await self._read(query)


async def _request(
    tx: Transaction, number: int, quantity: int | None, restock: bool, reason: str
) -> Order:
    order = await locked_order(tx, number, None)
    if order.state != OrderState.PAID.value:
        raise Conflict(f"The order is {order.state}; only a paid order can be refunded.")
    left = order.quantity - order.refunded_quantity
    units = left if quantity is None else quantity
    if not 1 <= units <= left:
        raise Invalid("quantity", f"must be from 1 to {left}, the units that are not refunded")
    if order.amount_minor:
        await _give_money_back(tx, order, units, restock, reason)
    else:
        await _give_nothing_back(tx, order, units, restock, reason)
    return (await numbered(tx.connection, [number]))[number]


async def _give_money_back(
    tx: Transaction, order: Any, units: int, restock: bool, reason: str
) -> None:
    """The units follow when the money is back."""
    mine = select(payments).where(payments.c.pays_for == order.number).with_for_update()
    payment = (await tx.run(mine)).one_or_none()
    if payment is None or payment.state != PaymentState.CAPTURED.value:
        raise Conflict("A refund of this order is under way.")
    amount = Amount(order.amount_minor // order.quantity * units, order.currency)
    refunding = PaymentState.REFUNDING.value
    met = await tx.changed(
        update(payments)
        .where(payments.c.id == payment.id, payments.c.state == PaymentState.CAPTURED.value)
        .values(state=refunding, reason=PaymentReason.OPERATOR.value)
    )
    if met != 1:
        raise Overtaken("the payment is no longer captured")
    row = refund_row(
        payment.id,
        order.number,
        amount,
        now_ms=tx.now_ms,
        reason=reason,
        quantity=units,
        restock=restock,
    )
    await tx.run(insert(refunds), [row])
    if units == order.quantity - order.refunded_quantity:
        before, after = OrderState.PAID, OrderState.REFUNDING
        await move_orders(tx, [order.number], before, after, payment_state=refunding)
        await announce(tx, "order.refunding", {"numbers": [order.number]})
    else:
        same = orders.c.number == order.number
        await tx.run(update(orders).where(same).values(payment_state=refunding))
    told = {"payments": [payment.id], "numbers": [order.number]}
    await announce(tx, "payment.refunding", told)


async def _give_nothing_back(
    tx: Transaction, order: Any, units: int, restock: bool, reason: str
) -> None:
    """A free order's units follow at once; its refund is kept as any other."""
    row = refund_row(
        None,
        order.number,
        Amount(0, order.currency),
        now_ms=tx.now_ms,
        reason=reason,
        quantity=units,
        restock=restock,
    )
    done = {"state": RefundState.COMPLETED.value, "closed_at_ms": tx.now_ms, "due_at_ms": None}
    await tx.run(insert(refunds), [row | done])
    if units == order.quantity - order.refunded_quantity:
        await move_orders(tx, [order.number], OrderState.PAID, OrderState.REFUNDING)
    returned = Returned(
        order.number,
        order.item_id,
        order.quantity,
        order.refunded_quantity,
        units,
        restock,
        reason,
    )
    await return_units(tx, returned)


async def _money_of(tx: Transaction, refund_id: int) -> Money | None:
    """None where there is no such refund, or it is a free order's, which is completed."""
    theirs = select(refunds.c.payment_id).where(refunds.c.id == refund_id)
    payment_id = (await tx.run(theirs)).scalar_one_or_none()
    if payment_id is None:
        return None
    money = Money(tx)
    await money.load([payment_id], with_refunds=True)
    return money


async def _replace(tx: Transaction, refund_id: int) -> Refund:
    await _money_of(tx, refund_id)  # for its locks, in the order in which all take them
    mine = select(refunds).where(refunds.c.id == refund_id).with_for_update()
    row = (await tx.run(mine)).one_or_none()
    if row is None:
        raise NotFound()
    if row.state != RefundState.FAILED.value or row.closed_at_ms is not None:
        raise Conflict(f"The refund is {row.state}; only one that failed can be tried again.")
    over = update(refunds).where(refunds.c.id == refund_id)
    await tx.run(over.values(closed_at_ms=tx.now_ms))
    again = refund_row(
        row.payment_id,
        row.order_number,
        Amount(row.amount_minor, row.currency),
        now_ms=tx.now_ms,
        reason=row.reason,
        quantity=row.quantity,
        restock=bool(row.restock),
    )
    made = await tx.run(insert(refunds).values(again))
    new = select(refunds).where(refunds.c.id == made.inserted_primary_key[0])
    return refund_of((await tx.run(new)).one())
