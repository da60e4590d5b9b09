"""Refunds: in full or by unit, back on sale or written off, once; and what is owed until then."""

from __future__ import annotations

import asyncio
from dataclasses import replace as replaced

import pytest
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, edited, released, totals, unit

from sluice.domain.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from sluice.domain.log import Accepted
from sluice.domain.money import Money
from sluice.domain.order import Order, OrderState, PaymentState
from sluice.domain.payment import PaymentEventKind, Refund, RefundState
from sluice.domain.sale import Item
from sluice.ledger.records import Answered, Once, Taken

PAID, REFUNDING, REFUNDED = OrderState.PAID, OrderState.REFUNDING, OrderState.REFUNDED


async def paid_pair(shop: Shop, *, price: int = 990) -> tuple[Item, Accepted]:
    """An order of two units of ten, paid."""
    item = await shop.item(unit(10, price=price))
    order = shop.accepted(item, slots=0b11)
    await shop.record(order)
    if price:
        await shop.pay(order)
    return item, order


async def due(shop: Shop) -> Refund:
    [refund] = await shop.ledger.due_refunds(10, 60_000)
    return refund


async def test_a_full_refund_brings_money_and_units_back(shop: Shop) -> None:
    item, order = await paid_pair(shop)

    asked = await shop.ledger.request_refund(order.number, None, True, "broken")

    assert isinstance(asked, Order)
    assert (asked.state, asked.payment_state) == (REFUNDING, PaymentState.REFUNDING)
    assert (await shop.now(item)).paid == 2, "the units follow the money"
    refund = await due(shop)
    assert (refund.amount, refund.quantity, refund.attempts) == (Money(1980, "CNY"), 2, 1)
    assert await shop.ledger.due_refunds(10, 60_000) == [], "it is claimed"
    await shop.ledger.refund_sent(refund.id, "re_1")
    assert [owed.refund.state for owed in await shop.ledger.open_money(9)] == [RefundState.SENT]
    assert await shop.broken() == set()

    await shop.ledger.refund_completed(refund.id)

    done = await shop.order(order)
    assert (done.state, done.payment_state) == (REFUNDED, PaymentState.REFUNDED)
    assert done.refunded_quantity == 2
    now = await shop.now(item)
    assert (now.available, now.paid, now.stock) == (10, 0, 10)
    assert [p.reason for p in await shop.ledger.pending_releases(0, 9)] == ["refunded"]
    assert await shop.ledger.open_money(9) == []
    again = shop.accepted(item, order.buyer, slots=0b11)
    await shop.record(released(order), again, totals(item, available=8))
    assert await shop.state(again) is OrderState.AWAITING_PAYMENT
    assert await shop.broken() == set()


async def test_units_written_off_are_never_sold_again(shop: Shop) -> None:
    item, order = await paid_pair(shop)
    await shop.ledger.request_refund(order.number, None, False, "lost in the post")
    await shop.ledger.refund_completed((await due(shop)).id)
    now = await shop.now(item)
    assert (now.available, now.paid, now.written_off, now.stock) == (8, 0, 2, 10)
    assert await shop.ledger.pending_releases(0, 9) == []
    await shop.record(totals(item, available=8))
    assert await shop.broken() == set()


