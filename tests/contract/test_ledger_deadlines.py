"""Deadlines by the database's clock: reminded once, expired once, by any number of releasers."""

from __future__ import annotations

import asyncio
from itertools import chain

from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import PaymentEventKind
from sluice.domain.sale import Policy

EXPIRED = OrderState.EXPIRED
WINDOW_MS = 900_000


async def test_nothing_is_due_before_its_time(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    pay_by_ms = (await shop.order(order)).pay_by_ms
    assert pay_by_ms is not None

    assert await shop.ledger.expire_due(100) == []
    assert await shop.ledger.remind_due(100) == []
    assert await shop.ledger.next_deadline_ms() == pay_by_ms - WINDOW_MS + 450_000


async def test_an_order_that_nobody_pays_expires_and_its_units_are_available(shop: Shop) -> None:
    item = await shop.item(unit(10))
    pair = shop.accepted(item, slots=0b11)
    single = shop.accepted(item)
    await shop.record(pair, single)
    await shop.make_due()

    assert await shop.ledger.expire_due(100) == [pair.number, single.number]

    assert [await shop.state(order) for order in (pair, single)] == [EXPIRED, EXPIRED]
    assert (await shop.order(pair)).history[-1].state is EXPIRED
    now = await shop.now(item)
    assert (now.available, now.awaiting_payment) == (10, 0)
    pending = await shop.ledger.pending_releases(0, 10)
    assert [(p.number, p.quantity, p.buyer) for p in pending] == [
        (pair.number, 2, pair.buyer),
        (single.number, 1, single.buyer),
    ]
    assert {p.reason for p in pending} == {"expired"}
    assert await shop.count("deadlines") == 1, "the reminder's row is left"
    assert await shop.broken() == set()


async def test_the_buyer_may_have_as_many_again(shop: Shop) -> None:
    item = await shop.item(unit(10))
    mine = shop.accepted(item, "acct:me", slots=0b11)
    await shop.record(mine)
    await shop.make_due()
    await shop.ledger.expire_due(10)

    again = shop.accepted(item, "acct:me", slots=0b11)
    assert (await shop.record(again)).orders == 1
    found = await shop.ledger.orders_of("acct:me", 10)
    assert [order.number for order in found] == [again.number, mine.number]
    assert await shop.broken() == set()


async def test_expiry_goes_in_batches_and_repeats_nothing(shop: Shop) -> None:
    sale = await shop.sale(unit(100), unit(100))
    orders = [shop.accepted(item) for item in sale.items for _ in range(15)]
    await shop.record(*orders[:20])
    await shop.record(*orders[20:])
    await shop.make_due()

    batches = [await shop.ledger.expire_due(7) for _ in range(6)]

    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2, 0]
    assert sorted(chain(*batches)) == [order.number for order in orders]
    assert await shop.broken() == set()


async def test_a_paid_and_a_cancelled_order_do_not_expire(shop: Shop) -> None:
    paid, cancelled, left = await shop.sell(await shop.item(), 3)
    await shop.pay(paid)
    await shop.ledger.cancel(cancelled.number, cancelled.buyer, "changed my mind")
    await shop.make_due()
    assert await shop.ledger.expire_due(10) == [left.number]


async def test_an_order_with_an_open_payment_waits_for_its_provider(shop: Shop) -> None:
    item = await shop.item()
    paying, idle = await shop.sell(item, 2)
    payment = await shop.opened(paying)
    await shop.make_due()

    assert await shop.ledger.expire_due(10) == [idle.number]
    assert await shop.ledger.expire_due(10) == []
    assert await shop.state(paying) is OrderState.AWAITING_PAYMENT

    await shop.ledger.take_callbacks([shop.event(payment, PaymentEventKind.VOIDED)])
    order = await shop.order(paying)
    assert (order.state, order.payment_state) == (EXPIRED, PaymentState.VOID)
    assert (await shop.now(item)).available == item.stock
    assert await shop.broken() == set()


