"""The herald: each event told to those whom it concerns, once it is known that it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from sluice.cache.news import About, News, pack, unpack
from sluice.domain.errors import CacheUnavailable, LedgerUnavailable
from sluice.workers import herald as herald_module
from sluice.workers.herald import PAUSE_S, READ_MAX, SILENT_S, STANDBY_S, Herald


class Event(NamedTuple):
    id: int
    kind: str
    payload: dict[str, Any]


class Party(NamedTuple):
    buyer: str


def digest(buyer: str) -> bytes:
    return buyer.encode().ljust(16, b".")


class Outbox:
    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.away = False

    async def events_after(self, position: int, limit: int, /) -> list[Event]:
        if self.away:
            raise LedgerUnavailable
        return [event for event in self.events if event.id > position][:limit]

    async def last_event(self) -> int:
        return self.events[-1].id if self.events else 0

    async def parties(self, numbers: Sequence[int], /) -> dict[int, Party]:
        return {number: Party(f"buyer-{number}") for number in numbers if number != 404}


class Channel:
    def __init__(self, leads: bool = True, until: int | None = 0) -> None:
        self.leads = leads
        self.until = until
        self.listened = True
        self.told: list[list[News]] = []
        self.resigned = False
        self.away = False

    async def lead(self, _owner: str, /) -> bool:
        if self.away:
            raise CacheUnavailable
        return self.leads

    async def resign(self, _owner: str, /) -> None:
        self.resigned = True

    async def is_listened_to(self) -> bool:
        return self.listened

    async def told_until(self) -> int | None:
        return self.until

    async def tell(self, news: Sequence[News], until: int | None, /) -> None:
        self.told.append(list(news))
        self.until = until


def order(number: int, about: About = About.ORDER) -> News:
    return News(about, number, digest(f"buyer-{number}"))


async def told_of(*events: Event) -> list[News]:
    channel = Channel()
    assert await Herald("me", Outbox(*events), channel, digest).turn() == PAUSE_S
    return [each for news in channel.told for each in news]


async def test_an_order_is_told_to_its_buyer_and_once_however_many_events_name_it() -> None:
    assert await told_of(
        Event(1, "order.awaiting_payment", {"numbers": [1, 2]}),
        Event(2, "order.paid", {"numbers": [2]}),
        Event(3, "payment.captured", {"payments": [9], "numbers": [2]}),
    ) == [order(1), order(2)]


async def test_a_reminder_is_no_mere_change() -> None:
    assert await told_of(Event(1, "order.payment_due_soon", {"numbers": [1]})) == [
        order(1, About.PAYMENT_DUE_SOON)
    ]


async def test_the_line_is_told_of_by_buyer() -> None:
    entries = [{"id": 5, "item_id": 7, "buyer": "mei", "number": 99}]
    left = [{"id": 6, "item_id": 7, "buyer": "li", "reason": "left"}]
    assert await told_of(
        Event(1, "waitlist.promoted", {"entries": entries}),
        Event(2, "waitlist.left", {"entries": left}),
    ) == [News(About.PROMOTED, 99, digest("mei")), News(About.LINE, 7, digest("li"))]


async def test_what_concerns_nobody_is_passed_over_and_not_read_again() -> None:
    channel = Channel()
    events = [Event(1, "sale.published", {"sale_id": 1}), Event(2, "order.x", {"numbers": [404]})]
    herald = Herald("me", Outbox(*events), channel, digest)
    await herald.turn()
    assert channel.told == []
    assert herald._position == 2


async def test_a_full_read_goes_on_at_once() -> None:
    events = [Event(n, "order.paid", {"numbers": [n]}) for n in range(1, READ_MAX + 2)]
    herald = Herald("me", Outbox(*events), channel := Channel(), digest)
    assert await herald.turn() == 0.0
    assert await herald.turn() == PAUSE_S
    assert sum(map(len, channel.told)) == READ_MAX + 1


async def test_it_goes_on_where_the_last_herald_ended() -> None:
    channel = Channel(until=1)
    events = [Event(n, "order.paid", {"numbers": [n]}) for n in (1, 2)]
    await Herald("me", Outbox(*events), channel, digest).turn()
    assert channel.told == [[order(2)]]


@pytest.mark.parametrize("until", [None, 99])
async def test_where_nobody_knows_where_that_was_everybody_is_told_to_look(
    until: int | None,
) -> None:
    channel = Channel(until=until)
    outbox = Outbox(Event(1, "order.paid", {"numbers": [1]}))
    herald = Herald("me", outbox, channel, digest)
    await herald.turn()
    assert channel.told == [[]]
    outbox.events.append(Event(2, "order.paid", {"numbers": [2]}))
    await herald.turn()
    assert channel.told == [[], [order(2)]]


async def test_while_nobody_listens_nothing_is_read_and_then_everybody_looks() -> None:
    channel = Channel()
    outbox = Outbox(Event(1, "order.paid", {"numbers": [1]}))
    herald = Herald("me", outbox, channel, digest)
    await herald.turn()
    channel.listened, outbox.away = False, True
    assert await herald.turn() == SILENT_S
    outbox.away = False
    outbox.events.append(Event(2, "order.paid", {"numbers": [2]}))
    assert await herald.turn() == SILENT_S
    channel.listened = True
    await herald.turn()
    assert channel.told == [[order(1)], []]
    outbox.events.append(Event(3, "order.paid", {"numbers": [3]}))
    await herald.turn()
    assert channel.told == [[order(1)], [], [order(3)]]


async def test_who_does_not_lead_says_nothing() -> None:
    channel = Channel(leads=False)
    outbox = Outbox(Event(1, "order.paid", {"numbers": [1]}))
    assert await Herald("me", outbox, channel, digest).turn() == STANDBY_S
    assert channel.told == []


async def test_stores_that_go_away_are_waited_for_and_nothing_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(herald_module, "RETRY_S", 0.001)
    monkeypatch.setattr(herald_module, "PAUSE_S", 0.001)
    channel, outbox = Channel(), Outbox(Event(1, "order.paid", {"numbers": [1]}))
    outbox.away = channel.away = True
    herald = Herald("me", outbox, channel, digest)
    running = asyncio.create_task(herald.run())
    await asyncio.sleep(0.01)
    channel.away = False
    await asyncio.sleep(0.01)
    assert channel.told == []
    outbox.away = False
    async with asyncio.timeout(30):
        while not channel.told:  # noqa: ASYNC110 - what is watched cannot set an event
            await asyncio.sleep(0.001)
        herald.stop()
        await running
    assert channel.told == [[order(1)]]
    assert channel.resigned


def test_news_goes_over_the_wire_and_back() -> None:
    news = [News(about, (1 << 63) - about, bytes([about]) * 16) for about in About]
    assert unpack(pack(news)) == news
    assert unpack(pack(news) + b"\x09" + bytes(24)) == news  # of a later version
    assert unpack(b"rubbish") == []
