"""One bad row costs its neighbours nothing: it is dead-lettered and its hold is given back."""

from __future__ import annotations

import pytest
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.errors import FenceLost
from sluice.domain.log import Accepted
from sluice.domain.order import BUYER_BYTES_MAX, OrderState
from sluice.ledger import intake, recorder, rejects

UNKNOWN_ITEM = 2**40


async def reasons(shop: Shop) -> dict[int, str]:
    return {letter.number: letter.reason for letter in await shop.ledger.dead_letters(100)}


async def to_release(shop: Shop) -> set[int]:
    return {release.number for release in await shop.ledger.pending_releases(0, 100)}


async def test_a_nonce_that_has_its_order_is_bisected_out_and_its_neighbours_commit(
    shop: Shop,
) -> None:
    item = await shop.item(unit(200))
    [sold] = await shop.sell(item, 1)
    orders = [shop.accepted(item) for _ in range(100)]
    orders[63] = shop.accepted(item, nonce=sold.nonce)

    recorded = await shop.record(*orders)

    assert recorded.orders == 99
    assert recorded.dead == (orders[63].number,)
    assert await reasons(shop) == {orders[63].number: "nonce_taken"}
    assert await to_release(shop) == {orders[63].number}
    assert (await shop.now(item)).available == 100
    assert await shop.broken() == set()


async def test_a_slot_that_is_taken_is_refused_across_the_items_of_a_group(shop: Shop) -> None:
    sale = await shop.sale(unit(group="size"), unit(group="size"), unit())
    small, large, other = sale.items
    first = shop.accepted(small, "acct:1", slots=0b01)
    same_slot = shop.accepted(large, "acct:1", slots=0b01)
    next_slot = shop.accepted(large, "acct:1", slots=0b10)
    elsewhere = shop.accepted(other, "acct:1", slots=0b01)
    somebody = shop.accepted(large, "acct:2", slots=0b01)

    recorded = await shop.record(first, same_slot, next_slot, elsewhere, somebody)

    assert recorded.orders == 4
    assert await reasons(shop) == {same_slot.number: "slot_taken"}
    assert await shop.broken() == set()


async def test_buyers_are_compared_byte_for_byte(shop: Shop) -> None:
    buyers = ["acct:1", "ACCT:1", "acct:1 ", "acct:１", "acct:1\u0301"]
    item = await shop.item()
    recorded = await shop.record(*(shop.accepted(item, buyer) for buyer in buyers))
    assert recorded.orders == len(buyers)
    for buyer in buyers:
        assert [order.buyer for order in await shop.ledger.orders_of(buyer, 10)] == [buyer]


async def test_an_item_that_the_ledger_does_not_know_is_a_dead_letter(shop: Shop) -> None:
    item = await shop.item()
    unknown = shop.accepted(UNKNOWN_ITEM)

    recorded = await shop.record(shop.accepted(item), unknown)

    assert recorded.orders == 1
    assert await reasons(shop) == {unknown.number: "unknown_item"}
    assert await to_release(shop) == {unknown.number}
    order = (await shop.ledger.orders([unknown.number]))[unknown.number]
    assert (order.state, order.amount) == (OrderState.REJECTED, None)


async def test_an_item_of_another_shard_is_not_this_shards_to_sell(shop: Shop) -> None:
    made = await shop.ledger.create_sale(shop.new_sale(unit(), unit()), shards=2)
    sale = await shop.ledger.publish(made.id)  # type: ignore[union-attr]
    foreign = shop.accepted(next(item for item in sale.items if item.shard == 1))

    await shop.record(foreign)

    assert await reasons(shop) == {foreign.number: "unknown_item"}


MALFORMED: dict[str, dict[str, object]] = {
    "a buyer too long": {"buyer": "b" * (BUYER_BYTES_MAX + 1)},
    "a buyer too long in bytes": {"buyer": "买" * 86},
    "no buyer": {"buyer": ""},
    "a buyer with a NUL": {"buyer": "acct:\0"},
    "a buyer that is not text": {"buyer": "acct:\ud800"},
    "a short nonce": {"nonce": b"short"},
    "a long nonce": {"nonce": bytes(13)},
    "no quantity": {"quantity": 0, "slots": 0},
    "a negative quantity": {"quantity": -1},
    "fewer slots than units": {"quantity": 2},
    "an item that no column holds": {"item_id": 2**70},
}


async def test_a_row_that_no_column_could_hold_is_a_dead_letter(shop: Shop) -> None:
    item = await shop.item(unit(100))
    bad = {}
    for what, change in MALFORMED.items():
        order = shop.accepted(item)._replace(**change)  # type: ignore[arg-type]
        recorded = await shop.record(shop.accepted(item), order, shop.accepted(item))
        assert (recorded.orders, recorded.dead) == (2, (order.number,)), what
        bad[order.number] = what

    assert await to_release(shop) == set(bad)
    found = await shop.ledger.orders(list(bad))
    assert {order.state for order in found.values()} == {OrderState.REJECTED}
    assert await shop.broken() == set()


