"""Places in waiting rooms, to those who wait and are connected: looked up some at a time, pushed
where they have changed; at once to whoever's turn it is, and to all when nothing is left.

What is heard from other processes is only a hint to look. Who waits is else found by asking, when
somebody has just connected; polling tells everybody the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

import msgspec

from sluice.cache.news import About, News
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.errors import Overloaded, Unavailable
from sluice.domain.waiting_room import Place, RoomAsk, RoomRequest, RoomStatus
from sluice.telemetry import get_logger
from sluice.web.live import messages
from sluice.web.live.hub import Hub
from sluice.web.live.link import Link

KIND: Final = "waiting_room.position"
LOOK_S: Final = 2.0
"""How often a place is told at most, but for a turn."""
NOTICE_S: Final = 0.5
"""How often it is looked whether there is anything left to wait for."""
ASK_MAX: Final = 500
ASKS_MAX: Final = 5000
"""Places asked for in one look: the rest has its turn in the next."""
SAID_MAX: Final = 50_000
ROOMS_MAX: Final = 20
"""Rooms in which somebody is looked for who has just connected."""

log = get_logger("live")


class Rooms(Protocol):
    async def look_all(self, asked: Sequence[RoomRequest], /) -> list[Place]: ...


class Lane(Protocol):
    """The same routes that are asked over HTTP: both must say the same."""

    def guards(self, route: ItemRoute, /) -> bool: ...

    def over(self, route: ItemRoute, /) -> str | None: ...

    def over_body(self, why: str, route: ItemRoute, /) -> bytes: ...

    def render(self, place: Place, route: ItemRoute, /) -> bytes: ...


class Channel(Protocol):
    async def is_listened_to(self) -> bool: ...

    async def tell(self, news: Sequence[News], until: int | None, /) -> None: ...


class RoomFeed:
    def __init__(
        self,
        rooms: Rooms,
        channel: Channel,
        routes: Callable[[], Iterable[ItemRoute]],
        now_ms: Callable[[], int],
    ) -> None:
        """`routes` gives one of each sale that is known and fresh."""
        self.hub: Hub | None = None
        self.lane: Lane | None = None
        """Both set by whoever makes them."""
        self._rooms = rooms
        self._channel = channel
        self._routes = routes
        self._now_ms = now_ms
        self._waiters: dict[int, dict[bytes, None]] = {}
        """By sale: connected buyers with a place; whose turn to be asked for was longest ago
        first."""
        self._new: dict[bytes, None] = {}
        self._said: dict[tuple[int, bytes], None] = {}
        """Sale and buyer: something has just happened to their place."""
        self._began: dict[News, None] = {}
        self._told_over: dict[int, str] = {}
        self._next_look = 0.0
        self._wake = asyncio.Event()

    # --- what there is to tell -------------------------------------------------------------

    def joined(self, link: Link) -> None:
        """A buyer is there, and may be in any room."""
        if link.identity is not None and len(self._new) < SAID_MAX:
            self._new[link.identity.digest] = None

    def began(self, sale_id: int, digest: bytes) -> None:
        """Somebody took a place by a request to this process; all processes are told soon."""
        if len(self._began) < SAID_MAX:
            self._began[News(About.ROOM, sale_id, digest)] = None

    def heard(self, news: Sequence[News]) -> None:
        assert self.hub is not None
        for one in news:
            if one.about is About.ROOM and self.hub.has(one.digest) and len(self._said) < SAID_MAX:
                self._said[one.id, one.digest] = None
        if self._said:
            self._wake.set()

    def missed(self) -> None:
        """Anybody may have joined, or been called, unheard: everybody is looked at."""
        assert self.hub is not None
        for link in self.hub.known():
            self.joined(link)

    # --- telling it ------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.look()
            except (Unavailable, Overloaded) as error:
                log.debug("Places are not known now.", action="live.rooms", error=str(error))

    async def look(self) -> None:
        """Those to whom something has happened; every `LOOK_S` some of all others too."""
        assert self.hub is not None
        await self._tell_began()
        if self.lane is None or not len(self.hub):
            self._waiters.clear()
            self._new.clear()
            self._said.clear()
            return
        routes = self._guarded()
        self._tell_over(routes)
        said, self._said = self._said, {}
        asked = {(sale_id, digest): None for sale_id, digest in said if sale_id in routes}
        known: dict[tuple[int, bytes], None] = {}
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + LOOK_S
            asked.update(self._sought(routes))
            known = self._known(routes)
        try:
            await self._ask(routes, list({**asked, **known})[:ASKS_MAX])
        except (Unavailable, Overloaded):
            # Nobody says it again. Those who are known have their turn by themselves.
            self._said.update(dict.fromkeys(list(asked)[: max(SAID_MAX - len(self._said), 0)]))
            raise
        self._said.update(dict.fromkeys(list(asked)[ASKS_MAX:]))

    async def _tell_began(self) -> None:
        began = list(self._began)
        if not began:
            return
        if await self._channel.is_listened_to():
            await self._channel.tell(began, None)
        for news in began:
            self._began.pop(news, None)

    def _guarded(self) -> dict[int, ItemRoute]:
        """By sale: those with a room, or somebody who was in one."""
        assert self.lane is not None
        return {
            route.sale_id: route
            for route in self._routes()
            if route.sale_id in self._waiters or self.lane.guards(route)
        }

    def _tell_over(self, routes: dict[int, ItemRoute]) -> None:
        """Everybody of a room at once: one message, made once."""
        assert self.hub is not None
        assert self.lane is not None
        for sale_id, route in routes.items():
            why = self.lane.over(route)
            if why is None:
                self._told_over.pop(sale_id, None)
                continue
            if self._told_over.get(sale_id) == why:
                continue
            self._told_over[sale_id] = why
            frames = self._message(sale_id, self.lane.over_body(why, route))
            for digest in self._waiters.get(sale_id, ()):
                for link in self.hub.of_buyer(digest):
                    link.push_news(("room", sale_id), frames, hash(why))

    def _sought(self, routes: dict[int, ItemRoute]) -> dict[tuple[int, bytes], None]:
        """Those who have just come, in every room."""
        # Half of a look at most: those who are known have their turn too.
        new = list(self._new)[: ASKS_MAX // max(2, min(len(routes), ROOMS_MAX))]
        for digest in new:
            del self._new[digest]
        return {(sale_id, digest): None for sale_id in list(routes)[:ROOMS_MAX] for digest in new}

    def _known(self, routes: dict[int, ItemRoute]) -> dict[tuple[int, bytes], None]:
        found: dict[tuple[int, bytes], None] = {}
        for sale_id, digests in list(self._waiters.items()):
            if sale_id not in routes:
                del self._waiters[sale_id]
            elif sale_id not in self._told_over:
                found.update({(sale_id, digest): None for digest in list(digests)[:ASKS_MAX]})
        return found

    async def _ask(self, routes: dict[int, ItemRoute], asked: list[tuple[int, bytes]]) -> None:
        assert self.hub is not None
        for start in range(0, len(asked), ASK_MAX):
            part = [each for each in asked[start : start + ASK_MAX] if self.hub.has(each[1])]
            places = await self._rooms.look_all(
                [
                    RoomRequest(RoomAsk.LOOK, sale_id, routes[sale_id].starts_at_ms, digest)
                    for sale_id, digest in part
                ]
            )
            for sale_id, digest in asked[start : start + ASK_MAX]:
                self._waiters.get(sale_id, {}).pop(digest, None)
            for (sale_id, digest), place in zip(part, places, strict=True):
                if place.status is not RoomStatus.NONE:
                    # To the end: others have their turn first.
                    self._waiters.setdefault(sale_id, {})[digest] = None
                    self._push(routes[sale_id], digest, place)

    def _push(self, route: ItemRoute, digest: bytes, place: Place) -> None:
        assert self.hub is not None
        assert self.lane is not None
        if route.sale_id in self._told_over:
            why = self._told_over[route.sale_id]
            body, state = self.lane.over_body(why, route), hash(why)
        else:
            body = self.lane.render(place, route)
            state = hash((place.status, place.number, place.is_drawn, place.ahead, route.status))
        frames = self._message(route.sale_id, body)
        for link in self.hub.of_buyer(digest):
            link.push_news(("room", route.sale_id), frames, state)

    def _message(self, sale_id: int, place: bytes) -> bytes:
        data = msgspec.Raw(b'{"sale_id":"%d",%b' % (sale_id, place[1:]))
        return messages.message(KIND, self._now_ms(), data)
