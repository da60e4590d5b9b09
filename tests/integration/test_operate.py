"""A merchant's commands: ledger and gate end in step, whatever broke in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.shop import HOUR_MS, Shop, buyers, opened
from tests.valkey import Valkey, running

from sluice.domain.errors import (
    Conflict,
    GateNotArmed,
    GateUnavailable,
    IdempotencyMismatch,
    NotFound,
    Unavailable,
)
from sluice.domain.outcome import Outcome
from sluice.domain.sale import ItemChange, SaleChange, SaleStatus
from sluice.gate.gate import GateItem
from sluice.operate import Operator


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running(durable=True) as server:
        yield server


@pytest.fixture
async def shop(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(valkey, tmp_path) as shop:
        yield shop


async def test_a_published_sale_sells(shop: Shop) -> None:
    sale = await shop.draft(5, 1)
    tea, pot = sale.items
    assert await shop.outcome(tea, "early") is Outcome.UNKNOWN_ITEM
    await shop.operator.publish(sale.id)
    assert await shop.outcome(tea, "b1") is Outcome.ACCEPTED
    assert await shop.outcome(pot, "b1") is Outcome.ACCEPTED
    assert await shop.outcome(pot, "b2") is Outcome.SOLD_OUT
    assert shop.announced[-1] == sale.id


async def test_every_command_may_be_repeated(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    await shop.buy(tea, "b1")
    for _ in range(2):
        await shop.operator.publish(sale.id)
        assert await shop.totals(tea) == (4, 1, 5)
    for _ in range(2):
        await shop.operator.pause(sale.id, "price check")
        assert await shop.outcome(tea, "b2") is Outcome.PAUSED
    for _ in range(2):
        await shop.operator.resume(sale.id)
    assert await shop.outcome(tea, "b2") is Outcome.ACCEPTED
    for _ in range(2):
        await shop.operator.close(sale.id)
        assert await shop.outcome(tea, "b3") is Outcome.ENDED


async def test_what_the_state_does_not_allow_changes_nothing(shop: Shop) -> None:
    sale = await shop.draft(5)
    with pytest.raises(Conflict):
        await shop.operator.resume(sale.id)
    with pytest.raises(Conflict):
        await shop.operator.pause(sale.id, "no")
    await shop.operator.publish(sale.id)
    await shop.operator.close(sale.id)
    with pytest.raises(Conflict):
        await shop.operator.publish(sale.id)
    with pytest.raises(NotFound):
        await shop.operator.publish(99)
    assert await shop.outcome(sale.items[0], "b1") is Outcome.ENDED


async def test_a_sale_published_half_way_stays_shut_and_is_finished_by_the_worker(
    shop: Shop,
) -> None:
    sale = await shop.draft(5, 5)
    first, second = sale.items
    sale = await shop.ledger.publish(sale.id)
    epoch = (await shop.ledger.positions())[0].epoch
    await shop.gate.load_item(
        GateItem(
            0,
            epoch,
            first.id,
            5,
            5,
            1,
            sale.publication,
            sale.starts_at_ms,
            sale.ends_at_ms,
            0,
            first.limit_group,
            sale.ends_at_ms,
        )
    )
    assert await shop.outcome(first, "b1") is Outcome.NOT_ARMED
    assert await shop.outcome(second, "b1") is Outcome.UNKNOWN_ITEM
    await shop.operator.keep_in_step()
    assert await shop.outcome(first, "b1") is Outcome.ACCEPTED
    assert await shop.outcome(second, "b1") is Outcome.ACCEPTED


async def test_one_item_that_cannot_be_loaded_keeps_the_whole_sale_shut(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await shop.draft(5, 5)
    first, second = sale.items
    load = shop.gate.load_item

    async def fails_for_the_second(item: GateItem) -> bool:
        if item.item_id == second.id:
            raise GateUnavailable
        return await load(item)

    monkeypatch.setattr(shop.gate, "load_item", fails_for_the_second)
    with pytest.raises(GateUnavailable):
        await shop.operator.publish(sale.id)
    with pytest.raises(GateUnavailable):
        await shop.operator.keep_in_step()
    assert await shop.outcome(first, "b1") is Outcome.NOT_ARMED
    monkeypatch.undo()
    await shop.operator.publish(sale.id)
    assert await shop.outcome(first, "b1") is Outcome.ACCEPTED


async def test_a_gate_that_is_away_follows_when_it_is_back(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    await shop.stop()
    shop.valkey.kill()
    with pytest.raises(Unavailable):
        await shop.operator.close(sale.id)
    with pytest.raises(Unavailable):
        await shop.operator.keep_in_step()
    shop.valkey.start()
    await shop.start()
    assert await shop.outcome(tea, "b1") is Outcome.ACCEPTED
    await shop.operator.close(sale.id)
    assert await shop.outcome(tea, "b2") is Outcome.ENDED


async def test_a_pause_is_carried_out_by_whoever_comes_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    worker = Operator(shop.ledger, shop.gate, shop._announce, shop.settings)
    await worker.keep_in_step()
    await shop.ledger.pause(sale.id, "the process died right here")
    assert await shop.outcome(tea, "b1") is Outcome.ACCEPTED
    await worker.keep_in_step()
    assert await shop.outcome(tea, "b2") is Outcome.PAUSED


async def test_without_a_worker_nothing_is_loaded(valkey: Valkey, tmp_path: Path) -> None:
    async with opened(valkey, tmp_path) as shop:
        sale = await shop.draft(5)
        other = Operator(shop.ledger, shop.gate, shop._announce, shop.settings)

        async def nobody() -> dict[int, int]:
            return {}

        other._epochs = nobody  # type: ignore[method-assign]
        with pytest.raises(GateNotArmed, match="sluice work"):
            await other.publish(sale.id)
        assert (await shop.sale(sale.id)).status is SaleStatus.PUBLISHED
        await shop.operator.keep_in_step()
        assert await shop.outcome(sale.items[0], "b1") is Outcome.ACCEPTED


async def test_the_end_of_a_live_sale_can_be_moved(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    now_ms = await shop.gate.time_ms()
    await shop.operator.change(sale.id, SaleChange(ends_at_ms=now_ms))
    assert await shop.outcome(tea, "b1") is Outcome.ENDED
    with pytest.raises(Conflict):
        await shop.operator.change(sale.id, SaleChange(ends_at_ms=now_ms + HOUR_MS))


async def test_a_changed_limit_before_the_start_is_a_new_publication(shop: Shop) -> None:
    sale = await shop.draft(5)
    [tea] = sale.items
    now_ms = await shop.gate.time_ms()
    await shop.operator.change(sale.id, SaleChange(starts_at_ms=now_ms + HOUR_MS // 2))
    await shop.operator.publish(sale.id)
    assert await shop.outcome(tea, "b1") is Outcome.NOT_STARTED
    change = SaleChange(
        starts_at_ms=now_ms + HOUR_MS // 3, items=(ItemChange(item_id=tea.id, per_buyer=3),)
    )
    sale = await shop.operator.change(sale.id, change)
    assert sale.publication == 2
    assert await shop.outcome(tea, "b1", publication=1) is Outcome.BAD_PASS
    assert await shop.outcome(tea, "b1", publication=2) is Outcome.NOT_STARTED


# --- stock ----------------------------------------------------------------------------------------


async def test_a_stock_edit_reaches_gate_and_ledger_once(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    for _ in range(2):
        edit = await shop.operator.edit_stock(tea.id, 3, "found a box", "key-1")
        assert (edit.state, edit.stock_after) == ("applied", 8)
    for _ in range(2):
        edit = await shop.operator.edit_stock(tea.id, -4, "broken", "key-2")
        assert (edit.state, edit.stock_after) == ("applied", 4)
    assert await shop.totals(tea) == (4, 0, 4)
    item = (await shop.sale(sale.id)).items[0]
    assert (item.stock, item.available) == (4, 4)
    with pytest.raises(IdempotencyMismatch):
        await shop.operator.edit_stock(tea.id, 9, "another", "key-1")


async def test_units_that_are_held_cannot_be_taken_away(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    await shop.stop()  # what is accepted now is not in the ledger yet
    await shop.gate.arm(0, (await shop.ledger.positions())[0].epoch, 60_000)
    await shop.buy(tea, *buyers(3))
    with pytest.raises(Conflict):
        await shop.operator.edit_stock(tea.id, -3, "too many", "key-1")
    with pytest.raises(Unavailable):
        await shop.operator.edit_stock(tea.id, -3, "too many", "key-1")
    assert await shop.totals(tea) == (2, 3, 5)
    await shop.start()
    await shop.drained()
    with pytest.raises(Conflict):
        await shop.operator.edit_stock(tea.id, -3, "too many", "key-1")
    item = (await shop.sale(sale.id)).items[0]
    assert (item.stock, item.available, item.awaiting_payment) == (5, 2, 3)
    edit = await shop.operator.edit_stock(tea.id, -2, "just right", "key-2")
    assert edit.stock_after == 3


async def test_a_draft_is_edited_without_the_gate(shop: Shop) -> None:
    sale = await shop.draft(5)
    [tea] = sale.items
    edit = await shop.operator.edit_stock(tea.id, 2, "more", "key-1")
    assert edit.state == "applied"
    await shop.operator.publish(sale.id)
    assert await shop.totals(tea) == (7, 0, 7)
    edit = await shop.operator.edit_stock(tea.id, 1, "and more", "key-2")
    assert await shop.totals(tea) == (8, 0, 8)
    with pytest.raises(NotFound):
        await shop.operator.edit_stock(99, 1, "nothing", "key-3")


async def test_an_edit_whose_process_died_is_finished_by_the_worker_in_order(shop: Shop) -> None:
    sale = await shop.open(5)
    [tea] = sale.items
    for n, delta in enumerate((3, -6, 1)):
        edit = await shop.ledger.request_edit(tea.id, delta, "died here", f"key-{n}")
        assert edit.state == "pending"
    assert (await shop.totals(tea))[0] == 5
    for _ in range(2):
        await shop.operator.keep_in_step()
    await shop.drained()
    assert await shop.totals(tea) == (3, 0, 3)
    assert (await shop.sale(sale.id)).items[0].stock == 3
    assert await shop.ledger.pending_edits(0) == []


async def test_edits_that_wait_while_an_item_is_loaded_anew_are_applied_after_it(
    shop: Shop,
) -> None:
    sale = await shop.draft(10)
    [tea] = sale.items
    now_ms = await shop.gate.time_ms()
    await shop.operator.change(sale.id, SaleChange(starts_at_ms=now_ms + HOUR_MS // 2))
    await shop.operator.publish(sale.id)
    await shop.ledger.request_edit(tea.id, 5, "up", "key-1")
    await shop.ledger.request_edit(tea.id, -7, "down", "key-2")
    await shop.ledger.update_sale(sale.id, starts_at_ms=now_ms + HOUR_MS // 3)
    for _ in range(2):
        await shop.operator.keep_in_step()
    await shop.drained()
    item = (await shop.sale(sale.id)).items[0]
    assert (item.stock, item.available) == (8, 8)
    assert await shop.totals(tea) == (8, 0, 8)


# --- more than one shard --------------------------------------------------------------------------


async def test_items_of_a_sale_are_kept_in_step_on_every_shard(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with opened(valkey, tmp_path, shards=3) as shop:
        sale = await shop.open(1, 2, 3, 4)
        assert {item.shard for item in sale.items} == {0, 1, 2}
        for item in sale.items:
            assert await shop.outcome(item, "b1") is Outcome.ACCEPTED
        await shop.operator.pause(sale.id, "check")
        for item in sale.items:
            assert await shop.outcome(item, "b2") is Outcome.PAUSED