@pytest.mark.parametrize("restock", [True, False])
async def test_an_order_is_refunded_unit_by_unit(shop: Shop, restock: bool) -> None:
    item, order = await paid_pair(shop)
    await shop.ledger.mark_loaded(item.id, shop.lease.epoch, 0)

    for refunded in (1, 2):
        await shop.ledger.request_refund(order.number, 1, restock, "one of them")
        refund = await due(shop)
        assert (refund.amount, refund.quantity) == (Money(990, "CNY"), 1)
        with pytest.raises(Conflict):
            await shop.ledger.request_refund(order.number, 1, restock, "meanwhile")
        await shop.ledger.refund_completed(refund.id)
        assert (await shop.order(order)).refunded_quantity == refunded
        assert await shop.broken() == set()

    done = await shop.order(order)
    assert [step.state for step in done.history][-2:] == [REFUNDING, REFUNDED]
    now = await shop.now(item)
    assert (now.available, now.paid, now.written_off) == (10 if restock else 8, 0, 2)
    assert await shop.ledger.pending_releases(0, 9) == [], "the gate keeps the hold"
    edits = await shop.ledger.pending_edits(0)
    assert [edit.delta for edit in edits] == ([1, 1] if restock else [])
    await shop.record(*(edited(item, edit.edit, 1) for edit in edits))
    available = 10 if restock else 8
    await shop.record(totals(item, available=available, stock=available + 2))
    assert await shop.broken() == set()


async def test_a_part_leaves_the_order_paid(shop: Shop) -> None:
    _, order = await paid_pair(shop)
    asked = await shop.ledger.request_refund(order.number, 1, False, "one")
    assert isinstance(asked, Order)
    assert (asked.state, asked.payment_state) == (PAID, PaymentState.REFUNDING)
    await shop.ledger.refund_completed((await due(shop)).id)
    left = await shop.order(order)
    assert (left.state, left.payment_state, left.refunded_quantity) == (
        PAID,
        PaymentState.CAPTURED,
        1,
    )
    assert [o.number for o in await shop.ledger.orders_of(order.buyer, 9)] == [order.number]
    for units in (0, 2, -1):
        with pytest.raises(Invalid):
            await shop.ledger.request_refund(order.number, units, False, "more than there is")


async def test_units_of_a_closed_sale_come_back_all_the_same(shop: Shop) -> None:
    item, order = await paid_pair(shop)
    await shop.ledger.close_sale(item.sale_id)
    await shop.ledger.request_refund(order.number, 1, True, "after the end")
    await shop.ledger.refund_completed((await due(shop)).id)
    assert (await shop.now(item)).available == 9
    assert await shop.broken() == set()


@pytest.mark.parametrize("units", [None, 1])
async def test_a_free_order_gives_its_units_back_at_once(shop: Shop, units: int | None) -> None:
    item, order = await paid_pair(shop, price=0)
    done = await shop.ledger.request_refund(order.number, units, True, "not wanted")
    assert isinstance(done, Order)
    assert (done.state, done.refunded_quantity) == ((PAID, 1) if units else (REFUNDED, 2))
    assert (await shop.now(item)).available == 8 + done.refunded_quantity
    assert await shop.ledger.due_refunds(9, 1000) == []
    assert await shop.ledger.open_money(9) == []
    assert await shop.broken() == set()


async def test_only_a_paid_order_is_refunded_and_once(shop: Shop, ledger_url: str) -> None:
    item = await shop.item()
    order, unpaid = await shop.sell(item, 2)
    await shop.pay(order)
    with pytest.raises(Conflict):
        await shop.ledger.request_refund(unpaid.number, None, True, "")
    with pytest.raises(NotFound):
        await shop.ledger.request_refund(424242, None, True, "")

    async def ask(ledger: object) -> bool:
        try:
            await ledger.request_refund(order.number, None, True, "")  # type: ignore[attr-defined]
        except Conflict:
            return False
        return True

    async with opened(ledger_url, 60_000) as other:
        asked = await asyncio.gather(*(ask((shop.ledger, other)[i % 2]) for i in range(6)))
        assert sum(asked) == 1
        refund = await due(shop)
        await asyncio.gather(
            *((shop.ledger, other)[i % 2].refund_completed(refund.id) for i in range(6))
        )
    assert (await shop.now(item)).available == item.stock - 1
    assert len(await shop.ledger.pending_releases(0, 9)) == 1
    assert await shop.broken() == set()