async def test_a_longest_buyer_is_taken(shop: Shop) -> None:
    item = await shop.item()
    buyer = "买" * (BUYER_BYTES_MAX // 3)
    await shop.record(shop.accepted(item, buyer))
    assert len(await shop.ledger.orders_of(buyer, 10)) == 1


async def test_more_slots_than_the_item_allows_are_refused(shop: Shop) -> None:
    item = await shop.item(unit(per_buyer=2))
    over = shop.accepted(item, slots=0b100)

    await shop.record(over, shop.accepted(item, slots=0b11))

    assert await reasons(shop) == {over.number: "over_limit"}


async def test_a_number_that_no_letter_could_carry_is_an_incident(shop: Shop) -> None:
    item = await shop.item()
    absurd = [shop.accepted(item)._replace(number=number) for number in (-1, 0, 2**63, 2**80)]

    recorded = await shop.record(shop.accepted(item), *absurd)

    assert (recorded.orders, recorded.dead) == (1, ())
    kinds = [incident.kind for incident in await shop.ledger.incidents(10)]
    assert kinds == ["unreadable_order"] * len(absurd)


async def test_an_order_accepted_again_is_skipped_and_never_released(shop: Shop) -> None:
    item = await shop.item()
    [sold] = await shop.sell(item, 1)

    recorded = await shop.record(sold, shop.accepted(item), sold)

    assert (recorded.orders, recorded.repeated, recorded.dead) == (1, 2, ())
    assert await to_release(shop) == set()
    assert (await shop.now(item)).available == 8
    assert await shop.broken() == set()


async def test_an_order_twice_in_one_batch_is_one_order(shop: Shop) -> None:
    item = await shop.item()
    order = shop.accepted(item)

    recorded = await shop.record(order, order)

    assert (recorded.orders, recorded.repeated) == (1, 1)
    assert await to_release(shop) == set()
    assert await shop.broken() == set()


async def test_a_number_given_to_two_attempts_is_never_released(shop: Shop) -> None:
    item = await shop.item()
    [sold] = await shop.sell(item, 1)
    usurper = shop.accepted(item, number_=sold.number)

    recorded = await shop.record(usurper)

    assert recorded.dead == (sold.number,)
    assert await reasons(shop) == {sold.number: "number_taken"}
    assert await to_release(shop) == set(), "the release would take the other one's units"
    order = (await shop.ledger.orders([sold.number]))[sold.number]
    assert (order.buyer, order.state) == (sold.buyer, OrderState.AWAITING_PAYMENT)
    by_nonce = await shop.ledger.order_by_nonces([sold.nonce, usurper.nonce])
    assert {by_nonce[sold.nonce].buyer, by_nonce[usurper.nonce].buyer} == {
        sold.buyer,
        usurper.buyer,
    }, "nobody is shown the other's order"
    assert [o.buyer for o in await shop.ledger.orders_of(usurper.buyer, 10)] == [usurper.buyer]
    assert await shop.broken() == set()


async def test_a_rejected_order_that_comes_again_stays_rejected(shop: Shop) -> None:
    item = await shop.item(unit(1))
    sold, excess = shop.accepted(item), shop.accepted(item)
    await shop.record(sold, excess)
    await shop.ledger.request_edit(item.id, +5, "more came in")

    recorded = await shop.record(excess)

    assert (recorded.orders, recorded.repeated) == (0, 1)
    assert (await shop.ledger.orders([excess.number]))[excess.number].state == "rejected"
    assert await shop.broken() == set()


async def test_a_batch_of_bad_rows_alone_is_all_dead_letters(shop: Shop) -> None:
    item = await shop.item(unit(100))
    sold = await shop.sell(item, 20)
    bad = [shop.accepted(item, nonce=order.nonce) for order in sold]

    recorded = await shop.record(*bad)

    assert (recorded.orders, len(recorded.dead)) == (0, 20)
    assert (await shop.now(item)).available == 80
    assert await shop.broken() == set()


async def test_bad_rows_and_a_shortage_in_one_batch_are_each_found(shop: Shop) -> None:
    item = await shop.item(unit(5))
    [sold] = await shop.sell(item, 1)
    orders = [shop.accepted(item) for _ in range(7)]
    again = orders[2] = shop.accepted(item, nonce=sold.nonce, number_=orders[2].number)

    recorded = await shop.record(*orders)

    assert recorded.orders == 4
    found = await reasons(shop)
    assert found.pop(again.number) == "nonce_taken"
    assert found == {orders[-1].number: "sold_out", orders[-2].number: "sold_out"}
    assert await shop.broken() == set()


# --- planted bugs: without the guard, what must hold does not -----------------------------------


async def test_without_the_check_of_numbers_a_repeated_order_would_be_released(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def knows_nothing(*_: object) -> dict[int, bytes | None]:
        return {}

    async def blames_the_row(
        _tx: object, _facts: object, order: Accepted, _error: object
    ) -> object:
        return rejects.Reject(order, rejects.Reason.BROKEN_ROW, "", 0)

    monkeypatch.setattr(recorder, "known_numbers", knows_nothing)
    monkeypatch.setattr(intake, "explain", blames_the_row)
    item = await shop.item()
    [sold] = await shop.sell(item, 1)

    await shop.record(sold)

    assert "released_or_held" in await shop.broken()


async def test_without_the_release_a_rejected_order_keeps_its_units(shop: Shop) -> None:
    item = await shop.item(unit(1))
    await shop.record(shop.accepted(item), shop.accepted(item))
    assert await shop.broken() == set()
    await shop.execute("DELETE FROM releases")
    assert await shop.broken() == {"rejected_are_released"}


async def test_a_lost_fence_leaves_no_dead_letter_behind(shop: Shop) -> None:
    batch = shop.batch(shop.accepted(UNKNOWN_ITEM), shop.accepted(UNKNOWN_ITEM))
    await shop.ledger.begin_epoch(shop.lease)
    with pytest.raises(FenceLost):
        await shop.ledger.record(shop.lease, batch)
    assert await shop.count("dead_letters") == 0