async def test_a_payment_given_up_in_time_leaves_the_order_its_deadline(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    payment = await shop.opened(order)
    await shop.execute("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire'")
    await shop.ledger.expire_due(10)  # passes it over and forgets the batch's deadline
    await shop.ledger.take_callbacks([shop.event(payment, PaymentEventKind.FAILED)])
    assert await shop.state(order) is OrderState.AWAITING_PAYMENT
    await shop.make_due()
    assert await shop.ledger.expire_due(10) == [order.number]


async def test_each_buyer_is_reminded_once(shop: Shop, ledger_url: str) -> None:
    item = await shop.item(unit(100))
    orders = await shop.sell(item, 9)
    await shop.pay(orders[0])
    await shop.execute("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'remind'")

    async with opened(ledger_url) as other:
        reminded: list[int] = []
        while len(reminded) < 8:
            both = await asyncio.gather(shop.ledger.remind_due(2), other.remind_due(2))
            assert any(both)
            reminded += chain(*both)

    assert sorted(reminded) == [order.number for order in orders[1:]]
    assert await shop.ledger.remind_due(100) == []
    told = [e for e in await shop.ledger.events_after(0, 100) if e.kind.endswith("due_soon")]
    assert sorted(n for e in told for n in e.payload["numbers"]) == sorted(reminded)


async def test_shards_whose_numbers_interleave_do_not_remind_each_others_buyers(
    shop: Shop,
) -> None:
    item = await shop.item(unit(100))
    first, last = await shop.sell(item, 2)
    between = first.number + (1 << 24)  # of shard 1, in the same second
    await shop.execute(
        "INSERT INTO orders SELECT :n, sale_id, item_id, slots, amount_minor, placed_at_ms, "
        "recorded_at_ms, pay_by_ms, quantity, refunded_quantity, 'twelve bytes', currency, state, "
        "payment_state, 'acct:other' FROM orders WHERE number = :first",
        n=between,
        first=first.number,
    )
    await shop.execute("UPDATE deadlines SET due_at_ms = 1, last_number = :n", n=between + 1)
    assert await shop.ledger.remind_due(100) == [first.number, last.number]


async def test_releasers_share_the_work_and_do_nothing_twice(shop: Shop, ledger_url: str) -> None:
    sale = await shop.sale(unit(200), unit(200))
    for _ in range(6):
        await shop.record(*(shop.accepted(item) for item in sale.items for _ in range(20)))
    await shop.make_due()

    async with opened(ledger_url) as other:
        batches = await asyncio.gather(
            *(ledger.expire_due(25) for ledger in (shop.ledger, other) for _ in range(8))
        )
        while rest := await other.expire_due(100):
            batches.append(rest)

    numbers = list(chain(*batches))
    assert len(numbers) == len(set(numbers)) == 240
    assert [(await shop.now(item)).available for item in sale.items] == [200, 200]
    assert len(await shop.ledger.pending_releases(0, 1000)) == 240
    assert await shop.broken() == set()


async def test_a_short_window_is_over_by_the_databases_clock(shop: Shop) -> None:
    policy = Policy(payment_window_seconds=1, payment_reminder_seconds=1)
    [order] = await shop.sell(await shop.item(policy=policy), 1)
    async with asyncio.timeout(30):
        while await shop.ledger.expire_due(10) != [order.number]:  # noqa: ASYNC110 - time itself
            await asyncio.sleep(0.05)
    pay_by_ms = (await shop.order(order)).pay_by_ms
    assert pay_by_ms is not None
    assert (await shop.order(order)).history[-1].at_ms >= pay_by_ms


async def test_a_free_item_has_no_deadline(shop: Shop) -> None:
    await shop.sell(await shop.item(unit(price=0)), 2)
    assert await shop.count("deadlines") == 0
    assert await shop.ledger.next_deadline_ms() is None


async def test_a_payment_is_asked_for_by_one_releaser_at_a_time(shop: Shop) -> None:
    orders = await shop.sell(await shop.item(unit(100)), 6)
    opened_ones = [await shop.opened(order) for order in orders]
    assert await shop.ledger.due_payments(10, 60_000) == []
    await shop.make_due()

    claimed = await asyncio.gather(*(shop.ledger.due_payments(2, 60_000) for _ in range(4)))
    taken = [payment.id for batch in claimed for payment in batch]
    while more := await shop.ledger.due_payments(2, 60_000):
        taken += [payment.id for payment in more]

    assert sorted(taken) == [payment.id for payment in opened_ones]
    await shop.execute("UPDATE payments SET ask_at_ms = 1")  # whoever claimed it has died
    assert len(await shop.ledger.due_payments(10, 60_000)) == 6
