"""Payments: opening one, what the provider calls it, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import Payment
from sluice.ledger.cancel import locked_order
from sluice.ledger.payment_rows import payment_of
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import orders, payments

CHUNK = 500
"""Keys in one query."""
_PENDING = PaymentState.PENDING.value


class Payments(Store):
    async def open_payment(self, number: int, buyer: str, provider: str) -> Payment:
        """The order's open payment, or a new one at `provider`.

        Raises `NotFound` for another's order and for none, `Conflict` where the order is not to be
        paid, or its time is up.
        """

        async def work(tx: Transaction) -> Payment:
            order = await locked_order(tx, number, buyer)
            if order.state != OrderState.AWAITING_PAYMENT.value:
                raise Conflict(f"The order is {order.state} and is not to be paid.")
            if order.pay_by_ms is None or order.pay_by_ms <= tx.now_ms:
                raise Conflict("The time to pay this order is over.")
            open_one = select(payments).where(payments.c.open_for == number)
            row = (await tx.run(open_one)).one_or_none()
            if row is None:
                row = await _begin(tx, order, provider)
            return payment_of(row)

        return await self._write(work)

    async def attach_payment(
        self, payment_id: int, reference: str, checkout_url: str, expires_at_ms: int | None
    ) -> Payment:
        """Keeps what the provider calls it and where it is paid; the first word counts.

        So where two processes opened it at the provider, both are told of one checkout.
        """

        async def work(tx: Transaction) -> Payment:
            mine = select(payments).where(payments.c.id == payment_id).with_for_update()
            row = (await tx.run(mine)).one_or_none()
            if row is None:
                raise NotFound()
            if row.reference is None and row.state == _PENDING:
                ask_at_ms = row.ask_at_ms
                if expires_at_ms is not None:
                    ask_at_ms = min(ask_at_ms, expires_at_ms)
                await tx.run(
                    update(payments)
                    .where(payments.c.id == payment_id)
                    .values(
                        reference=reference,
                        checkout_url=checkout_url,
                        expires_at_ms=expires_at_ms,
                        ask_at_ms=ask_at_ms,
                    )
                )
            return payment_of((await tx.run(mine)).one())

        return await self._write(work)

    async def payment(self, payment_id: int) -> Payment | None:
        found = await self._payments(select(payments).where(payments.c.id == payment_id))
        return found[0] if found else None

    async def payments_of(self, numbers: Sequence[int]) -> dict[int, list[Payment]]:
        """Of each order, oldest first; an empty list where there is none."""
        found: dict[int, list[Payment]] = {number: [] for number in numbers}
        for start in range(0, len(numbers), CHUNK):
            theirs = payments.c.order_number.in_(numbers[start : start + CHUNK])
            for payment in await self._payments(
                select(payments).where(theirs).order_by(payments.c.id)
            ):
                found[payment.order_number].append(payment)
        return found

    async def _payments(self, wanted: Any) -> list[Payment]:
        async def query(connection: AsyncConnection) -> list[Payment]:
            return [payment_of(row) for row in await connection.execute(wanted)]

        return await self._read(query)


async def _begin(tx: Transaction, order: Any, provider: str) -> Any:
    made = await tx.run(
        insert(payments).values(
            order_number=order.number,
            amount_minor=order.amount_minor,
            currency=order.currency,
            refunded_minor=0,
            created_at_ms=tx.now_ms,
            ask_at_ms=order.pay_by_ms,
            open_for=order.number,
            provider=provider,
            state=_PENDING,
        )
    )
    mine = orders.c.number == order.number
    await tx.run(update(orders).where(mine).values(payment_state=_PENDING))
    payment_id = made.inserted_primary_key[0]
    return (await tx.run(select(payments).where(payments.c.id == payment_id))).one()
