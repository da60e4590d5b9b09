"""The ledger's copy of each line: who joined, left and was promoted, as the gate's log tells it."""

from __future__ import annotations

import pytest
from tests.contract.ledger_shop import Shop, released, unit

from sluice.domain import number
from sluice.domain.log import Joined, Left
from sluice.domain.order import OrderState
from sluice.domain.sale import Item

WAITING, PROMOTED, LEFT, CLOSED = "waiting", "promoted", "left", "closed"


async def sold_out(shop: Shop) -> Item:
    """An item whose single unit has come back: its first buyer did not pay."""
    item = await shop.item(unit(1))
    await shop.sell(item, 1)
    await shop.make_due()
    await shop.ledger.expire_due(10)
    return item


async def states(shop: Shop, *places: Joined) -> list[str]:
    found = await shop.ledger.waitlist_entries([place.entry for place in places])
    return [found[place.entry].state for place in places]


async def test_the_line_stands_in_the_order_of_the_gate(shop: Shop) -> None:
    item = await shop.item()
    places = [shop.joined(item) for _ in range(5)]
    recorded = await shop.record(*places)
    assert recorded.joined == 5

    first = await shop.ledger.waitlist(item.id, 2)
    rest = await shop.ledger.waitlist(item.id, 9, first[-1].id)
    assert [entry.id for entry in first + rest] == [place.entry for place in places]
    assert [entry.buyer for entry in first + rest] == [place.buyer for place in places]
    minted = number.split(places[0].entry).minted_at_ms
    assert first[0].joined_at_ms == minted
    assert await shop.ledger.waiting_counts([item.id, item.id + 1]) == {item.id: 5, item.id + 1: 0}
    positions = await shop.ledger.positions()
    assert positions[0].highest_number == places[-1].entry, "the next epoch starts above it"


async def test_a_promoted_buyer_has_an_order_with_a_fresh_window(shop: Shop) -> None:
    item = await sold_out(shop)
    place = shop.joined(item)
    await shop.record(place)
    promotion = shop.promoted(place)

    recorded = await shop.record(promotion)

    assert (recorded.orders, recorded.promoted) == (1, 1)
    entry = await shop.ledger.waitlist_entry(item.id, place.buyer)
    assert entry is not None
    assert (entry.state, entry.order_number) == (PROMOTED, promotion.number)
    order = await shop.order(promotion.number)
    assert (order.state, order.buyer) == (OrderState.AWAITING_PAYMENT, place.buyer)
    now_ms = await shop.ledger.now_ms()
    assert order.pay_by_ms is not None
    assert order.pay_by_ms > now_ms + 800_000
    by_nonce = await shop.ledger.order_by_nonces([b"wait" + place.entry.to_bytes(8, "big")])
    assert [o.number for o in by_nonce.values()] == [promotion.number]
    told = {e.kind: e.payload for e in await shop.ledger.events_after(0, 99)}
    assert told["waitlist.promoted"] == {
        "entries": [
            {
                "id": place.entry,
                "item_id": item.id,
                "buyer": place.buyer,
                "number": promotion.number,
            }
        ]
    }
    assert await shop.broken() == set()


async def test_a_release_and_its_promotion_in_one_batch(shop: Shop) -> None:
    item = await shop.item(unit(1))
    [order] = await shop.sell(item, 1)
    place = shop.joined(item)
    await shop.record(place)
    await shop.ledger.cancel(order.number, order.buyer, "")
    await shop.record(released(order), shop.promoted(place))
    assert (await shop.now(item)).awaiting_payment == 1
    assert await shop.ledger.pending_releases(0, 9) == []
    assert await shop.broken() == set()


async def test_entries_end_as_the_log_says(shop: Shop) -> None:
    item = await shop.item()
    gone, full, closed, stays = (shop.joined(item) for _ in range(4))
    await shop.record(gone, full, closed, stays)
    await shop.record(
        Left(gone.entry, item.id, "left"),
        Left(full.entry, item.id, "limit_reached"),
        Left(closed.entry, item.id, "closed"),
    )
    assert await states(shop, gone, full, closed, stays) == [LEFT, LEFT, CLOSED, WAITING]
    found = await shop.ledger.waitlist_entries([full.entry])
    assert found[full.entry].reason == "limit_reached"
    left = [e.payload for e in await shop.ledger.events_after(0, 99) if e.kind == "waitlist.left"]
    assert [e["reason"] for e in left[0]["entries"]] == ["left", "limit_reached", "closed"]
    assert left[0]["entries"][0]["buyer"] == gone.buyer


async def test_a_buyer_who_left_may_join_again_even_within_a_batch(shop: Shop) -> None:
    item = await shop.item()
    one = shop.joined(item, "acct:me")
    await shop.record(one)
    two, three = shop.joined(item, "acct:me"), shop.joined(item, "acct:me")
    await shop.record(
        Left(one.entry, item.id, "left"), two, Left(two.entry, item.id, "left"), three
    )
    assert await states(shop, one, two, three) == [LEFT, LEFT, WAITING]
    entry = await shop.ledger.waitlist_entry(item.id, "acct:me")
    assert entry is not None
    assert entry.id == three.entry
    assert await shop.ledger.waitlist_entry(item.id, "acct:nobody") is None
    assert await shop.count("incidents") == 0


