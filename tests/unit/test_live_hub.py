"""The hub and its feeds, with wires that only remember: what is pushed, to whom, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import pytest
from tests.polling import until
from tests.support.live_shop import Books, Doors, NoLines

from sluice.accounts.identity import Identity, buyer_digest
from sluice.cache.news import About, News
from sluice.catalog.snapshots import ItemRoute
from sluice.catalog.view import render_order
from sluice.domain.errors import CacheUnavailable, GateUnavailable, LedgerUnavailable
from sluice.domain.log import ItemTotals
from sluice.domain.order import OrderState
from sluice.domain.outcome import WaitOutcome
from sluice.gate.wire import Place, Waiter
from sluice.waiting import InLine
from sluice.web.api.waiting import render_entry
from sluice.web.live import endpoint as endpoint_module
from sluice.web.live import orders as orders_module
from sluice.web.live import places as places_module
from sluice.web.live.endpoint import Live, room_for
from sluice.web.live.frames import Op, frame, texts_of
from sluice.web.live.hub import TOPICS_MAX
from sluice.web.live.link import SEEN_MAX, WAITING_MAX, Link
from sluice.web.live.orders import OrderFeed
from sluice.web.live.places import PlaceFeed
from sluice.web.live.rooms import RoomFeed
from sluice.web.live.sales import SaleFeed
from sluice.web.metrics import Counts

NOW_MS = 1_795_000_000_000
_S = OrderState


class Wire:
    """Takes everything, until it is told to be busy."""

    answers_pings = True

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.busy = False
        self.ended: int | None = None
        self.is_cut = False
        self.stuck_since: float | None = None

    def send(self, frames: bytes) -> bool:
        if not self.busy:
            self.sent += [msgspec.json.decode(text) for text in texts_of(frames)]
        return not self.busy

    def ping(self) -> None: ...

    def end(self, code: int, reason: str) -> None:
        self.ended = code

    def cut(self) -> None:
        self.is_cut = True

    def took(self) -> list[str]:
        """Types of what was sent since the last look."""
        sent, self.sent = self.sent, []
        return [each["type"] for each in sent]


class Line:
    """A gate with one item in whose line stand those who are in `waiting`."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.asked: list[list[str]] = []
        self.looked_up: list[list[str]] = []
        self.ended: dict[str, InLine] = {}
        self.ledger_away = self.gate_away = False

    async def totals(self, shard: int, item_ids: Sequence[int], /) -> list[ItemTotals]:
        if self.gate_away:
            raise GateUnavailable
        return [ItemTotals(each, 0, 5, 5, len(self.waiting)) for each in item_ids]

    async def waitlist_places(self, shard: int, waiters: list[Waiter], /) -> list[Place]:
        names = [waiter.buyer.decode() for waiter in waiters]
        self.asked.append(names)
        return [
            Place(WaitOutcome.WAITING, 100 + len(name), self.waiting.index(name))
            if name in self.waiting
            else Place(WaitOutcome.NONE, 0, 0)
            for name in names
        ]

    async def places(self, buyers: Sequence[Identity], _route: ItemRoute, /) -> list[InLine | None]:
        names = [buyer.buyer for buyer in buyers]
        self.asked.append(names)
        self.looked_up.append(names)
        if self.ledger_away:
            raise LedgerUnavailable
        return [self._entry(name) for name in names]

    def _entry(self, name: str) -> InLine | None:
        if name in self.waiting:
            return InLine(100 + len(name), "waiting", self.waiting.index(name))
        return self.ended.get(name)

    async def waited_for(self, item_ids: Sequence[int], /) -> set[int]:
        if self.ledger_away:
            raise LedgerUnavailable
        return set(item_ids) if self.ended else set()


class _Route:
    sale_id, item_id, shard, limit_group, publication = 1, 2, 0, 2, 1


class Told(NoLines):
    def __init__(self) -> None:
        self.news: list[News] = []
        self.away = False

    async def tell(self, news: Sequence[News], until: int | None, /) -> None:
        if self.away:
            raise CacheUnavailable
        self.news += news


