"""Payments with their orders and refunds, read under locks: what `money.py` decides on.

Rows are locked in one order everywhere: orders by number, then their payments and refunds by id,
then items by id. So of capture, cancel and expiry of one order, one comes first and the others find
it done, and no two transactions wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from sluice.domain.money import Money as Amount
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import RefundState, payment_may_become
from sluice.ledger.among import among
from sluice.ledger.store import Transaction
from sluice.ledger.tables import orders, payments, refunds


class Refused(Exception):  # noqa: N818 - it is kept with the event
    """The event cannot be applied as things are; nothing was changed."""


@dataclass(slots=True)
class OrderRow:
    number: int
    item_id: int
    sale_id: int
    quantity: int
    refunded_quantity: int
    state: OrderState
    pay_by_ms: int | None
    payment_state: str


@dataclass(slots=True)
class PaymentRow:
    id: int
    number: int
    provider: str
    amount: Amount
    before: PaymentState
    state: PaymentState
    reference: str | None
    capture: str | None
    """What the provider calls the capture."""
    captured: Amount | None
    refunded_minor: int
    pays: bool
    reason: str | None
    fresh: bool = False
    """Not in the database yet."""

    def become(self, state: PaymentState) -> None:
        if not payment_may_become(self.state, state):
            raise Refused(f"the payment is {self.state} and cannot become {state}")
        self.state = state


@dataclass(slots=True)
class RefundRow:
    id: int
    payment_id: int
    amount: Amount
    quantity: int
    restock: bool
    before: RefundState
    state: RefundState
    closed: bool
    reason: str
    reference: str | None
    error: str | None


@dataclass(slots=True)
class Changes:
    """What `flush` writes."""

    payments: dict[int, PaymentRow] = field(default_factory=dict)
    refunds: dict[int, RefundRow] = field(default_factory=dict)
    extra: list[PaymentRow] = field(default_factory=list)
    owed: list[PaymentRow] = field(default_factory=list)
    """Payments whose whole money goes back."""
    paid: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    """Orders one of whose open payments ended without paying."""
    returned: list[RefundRow] = field(default_factory=list)


class Books:
    """What some payments are about, ours until the end of `tx`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.orders: dict[int, OrderRow] = {}
        self.payments: dict[int, PaymentRow] = {}
        self.of_order: dict[int, list[PaymentRow]] = {}
        self.refunds: dict[int, RefundRow] = {}

    async def load(self, payment_ids: Iterable[int], *, with_refunds: bool) -> None:
        ids = sorted(set(payment_ids))
        if not ids:
            return
        await self._load_orders(ids)
        if self.orders:
            await self._load_payments(list(self.orders))
        if with_refunds and self.payments:
            await self._load_refunds()

    async def _load_orders(self, payment_ids: Sequence[int]) -> None:
        theirs = select(payments.c.order_number).where(among(self._tx, payments.c.id, payment_ids))
        rows = await self._tx.run(
            select(
                orders.c.number,
                orders.c.item_id,
                orders.c.sale_id,
                orders.c.quantity,
                orders.c.refunded_quantity,
                orders.c.state,
                orders.c.pay_by_ms,
                orders.c.payment_state,
            )
            .where(orders.c.number.in_(theirs))
            .order_by(orders.c.number)
            .with_for_update()
        )
        for row in rows:
            order = OrderRow(*row)
            order.state = OrderState(order.state)
            self.orders[order.number] = order

    async def _load_payments(self, numbers: Sequence[int]) -> None:
        rows = await self._tx.run(
            select(payments)
            .where(among(self._tx, payments.c.order_number, numbers))
            .order_by(payments.c.id)
            .with_for_update()
        )
        for row in rows:
            payment = _payment(row)
            self.payments[payment.id] = payment
            self.of_order.setdefault(payment.number, []).append(payment)

    async def _load_refunds(self) -> None:
        rows = await self._tx.run(
            select(refunds)
            .where(among(self._tx, refunds.c.payment_id, list(self.payments)))
            .order_by(refunds.c.id)
            .with_for_update()
        )
        for row in rows:
            self.refunds[row.id] = _refund(row)


def _payment(row: Any) -> PaymentRow:
    captured = None
    if row.captured_minor is not None:
        captured = Amount(row.captured_minor, row.captured_currency)
    state = PaymentState(row.state)
    return PaymentRow(
        id=row.id,
        number=row.order_number,
        provider=row.provider,
        amount=Amount(row.amount_minor, row.currency),
        before=state,
        state=state,
        reference=row.reference,
        capture=row.capture_reference,
        captured=captured,
        refunded_minor=row.refunded_minor,
        pays=row.pays_for is not None,
        reason=row.reason,
    )


def _refund(row: Any) -> RefundRow:
    state = RefundState(row.state)
    return RefundRow(
        id=row.id,
        payment_id=row.payment_id,
        amount=Amount(row.amount_minor, row.currency),
        quantity=row.quantity,
        restock=bool(row.restock),
        before=state,
        state=state,
        closed=row.closed_at_ms is not None,
        reason=row.reason,
        reference=row.reference,
        error=row.error,
    )
