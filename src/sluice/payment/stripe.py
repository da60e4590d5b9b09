"""Payments at Stripe, by its own library: Checkout Sessions, refunds, webhooks.

Tested against a server that answers in the published shapes and against Stripe's own signature
scheme, and **never yet run against Stripe itself**: `docs/payments.md` says what to try first.

A session lives for at least 30 minutes at Stripe, which is longer than most orders; so `close`
expires it explicitly. Its end is reckoned from the payment alone: asked again with the same
Idempotency-Key, Stripe wants the same parameters, and answers with the same session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import stripe

from sluice.domain.errors import Invalid
from sluice.domain.money import Money, decimals_of
from sluice.domain.payment import (
    Payment,
    PaymentEvent,
    PaymentEventKind,
    Refund,
    RefundState,
)
from sluice.domain.signature import TOLERANCE_S, BadSignature
from sluice.payment.port import (
    Checkout,
    ProviderRefused,
    ProviderUnavailable,
    RefundStanding,
    Standing,
    StandingState,
    return_address,
)
from sluice.telemetry import get_logger

T = TypeVar("T")

NAME = "stripe"
API_BASE = "https://api.stripe.com"
SESSION_S = 35 * 60
"""Stripe wants 30 minutes at least; the rest is for clocks and for a second try."""
ANSWER_S_MAX = 8.0
NETWORK_RETRIES = 1
REFUNDS_LISTED = 100

PAYMENT, ORDER, REFUND = "sluice_payment", "sluice_order", "sluice_refund"
"""Our names in Stripe's metadata. What has none of them is not ours, and none of our business."""

