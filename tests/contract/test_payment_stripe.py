"""Stripe's adapter, offline: in the shapes that Stripe publishes, and by its signature scheme.

The shapes are those of Stripe's OpenAPI description for `API_VERSION`, from which the installed
library's types are generated; nothing here has ever spoken to Stripe itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
import stripe
from tests.support.providers import ORDER, SECRETS, StripeDesk, a_payment, a_refund, stripe_desk
from tests.support.stripe_server import API_VERSION, KEY, a_session
from tests.support.stripe_server import a_refund as refund_shape

from sluice.domain.errors import Invalid
from sluice.domain.money import Money
from sluice.domain.payment import PaymentEventKind, RefundState
from sluice.payment.port import ProviderRefused, ProviderUnavailable, StandingState
from sluice.payment.stripe import SESSION_S, Stripe, from_stripe, to_stripe

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
async def desk() -> AsyncIterator[StripeDesk]:
    async with stripe_desk() as at_stripe:
        yield at_stripe


# --- shapes ---------------------------------------------------------------------------------------


def test_the_library_speaks_the_version_that_the_shapes_are_of() -> None:
    assert stripe.api_version == API_VERSION
    assert version("stripe").startswith("16.")


@pytest.mark.parametrize(
    ("shape", "kind"), [(a_session(), stripe.checkout.Session), (refund_shape(), stripe.Refund)]
)
def test_the_shapes_have_only_published_fields(shape: dict[str, Any], kind: type) -> None:
    assert shape.keys() <= kind.__annotations__.keys()


def test_what_we_read_is_published() -> None:
    read = "id status payment_status amount_total currency metadata payment_intent url"
    assert set(read.split()) <= stripe.checkout.Session.__annotations__.keys()
    read = "id amount currency status failure_reason metadata"
    assert set(read.split()) <= stripe.Refund.__annotations__.keys()


# --- what we ask for ------------------------------------------------------------------------------


async def test_a_session_names_the_payment_and_ends_after_half_an_hour(desk: StripeDesk) -> None:
    payment = a_payment()
    checkout = await desk.provider.open(payment, expires_at_ms=payment.created_at_ms + 60_000)
    session = desk.server.sessions[checkout.reference]
    assert session["client_reference_id"] == "31"
    assert session["metadata"] == {"sluice_payment": "31", "sluice_order": str(ORDER)}
    assert session["expires_at"] - desk.server.now_s() == SESSION_S >= 30 * 60
    assert (session["amount_total"], session["currency"]) == (39900, "cny")
    assert session["success_url"] == f"https://shop.example/orders/{ORDER}"


async def test_a_payment_that_is_opened_long_after_is_refused(desk: StripeDesk) -> None:
    """Its end would be less than half an hour away; settlement then begins a new payment."""
    old = replace(a_payment(), created_at_ms=a_payment().created_at_ms - 600_000)
    with pytest.raises(ProviderRefused):
        await desk.provider.open(old, expires_at_ms=None)
    assert (await desk.provider.close(old)).state is StandingState.UNKNOWN


async def test_a_refund_is_found_again_when_its_key_is_forgotten(desk: StripeDesk) -> None:
    checkout = await desk.provider.open(a_payment(), expires_at_ms=None)
    payment = replace(a_payment(), reference=checkout.reference)
    assert await desk.pay(checkout.reference)
    first = await desk.provider.refund(a_refund(7, 10000, attempts=1), payment)
    desk.server.forget_keys()
    again = await desk.provider.refund(a_refund(7, 10000, attempts=2), payment)
    assert again == first
    assert await desk.given_back(checkout.reference) == 10000


async def test_a_refund_that_takes_its_time_is_asked_about_by_its_name(desk: StripeDesk) -> None:
    checkout = await desk.provider.open(a_payment(), expires_at_ms=None)
    payment = replace(a_payment(), reference=checkout.reference)
    assert await desk.pay(checkout.reference)
    desk.server.refund_status = "pending"
    sent = await desk.provider.refund(a_refund(7, 10000), payment)
    assert sent.state is RefundState.SENT
    known = replace(a_refund(7, 10000, attempts=2), reference=sent.reference)
    desk.server.refunds[str(sent.reference)].update(
        status="failed", failure_reason="lost_or_stolen_card"
    )
    failed = await desk.provider.refund(known, payment)
    assert failed.state is RefundState.FAILED
    assert failed.reason == "lost_or_stolen_card"


async def test_the_key_never_leaves_with_a_fault(
    desk: StripeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = Stripe("sk_test_wrong_key", SECRETS, return_url="x", api_base=desk.server.url)
    with pytest.raises(ProviderUnavailable) as fault:
        await stranger.open(a_payment(), expires_at_ms=None)
    await stranger.aclose()
    told = capsys.readouterr()
    for text in (str(fault.value), repr(stranger), told.out, told.err):
        assert "sk_test" not in text
        assert KEY not in text


# --- what it tells us -----------------------------------------------------------------------------

OURS = {"sluice_payment": "31", "sluice_order": str(ORDER)}
PAID = {"payment_status": "paid", "status": "complete", "amount_total": 39900, "currency": "cny"}


@pytest.mark.parametrize(
    ("kind", "changes", "means"),
    [
        ("checkout.session.completed", PAID, PaymentEventKind.CAPTURED),
        ("checkout.session.completed", {**PAID, "payment_status": "unpaid"}, None),
        ("checkout.session.async_payment_succeeded", PAID, PaymentEventKind.CAPTURED),
        (
            "checkout.session.async_payment_failed",
            {**PAID, "payment_status": "unpaid"},
            PaymentEventKind.FAILED,
        ),
        ("checkout.session.expired", {"status": "expired"}, PaymentEventKind.VOIDED),
        ("checkout.session.completed", {**PAID, "metadata": {}}, None),
        ("checkout.session.completed", {**PAID, "metadata": None}, None),
        ("checkout.session.completed", {**PAID, "metadata": {"sluice_payment": "x"}}, None),
    ],
)
async def test_sessions_in_our_words(
    desk: StripeDesk, kind: str, changes: dict[str, Any], means: PaymentEventKind | None
) -> None:
    session = a_session(**{"metadata": OURS, **changes})
    headers, body = desk.signed(desk.server.event(kind, session))
    events = desk.provider.verify(headers, body, desk.now_s)
    assert [event.kind for event in events] == ([] if means is None else [means])
    for event in events:
        assert (event.payment_id, event.reference) == (31, session["id"])
        if means is PaymentEventKind.CAPTURED:
            assert event.amount == Money(39900, "CNY")


@pytest.mark.parametrize(
    ("status", "means"),
    [
        ("succeeded", PaymentEventKind.REFUND_COMPLETED),
        ("failed", PaymentEventKind.REFUND_FAILED),
        ("canceled", PaymentEventKind.REFUND_FAILED),
        ("pending", None),
        ("requires_action", None),
    ],
)
async def test_refunds_in_our_words(
    desk: StripeDesk, status: str, means: PaymentEventKind | None
) -> None:
    refund = refund_shape(
        status=status, amount=500, metadata={"sluice_payment": "31", "sluice_refund": "7"}
    )
    headers, body = desk.signed(desk.server.event("refund.updated", refund))
    events = desk.provider.verify(headers, body, desk.now_s)
    assert [(event.kind, event.refund_id) for event in events] == (
        [] if means is None else [(means, 7)]
    )


async def test_a_refund_by_hand_is_not_ours(desk: StripeDesk) -> None:
    headers, body = desk.signed(desk.server.event("refund.updated", refund_shape()))
    assert desk.provider.verify(headers, body, desk.now_s) == []


async def test_the_librarys_own_check_takes_what_we_take(desk: StripeDesk) -> None:
    """The scheme of the tests is Stripe's, not one of our own."""
    headers, body = desk.signed(desk.unknown())
    event = stripe.Webhook.construct_event(
        body, headers["stripe-signature"], SECRETS[0], tolerance=10**10
    )
    assert event.id == json.loads(body)["id"]


# --- amounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(990, "CNY"), 990),
        (Money(500, "JPY"), 500),
        (Money(500, "ISK"), 50000),
        (Money(500, "UGX"), 50000),
        (Money(1500, "KWD"), 1500),
        (Money(50000, "MGA"), 500),
    ],
)
def test_amounts_as_stripe_counts_them(money: Money, amount: int) -> None:
    assert to_stripe(money) == amount
    assert from_stripe(amount, money.currency.lower()) == money


def test_amounts_that_cannot_be_said() -> None:
    with pytest.raises(ProviderRefused):
        to_stripe(Money(50, "MGA"))
    with pytest.raises(Invalid):
        from_stripe(50050, "isk")
