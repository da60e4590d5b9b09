"""Stock edits go the safe way round, in order and once; audit marks compare gate and ledger."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.ledger_shop import Shop, edited, released, totals, unit

from sluice.domain.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from sluice.domain.incident import IncidentKind
from sluice.domain.sale import STOCK_MAX, Item
from sluice.ledger import settle


async def loaded(shop: Shop, stock: int = 10) -> Item:
    """A live item that the gate was given."""
    item = await shop.item(unit(stock))
    assert await shop.ledger.mark_loaded(item.id, shop.lease.epoch, item.edit)
    return await shop.now(item)


# --- edits --------------------------------------------------------------------------------------


async def test_what_no_gate_holds_is_edited_at_once(shop: Shop) -> None:
    item = await shop.item(unit(10))

    more = await shop.ledger.request_edit(item.id, +5, "found some")
    less = await shop.ledger.request_edit(item.id, -3, "broke some")

    assert (more.edit, more.state, more.stock_after) == (1, "applied", 15)
    assert (less.edit, less.state, less.stock_after) == (2, "applied", 12)
    assert ((await shop.now(item)).stock, (await shop.now(item)).available) == (12, 12)
    assert await shop.broken() == set()


async def test_an_increase_is_in_the_ledger_before_the_gate_has_it(shop: Shop) -> None:
    item = await loaded(shop)

    edit = await shop.ledger.request_edit(item.id, +5, "more")

    assert (edit.state, edit.stock_after) == ("pending", None)
    assert ((await shop.now(item)).stock, (await shop.now(item)).available) == (15, 15)
    assert await shop.ledger.pending_edits(0) == [edit]
    recorded = await shop.record(edited(item, 1, +5))
    assert recorded.settled == 1
    settled = await shop.ledger.edit(item.id, 1)
    assert settled is not None
    assert (settled.state, settled.stock_after) == ("applied", 15)
    assert await shop.ledger.pending_edits(0) == []
    assert await shop.broken() == set()


async def test_a_decrease_leaves_the_ledger_after_the_gate_gave_it_up(shop: Shop) -> None:
    item = await loaded(shop)

    await shop.ledger.request_edit(item.id, -4, "fewer")
    assert (await shop.now(item)).stock == 10
    await shop.record(edited(item, 1, -4))

    assert ((await shop.now(item)).stock, (await shop.now(item)).available) == (6, 6)
    assert await shop.broken() == set()


async def test_a_decrease_that_the_gate_refused_changes_nothing(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, -4, "fewer")

    await shop.record(edited(item, 1, -4, applied=False))

    settled = await shop.ledger.edit(item.id, 1)
    assert settled is not None
    assert (settled.state, settled.stock_after) == ("refused", 10)
    assert (await shop.now(item)).stock == 10
    assert await shop.broken() == set()


async def test_an_edit_heard_of_twice_counts_once(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, -4, "fewer")

    await shop.record(edited(item, 1, -4))
    again = await shop.record(edited(item, 1, -4))

    assert again.settled == 0
    assert (await shop.now(item)).stock == 6
    assert await shop.broken() == set()


async def test_edits_are_numbered_and_listed_in_order(shop: Shop) -> None:
    item = await loaded(shop)
    await asyncio.gather(
        *(shop.ledger.request_edit(item.id, delta, "parallel") for delta in (1, 2, 3, 4))
    )
    pending = await shop.ledger.pending_edits(0)
    assert [edit.edit for edit in pending] == [1, 2, 3, 4]
    assert sorted(edit.delta for edit in pending) == [1, 2, 3, 4]
    assert (await shop.now(item)).stock == 20


async def test_an_edit_that_nobody_asked_for_is_an_incident(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.record(edited(item, 9, +1))
    assert [i.kind for i in await shop.ledger.incidents(10)] == ["edit_nobody_asked_for"]
    assert (await shop.now(item)).stock == 10


async def test_a_decrease_that_does_not_fit_the_ledger_is_an_incident_and_no_debt(
    shop: Shop,
) -> None:
    item = await loaded(shop, 5)
    await shop.ledger.request_edit(item.id, -3, "fewer")
    await shop.sell(item, 4)

    await shop.record(edited(item, 1, -3))

    assert [i.kind for i in await shop.ledger.incidents(10)] == ["decrease_does_not_fit"]
    assert ((await shop.now(item)).stock, (await shop.now(item)).available) == (5, 1)
    assert await shop.broken() == set()


@pytest.mark.parametrize("is_loaded", [False, True])
async def test_units_that_are_held_or_sold_cannot_be_taken_away(
    shop: Shop, is_loaded: bool
) -> None:
    item = await (loaded(shop) if is_loaded else shop.item(unit(10)))
    await shop.sell(item, 7)
    with pytest.raises(Conflict):
        await shop.ledger.request_edit(item.id, -4, "too many")
    assert await shop.count("stock_edits") == 0


async def test_the_same_key_is_the_same_edit(shop: Shop) -> None:
    item = await loaded(shop)

    first = await shop.ledger.request_edit(item.id, +5, "more", "key")
    again = await shop.ledger.request_edit(item.id, +5, "more", "key")

    assert again == first
    assert (await shop.now(item)).stock == 15


async def test_the_same_key_in_parallel_is_the_same_edit(shop: Shop) -> None:
    item = await shop.item(unit(10))
    edits = await asyncio.gather(
        *(shop.ledger.request_edit(item.id, +5, "more", "key") for _ in range(6))
    )
    assert len(set(edits)) == 1
    assert (await shop.now(item)).stock == 15
    assert await shop.broken() == set()


@pytest.mark.parametrize(("delta", "reason"), [(4, "more"), (5, "other")])
async def test_the_same_key_for_another_edit_is_refused(
    shop: Shop, delta: int, reason: str
) -> None:
    item = await shop.item(unit(10))
    await shop.ledger.request_edit(item.id, +5, "more", "key")
    with pytest.raises(IdempotencyMismatch):
        await shop.ledger.request_edit(item.id, delta, reason, "key")
    assert (await shop.now(item)).stock == 15


async def test_edits_that_make_no_sense_are_refused(shop: Shop) -> None:
    item = await shop.item(unit(10))
    with pytest.raises(Invalid):
        await shop.ledger.request_edit(item.id, 0, "none")
    with pytest.raises(Conflict):
        await shop.ledger.request_edit(item.id, STOCK_MAX, "too many")
    with pytest.raises(NotFound):
        await shop.ledger.request_edit(item.id + 1000, +1, "which?")
    await shop.ledger.close_sale(item.sale_id)
    with pytest.raises(Conflict):
        await shop.ledger.request_edit(item.id, +1, "too late")


# --- loading ------------------------------------------------------------------------------------


async def test_an_item_edited_while_it_was_loaded_has_to_be_loaded_again(shop: Shop) -> None:
    item = await shop.item(unit(10))
    await shop.ledger.request_edit(item.id, +5, "just now")

    assert not await shop.ledger.mark_loaded(item.id, 1, item.edit)
    assert (await shop.now(item)).loaded_epoch is None
    assert await shop.ledger.mark_loaded(item.id, 1, 1)
    assert (await shop.now(item)).loaded_epoch == 1


async def test_marking_an_item_loaded_again_changes_nothing(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, +5, "pending")
    assert await shop.ledger.mark_loaded(item.id, shop.lease.epoch, 0)


# --- audit marks --------------------------------------------------------------------------------


async def test_a_mark_of_a_gate_that_agrees_is_fine(shop: Shop) -> None:
    item = await loaded(shop)
    orders = [shop.accepted(item) for _ in range(3)]

    recorded = await shop.record(*orders, totals(item, available=7))

    assert recorded.marks_failed == ()
    assert await shop.rows(
        "SELECT gate_available, gate_held, ledger_available, ok FROM audit_marks"
    ) == [(7, 3, 7, 1)]


async def test_a_mark_is_compared_at_its_own_place_of_the_log(shop: Shop) -> None:
    item = await loaded(shop)
    recorded = await shop.record(
        totals(item, available=10),
        shop.accepted(item),
        totals(item, available=9),
        shop.accepted(item),
        shop.accepted(item),
        totals(item, available=7),
        shop.accepted(item),
    )
    assert recorded.marks_failed == ()


@pytest.mark.parametrize("available", [6, 8])
async def test_a_gate_that_is_off_by_one_is_found(shop: Shop, available: int) -> None:
    item = await loaded(shop)
    orders = [shop.accepted(item) for _ in range(3)]

    recorded = await shop.record(*orders, totals(item, available=available))

    assert recorded.marks_failed == (item.id,)
    assert [i.kind for i in await shop.ledger.incidents(10)] == ["gate_and_ledger_differ"]
    assert await shop.broken() == {"gate_and_ledger_agree"}
    await shop.record(totals(item, available=7))
    assert await shop.broken() == set(), "the latest mark counts"


async def test_a_disagreement_is_one_incident_for_as_long_as_it_lasts(shop: Shop) -> None:
    item = await loaded(shop)

    async def told() -> list[str]:
        found = await shop.ledger.told_incidents()
        return [each.key for each in found if each.kind is IncidentKind.STORES_DISAGREE]

    await shop.record(totals(item, available=9))
    [first] = await told()
    await shop.ledger.see_incident(first, "me", "looking at it")
    await asyncio.sleep(0.01)
    await shop.record(shop.accepted(item), totals(item, available=8))
    assert await told() == [first], "the same, though the figures are others"
    await shop.record(totals(item, available=9))
    assert await told() == []
    await asyncio.sleep(0.01)
    await shop.record(totals(item, available=8))
    [again] = await told()
    assert again != first
    assert [i.kind for i in await shop.ledger.incidents(10)] == ["gate_and_ledger_differ"] * 2


async def test_a_mark_counts_releases_that_the_gate_has_not_applied(shop: Shop) -> None:
    item = await loaded(shop, 5)
    [sold] = await shop.sell(item, 1)
    twice = shop.accepted(item, nonce=sold.nonce)

    decided = await shop.record(twice, totals(item, available=3))
    applied = await shop.record(released(twice), totals(item, available=4))

    assert (decided.marks_failed, applied.marks_failed) == ((), ())
    assert (await shop.now(item)).available == 4


async def test_a_mark_counts_increases_that_the_gate_has_not_applied(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, +5, "more")

    before = await shop.record(totals(item, available=10))
    after = await shop.record(edited(item, 1, +5), totals(item, available=15, stock=15))

    assert (before.marks_failed, after.marks_failed) == ((), ())


async def test_a_mark_counts_decreases_from_the_gate_on(shop: Shop) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, -5, "fewer")

    before = await shop.record(totals(item, available=10))
    after = await shop.record(edited(item, 1, -5), totals(item, available=5, stock=5))

    assert (before.marks_failed, after.marks_failed) == ((), ())


async def test_a_mark_over_an_item_that_the_ledger_does_not_know_fails(shop: Shop) -> None:
    item = await loaded(shop)
    stranger = totals(item, available=10).totals[0]._replace(item_id=item.id + 1000)
    recorded = await shop.record(totals(item, available=10)._replace(totals=(stranger,)))
    assert recorded.marks_failed == (item.id + 1000,)


# --- planted bugs: without the guard, what must hold does not -----------------------------------


async def test_without_settling_once_a_decrease_counts_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await loaded(shop)
    await shop.ledger.request_edit(item.id, -4, "fewer")
    await shop.record(edited(item, 1, -4))
    monkeypatch.setattr(settle, "PENDING", "applied")

    again = await shop.record(edited(item, 1, -4), totals(item, available=6, stock=6))

    assert again.marks_failed == (item.id,)
