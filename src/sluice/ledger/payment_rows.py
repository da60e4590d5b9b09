"""Rows of payments and refunds, read."""

from __future__ import annotations

from typing import Any

from sluice.domain.money import Money
from sluice.domain.order import PaymentState
from sluice.domain.payment import Payment, Refund, RefundState


def payment_of(row: Any) -> Payment:
    captured = None
    if row.captured_minor is not None:
        captured = Money(row.captured_minor, row.captured_currency)
    return Payment(
        id=row.id,
        order_number=row.order_number,
        provider=row.provider,
        reference=row.reference,
        checkout_url=row.checkout_url,
        amount=Money(row.amount_minor, row.currency),
        state=PaymentState(row.state),
        expires_at_ms=row.expires_at_ms,
        created_at_ms=row.created_at_ms,
        captured=captured,
        refunded_minor=row.refunded_minor,
        reason=row.reason,
    )


def refund_of(row: Any) -> Refund:
    return Refund(
        id=row.id,
        payment_id=row.payment_id or 0,
        order_number=row.order_number,
        amount=Money(row.amount_minor, row.currency),
        quantity=row.quantity,
        restock=bool(row.restock),
        state=RefundState(row.state),
        attempts=row.attempts,
        reason=row.reason,
        reference=row.reference,
        error=row.error,
    )