class World:
    """A `Live` without sockets."""

    def __init__(self) -> None:
        self.on_show = [cast(ItemRoute, _Route())]
        self.counts = Counts()
        self.books, self.line, self.channel = Books(), Line(), Told()
        self.orders = OrderFeed(self.books, render_order, lambda: NOW_MS)
        self.sales = SaleFeed(self.books, lambda: NOW_MS)
        self.places = PlaceFeed(
            self.line,
            self.channel,
            lambda: self.on_show,
            lambda item_id: cast(ItemRoute, _Route()) if item_id == _Route.item_id else None,
            self.line,
            render_entry,
            lambda: NOW_MS,
        )
        self.live = Live(
            identities=Doors(),
            now_ms=lambda: NOW_MS,
            connections_max=1000,
            sales=self.sales,
            orders=self.orders,
            places=self.places,
            rooms=RoomFeed(cast(Any, None), cast(Any, None), list, lambda: NOW_MS),
            listen_on=self.listen_on,
            counts=self.counts,
            cookie_of=lambda _headers, _authority: None,
            is_alive=self.is_alive,
        )
        self.hub = self.live.hub
        self.listened_on, self.cache_away = 0, False

    async def listen_on(self) -> None:
        if self.cache_away:
            raise CacheUnavailable
        self.listened_on += 1

    async def is_alive(self, digest: bytes) -> bool:
        raise AssertionError("nobody has a session")

    async def enter(self, name: str) -> tuple[Link, Wire]:
        """Somebody who has been told all there was to tell."""
        link, wire = self.hub.admit(), Wire()
        assert link is not None
        link.attach(wire)
        link.got(msgspec.json.encode({"token": name}))
        await self.orders.tell()
        assert wire.sent[0]["type"] == "ready"
        wire.took()
        return link, wire


@pytest.fixture
async def world() -> World:
    return World()


def news(about: About, id_: int, buyer: str) -> News:
    return News(about, id_, buyer_digest(buyer.encode()))


# --- orders ---------------------------------------------------------------------------------------


async def test_news_of_an_order_is_answered_with_its_present_state(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.PAID)
    world.live.heard([news(About.ORDER, 1, "mei")])
    await world.orders.tell()
    assert [(each["type"], each["data"]["state"]) for each in wire.sent] == [("order.paid", "paid")]


async def test_what_was_told_is_not_told_again(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.PAID)
    for _ in range(3):
        world.live.heard([news(About.ORDER, 1, "mei")])
        world.live.heard(None)
        await world.orders.tell()
    assert wire.took() == ["order.paid"]


async def test_news_of_somebody_elses_order_reads_nothing(world: World) -> None:
    await world.enter("mei")
    world.books.order(1, "li", _S.PAID)
    world.live.heard([news(About.ORDER, 1, "li")])
    before = world.books.reads
    await world.orders.tell()
    assert world.books.reads == before


async def test_news_that_names_the_wrong_buyer_shows_nobody_anothers_order(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "li", _S.PAID)
    world.live.heard([news(About.ORDER, 1, "mei")])
    await world.orders.tell()
    assert wire.took() == []


async def test_a_reminder_is_told_even_where_the_order_has_not_changed(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.AWAITING_PAYMENT)
    for about in (About.ORDER, About.PAYMENT_DUE_SOON):
        world.live.heard([news(about, 1, "mei")])
        await world.orders.tell()
    assert wire.took() == ["order.awaiting_payment", "order.payment_due_soon"]


async def test_nobody_is_reminded_of_what_is_paid(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.PAID)
    world.live.heard([news(About.PAYMENT_DUE_SOON, 1, "mei")])
    await world.orders.tell()
    assert wire.took() == ["order.paid"]


async def test_a_promotion_comes_with_its_order(world: World) -> None:
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.AWAITING_PAYMENT)
    told = [news(About.ORDER, 1, "mei"), news(About.PROMOTED, 1, "mei")]
    for each in (told, told[::-1]):
        world.live.heard(each)
    await world.orders.tell()
    assert wire.sent[0]["data"]["order"]["id"] == "1"
    assert wire.took() == ["waitlist.promoted", "order.awaiting_payment"]


async def test_a_ledger_that_is_away_delays_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_module, "RETRY_S", 0.001)
    _, wire = await world.enter("mei")
    world.books.order(1, "mei", _S.PAID)
    world.books.order(2, "mei", _S.EXPIRED)
    world.books.away = True
    running = asyncio.create_task(world.orders.run())
    world.live.heard([news(About.ORDER, 1, "mei")])
    world.live.heard(None)
    with pytest.raises(LedgerUnavailable):
        await world.orders.tell()
    world.books.away = False
    await until(lambda: len(wire.sent) == 2)
    running.cancel()
    assert sorted(wire.took()) == ["order.expired", "order.paid"]


async def test_who_came_while_the_ledger_was_away_is_told_when_it_is_back(world: World) -> None:
    world.books.order(1, "mei", _S.PAID)
    world.books.away = True
    with pytest.raises(LedgerUnavailable):
        await world.enter("mei")
    world.books.away = False
    await world.orders.tell()
    [link] = world.hub.known()
    assert isinstance(link.wire, Wire)
    assert link.wire.took() == ["ready", "order.paid"]


