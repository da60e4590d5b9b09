"""The outbox is read in order without gaps, however late a transaction commits."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from sqlalchemy import text
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, unit

from sluice.ledger.journal import announce
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Party
from sluice.ledger.store import Transaction


async def say(ledger: Ledger, word: str) -> None:
    await ledger._write(lambda tx: announce(tx, "test", {"word": word}))


async def words(ledger: Ledger, after: int = 0, limit: int = 1000) -> list[str]:
    return [e.payload["word"] for e in await ledger.events_after(after, limit) if e.kind == "test"]


async def test_events_are_read_in_order_and_in_pages(ledger: Ledger) -> None:
    assert await ledger.last_event() == 0
    for i in range(7):
        await say(ledger, str(i))
    first = await ledger.events_after(0, 3)
    rest = await ledger.events_after(first[-1].id, 100)
    assert [e.payload["word"] for e in first + rest] == list("0123456")
    assert await ledger.last_event() == rest[-1].id
    assert await ledger.events_after(rest[-1].id, 9) == []
    assert all(e.at_ms > 0 for e in first)


async def test_a_transaction_that_commits_late_is_not_passed_over(
    ledger: Ledger, database: str
) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    told, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Transaction) -> None:
        await announce(tx, "test", {"word": "late"})
        told.set()
        await go_on.wait()

    late = asyncio.ensure_future(ledger._write(slowly, deadline_ms=60_000))
    await told.wait()
    await say(ledger, "early")
    [early] = await ledger.events_after(0, 9)
    assert early.payload["word"] == "early"
    go_on.set()
    await late
    assert await words(ledger, early.id) == ["late"]
    assert await words(ledger) == ["early", "late"]


async def test_readers_and_writers_at_once_see_every_message_once(
    ledger: Ledger, ledger_url: str
) -> None:
    """Each reader goes on after the last position that it saw, and misses nothing."""
    count = 60
    async with opened(ledger_url, 60_000) as other:
        seen: list[list[str]] = [[], []]

        async def read(own: Ledger, into: list[str]) -> None:
            position = 0
            while len(into) < count:
                events = await own.events_after(position, 7)
                for before, after in pairwise([position, *(e.id for e in events)]):
                    assert after > before
                position = events[-1].id if events else position
                into.extend(e.payload["word"] for e in events)

        async with asyncio.timeout(60):
            await asyncio.gather(
                read(ledger, seen[0]),
                read(other, seen[1]),
                *(say((ledger, other)[i % 2], str(i)) for i in range(count)),
            )
    assert sorted(map(int, seen[0])) == list(range(count))
    assert seen[0] == seen[1]


async def test_what_is_trimmed_is_gone_and_the_rest_stays(ledger: Ledger) -> None:
    for i in range(6):
        await say(ledger, str(i))
    events = await ledger.events_after(0, 9)
    assert await ledger.trim_outbox(events[2].id) == 2
    assert await ledger.trim_outbox(events[2].id) == 0
    assert await words(ledger) == list("2345")
    assert await ledger.trim_outbox(events[-1].id + 1) == 4
    await say(ledger, "next")
    assert [e.id > events[-1].id for e in await ledger.events_after(0, 9)] == [True]


async def test_messages_of_before_the_positions_are_read_as_well(
    ledger: Ledger, shop: Shop
) -> None:
    await shop.execute("INSERT INTO outbox (kind, payload, at_ms) VALUES ('test', :p, 1)", p="{}")
    assert [event.payload for event in await ledger.events_after(0, 9)] == [{}]


async def test_the_parties_of_an_order_are_found_whatever_became_of_it(shop: Shop) -> None:
    item = await shop.item(unit(1))
    good, dead = shop.accepted(item), shop.accepted(item)
    lost = shop.accepted(999_999)
    await shop.record(good, dead, lost)
    found = await shop.ledger.parties([good.number, dead.number, lost.number, 5])
    assert found == {
        good.number: Party(
            good.number, good.buyer, item.sale_id, item.id, "awaiting_payment", "none"
        ),
        dead.number: Party(dead.number, dead.buyer, item.sale_id, item.id, "rejected", "none"),
        lost.number: Party(lost.number, lost.buyer, 0, 0, "rejected", "none"),
    }
    assert await shop.ledger.parties([]) == {}


async def test_what_happens_to_an_order_is_told(shop: Shop) -> None:
    item = await shop.item(unit(10))
    paid, gone, idle = await shop.sell(item, 3)
    await shop.pay(paid)
    await shop.ledger.cancel(gone.number, gone.buyer, "")
    await shop.make_due()
    await shop.ledger.expire_due(9)
    await shop.ledger.request_refund(paid.number, None, True, "")
    [refund] = await shop.ledger.due_refunds(9, 1000)
    await shop.ledger.refund_completed(refund.id)

    told = [(e.kind, e.payload) for e in await shop.ledger.events_after(0, 99)]
    of_orders = [(kind, p["numbers"]) for kind, p in told if kind.startswith("order.")]
    assert of_orders == [
        ("order.awaiting_payment", [paid.number, gone.number, idle.number]),
        ("order.paid", [paid.number]),
        ("order.cancelled", [gone.number]),
        ("order.expired", [idle.number]),
        ("order.refunding", [paid.number]),
        ("order.refunded", [paid.number]),
    ]
    kinds = [kind for kind, _ in told if kind.startswith("payment.")]
    assert kinds == ["payment.captured", "payment.refunding", "payment.refunded"]


async def test_positions_are_given_out_once(ledger: Ledger, database: str) -> None:
    if database == "sqlite":
        pytest.skip("the id is the position")
    await asyncio.gather(*(say(ledger, str(i)) for i in range(20)))
    await asyncio.gather(*(ledger.last_event() for _ in range(6)))
    async with ledger._engines.reading.connect() as connection:
        found = await connection.execute(text("SELECT position FROM outbox ORDER BY position"))
        assert list(found.scalars()) == list(range(1, 21))
