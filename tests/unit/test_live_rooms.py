"""Places in waiting rooms for those who are connected, without sockets and without a room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sluice.cache.news import About, News
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.errors import CacheUnavailable
from sluice.domain.waiting_room import Blocked, Place, RoomPace, RoomRequest, RoomStatus
from sluice.web.live import rooms as live_rooms
from sluice.web.live.endpoint import Live
from sluice.web.live.rooms import RoomFeed

SALE = 7
PACE = RoomPace(1, 1.0, 1.0, Blocked.NO, True)


class Route:
    sale_id, starts_at_ms, status = SALE, 0, "published"


class Rooms:
    def __init__(self) -> None:
        self.away = False

    async def look_all(self, asked: Sequence[RoomRequest], /) -> list[Place]:
        if self.away:
            raise CacheUnavailable
        return [Place(RoomStatus.WAITING, 1, 0, False, 0, False, 0, PACE) for _ in asked]


class Known:
    def __init__(self, digest: bytes) -> None:
        self.digest = digest


class Link:
    def __init__(self, digest: bytes) -> None:
        self.told = 0
        self.identity = Known(digest)

    def push_news(self, *_: Any) -> None:
        self.told += 1


class Hub:
    def __init__(self) -> None:
        self.links: dict[bytes, Link] = {}

    def __len__(self) -> int:
        return len(self.links)

    def has(self, digest: bytes) -> bool:
        return digest in self.links

    def known(self) -> list[Link]:
        return list(self.links.values())

    def of_buyer(self, digest: bytes) -> list[Link]:
        return [self.links[digest]] if digest in self.links else []


class Lane:
    def guards(self, _route: ItemRoute) -> bool:
        return True

    def over(self, _route: ItemRoute) -> str | None:
        return None

    def over_body(self, _why: str, _route: ItemRoute) -> bytes:
        raise AssertionError("nothing is over")

    def render(self, _place: Place, _route: ItemRoute) -> bytes:
        return b"{}"


class Channel:
    def __init__(self) -> None:
        self.listens = False
        self.away = False
        self.told: list[News] = []

    async def is_listened_to(self) -> bool:
        return self.listens

    async def tell(self, news: Sequence[News], until: int | None, /) -> None:
        assert self.listens, "nobody listens"
        if self.away:
            raise CacheUnavailable
        self.told += news


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def feed(hub: Hub, rooms: Rooms, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> RoomFeed:
    monkeypatch.setattr(live_rooms, "LOOK_S", 0.0)
    made = RoomFeed(rooms, channel, lambda: [cast(ItemRoute, Route())], lambda: 0)
    made.hub, made.lane = cast(Any, hub), Lane()
    return made


def enter(hub: Hub, name: bytes) -> tuple[bytes, Link]:
    digest = name.ljust(16, b".")
    link = Link(digest)
    hub.links[digest] = link
    return digest, link


async def test_who_waits_is_told_again_when_the_cache_server_is_back(
    feed: RoomFeed, hub: Hub, rooms: Rooms
) -> None:
    digest, link = enter(hub, b"mei")
    feed.heard([News(About.ROOM, SALE, digest)])
    await feed.look()
    assert link.told == 1
    rooms.away = True
    with pytest.raises(CacheUnavailable):
        await feed.look()
    rooms.away = False
    await feed.look()
    assert link.told == 2


async def test_a_turn_that_came_while_the_cache_server_was_away_is_told(
    feed: RoomFeed, hub: Hub, rooms: Rooms
) -> None:
    digest, link = enter(hub, b"mei")
    rooms.away = True
    feed.heard([News(About.ROOM, SALE, digest)])
    with pytest.raises(CacheUnavailable):
        await feed.look()
    rooms.away = False
    await feed.look()
    assert link.told == 1


async def test_who_does_not_fit_into_one_look_is_told_with_the_next(
    feed: RoomFeed, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_rooms, "ASKS_MAX", 1)
    entered = [enter(hub, name) for name in (b"mei", b"lin")]
    feed.heard([News(About.ROOM, SALE, digest) for digest, _ in entered])
    await feed.look()
    await feed.look()
    assert all(link.told for _, link in entered)


async def test_who_took_a_place_while_the_news_was_lost_is_found(feed: RoomFeed, hub: Hub) -> None:
    _, link = enter(hub, b"mei")
    await feed.look()
    assert link.told == 0
    feed.missed()
    await feed.look()
    assert link.told == 1


async def test_a_place_that_could_not_be_told_to_the_others_is_told_later(
    feed: RoomFeed, channel: Channel
) -> None:
    channel.listens = channel.away = True
    feed.began(SALE, b"d" * 16)
    with pytest.raises(CacheUnavailable):
        await feed.look()
    channel.away = False
    await feed.look()
    await feed.look()
    assert channel.told == [News(About.ROOM, SALE, b"d" * 16)]


async def test_all_feeds_hear_that_news_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    missed: list[str] = []
    live = Live.__new__(Live)
    for name in ("_orders", "_places", "rooms"):
        feed = SimpleNamespace(missed=partial(missed.append, name))
        monkeypatch.setattr(live, name, feed, raising=False)
    live.heard(None)
    assert missed == ["_orders", "_places", "rooms"]
