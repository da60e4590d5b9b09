"""What the payment simulator keeps: its own books, as a real provider would keep them elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from sluice.domain.money import Money


class SimulatedCheckout(NamedTuple):
    reference: str
    """Unguessable: whoever has it may pay, as on a real checkout page."""
    payment_id: int
    order_number: int
    amount: Money
    state: str
    """open, captured, failed or void."""
    captured_minor: int
    return_url: str
    knobs: bytes
    """JSON; empty: those of the settings."""
    expires_at_ms: int | None


class PlannedCall(NamedTuple):
    """A callback that is to be made."""

    event_id: str
    body: bytes
    after_ms: int
    """From when it is written down."""
    forged: bool = False
    """Signed with a wrong key, on purpose."""


class SimulatedCall(NamedTuple):
    """A callback whose time has come."""

    id: int
    event_id: str
    body: bytes
    forged: bool
    attempts: int
    """That were made before."""


class SimulatedRefund(NamedTuple):
    refund_id: int
    reference: str
    """Of the checkout."""
    amount: Money
    state: str
    """completed or failed."""
