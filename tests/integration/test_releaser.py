"""Releaser, recorder and gate on real servers: units keep moving, once each, whatever breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.shop import Shop, buyers, opened
from tests.polling import until_it_is
from tests.valkey import Valkey, running

from sluice.accounts.identity import buyer_digest
from sluice.audit import Auditor
from sluice.domain.errors import LedgerUnavailable
from sluice.domain.order import Order, OrderState
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.domain.sale import Item
from sluice.gate.wire import Place, Waiter
from sluice.wiring import settlement_of
from sluice.workers.releaser import Releaser


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running(durable=True) as server:
        yield server


@pytest.fixture
async def shop(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(valkey, tmp_path) as shop:
        yield shop


# --- steps ----------------------------------------------------------------------------------------


def releaser(shop: Shop) -> Releaser:
    settlement = settlement_of(shop.settings, shop.ledger, lambda: 0)
    return Releaser(ledger=shop.ledger, settlement=settlement, decided=shop.wake)


def waiter(item: Item, buyer: str) -> Waiter:
    name = buyer.encode()
    return Waiter(item.id, item.limit_group, 1, buyer_digest(name), name)


async def join(shop: Shop, item: Item, *names: str) -> list[Place]:
    epoch = (await shop.ledger.positions())[item.shard].epoch
    waiters = [waiter(item, name) for name in names]
    places = await shop.gate.join_waitlist(item.shard, epoch, waiters)
    assert {place.outcome for place in places} == {WaitOutcome.JOINED}
    return places


async def places(shop: Shop, item: Item, *names: str) -> list[Place]:
    return await shop.gate.waitlist_places(item.shard, [waiter(item, name) for name in names])


async def orders(shop: Shop, state: OrderState | None = None) -> list[Order]:
    """Oldest first."""
    return (await shop.ledger.list_orders(state=state, limit=500))[::-1]


async def awaiting(shop: Shop, count: int) -> list[Order]:
    """Those that are to be paid, when there are so many of them."""

    async def there() -> bool:
        return len(await orders(shop, OrderState.AWAITING_PAYMENT)) == count

    await until_it_is(there)
    return await orders(shop, OrderState.AWAITING_PAYMENT)


async def time_passes(shop: Shop) -> None:
    """All payment windows are over now."""
    await shop.sql("UPDATE orders SET pay_by_ms = 1", "UPDATE deadlines SET due_at_ms = 1")


async def all_holds(shop: Shop) -> None:
    report = await Auditor(
        shop.ledger, shop.gate, keep_in_step=shop.operator.keep_in_step, patience_s=30
    ).run()
    assert report.ok, [check for check in report.invariants if not check.ok]


# --- nobody pays ----------------------------------------------------------------------------------


async def test_five_promotions_in_a_row_that_nobody_pays_do_not_starve_the_item(
    shop: Shop,
) -> None:
    sale = await shop.open(1)
    [tea] = sale.items
    line = [f"jwt:shop:waits-{n}" for n in range(5)]
    await shop.buy(tea, "jwt:shop:first")
    await join(shop, tea, *line)
    beside = releaser(shop)

    had_it = []
    for _ in range(6):
        [present] = await awaiting(shop, 1)
        had_it.append(present.buyer)
        await time_passes(shop)
        await beside.expire()

    assert had_it == ["jwt:shop:first", *line], "each had their turn, in the order of the line"

    async def on_sale() -> bool:
        return await shop.totals(tea) == (1, 0, 1)

    await until_it_is(on_sale)
    assert await shop.outcome(tea, "jwt:shop:somebody-else") is Outcome.ACCEPTED
    await shop.drained()
    await all_holds(shop)


async def test_a_promoted_buyer_has_a_payment_window_of_their_own(shop: Shop) -> None:
    sale = await shop.open(1)
    [tea] = sale.items
    await shop.buy(tea, "jwt:shop:first")
    [first] = await awaiting(shop, 1)
    [place] = await join(shop, tea, "jwt:shop:second")
    await time_passes(shop)
    await releaser(shop).expire()

    [second] = await awaiting(shop, 1)
    assert second.buyer == "jwt:shop:second"
    assert first.pay_by_ms is not None
    assert second.pay_by_ms is not None
    assert second.pay_by_ms >= first.pay_by_ms, "it begins with the promotion"
    entry = await shop.ledger.waitlist_entry(tea.id, "jwt:shop:second")
    assert entry is not None
    assert (entry.id, entry.state, entry.order_number) == (place.entry, "promoted", second.number)


# --- many at once ---------------------------------------------------------------------------------


async def test_any_number_of_releasers_at_once_expire_each_order_once(shop: Shop) -> None:
    sale = await shop.open(300)
    [tea] = sale.items
    await shop.buy(tea, *buyers(300))
    await awaiting(shop, 300)
    await time_passes(shop)

    await asyncio.gather(*(releaser(shop).expire() for _ in range(4)))

    states = Counter(order.state for order in await orders(shop))
    assert states == {OrderState.EXPIRED: 300}

    async def all_back() -> bool:
        return await shop.totals(tea) == (300, 0, 300)

    await until_it_is(all_back)
    await shop.drained()
    await all_holds(shop)


async def test_units_of_a_large_expiry_go_to_the_line_first_and_then_on_sale(shop: Shop) -> None:
    sale = await shop.open(250)
    [tea] = sale.items
    await shop.buy(tea, *buyers(250))
    await awaiting(shop, 250)
    line = buyers(100, "jwt:shop:waits-")
    await join(shop, tea, *line)
    await time_passes(shop)
    await releaser(shop).expire()

    promoted = await awaiting(shop, 100)
    assert [order.buyer for order in promoted] == line

    async def rest() -> bool:
        return await shop.totals(tea) == (150, 100, 250)

    await until_it_is(rest)
    await shop.drained()
    await all_holds(shop)


async def test_what_was_decided_while_the_worker_was_away_is_done_when_it_is_back(
    shop: Shop,
) -> None:
    """The releaser commits, and nobody is there to tell the gate: the units are held a while."""
    sale = await shop.open(5)
    [tea] = sale.items
    await shop.buy(tea, *buyers(5))
    await awaiting(shop, 5)
    await join(shop, tea, "jwt:shop:waits")
    await shop.drained()
    await shop.stop()
    await time_passes(shop)
    await releaser(shop).expire()
    assert await shop.totals(tea) == (0, 5, 5)

    await shop.start()

    [promoted] = await awaiting(shop, 1)
    assert promoted.buyer == "jwt:shop:waits"
    await shop.drained()
    await all_holds(shop)


async def test_what_came_back_to_a_gate_that_was_not_armed_goes_to_the_line_later(
    shop: Shop,
) -> None:
    sale = await shop.open(1)
    [tea] = sale.items
    await shop.buy(tea, "jwt:shop:first")
    await awaiting(shop, 1)
    await join(shop, tea, "jwt:shop:waits")
    await shop.drained()
    await shop.stop()
    await shop.gate.disarm(0)
    await time_passes(shop)
    await releaser(shop).expire()
    assert await Auditor(shop.ledger, shop.gate).repair() == 1
    assert await shop.totals(tea) == (1, 0, 1), "nobody may give it away now"

    await shop.start()
    await shop.operator.keep_in_step()

    [promoted] = await awaiting(shop, 1)
    assert promoted.buyer == "jwt:shop:waits"
    await shop.drained()
    await all_holds(shop)


async def test_a_reminder_comes_once(shop: Shop) -> None:
    sale = await shop.open(3)
    await shop.buy(sale.items[0], *buyers(3))
    await awaiting(shop, 3)
    await shop.sql("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'remind'")
    counted: list[tuple[str, int]] = []
    settlement = settlement_of(shop.settings, shop.ledger, lambda: 0)
    beside = Releaser(
        ledger=shop.ledger,
        settlement=settlement,
        decided=shop.wake,
        count=lambda name, n: counted.append((name, n)),
    )
    await beside.remind()
    await beside.remind()
    assert counted == [("reminded", 3), ("reminded", 0)]


async def test_a_running_releaser_does_what_is_due_and_no_fault_of_a_step_stops_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await shop.open(2)
    await shop.buy(sale.items[0], *buyers(2))
    await awaiting(shop, 2)

    async def fails(_limit: int) -> list[int]:
        raise LedgerUnavailable()

    monkeypatch.setattr(shop.ledger, "remind_due", fails)
    beside = releaser(shop)
    working = asyncio.create_task(beside.run())
    await time_passes(shop)

    async def expired() -> bool:
        return len(await orders(shop, OrderState.EXPIRED)) == 2

    await until_it_is(expired)
    beside.stop()
    await working


async def test_a_releaser_stops_when_it_is_told_to(shop: Shop) -> None:
    beside = releaser(shop)
    working = asyncio.create_task(beside.run())
    beside.stop()
    await asyncio.wait_for(working, 60)


# --- the line outlives the gate's memory ----------------------------------------------------------


async def test_the_line_is_restored_from_the_ledger_in_its_order(shop: Shop) -> None:
    """All of Redis is lost. What is loaded anew brings its line along."""
    sale = await shop.open(1)
    [tea] = sale.items
    line = [f"jwt:shop:waits-{n}" for n in range(7)]
    await shop.buy(tea, "jwt:shop:first")
    before = await join(shop, tea, *line)
    await shop.drained()
    await shop.stop()
    await shop.redis("FLUSHALL")
    await shop.redis("FUNCTION", "FLUSH")
    await shop.sql("UPDATE items SET loaded_epoch = NULL")  # as a rebuild begins

    await shop.start()
    await shop.operator.keep_in_step()

    assert [
        (place.outcome, place.entry, place.ahead) for place in await places(shop, tea, *line)
    ] == [(WaitOutcome.WAITING, was.entry, n) for n, was in enumerate(before)]
    assert (await places(shop, tea, "jwt:shop:first"))[0].outcome is WaitOutcome.NONE
    [more] = await join(shop, tea, "jwt:shop:later")
    assert (more.ahead, more.entry > before[-1].entry) == (7, True)


async def test_a_line_ends_with_its_time_however_long_the_sale_is_over(shop: Shop) -> None:
    sale = await shop.open(1)
    [tea] = sale.items
    await shop.buy(tea, "jwt:shop:first")
    await join(shop, tea, "jwt:shop:waits")
    await shop.drained()
    await shop.sql("UPDATE sales SET ends_at_ms = ends_at_ms - 3 * 3600000")

    await shop.operator.keep_in_step()

    assert (await places(shop, tea, "jwt:shop:waits"))[0].outcome is WaitOutcome.NONE
    await shop.drained()
    entry = await shop.ledger.waitlist_entry(tea.id, "jwt:shop:waits")
    assert entry is not None
    assert entry.state == "closed"
    assert await shop.ledger.open_sales() == [], "nobody waits for it any more"


# --- and each guard is worth something ------------------------------------------------------------


async def test_without_the_line_a_loaded_item_would_have_forgotten_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: nothing is restored."""

    async def forget(*_: object) -> int:
        return 0

    monkeypatch.setattr("sluice.waiting.restore", forget)
    with pytest.raises(AssertionError):
        await test_the_line_is_restored_from_the_ledger_in_its_order(shop)