async def test_the_newest_entries_of_many_buyers_are_those_of_each(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.ledger.waitlist.BUYERS_MAX", 2)
    item, other = await shop.item(), await shop.item()
    names = ["acct:back", "acct:gone", "acct:Gone", "acct:waits", "acct:elsewhere", "acct:never"]
    back, gone, waits = (shop.joined(item, name) for name in (names[0], names[1], names[3]))
    again, last = shop.joined(item, "acct:back"), shop.joined(item, "acct:gone")
    await shop.record(back, gone, waits, shop.joined(other, "acct:elsewhere"))
    await shop.record(
        *(Left(back.entry, item.id, "left"), Left(gone.entry, item.id, "left"), again, last),
        Left(last.entry, item.id, "closed"),
    )
    found = await shop.ledger.newest_entries(item.id, names)
    assert {name: (entry.id, entry.state) for name, entry in found.items()} == {
        "acct:back": (again.entry, WAITING),
        "acct:gone": (last.entry, CLOSED),
        "acct:waits": (waits.entry, WAITING),
    }
    for name in names:
        assert await shop.ledger.waitlist_entry(item.id, name) == found.get(name)
    assert await shop.ledger.newest_entries(item.id, []) == {}


async def test_items_that_somebody_ever_waited_for(shop: Shop) -> None:
    waits, over, never = [await shop.item() for _ in range(3)]
    place, left = shop.joined(waits), shop.joined(over)
    await shop.record(place, left, Left(left.entry, over.id, "closed"))
    ids = [waits.id, over.id, never.id]
    assert await shop.ledger.waited_for(ids) == {waits.id, over.id}
    assert await shop.ledger.waited_for([]) == set()


async def test_joined_and_promoted_in_one_batch(shop: Shop) -> None:
    item = await sold_out(shop)
    place = shop.joined(item)
    recorded = await shop.record(place, shop.promoted(place))
    assert (recorded.joined, recorded.promoted) == (1, 1)
    assert await states(shop, place) == [PROMOTED]
    assert await shop.broken() == set()


async def test_five_promotions_that_nobody_pays_leave_the_unit_to_the_sixth(shop: Shop) -> None:
    item = await sold_out(shop)
    line = [shop.joined(item) for _ in range(6)]
    await shop.record(*line)
    for place in line:
        promotion = shop.promoted(place)
        await shop.record(promotion)
        if place is not line[-1]:
            await shop.make_due()
            assert await shop.ledger.expire_due(10) == [promotion.number]
    order = await shop.order(promotion.number)
    await shop.ledger.take_callbacks(
        [shop.event(await shop.ledger.open_payment(order.number, order.buyer, "simulator"))]
    )
    assert (await shop.now(item)).paid == 1
    assert await shop.broken() == set()


async def test_a_promotion_that_cannot_be_recorded_is_a_dead_letter(shop: Shop) -> None:
    item = await shop.item(unit(1))
    await shop.sell(item, 1)
    place = shop.joined(item)
    await shop.record(place)
    promotion = shop.promoted(place)
    assert (await shop.record(promotion)).dead == (promotion.number,)
    assert await states(shop, place) == [PROMOTED]
    assert await shop.state(promotion.number) is OrderState.REJECTED
    assert await shop.broken() == set()


async def test_what_the_line_cannot_be_is_an_incident_and_stops_nobody(shop: Shop) -> None:
    item = await shop.item(unit(10))
    first = shop.joined(item, "acct:me")
    await shop.record(first)
    twice = shop.joined(item, "acct:me")
    nowhere = Joined(shop.number(), 999_999, "acct:you")
    unreadable = Joined(shop.number(), item.id, "")
    good = shop.joined(item)
    order = shop.accepted(item)

    recorded = await shop.record(
        twice, nowhere, unreadable, good, order, Left(12345, item.id, "left")
    )

    assert recorded.orders == 1
    assert await states(shop, first, good) == [WAITING, WAITING]
    kinds = {incident.kind for incident in await shop.ledger.incidents(9)}
    assert kinds == {
        "waitlist_entry_refused",
        "waitlist_entry_unreadable",
        "waitlist_entry_unknown",
    }
    assert await shop.broken() == set()


async def test_a_promoted_order_cancelled_before_it_is_recorded(shop: Shop) -> None:
    item = await sold_out(shop)
    place = shop.joined(item)
    await shop.record(place)
    promotion = shop.promoted(place)
    await shop.ledger.cancel_queued(promotion.number, place.buyer, item.id, "")
    await shop.record(promotion)
    assert await shop.state(promotion.number) is OrderState.CANCELLED
    assert await states(shop, place) == [PROMOTED]
    assert await shop.broken() == set()