async def test_too_much_news_becomes_one_look_at_everybody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_module, "NEWS_MAX", 10)
    _, wire = await world.enter("mei")
    for number in range(1, 30):
        world.books.order(number, "mei", _S.PAID)
    world.live.heard([news(About.ORDER, number, "mei") for number in range(1, 30)])
    assert not world.orders._news
    await world.orders.tell()
    assert len(wire.took()) == orders_module.NEWEST


async def test_lost_news_is_made_good_slowly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_module, "RECONCILE_S", 0.01)
    monkeypatch.setattr(orders_module, "SLICE_S", 0.001)
    entered = [await world.enter(f"buyer-{n}") for n in range(5)]
    for n in range(5):
        world.books.order(n + 1, f"buyer-{n}", _S.PAID)
    running = [asyncio.ensure_future(loop()) for loop in (world.orders.run, world.orders.reconcile)]
    await until(lambda: all(wire.sent for _, wire in entered))
    for task in running:
        task.cancel()
    assert [wire.took() for _, wire in entered] == [["order.paid"]] * 5


# --- sales ----------------------------------------------------------------------------------------


async def subscribed(world: World, *names: str) -> list[Wire]:
    wires = []
    for name in names:
        link, wire = await world.enter(name)
        link.got(b'{"subscribe": "sale:7"}')
        await world.sales._answer()
        wires.append(wire)
    return wires


async def test_only_what_has_changed_is_pushed_and_to_subscribers_alone(world: World) -> None:
    world.books.sale(7, "live", (1, "available", 9), (2, "low", 2))
    _, other = await world.enter("other")
    wires = await subscribed(world, "mei", "li")
    assert [wire.took() for wire in wires] == [["sale.state", "item.state", "item.state"]] * 2
    world.books.sale(7, "live", (1, "available", 8), (2, "low", 2))
    await world.sales.look()
    await world.sales.look()
    assert [each["data"]["remaining_hint"] for each in wires[0].sent] == [8]
    assert [wire.took() for wire in wires] == [["item.state"]] * 2
    world.books.sale(7, "paused", (1, "available", 8), (2, "low", 2))
    await world.sales.look()
    assert [wire.took() for wire in wires] == [["sale.state"]] * 2
    assert other.took() == []


async def test_many_changes_between_two_looks_are_one_message(world: World) -> None:
    world.books.sale(7, "live", (1, "available", 1000))
    [wire] = await subscribed(world, "mei")
    wire.took()
    for left in range(999, 0, -1):
        world.books.sale(7, "live", (1, "available", left))
    await world.sales.look()
    assert [each["data"]["remaining_hint"] for each in wire.sent] == [1]


async def test_a_connection_subscribes_to_so_many_sales(world: World) -> None:
    link, wire = await world.enter("mei")
    for sale in range(1, TOPICS_MAX + 2):
        world.books.sale(sale, "live")
        link.got(msgspec.json.encode({"subscribe": f"sale:{sale}"}))
        await world.sales._answer()
    assert wire.took() == ["sale.state"] * TOPICS_MAX + ["error"]
    assert len(link.topics) == TOPICS_MAX


async def test_whoever_left_is_subscribed_to_nothing(world: World) -> None:
    world.books.sale(7, "live")
    link, _ = await world.enter("mei")
    link.got(b'{"subscribe": "sale:7"}')
    link.lost()
    await world.sales._answer()
    assert world.hub.sales == []
    assert len(world.hub) == 0


# --- places in line -------------------------------------------------------------------------------


async def test_places_are_told_where_they_changed(world: World) -> None:
    world.line.waiting = ["mei", "li"]
    wires = {name: (await world.enter(name))[1] for name in ("mei", "li", "nobody")}
    for _ in range(2):
        await world.places.look()
    [told] = wires["li"].sent
    assert told["type"] == "waitlist.position"
    assert (told["data"]["sale_id"], told["data"]["item_id"]) == ("1", "2")
    assert told["data"]["entry"] == {
        "id": "102",
        "state": "waiting",
        "position": 2,
        "ahead": 1,
        "order_id": None,
    }
    assert wires["nobody"].sent == []
    world.line.waiting = ["li"]
    world.line.ended["mei"] = InLine(103, "promoted", None, 9)
    await world.places.look()
    assert wires["li"].sent[-1]["data"]["entry"]["position"] == 1
    assert wires["mei"].sent[-1]["data"]["entry"]["order_id"] == "9"