async def test_the_same_key_refunds_once(shop: Shop) -> None:
    _, order = await paid_pair(shop)

    def once(body: bytes) -> Once[Order]:
        return Once("refund:1", body, lambda done: done.state.value.encode(), 200)

    first = await shop.ledger.request_refund(order.number, None, True, "", once(b"a"))
    again = await shop.ledger.request_refund(order.number, None, True, "", once(b"a"))
    assert isinstance(first, Order)
    assert again == Answered(200, b"refunding")
    with pytest.raises(IdempotencyMismatch):
        await shop.ledger.request_refund(order.number, None, True, "", once(b"b"))


async def test_the_provider_tells_that_a_refund_is_done(shop: Shop) -> None:
    _, order = await paid_pair(shop)
    payment = (await shop.ledger.payments_of([order.number]))[order.number][0]
    await shop.ledger.request_refund(order.number, 1, True, "")
    refund = await due(shop)
    done = PaymentEventKind.REFUND_COMPLETED
    by_id = shop.event(payment, done, refund_id=refund.id, amount=refund.amount)
    by_amount = shop.event(payment, done, amount=refund.amount)

    assert await shop.ledger.take_callbacks([by_id, by_amount]) == [Taken.NEW, Taken.NEW]

    assert (await shop.order(order)).refunded_quantity == 1, "told twice, done once"
    other = shop.event(payment, done, amount=Money(1, "CNY"))
    assert await shop.ledger.take_callbacks([other]) == [Taken.PENDING]
    assert await shop.broken() == set()


async def test_a_refund_that_fails_is_owed_until_it_is_done(shop: Shop) -> None:
    _, order = await paid_pair(shop)
    await shop.ledger.request_refund(order.number, None, True, "")
    refund = await due(shop)
    with pytest.raises(Conflict):
        await shop.ledger.retry_refund(refund.id)

    await shop.ledger.refund_failed(refund.id, "away", 0)
    assert (await due(shop)).attempts == 2, "tried again by itself"
    await shop.ledger.refund_failed(refund.id, "the card is gone", None)
    assert await shop.ledger.due_refunds(9, 1000) == []
    [owed] = await shop.ledger.open_money(9)
    assert (owed.refund.state, owed.refund.error) == (RefundState.FAILED, "the card is gone")
    assert await shop.state(order) is REFUNDING
    assert await shop.broken() == set()

    again = await shop.ledger.retry_refund(refund.id)
    with pytest.raises(Conflict):
        await shop.ledger.retry_refund(refund.id)
    with pytest.raises(NotFound):
        await shop.ledger.retry_refund(again.id + 1)
    assert [o.refund.id for o in await shop.ledger.open_money(9)] == [again.id]
    assert replaced(await due(shop), attempts=0) == again
    await shop.ledger.refund_completed(again.id)
    assert await shop.state(order) is REFUNDED
    assert await shop.broken() == set()


async def test_a_failure_that_the_provider_takes_back_is_no_second_refund(shop: Shop) -> None:
    _, order = await paid_pair(shop)
    payment = (await shop.ledger.payments_of([order.number]))[order.number][0]
    await shop.ledger.request_refund(order.number, None, True, "")
    refund = await due(shop)
    failed, done = PaymentEventKind.REFUND_FAILED, PaymentEventKind.REFUND_COMPLETED
    events = [shop.event(payment, kind, refund_id=refund.id) for kind in (failed, done, failed)]
    assert await shop.ledger.take_callbacks(events) == [Taken.NEW] * 3
    assert await shop.state(order) is REFUNDED
    assert await shop.ledger.open_money(9) == []
    assert await shop.broken() == set()


async def test_what_is_owed_is_listed_in_pages(shop: Shop) -> None:
    orders = await shop.sell(await shop.item(unit(50)), 5)
    for order in orders:
        payment = await shop.opened(order)
        await shop.ledger.take_callbacks([shop.event(payment, amount=Money(1, "CNY"))])
    first = await shop.ledger.open_money(3)
    rest = await shop.ledger.open_money(3, first[-1].refund.id)
    assert [owed.payment.order_number for owed in first + rest] == [o.number for o in orders]
