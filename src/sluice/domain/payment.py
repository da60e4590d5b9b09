"""A payment, beside the order it is for, and its one table of legal transitions.

Money that came is never forgotten: a payment that was given up (`failed`, `void`) may still be
captured by its provider, and then ends `refunded` or belongs to a paid order, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sluice.domain.errors import Conflict
from sluice.domain.money import Money
from sluice.domain.order import PaymentState

REFERENCE_BYTES_MAX = 255
"""A provider's name for a payment or a refund, and its event ids; no provider's is longer."""

_S = PaymentState
PaymentTransitions: dict[PaymentState, frozenset[PaymentState]] = {
    _S.NONE: frozenset({_S.PENDING}),
    _S.PENDING: frozenset({_S.CAPTURED, _S.FAILED, _S.VOID}),
    _S.FAILED: frozenset({_S.CAPTURED}),
    _S.VOID: frozenset({_S.CAPTURED}),
    _S.CAPTURED: frozenset({_S.REFUNDING}),
    _S.REFUNDING: frozenset({_S.REFUNDED, _S.CAPTURED}),
    _S.REFUNDED: frozenset(),
}
"""`refunding → captured`: a part was given back, the rest still pays for the order."""


def payment_may_become(before: PaymentState, after: PaymentState) -> bool:
    return after in PaymentTransitions[before]


class PaymentReason(StrEnum):
    """Why money goes back."""

    LATE = "late"
    """The order was over when the money came."""
    WRONG_AMOUNT = "wrong_amount"
    SECOND = "second"
    """The order was paid already."""
    OPERATOR = "operator"
    """An operator refunds a paid order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One attempt to be paid for an order. Times are Unix milliseconds."""

    id: int
    order_number: int
    provider: str
    reference: str | None
    """The provider's name for it; None until its checkout has been opened."""
    checkout_url: str | None
    amount: Money
    state: PaymentState
    expires_at_ms: int | None
    """When the provider's checkout ends by itself."""
    created_at_ms: int
    captured: Money | None
    """What came, which may not be what was asked for."""
    refunded_minor: int
    reason: str | None
    """A `PaymentReason`, where its money has to go back."""


class PaymentEventKind(StrEnum):
    CAPTURED = "captured"
    FAILED = "failed"
    VOIDED = "voided"
    REFUND_COMPLETED = "refund_completed"
    REFUND_FAILED = "refund_failed"


class PaymentEvent(NamedTuple):
    """A provider's word, verified. `(provider, event_id)` names it: told twice, it counts once."""

    provider: str
    event_id: str
    kind: PaymentEventKind
    payment_id: int
    reference: str | None
    """The provider's name for the capture or the refund. Two captures of one payment under two
    names are two payments; without a name, or under the same, they are one."""
    amount: Money | None
    """What was captured or given back; needed for `CAPTURED`."""
    refund_id: int | None
    """Ours, where the provider tells it back; else the payment's open refund of that amount."""
    body: bytes
    """As it came, for whoever has to look into it."""


class RefundState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    """The provider has taken it and has not said yet that it is done."""
    COMPLETED = "completed"
    FAILED = "failed"
    """Given up until an operator has it tried again, which is a new refund."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money on its way back. Idempotent at the provider by its id."""

    id: int
    payment_id: int
    order_number: int
    amount: Money
    quantity: int
    """Units of a paid order that are given up with it; 0 where the order keeps, or never got, its
    units."""
    restock: bool
    state: RefundState
    attempts: int
    reason: str
    reference: str | None
    error: str | None = None


class OpenPaymentError(Conflict):
    """The order has an open payment, which must be closed at its provider first."""

    def __init__(self, payment: Payment) -> None:
        super().__init__()
        self.payment = payment
