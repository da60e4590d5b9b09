"""An order and its one table of legal transitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sluice.domain.money import Money

BUYER_BYTES_MAX = 255
"""A buyer key in UTF-8; a longer one is never let in, and the ledger would not take it."""


class OrderState(StrEnum):
    QUEUED = "queued"
    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


class PaymentState(StrEnum):
    NONE = "none"
    PENDING = "pending"
    CAPTURED = "captured"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    FAILED = "failed"
    VOID = "void"


_S = OrderState
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    _S.QUEUED: frozenset({_S.AWAITING_PAYMENT, _S.PAID, _S.REJECTED, _S.CANCELLED}),
    _S.AWAITING_PAYMENT: frozenset({_S.PAID, _S.CANCELLED, _S.EXPIRED}),
    _S.PAID: frozenset({_S.REFUNDING}),
    _S.REFUNDING: frozenset({_S.REFUNDED}),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.REFUNDED: frozenset(),
}
"""`queued → paid` is a free item's: there is nothing to pay for. `refunding` is for the last of an
order's units: while some are refunded and others kept, the order is `paid` and its payment
`refunding`."""

HOLDING = frozenset({_S.AWAITING_PAYMENT, _S.PAID, _S.REFUNDING})
"""States in which the order holds units (P and D of the invariants)."""


def may_become(before: OrderState, after: OrderState) -> bool:
    return after in TRANSITIONS[before]


def fold(history: list[OrderState]) -> OrderState:
    """The state that a history leads to. Raises ValueError where a step is not legal."""
    state = OrderState.QUEUED
    for step in history:
        if step is OrderState.QUEUED and state is OrderState.QUEUED:
            continue
        if not may_become(state, step):
            raise ValueError(f"{state} cannot become {step}")
        state = step
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    state: OrderState
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a buyer is told of an order. Times are Unix milliseconds."""

    number: int
    sale_id: int
    item_id: int
    buyer: str
    quantity: int
    refunded_quantity: int = 0
    amount: Money | None
    """None only for a dead-lettered order whose item is unknown."""
    state: OrderState
    payment_state: PaymentState = PaymentState.NONE
    checkout_url: str | None = None
    """Where it can be paid, while a payment is open."""
    placed_at_ms: int
    pay_by_ms: int | None = None
    history: list[HistoryEntry] = field(default_factory=list)
