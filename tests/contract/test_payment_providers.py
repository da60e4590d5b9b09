"""What every payment provider does, whatever it is: the port's contract, on each of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.providers import (
    Desk,
    a_payment,
    a_refund,
    altered,
    event_id,
    simulator_desk,
    stripe_desk,
)

from sluice.domain.errors import Invalid, Unavailable
from sluice.domain.payment import Payment, PaymentEvent, PaymentEventKind, RefundState
from sluice.domain.signature import TOLERANCE_S, BadSignature
from sluice.ledger import migrate
from sluice.ledger.ledger import Ledger
from sluice.payment.port import StandingState

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
"""Stripe's library hands httpx a form as it used to want it."""

PROVIDERS = ("simulator", "stripe")
OVER = (StandingState.VOID, StandingState.UNKNOWN)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated ledger; each test takes a copy."""
    path = tmp_path_factory.mktemp("books") / "books.db"
    migrate.upgrade(f"sqlite:///{path}")
    return str(path)


@pytest.fixture(params=PROVIDERS)
async def desk(request: pytest.FixtureRequest, books: str, tmp_path: Path) -> AsyncIterator[Desk]:
    if request.param == "stripe":
        async with stripe_desk() as at_stripe:
            yield at_stripe
        return
    mine = tmp_path / "books.db"
    await asyncio.to_thread(shutil.copy, books, mine)
    ledger = Ledger.from_url(f"sqlite:///{mine}", deadline_ms=5000)
    async with simulator_desk(ledger) as simulated:
        yield simulated


async def opened(desk: Desk, payment: Payment | None = None) -> Payment:
    """A payment as we know it once its checkout is open."""
    payment = payment or a_payment()
    checkout = await desk.provider.open(payment, expires_at_ms=payment.created_at_ms + 900_000)
    return replace(payment, reference=checkout.reference, checkout_url=checkout.url)


async def paid(desk: Desk) -> Payment:
    payment = await opened(desk)
    assert await desk.pay(str(payment.reference))
    return payment


async def only_event(desk: Desk) -> PaymentEvent:
    ((headers, body),) = await desk.told()
    (event,) = desk.provider.verify(headers, body, desk.now_s)
    return event


# --- opening --------------------------------------------------------------------------------------


async def test_a_checkout_has_a_name_and_an_address(desk: Desk) -> None:
    payment = a_payment()
    checkout = await desk.provider.open(payment, expires_at_ms=payment.created_at_ms + 900_000)
    assert checkout.url.startswith("https://")
    assert 0 < len(checkout.reference) <= 200
    assert checkout.expires_at_ms > payment.created_at_ms


async def test_opened_again_it_is_the_same_checkout(desk: Desk) -> None:
    first = await opened(desk)
    assert (await opened(desk)).reference == first.reference


async def test_opened_twice_at_once_it_is_one_checkout(desk: Desk) -> None:
    both = await asyncio.gather(opened(desk), opened(desk))
    assert both[0].reference == both[1].reference


async def test_two_payments_have_two_checkouts(desk: Desk) -> None:
    first, second = await opened(desk, a_payment(31)), await opened(desk, a_payment(32))
    assert first.reference != second.reference


# --- asking and closing ---------------------------------------------------------------------------


async def test_what_is_open_stands_open(desk: Desk) -> None:
    payment = await opened(desk)
    assert (await desk.provider.query(payment)).state is StandingState.OPEN


async def test_what_was_closed_cannot_be_paid(desk: Desk) -> None:
    payment = await opened(desk)
    assert (await desk.provider.close(payment)).state is StandingState.VOID
    assert not await desk.pay(str(payment.reference))
    assert (await desk.provider.close(payment)).state is StandingState.VOID
    assert (await desk.provider.query(payment)).state is StandingState.VOID


async def test_closing_finds_the_money_that_came_before(desk: Desk) -> None:
    payment = await paid(desk)
    for standing in (await desk.provider.close(payment), await desk.provider.query(payment)):
        assert standing.state is StandingState.CAPTURED
        assert standing.amount == payment.amount


async def test_what_was_never_opened_can_never_be_paid(desk: Desk) -> None:
    assert (await desk.provider.close(a_payment())).state in OVER


async def test_a_checkout_whose_name_we_never_learned_is_closed_too(desk: Desk) -> None:
    payment = await opened(desk)
    forgotten = a_payment()  # we crashed before we wrote its name down
    assert (await desk.provider.close(forgotten)).state in OVER
    assert not await desk.pay(str(payment.reference))


async def test_a_provider_that_is_away_is_a_fault_and_no_answer(desk: Desk) -> None:
    payment = await opened(desk)
    await desk.go_away()
    for question in (
        desk.provider.open(a_payment(32), expires_at_ms=None),
        desk.provider.close(payment),
        desk.provider.query(payment),
        desk.provider.refund(a_refund(1, 100), payment),
    ):
        with pytest.raises(Unavailable):
            await question


# --- callbacks ------------------------------------------------------------------------------------


async def test_a_capture_is_told_in_our_words(desk: Desk) -> None:
    payment = await paid(desk)
    event = await only_event(desk)
    assert event.kind is PaymentEventKind.CAPTURED
    assert event.provider == desk.provider.name
    assert event.payment_id == payment.id
    assert event.amount == payment.amount
    assert event.refund_id is None


async def test_told_and_asked_a_capture_has_one_name(desk: Desk) -> None:
    """Under two names the ledger would take it for two captures."""
    payment = await paid(desk)
    event = await only_event(desk)
    assert event.reference == (await desk.provider.query(payment)).reference
    assert event.reference == (await desk.provider.close(payment)).reference


async def test_an_event_keeps_its_name_and_its_words(desk: Desk) -> None:
    await paid(desk)
    ((headers, body),) = await desk.told()
    once, again = (desk.provider.verify(headers, body, desk.now_s) for _ in range(2))
    assert once == again
    assert once[0].event_id == event_id(headers, body)
    assert once[0].body == body


async def test_what_was_altered_is_nobodys_word(desk: Desk) -> None:
    await paid(desk)
    (told,) = await desk.told()
    with pytest.raises(BadSignature):
        desk.provider.verify(*altered(told), desk.now_s)


@pytest.mark.parametrize("off_s", [TOLERANCE_S + 1, -TOLERANCE_S - 1])
async def test_a_recording_is_not_taken(desk: Desk, off_s: int) -> None:
    headers, body = desk.signed(desk.unknown())
    with pytest.raises(BadSignature):
        desk.provider.verify(headers, body, desk.now_s + off_s)


async def test_five_minutes_are_allowed(desk: Desk) -> None:
    headers, body = desk.signed(desk.unknown())
    assert desk.provider.verify(headers, body, desk.now_s + TOLERANCE_S) == []


async def test_both_secrets_are_good_while_one_is_changed(desk: Desk) -> None:
    for old_secret in (True, False):
        headers, body = desk.signed(desk.unknown(), old_secret=old_secret)
        assert desk.provider.verify(headers, body, desk.now_s) == []


@pytest.mark.parametrize(
    "spoilt", ["", "v1,", "t=1,v1=x", "t=,v1=", "v1,\u00e9", "=" * 5000, "t=1,t=2,v1=1,v1=2"]
)
async def test_a_spoilt_signature_is_refused(desk: Desk, spoilt: str) -> None:
    headers, body = desk.signed(desk.unknown())
    with pytest.raises(BadSignature):
        desk.provider.verify({}, body, desk.now_s)
    for name in headers:
        with pytest.raises(BadSignature):
            desk.provider.verify({**headers, name: spoilt}, body, desk.now_s)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"type":1}', b"[" * 5000])
async def test_signed_nonsense_is_said_to_be_that(desk: Desk, body: bytes) -> None:
    headers, body = desk.signed(body)
    with pytest.raises(Invalid):
        desk.provider.verify(headers, body, desk.now_s)


# --- giving back ----------------------------------------------------------------------------------


async def test_a_refund_is_made_once_for_each_id(desk: Desk) -> None:
    payment = await paid(desk)
    first = await desk.provider.refund(a_refund(7, 39900), payment)
    assert first.state in (RefundState.SENT, RefundState.COMPLETED)
    again = await desk.provider.refund(a_refund(7, 39900, attempts=1), payment)
    assert again.state is RefundState.COMPLETED
    assert again.reference == first.reference
    assert await desk.given_back(str(payment.reference)) == 39900


async def test_parts_are_refunds_of_their_own(desk: Desk) -> None:
    payment = await paid(desk)
    for refund_id in (7, 8):
        await desk.provider.refund(a_refund(refund_id, 10000), payment)
    assert await desk.given_back(str(payment.reference)) == 20000


async def test_a_refund_is_told_by_our_id(desk: Desk) -> None:
    payment = await paid(desk)
    await desk.told()
    await desk.provider.refund(a_refund(7, 10000), payment)
    event = await only_event(desk)
    assert event.kind is PaymentEventKind.REFUND_COMPLETED
    assert (event.payment_id, event.refund_id) == (payment.id, 7)
    assert event.amount is not None
    assert event.amount.minor == 10000


async def test_what_never_came_cannot_go_back(desk: Desk) -> None:
    payment = await opened(desk)
    standing = await desk.provider.refund(a_refund(7, 39900), payment)
    assert standing.state is RefundState.FAILED
    assert standing.reason