async def test_who_left_before_the_ledger_heard_of_it_is_told_when_it_has(world: World) -> None:
    world.line.waiting = ["mei", "li"]
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.waiting = ["li"]
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["waiting"]
    world.line.ended["mei"] = InLine(103, "left")
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["waiting", "left"]


async def test_the_end_of_a_line_is_told_to_who_stood_in_it(world: World) -> None:
    world.line.waiting = ["mei"]
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.waiting = []
    world.line.ended["mei"] = InLine(103, "closed")
    world.on_show.clear()  # the sale is over
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["waiting", "closed"]
    asked = len(world.line.asked)
    await world.places.look()
    assert len(world.line.asked) == asked


async def test_an_end_that_the_ledger_has_not_heard_of_is_told_when_it_has(world: World) -> None:
    world.line.waiting = ["mei", "li"]
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.waiting, world.line.ledger_away = ["li"], True
    await world.places.look()
    world.line.ledger_away = False
    world.line.ended["mei"] = InLine(103, "promoted", None, 9)
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["waiting", "promoted"]


async def test_whoever_joins_by_another_process_is_told_soon(world: World) -> None:
    _, wire = await world.enter("mei")
    await world.places.look()
    world.live.began_to_wait(2, buyer_digest(b"mei"))
    await world.places._tell_began()
    assert world.channel.news == [news(About.LINE, 2, "mei")]
    world.line.waiting = ["mei"]
    world.places._round = iter(())
    world.live.heard(world.channel.news)
    await world.places.look()
    assert wire.took() == ["waitlist.position"]


async def test_an_end_before_the_first_look_is_told_to_who_had_just_joined(world: World) -> None:
    _, wire = await world.enter("mei")
    world.live.heard([news(About.LINE, 2, "mei"), news(About.LINE, 9, "mei")])
    world.line.ended["mei"] = InLine(103, "closed")
    world.on_show.clear()
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["closed"]


async def test_a_thousand_ends_are_asked_for_together(world: World) -> None:
    names = [f"buyer-{n}" for n in range(1000)]
    wires = [(await world.enter(name))[1] for name in names]
    world.line.waiting = names
    await world.places.look()
    world.line.waiting, world.line.ended = [], dict.fromkeys(names, InLine(103, "closed"))
    world.on_show.clear()
    world.line.looked_up.clear()
    await world.places.look()
    assert {wire.sent[-1]["data"]["entry"]["state"] for wire in wires} == {"closed"}
    assert len(world.line.looked_up) == 2


async def test_whoever_was_away_when_the_line_ended_is_told_on_coming_back(world: World) -> None:
    world.line.waiting = ["mei", "li"]
    link, _ = await world.enter("mei")
    await world.enter("li")
    await world.places.look()
    link.lost()
    await world.places.look()
    world.line.waiting, world.line.ended["mei"] = [], InLine(103, "closed")
    world.on_show.clear()
    await world.places.look()
    _, wire = await world.enter("mei")
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["closed"]


async def test_whoever_left_while_the_line_goes_on_is_told_on_coming_back(world: World) -> None:
    world.line.waiting = ["li"]
    world.line.ended["mei"] = InLine(103, "left")
    _, wire = await world.enter("mei")
    for _ in range(2):
        await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["left"]


async def test_a_process_that_never_saw_the_line_tells_its_end(world: World) -> None:
    """It has started since; the item is still on show, and the ledger knows of the line."""
    world.line.ended["mei"] = InLine(103, "promoted", None, 9)
    _, wire = await world.enter("mei")
    await world.places.look()
    assert [each["data"]["entry"]["order_id"] for each in wire.sent] == ["9"]


async def test_nobody_asks_the_ledger_about_items_that_nobody_waited_for(world: World) -> None:
    await world.enter("mei")
    await world.places.look()
    assert world.line.looked_up == []


async def test_who_came_while_the_ledger_was_away_is_told_of_the_end_when_it_is_back(
    world: World,
) -> None:
    world.line.waiting = ["li"]
    world.line.ended["mei"], world.line.ledger_away = InLine(103, "closed"), True
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.ledger_away = False
    await world.places.look()
    assert [each["data"]["entry"]["state"] for each in wire.sent] == ["closed"]


async def test_a_line_that_cannot_be_asked_for_has_not_ended(world: World) -> None:
    world.line.waiting = ["mei"]
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.gate_away = True
    await world.places.look()
    world.line.gate_away, world.line.waiting = False, ["li", "mei"]
    await world.places.look()
    assert [each["data"]["entry"]["position"] for each in wire.sent] == [1, 2]
    assert len(world.line.looked_up) == 1, "once, on coming"


