"""The recorder's promise: exactly once by the position, and never more than the ledger has."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import and_, true
from tests.contract.ledger_shop import Shop, released, unit

from sluice.domain.errors import FenceLost
from sluice.domain.log import LogBatch
from sluice.domain.order import OrderState
from sluice.ledger import intake, recorder
from sluice.ledger.tables import shards


async def test_a_batch_becomes_orders_slots_history_and_one_journal_row_per_item(
    shop: Shop,
) -> None:
    sale = await shop.sale(unit(10), unit(10))
    first, second = sale.items
    orders = [shop.accepted(first), shop.accepted(second, slots=0b11), shop.accepted(first)]

    recorded = await shop.record(*orders)

    assert (recorded.orders, recorded.dead, recorded.repeated) == (3, (), 0)
    assert await shop.count("orders") == 3
    assert await shop.count("order_slots") == 4
    assert await shop.count("order_history") == 3
    journal = await shop.rows(
        "SELECT item_id, delta_available, quantity, counter FROM stock_journal "
        "WHERE kind = 'recorded' ORDER BY item_id"
    )
    assert journal == [(first.id, -2, 2, 3), (second.id, -2, 2, 3)]
    assert (await shop.now(first)).available == 8
    assert (await shop.now(second)).awaiting_payment == 2
    assert await shop.broken() == set()


async def test_an_order_is_what_the_gate_accepted_and_the_item_says(shop: Shop) -> None:
    item = await shop.item(unit(10, price=990))
    order = shop.accepted(item, "jwt:https://shop.example:买家", slots=0b11)
    before_ms = await shop.ledger.now_ms()

    await shop.record(order)

    stored = (await shop.ledger.orders([order.number]))[order.number]
    assert stored.buyer == "jwt:https://shop.example:买家"
    assert stored.quantity == 2
    assert stored.amount is not None
    assert (stored.amount.minor, stored.amount.currency) == (1980, "CNY")
    assert stored.state is OrderState.AWAITING_PAYMENT
    assert stored.placed_at_ms == shop.now_ms // 1000 * 1000
    assert stored.pay_by_ms is not None
    assert stored.pay_by_ms - 900_000 >= before_ms
    assert [step.state for step in stored.history] == ["queued", "awaiting_payment"]


async def test_a_free_item_is_paid_at_once(shop: Shop) -> None:
    sale = await shop.sale(unit(10, price=0), unit(10, price=1))
    free, priced = sale.items
    order = shop.accepted(free, slots=0b11)

    await shop.record(order, shop.accepted(priced))

    stored = (await shop.ledger.orders([order.number]))[order.number]
    assert (stored.state, stored.pay_by_ms) == (OrderState.PAID, None)
    assert ((await shop.now(free)).paid, (await shop.now(free)).awaiting_payment) == (2, 0)
    assert ((await shop.now(priced)).paid, (await shop.now(priced)).awaiting_payment) == (0, 1)
    assert await shop.broken() == set()


async def test_a_batch_recorded_before_is_refused_and_writes_nothing(shop: Shop) -> None:
    item = await shop.item()
    batch = shop.batch(shop.accepted(item), shop.accepted(item))
    await shop.ledger.record(shop.lease, batch)
    before = await shop.everything()

    with pytest.raises(FenceLost):
        await shop.ledger.record(shop.lease, batch)

    assert await shop.everything() == before
    assert (await shop.now(item)).available == 8


async def test_a_batch_that_leaves_a_gap_is_refused(shop: Shop) -> None:
    item = await shop.item()
    gap = LogBatch(0, shop.lease.epoch, 2, 2, [shop.accepted(item)])

    with pytest.raises(FenceLost):
        await shop.ledger.record(shop.lease, gap)

    assert await shop.count("orders") == 0


async def test_a_batch_of_another_epoch_is_refused(shop: Shop) -> None:
    item = await shop.item()
    batch = shop.batch(shop.accepted(item))
    await shop.ledger.begin_epoch(shop.lease)

    with pytest.raises(FenceLost):
        await shop.ledger.record(shop.lease, batch)

    assert await shop.count("orders") == 0


async def test_a_recorder_whose_shard_was_taken_writes_nothing(shop: Shop) -> None:
    item = await shop.item()
    await shop.ledger.yield_shard(shop.lease)
    assert await shop.ledger.claim_shard(0, "another", 60_000) is not None
    before = await shop.everything()

    with pytest.raises(FenceLost):
        await shop.record(shop.accepted(item))

    assert await shop.everything() == before


async def test_of_two_recorders_with_the_same_batch_one_writes(shop: Shop) -> None:
    item = await shop.item(unit(100))
    batch = shop.batch(*(shop.accepted(item) for _ in range(50)))

    results = await asyncio.gather(
        *(shop.ledger.record(shop.lease, batch) for _ in range(4)), return_exceptions=True
    )

    lost = [result for result in results if isinstance(result, FenceLost)]
    assert len(lost) == 3
    assert await shop.count("orders") == 50
    assert (await shop.now(item)).available == 50
    assert await shop.broken() == set()


async def test_the_position_moves_with_the_batch_and_knows_the_highest_number(shop: Shop) -> None:
    item = await shop.item()
    low, high = shop.accepted(item), shop.accepted(item)

    await shop.record(high, low)

    position = (await shop.ledger.positions())[0]
    assert (position.epoch, position.counter) == (1, 2)
    assert position.highest_number == high.number


async def test_a_batch_without_orders_moves_the_position(shop: Shop) -> None:
    await shop.record()
    assert (await shop.ledger.positions())[0].counter == 1


async def test_more_accepted_than_stock_is_refused_by_the_ledger_itself(shop: Shop) -> None:
    sale = await shop.sale(unit(3), unit(100))
    scarce, plenty = sale.items
    wanted = [shop.accepted(scarce) for _ in range(5)]
    others = [shop.accepted(plenty) for _ in range(5)]

    recorded = await shop.record(*wanted[:2], *others, *wanted[2:])

    assert recorded.orders == 8
    assert set(recorded.dead) == {order.number for order in wanted[3:]}, "the last in line"
    assert (await shop.now(scarce)).available == 0
    assert (await shop.now(plenty)).available == 95
    assert await shop.broken() == set()
    letters = await shop.ledger.dead_letters(10)
    assert {letter.reason for letter in letters} == {"sold_out"}


async def test_an_item_without_units_takes_no_order(shop: Shop) -> None:
    item = await shop.item(unit(1))
    await shop.sell(item, 1)

    recorded = await shop.record(shop.accepted(item), shop.accepted(item, slots=0b11))

    assert (recorded.orders, len(recorded.dead)) == (0, 2)
    assert await shop.broken() == set()


async def test_what_two_shards_take_of_different_items_is_all_written(shop: Shop) -> None:
    made = await shop.ledger.create_sale(shop.new_sale(unit(500), unit(500)), shards=2)
    sale = await shop.ledger.publish(made.id)  # type: ignore[union-attr]
    by_shard = {item.shard: item for item in sale.items}
    assert set(by_shard) == {0, 1}
    lease = await shop.ledger.claim_shard(1, "the test", 60_000)
    assert lease is not None
    leases = {0: shop.lease, 1: await shop.ledger.begin_epoch(lease)}

    async def drain(shard: int) -> None:
        for counter in range(1, 9):
            orders = [shop.accepted(by_shard[shard]) for _ in range(50)]
            batch = LogBatch(shard, leases[shard].epoch, counter, counter, list(orders))
            await shop.ledger.record(leases[shard], batch)

    await asyncio.gather(drain(0), drain(1))

    assert await shop.count("orders") == 800
    assert await shop.broken() == set()


async def test_the_outbox_has_one_message_a_batch_and_kind(shop: Shop) -> None:
    sale = await shop.sale(unit(1), unit(10, price=0))
    orders = [shop.accepted(sale.items[0]), shop.accepted(sale.items[0])]
    free = shop.accepted(sale.items[1])

    await shop.record(*orders, free)

    messages = dict(
        await shop.rows("SELECT kind, payload FROM outbox WHERE kind LIKE :k", k="order.%")
    )
    assert messages == {
        "order.awaiting_payment": f'{{"numbers":[{orders[0].number}]}}',
        "order.paid": f'{{"numbers":[{free.number}]}}',
        "order.rejected": f'{{"numbers":[{orders[1].number}]}}',
    }


async def test_a_release_is_applied_when_the_gate_is_heard_to_have_done_it(shop: Shop) -> None:
    item = await shop.item(unit(1))
    sold, excess = shop.accepted(item), shop.accepted(item)
    await shop.record(sold, excess)
    pending = await shop.ledger.pending_releases(0, 10)
    assert [(release.number, release.quantity) for release in pending] == [(excess.number, 1)]
    assert pending[0].buyer == excess.buyer
    assert pending[0].limit_group == item.limit_group

    recorded = await shop.record(released(excess))

    assert recorded.released == 1
    assert await shop.ledger.pending_releases(0, 10) == []
    assert (await shop.now(item)).available == 0


async def test_a_release_that_nobody_decided_is_an_incident(shop: Shop) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)

    await shop.record(released(order))

    assert [incident.kind for incident in await shop.ledger.incidents(10)] == [
        "release_nobody_decided"
    ]


# --- planted bugs: without the guard, what must hold does not -----------------------------------


async def test_without_the_fence_a_recorder_that_lost_its_shard_writes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recorder,
        "at_position",
        lambda lease, batch: and_(
            shards.c.shard == lease.shard, shards.c.counter == batch.first - 1
        ),
    )
    with pytest.raises(pytest.fail.Exception):
        await _old_fence_writes_nothing(shop)


async def test_without_the_position_a_batch_counts_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "at_position", lambda lease, batch: true())
    item = await shop.item()
    batch = shop.batch(shop.accepted(item))
    await shop.ledger.record(shop.lease, batch)

    again = await shop.ledger.record(shop.lease, batch)

    assert again.repeated == 1, "the order's number is the guard behind the position"
    assert await shop.count("orders") == 1


async def test_without_the_conditional_update_the_tables_check_still_holds_the_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "has_units", lambda taken: true())
    item = await shop.item(unit(3))

    recorded = await shop.record(*(shop.accepted(item) for _ in range(5)))

    assert (recorded.orders, len(recorded.dead)) == (3, 2)
    assert {letter.reason for letter in await shop.ledger.dead_letters(10)} == {"broken_row"}
    assert await shop.broken() == set()


async def _old_fence_writes_nothing(shop: Shop) -> None:
    item = await shop.item()
    await shop.ledger.yield_shard(shop.lease)
    await shop.ledger.claim_shard(0, "another", 60_000)
    with pytest.raises(FenceLost):
        await shop.record(shop.accepted(item))