WITHOUT_DECIMALS = frozenset(
    (
        *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"),
        *("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
    )
)
WITH_THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
"""As Stripe counts, which differs from ISO 4217 in ISK, UGX and MGA."""

log = get_logger("payment")


class _Session(msgspec.Struct, frozen=True):
    """What we read of a Checkout Session."""

    id: str
    status: str | None = None
    payment_status: str = ""
    amount_total: int | None = None
    currency: str | None = None
    metadata: dict[str, str] | None = None


class _Refund(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    status: str | None = None
    failure_reason: str | None = None
    metadata: dict[str, str] | None = None


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _Data


class Stripe:
    name = NAME
    thanks = None
    at_once = 16
    """Stripe takes a hundred calls a second of an account, and `close` may need two."""

    def __init__(
        self,
        api_key: str,
        webhook_secrets: Sequence[str],
        *,
        return_url: str,
        api_base: str = API_BASE,
    ) -> None:
        self._secrets = tuple(webhook_secrets)
        self._return_url = return_url
        self._http = stripe.HTTPXClient(timeout=ANSWER_S_MAX)
        self._v1 = stripe.StripeClient(
            api_key,
            http_client=self._http,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": api_base},
        ).v1

    # --- the port -------------------------------------------------------------------------------

    async def open(self, payment: Payment, *, expires_at_ms: int | None) -> Checkout:
        del expires_at_ms  # Stripe keeps a session for at least 30 minutes: see `close`
        session = await self._create(payment)
        if not session.url:
            raise ProviderRefused("Stripe has no page for this payment any more.")
        return Checkout(session.id, session.url, _ends_at_s(payment) * 1000)

    async def close(self, payment: Payment) -> Standing:
        reference = payment.reference
        if reference is None:
            # We may have crashed between Stripe's answer and our noting it down. The same request
            # again brings that session back, or makes one that can be expired like any other.
            try:
                reference = (await self._create(payment)).id
            except ProviderRefused:
                return Standing(StandingState.UNKNOWN)
        try:
            expired = await _asked(self._v1.checkout.sessions.expire_async(reference))
        except ProviderRefused:
            # Not open: it was paid, or has ended by itself.
            return await self._standing(reference)
        return _standing(_read(expired, _Session))

    async def query(self, payment: Payment) -> Standing:
        if payment.reference is None:
            return Standing(StandingState.UNKNOWN)
        return await self._standing(payment.reference)

    async def refund(self, refund: Refund, payment: Payment) -> RefundStanding:
        if refund.reference is not None:
            known = await _asked(self._v1.refunds.retrieve_async(refund.reference))
            return _refund_standing(_read(known, _Refund))
        if payment.reference is None:
            return RefundStanding(RefundState.FAILED, reason="there is no session at Stripe")
        session = await _asked(self._v1.checkout.sessions.retrieve_async(payment.reference))
        intent = _id_of(session.payment_intent)
        if intent is None:
            return RefundStanding(RefundState.FAILED, reason="the session was never paid")
        # An Idempotency-Key is forgotten after a day; what was made before is looked for by name.
        earlier = await self._refund_made_before(refund, intent) if refund.attempts else None
        return _refund_standing(earlier or await self._create_refund(refund, payment, intent))

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> list[PaymentEvent]:
        self._check_signature(headers.get("stripe-signature", ""), body, now_s)
        try:
            event = msgspec.json.decode(body, type=_Event)
            return _events(event, body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid("body", f"cannot be used: {error}") from None

    def order_of(self, event: PaymentEvent) -> int | None:
        del event  # what has no payment of ours is not ours
        return None

    async def aclose(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    # --- steps ----------------------------------------------------------------------------------

    async def _create(self, payment: Payment) -> Any:
        amount = to_stripe(payment.amount)
        back = return_address(self._return_url, payment.order_number)
        ours = {PAYMENT: str(payment.id), ORDER: str(payment.order_number)}
        return await _asked(
            self._v1.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "client_reference_id": str(payment.id),
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": payment.amount.currency.lower(),
                                "unit_amount": amount,
                                "product_data": {"name": f"Order {payment.order_number}"},
                            },
                        }
                    ],
                    "success_url": back,
                    "cancel_url": back,
                    "expires_at": _ends_at_s(payment),
                    "metadata": ours,
                    "payment_intent_data": {"metadata": ours},
                },
                # The order's number is in it because payments are numbered anew in a new ledger.
                {"idempotency_key": f"sluice-open-{payment.order_number}-{payment.id}"},
            )
        )

    async def _standing(self, reference: str) -> Standing:
        session = await _asked(self._v1.checkout.sessions.retrieve_async(reference))
        return _standing(_read(session, _Session))

    async def _refund_made_before(self, refund: Refund, intent: str) -> _Refund | None:
        listed = await _asked(
            self._v1.refunds.list_async({"payment_intent": intent, "limit": REFUNDS_LISTED})
        )
        made = (_read(each, _Refund) for each in listed.data)
        return next((r for r in made if (r.metadata or {}).get(REFUND) == str(refund.id)), None)

    async def _create_refund(self, refund: Refund, payment: Payment, intent: str) -> _Refund:
        made = await _asked(
            self._v1.refunds.create_async(
                {
                    "payment_intent": intent,
                    "amount": to_stripe(refund.amount),
                    "metadata": {PAYMENT: str(payment.id), REFUND: str(refund.id)},
                },
                {"idempotency_key": f"sluice-refund-{refund.order_number}-{refund.id}"},
            )
        )
        return _read(made, _Refund)

    def _check_signature(self, header: str, body: bytes, now_s: float) -> None:
        """By the library, but for the time: the clock that counts is not this machine's."""
        if not any(_is_signed(header, body, secret) for secret in self._secrets):
            raise BadSignature
        if abs(now_s - _signed_at_s(header)) > TOLERANCE_S:
            raise BadSignature("The message was signed too long ago, or by a clock that is wrong.")


# --- amounts --------------------------------------------------------------------------------------


def to_stripe(money: Money) -> int:
    """In the units in which Stripe counts. Raises `ProviderRefused` where it cannot be said."""
    shift = stripe_decimals_of(money.currency) - decimals_of(money.currency)
    if shift >= 0:
        return money.minor * _power(shift)
    whole, rest = divmod(money.minor, _power(-shift))
    if rest:
        raise ProviderRefused(f"Stripe takes no fractions of {money.currency}.")
    return whole


def from_stripe(amount: int, currency: str) -> Money:
    currency = currency.upper()
    shift = decimals_of(currency) - stripe_decimals_of(currency)
    if shift >= 0:
        return Money(amount * _power(shift), currency)
    whole, rest = divmod(amount, _power(-shift))
    if rest:
        raise Invalid("amount", f"{amount} is no amount of {currency}")
    return Money(whole, currency)


def _power(decimals: int) -> int:
    return int(10**decimals)


def stripe_decimals_of(currency: str) -> int:
    if currency in WITHOUT_DECIMALS:
        return 0
    return 3 if currency in WITH_THREE_DECIMALS else 2


# --- what Stripe says -----------------------------------------------------------------------------


