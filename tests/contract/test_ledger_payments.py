"""What a provider's word does: once, whatever comes late, twice, wrong or out of order."""

from __future__ import annotations

import asyncio
from dataclasses import replace as replaced

import pytest
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.errors import Conflict, Invalid, NotFound
from sluice.domain.money import Money
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import OpenPaymentError, Payment, PaymentEventKind
from sluice.ledger.records import Taken

PAID, EXPIRED, CANCELLED = OrderState.PAID, OrderState.EXPIRED, OrderState.CANCELLED
CAPTURED, FAILED, VOIDED = (
    PaymentEventKind.CAPTURED,
    PaymentEventKind.FAILED,
    PaymentEventKind.VOIDED,
)


async def test_an_order_has_one_open_payment(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    opened_ones = await asyncio.gather(*(shop.opened(order) for _ in range(8)))
    assert len({payment.id for payment in opened_ones}) == 1
    payment = opened_ones[0]
    assert (payment.state, payment.amount) == (PaymentState.PENDING, Money(990, "CNY"))
    assert (await shop.order(order)).payment_state is PaymentState.PENDING


async def test_only_its_buyer_pays_an_order_and_only_while_it_is_to_be_paid(shop: Shop) -> None:
    order, late = await shop.sell(await shop.item(), 2)
    for number, buyer in ((order.number, "acct:other"), (12345, order.buyer)):
        with pytest.raises(NotFound):
            await shop.ledger.open_payment(number, buyer, "simulator")
    await shop.pay(order)
    with pytest.raises(Conflict):
        await shop.opened(order)
    await shop.make_due()
    with pytest.raises(Conflict):
        await shop.opened(late)


async def test_the_first_checkout_counts(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    attach = shop.ledger.attach_payment
    first = await attach(payment.id, "cs_1", "https://pay/1", shop.now_ms + 1000)
    second = await attach(payment.id, "cs_2", "https://pay/2", None)
    assert first == second == await shop.ledger.payment(payment.id)
    assert (first.reference, first.checkout_url) == ("cs_1", "https://pay/1")
    assert await shop.ledger.next_deadline_ms() == shop.now_ms + 1000, "its checkout ends first"
    with pytest.raises(NotFound):
        await attach(payment.id + 1, "cs_3", "https://pay/3", None)


async def test_a_capture_pays_the_order(shop: Shop) -> None:
    item = await shop.item(unit(10))
    order = shop.accepted(item, slots=0b11)
    await shop.record(order)
    payment = await shop.opened(order)

    assert await shop.ledger.take_callbacks([shop.event(payment)]) == [Taken.NEW]

    paid = await shop.order(order)
    assert (paid.state, paid.payment_state) == (PAID, PaymentState.CAPTURED)
    assert [step.state for step in paid.history] == ["queued", "awaiting_payment", "paid"]
    now = await shop.now(item)
    assert (now.available, now.awaiting_payment, now.paid) == (8, 0, 2)
    assert await shop.ledger.open_money(10) == []
    assert await shop.broken() == set()


async def test_a_callback_a_hundred_times_at_once_has_one_effect(
    shop: Shop, ledger_url: str
) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)
    event = shop.event(await shop.opened(order))

    async with opened(ledger_url, 60_000) as other, opened(ledger_url, 60_000) as third:
        taken = await asyncio.gather(
            *((other, third)[i % 2].take_callbacks([event]) for i in range(100))
        )

    assert sorted(t for each in taken for t in each) == ["new"] + ["repeated"] * 99
    assert (await shop.now(item)).paid == 1
    assert await shop.count("inbox") == 1
    assert await shop.broken() == set()


async def test_a_callback_twice_in_one_batch_counts_once(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    event, same_news = shop.event(payment), shop.event(payment)
    taken = await shop.ledger.take_callbacks([event, event, same_news])
    assert taken == [Taken.NEW, Taken.REPEATED, Taken.NEW]
    assert await shop.ledger.open_money(10) == [], "the same money told under two ids"
    assert await shop.broken() == set()


@pytest.mark.parametrize("end", ["expired", "cancelled"])
async def test_late_money_goes_back_and_the_order_stays_as_it_is(shop: Shop, end: str) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)
    payment = await shop.opened(order)
    if end == "expired":
        await shop.make_due()
    await shop.ledger.take_callbacks([shop.event(payment, VOIDED)])
    if end == "cancelled":
        await shop.ledger.cancel(order.number, order.buyer, "")

    await shop.ledger.take_callbacks([shop.event(payment)])

    late = await shop.order(order)
    assert (late.state, late.payment_state) == (end, PaymentState.REFUNDING)
    assert (await shop.now(item)).available == item.stock
    [owed] = await shop.ledger.open_money(10)
    assert (owed.payment.id, owed.payment.reason) == (payment.id, "late")
    assert owed.refund.amount == payment.amount
    assert await shop.broken() == set()

    await shop.ledger.refund_completed(owed.refund.id)
    await shop.ledger.refund_completed(owed.refund.id)
    assert await shop.ledger.open_money(10) == []
    assert (await shop.order(order)).payment_state is PaymentState.REFUNDED
    assert (await shop.order(order)).state == end
    assert await shop.broken() == set()


@pytest.mark.parametrize("came", [Money(989, "CNY"), Money(991, "CNY"), Money(990, "EUR")])
async def test_a_wrong_amount_goes_back_and_pays_nothing(shop: Shop, came: Money) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    await shop.ledger.take_callbacks([shop.event(payment, amount=came)])
    [owed] = await shop.ledger.open_money(10)
    assert (owed.payment.reason, owed.refund.amount) == ("wrong_amount", came)
    assert await shop.state(order) is OrderState.AWAITING_PAYMENT
    assert (await shop.pay(order)).id != payment.id, "there is still time to pay properly"
    assert await shop.state(order) is PAID
    assert await shop.broken() == set()


async def test_a_wrong_amount_after_the_time_ends_the_order(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    await shop.make_due()
    await shop.ledger.take_callbacks([shop.event(payment, amount=Money(1, "CNY"))])
    assert await shop.state(order) is EXPIRED
    assert await shop.broken() == set()


async def test_a_second_payment_of_one_order_goes_back(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    first = await shop.opened(order)
    await shop.ledger.take_callbacks([shop.event(first, FAILED)])
    second = await shop.opened(order)
    assert second.id != first.id

    taken = await shop.ledger.take_callbacks([shop.event(second), shop.event(first)])

    assert taken == [Taken.NEW, Taken.NEW]
    [owed] = await shop.ledger.open_money(10)
    assert (owed.payment.id, owed.payment.reason) == (first.id, "second")
    paid = await shop.order(order)
    assert (paid.state, paid.payment_state) == (PAID, PaymentState.CAPTURED)
    assert await shop.broken() == set()


async def test_a_second_capture_of_one_payment_is_other_money(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    await shop.ledger.attach_payment(payment.id, "cs_1", "https://pay", None)
    again = shop.event(payment, reference="pi_2")
    await shop.ledger.take_callbacks([shop.event(payment, reference="pi_1")])
    await shop.ledger.take_callbacks([again, shop.event(payment, reference="pi_2")])

    [owed] = await shop.ledger.open_money(10)
    assert (owed.payment.reference, owed.payment.reason) == ("pi_2", "second")
    assert owed.payment.id != payment.id
    assert len((await shop.ledger.payments_of([order.number]))[order.number]) == 2
    assert await shop.broken() == set()


async def test_who_paid_the_first_of_two_is_asked_about_the_other_at_once(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    first = await shop.opened(order)
    await shop.ledger.take_callbacks([shop.event(first, FAILED)])
    second = await shop.opened(order)
    await shop.ledger.take_callbacks([shop.event(first)])
    assert await shop.state(order) is PAID
    assert [p.id for p in await shop.ledger.due_payments(9, 60_000)] == [second.id]
    assert await shop.broken() == set()


async def test_bad_news_after_the_money_is_no_news(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.pay(order)
    await shop.ledger.take_callbacks([shop.event(payment, FAILED), shop.event(payment, VOIDED)])
    assert await shop.state(order) is PAID
    assert await shop.broken() == set()


async def test_an_event_that_cannot_be_applied_is_kept_and_its_neighbours_go_on(
    shop: Shop,
) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    stray = shop.event(replaced(payment, id=payment.id + 77))
    other = shop.event(replaced(payment, provider="elsewhere"))
    unasked = shop.event(payment, PaymentEventKind.REFUND_COMPLETED)
    events = [stray, other, unasked, shop.event(payment)]

    taken = await shop.ledger.take_callbacks(events)

    assert taken == [Taken.PENDING, Taken.PENDING, Taken.PENDING, Taken.NEW]
    assert await shop.state(order) is PAID
    assert await shop.ledger.take_callbacks([stray]) == [Taken.PENDING]
    assert await shop.ledger.apply_inbox(10) == 0, "not at once"
    errors = await shop.rows("SELECT error FROM inbox WHERE applied_at_ms IS NULL")
    assert all(error for (error,) in errors)
    assert len(errors) == 3


async def test_an_event_that_comes_too_early_is_applied_when_it_can_be(shop: Shop) -> None:
    """A refund that the provider reports before we have written that we asked for it."""
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.pay(order)
    early = shop.event(payment, PaymentEventKind.REFUND_COMPLETED)
    assert await shop.ledger.take_callbacks([early]) == [Taken.PENDING]
    await shop.ledger.request_refund(order.number, None, True, "asked")
    await shop.execute("UPDATE inbox SET retry_at_ms = 1 WHERE retry_at_ms IS NOT NULL")
    assert await shop.ledger.apply_inbox(10) == 1
    assert await shop.state(order) is OrderState.REFUNDED
    assert await shop.broken() == set()


async def test_a_row_that_breaks_a_rule_costs_its_neighbours_nothing(shop: Shop) -> None:
    item = await shop.item(unit(10))
    one, two, three = await shop.sell(item, 3)
    events = [shop.event(await shop.opened(order)) for order in (one, two, three)]
    await shop.execute(  # what nobody should have done
        "INSERT INTO order_history (order_number, ordinal, state, at_ms) "
        "VALUES (:n, 32767, 'paid', 0)",
        n=two.number,
    )
    await shop.execute("UPDATE orders SET state = 'expired' WHERE number = :n", n=two.number)
    await shop.execute(
        "UPDATE orders SET state = 'awaiting_payment' WHERE number = :n", n=two.number
    )

    taken = await shop.ledger.take_callbacks(events)

    states = [await shop.state(order) for order in (one, three)]
    assert states == [PAID, PAID]
    if taken[1] is Taken.PENDING:  # SQLite takes any number for an ordinal
        assert await shop.state(two) is OrderState.AWAITING_PAYMENT
    assert taken[0] is taken[2] is Taken.NEW


async def test_names_that_cannot_be_kept_are_refused_before_anything_is_written(
    shop: Shop,
) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    good = shop.event(payment)
    for bad in (
        shop.event(payment, event_id="e" * 256),
        shop.event(payment, reference="r" * 256),
        shop.event(payment, event_id="a\0b"),
        shop.event(replaced(payment, id=2**63)),
    ):
        with pytest.raises(Invalid):
            await shop.ledger.take_callbacks([good, bad])
    assert await shop.count("inbox") == 0


async def test_cancel_capture_and_expiry_at_once_leave_one_end(shop: Shop, ledger_url: str) -> None:
    item = await shop.item(unit(100))
    orders = await shop.sell(item, 24)
    opened_ones = [await shop.opened(order) for order in orders[::2]]
    await shop.make_due()

    async def cancel(number: int, buyer: str) -> None:
        try:
            await shop.ledger.cancel(number, buyer, "race")
        except Conflict:
            return

    async def voided(payment: Payment) -> None:
        await other.take_callbacks([shop.event(payment, VOIDED)])

    async with opened(ledger_url, 60_000) as other:
        await asyncio.gather(
            *(cancel(order.number, order.buyer) for order in orders),
            *(other.take_callbacks([shop.event(payment)]) for payment in opened_ones),
            *(voided(payment) for payment in opened_ones),
            *(ledger.expire_due(5) for ledger in (shop.ledger, other) for _ in range(5)),
        )
        while await other.expire_due(100):
            pass

    found = await shop.ledger.orders([order.number for order in orders])
    assert {order.state for order in found.values()} <= {PAID, EXPIRED, CANCELLED}
    paid = sum(order.state is PAID for order in found.values())
    now = await shop.now(item)
    assert (now.paid, now.awaiting_payment, now.available) == (paid, 0, 100 - paid)
    assert len(await shop.ledger.open_money(100)) == len(opened_ones) - paid
    assert await shop.broken() == set()


async def test_cancelling_asks_for_the_open_payment_first(shop: Shop) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)
    payment = await shop.opened(order)
    with pytest.raises(OpenPaymentError) as refused:
        await shop.ledger.cancel(order.number, order.buyer, "")
    assert refused.value.payment == payment
    await shop.ledger.take_callbacks([shop.event(payment, VOIDED)])
    cancelled = await shop.ledger.cancel(order.number, order.buyer, "too dear")
    assert cancelled.state is CANCELLED
    assert await shop.ledger.cancel(order.number, order.buyer, "") == cancelled
    assert (await shop.now(item)).available == item.stock
    assert len(await shop.ledger.pending_releases(0, 10)) == 1
    assert await shop.broken() == set()


async def test_a_paid_order_and_anothers_cannot_be_cancelled(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    with pytest.raises(NotFound):
        await shop.ledger.cancel(order.number, "acct:other", "")
    await shop.pay(order)
    with pytest.raises(Conflict):
        await shop.ledger.cancel(order.number, order.buyer, "")


async def test_an_order_cancelled_while_queued_is_recorded_as_cancelled(shop: Shop) -> None:
    item = await shop.item(unit(1))
    gone, other = shop.accepted(item), shop.accepted(item)
    for _ in range(2):
        await shop.ledger.cancel_queued(gone.number, gone.buyer, item.id, "too late")

    recorded = await shop.record(gone, other)

    assert (recorded.orders, recorded.cancelled, recorded.dead) == (2, 1, ())
    order = await shop.order(gone)
    assert [step.state for step in order.history] == ["queued", "cancelled"]
    assert await shop.state(other) is OrderState.AWAITING_PAYMENT, "it has the only unit"
    assert [p.number for p in await shop.ledger.pending_releases(0, 9)] == [gone.number]
    assert [o.number for o in await shop.ledger.orders_of(gone.buyer, 9)] == [gone.number]
    kinds = [event.kind for event in await shop.ledger.events_after(0, 99)]
    assert "order.cancelled" in kinds
    assert await shop.broken() == set()


async def test_cancelling_a_queued_order_that_was_recorded_meanwhile_cancels_it(
    shop: Shop,
) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)
    await shop.ledger.cancel_queued(order.number, order.buyer, item.id, "")
    assert await shop.state(order) is CANCELLED
    assert await shop.count("cancellations") == 0


async def test_cancelling_while_the_recorder_writes_is_never_lost(
    shop: Shop, ledger_url: str
) -> None:
    item = await shop.item(unit(1000))
    for _ in range(3):
        batch = [shop.accepted(item) for _ in range(12)]
        async with opened(ledger_url, 60_000) as other:
            await asyncio.gather(
                shop.record(*batch),
                *(other.cancel_queued(o.number, o.buyer, item.id, "") for o in batch[::2]),
            )
        states = [await shop.state(order) for order in batch]
        assert states == [CANCELLED, OrderState.AWAITING_PAYMENT] * 6
    assert await shop.broken() == set()


async def test_somebody_elses_cancellation_does_not_count(shop: Shop) -> None:
    item = await shop.item()
    order = shop.accepted(item)
    await shop.ledger.cancel_queued(order.number, "acct:other", item.id, "")
    await shop.record(order)
    assert await shop.state(order) is OrderState.AWAITING_PAYMENT
