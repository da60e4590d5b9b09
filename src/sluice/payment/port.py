"""What every payment provider does for us. `docs/payments.md` says how to add one.

Everything here can be repeated: whoever crashes after a call makes it again, and it has the effect
of once. Money moves at the provider alone; what it tells us, asked or unasked, is applied by the
ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from sluice.domain.errors import Conflict, Unavailable
from sluice.domain.money import Money
from sluice.domain.payment import Payment, PaymentEvent, Refund, RefundState


class ProviderUnavailable(Unavailable):
    """The payment provider did not answer; the outcome is unknown and may be asked again."""


class ProviderRefused(Conflict):
    """The payment provider will not do this, however often it is asked."""


class Checkout(NamedTuple):
    """Where the buyer pays."""

    reference: str
    """The provider's own name for it."""
    url: str
    expires_at_ms: int
    """The provider takes no money there after this; it may be long after the order's end."""


class StandingState(StrEnum):
    OPEN = "open"
    """The buyer may still pay."""
    CAPTURED = "captured"
    VOID = "void"
    """Nobody will ever pay this."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The provider knows of no such payment."""


class Standing(NamedTuple):
    """A payment as its provider sees it now."""

    state: StandingState
    amount: Money | None = None
    """What was captured."""
    reference: str | None = None
    """The provider's name for it, as its callbacks have it."""


class RefundStanding(NamedTuple):
    """A refund as its provider sees it now: `sent` (taken, on its way), `completed` or `failed`."""

    state: RefundState
    reference: str | None = None
    """The provider's own name for it."""
    reason: str | None = None
    """Why it failed, for the operator."""


UNNAMED = 0
"""In place of a payment's id: the callback names the order alone."""


def return_address(template: str, order_number: int) -> str:
    """Where the buyer goes after paying."""
    return template.replace("{order}", str(order_number))


class Provider(Protocol):
    """`Unavailable` from any call means: not known, ask again. Calls may take seconds."""

    @property
    def name(self) -> str:
        """In addresses and in the ledger; never changed once it was used."""

    @property
    def thanks(self) -> tuple[str, bytes] | None:
        """Media type and body of the 200 by which this provider knows that a callback was taken;
        None where every 200 will do."""

    @property
    def at_once(self) -> int:
        """How many questions it may be asked at the same time by one process."""

    async def open(self, payment: Payment, *, expires_at_ms: int | None) -> Checkout:
        """A checkout for this payment; for one that was opened before, that same one.

        `expires_at_ms` is when the order ends: a provider that can ends the checkout then.
        Raises `ProviderRefused`.
        """

    async def close(self, payment: Payment) -> Standing:
        """See to it that nobody can pay any more, unless somebody has; how it stands then.

        An answer of OPEN means that it could not be closed now.
        """

    async def query(self, payment: Payment) -> Standing:
        """How it stands, with nothing changed."""

    async def refund(self, refund: Refund, payment: Payment) -> RefundStanding:
        """Give `refund.amount` back, once for each `refund.id`; asked again, how that stands."""

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> list[PaymentEvent]:
        """What a callback says; empty where it is genuine and says nothing that we act on.

        `headers` are asked by lower-case names. Raises `BadSignature` for whatever is not the
        provider's or too old, `Invalid` where it is signed and makes no sense.
        """

    def order_of(self, event: PaymentEvent) -> int | None:
        """The order that an event names which has no payment of ours (`UNNAMED`), if it does."""

    async def aclose(self) -> None:
        """Close connections."""