async def test_who_joined_while_the_channel_was_away_is_told_of_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places_module, "LOOK_S", 0.001)
    _, wire = await world.enter("mei")
    world.live.began_to_wait(2, buyer_digest(b"mei"))
    world.line.waiting, world.channel.away = ["mei"], True
    running = asyncio.ensure_future(world.places.run())
    await until(lambda: wire.took() == ["waitlist.position"])
    assert world.channel.news == []
    world.channel.away = False
    await until(lambda: world.channel.news == [news(About.LINE, 2, "mei")])
    running.cancel()


async def test_everybody_is_looked_at_where_news_of_joining_may_be_lost(world: World) -> None:
    _, wire = await world.enter("mei")
    await world.places.look()
    world.line.ended["mei"] = InLine(103, "closed")
    world.live.heard(None)
    await world.places.look()
    assert wire.took() == ["waitlist.position"]


async def test_only_connected_buyers_are_asked_about(world: World) -> None:
    world.line.waiting = ["mei", *(f"away-{n}" for n in range(100))]
    link, _ = await world.enter("mei")
    await world.places.look()
    assert {name for names in world.line.asked for name in names} == {"mei"}
    link.lost()
    await world.enter("li")
    world.line.asked.clear()
    await world.places.look()
    assert {name for names in world.line.asked for name in names} == {"li"}


# --- wanting to hear ------------------------------------------------------------------------------


async def test_news_is_wanted_from_the_first_connection_to_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "LISTEN_EVERY_S", 0.001)
    monkeypatch.setattr(endpoint_module, "RETRY_S", 0.001)
    wanting = asyncio.ensure_future(world.live._want_news())
    await asyncio.sleep(0.02)
    assert world.listened_on == 0
    world.cache_away = True
    link, _ = await world.enter("mei")
    await asyncio.sleep(0.02)
    world.cache_away = False
    await until(lambda: world.listened_on >= 3)
    link.lost()
    await asyncio.sleep(0.02)
    before = world.listened_on
    await asyncio.sleep(0.02)
    assert world.listened_on == before
    wanting.cancel()


# --- one link -------------------------------------------------------------------------------------


async def test_a_busy_wire_is_sent_the_newest_of_each_key_in_the_order_of_change(
    world: World,
) -> None:
    link, wire = await world.enter("mei")
    wire.busy = True
    for key, state in (("a", 1), ("b", 1), ("a", 2)):
        link.push(key, _told({"type": key, "state": state}))
    wire.busy = False
    link.drained()
    assert [(each["type"], each["state"]) for each in wire.sent] == [("b", 1), ("a", 2)]


async def test_a_wire_that_is_busy_again_keeps_what_is_left(world: World) -> None:
    link, wire = await world.enter("mei")
    wire.busy = True
    for key in "abc":
        link.push(key, _told({"type": key}))
    link.drained()
    wire.busy = False
    link.drained()
    link.push("d", _told({"type": "d"}))
    assert wire.took() == ["a", "b", "c", "d"]


async def test_what_waits_is_bounded(world: World) -> None:
    link, wire = await world.enter("mei")
    wire.busy = True
    for key in range(WAITING_MAX):
        link.push(key, b"")
    assert not wire.is_cut
    link.push("one more", b"")
    assert wire.is_cut


async def test_what_is_remembered_as_told_is_bounded(world: World) -> None:
    link, _ = await world.enter("mei")
    for key in range(SEEN_MAX * 3):
        link.push_news(key, _told({"type": "x"}), 1)
    assert link.seen is not None
    assert len(link.seen) <= SEEN_MAX


async def test_a_connection_that_ends_during_its_handshake_is_told_after_it(world: World) -> None:
    link = world.hub.admit()
    assert link is not None
    closing = asyncio.create_task(world.live.close())
    await asyncio.sleep(0)
    wire = Wire()
    link.attach(wire)
    assert wire.ended == 1001
    link.lost()
    await closing


def test_open_files_bound_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(files: int) -> Callable[[int], tuple[int, int]]:
        return lambda _which: (files, files)

    monkeypatch.setattr("resource.getrlimit", limited(20_000))
    assert room_for(10_000) == 10_000
    assert room_for(30_000) == 18_976
    monkeypatch.setattr("resource.getrlimit", limited(1024))
    assert room_for(10_000) == 0


def _told(message: dict[str, Any]) -> bytes:
    return frame(Op.TEXT, msgspec.json.encode(message))