def _events(event: _Event, body: bytes) -> list[PaymentEvent]:
    if event.type.startswith("checkout.session."):
        return _session_events(event, msgspec.json.decode(event.data.object, type=_Session), body)
    if event.type in ("refund.created", "refund.updated", "refund.failed"):
        return _refund_events(event, msgspec.json.decode(event.data.object, type=_Refund), body)
    return []


def _session_events(event: _Event, session: _Session, body: bytes) -> list[PaymentEvent]:
    payment_id = _ours(session.metadata, PAYMENT)
    standing = _standing(session)
    if event.type == "checkout.session.async_payment_failed":
        standing = Standing(StandingState.FAILED, None, session.id)
    kind = _KINDS.get(standing.state)
    if payment_id is None or kind is None:
        return []
    return [_event(event, kind, payment_id, session.id, standing.amount, None, body)]


def _refund_events(event: _Event, refund: _Refund, body: bytes) -> list[PaymentEvent]:
    payment_id, refund_id = _ours(refund.metadata, PAYMENT), _ours(refund.metadata, REFUND)
    kind = _REFUND_KINDS.get(_refund_standing(refund).state)
    if payment_id is None or refund_id is None or kind is None:
        return []
    amount = from_stripe(refund.amount, refund.currency)
    return [_event(event, kind, payment_id, refund.id, amount, refund_id, body)]


_KINDS = {
    StandingState.CAPTURED: PaymentEventKind.CAPTURED,
    StandingState.FAILED: PaymentEventKind.FAILED,
    StandingState.VOID: PaymentEventKind.VOIDED,
}
_REFUND_KINDS = {
    RefundState.COMPLETED: PaymentEventKind.REFUND_COMPLETED,
    RefundState.FAILED: PaymentEventKind.REFUND_FAILED,
}


def _event(
    event: _Event,
    kind: PaymentEventKind,
    payment_id: int,
    reference: str,
    amount: Money | None,
    refund_id: int | None,
    body: bytes,
) -> PaymentEvent:
    return PaymentEvent(NAME, event.id, kind, payment_id, reference, amount, refund_id, body)


def _standing(session: _Session) -> Standing:
    if session.payment_status == "paid":
        amount = from_stripe(session.amount_total or 0, session.currency or "")
        return Standing(StandingState.CAPTURED, amount, session.id)
    if session.status == "expired":
        return Standing(StandingState.VOID, None, session.id)
    # Complete and unpaid is a bank that takes its time: it may still be paid.
    return Standing(StandingState.OPEN, None, session.id)


def _refund_standing(refund: _Refund) -> RefundStanding:
    if refund.status == "succeeded":
        return RefundStanding(RefundState.COMPLETED, refund.id)
    if refund.status in ("failed", "canceled"):
        return RefundStanding(RefundState.FAILED, refund.id, refund.failure_reason or refund.status)
    return RefundStanding(RefundState.SENT, refund.id)


def _ours(metadata: Mapping[str, str] | None, name: str) -> int | None:
    text = (metadata or {}).get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _is_signed(header: str, body: bytes, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None))
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False


def _signed_at_s(header: str) -> int:
    """The library has read it, so it is there and a number."""
    return next(int(part[2:]) for part in header.split(",") if part.startswith("t="))


def _ends_at_s(payment: Payment) -> int:
    return payment.created_at_ms // 1000 + SESSION_S


def _read(found: Any, kind: type[T]) -> T:
    return msgspec.convert(found.to_dict(), kind)


def _id_of(found: Any) -> str | None:
    """Of a reference that the library gives as an id, or as the object itself."""
    return found if found is None or isinstance(found, str) else str(found.id)


async def _asked(call: Awaitable[T]) -> T:
    """Stripe's answer, or its fault in our words; its own may name keys and never leave here."""
    try:
        return await call
    except (stripe.InvalidRequestError, stripe.CardError, stripe.IdempotencyError) as error:
        log.warning("Stripe refused.", action="stripe.refused", code=error.code, **_named(error))
        raise ProviderRefused(f"Stripe refused this ({error.code or 'no code'}).") from None
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        log.error("Stripe does not know our key.", action="stripe.key", **_named(error))
        raise ProviderUnavailable from None
    except stripe.StripeError as error:
        log.warning(
            "Stripe is away.", action="stripe.away", kind=type(error).__name__, **_named(error)
        )
        raise ProviderUnavailable from None


def _named(error: stripe.StripeError) -> dict[str, Any]:
    return {"status": error.http_status, "stripe_request": error.request_id}
