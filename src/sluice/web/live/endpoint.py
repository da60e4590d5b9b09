"""`GET /v1/live`: from the handshake to the end of one connection, and what runs behind all."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]

from sluice.cache.news import News
from sluice.domain.errors import Overloaded, Unauthenticated, Unavailable
from sluice.telemetry import get_logger
from sluice.web.live.descriptors import Descriptors
from sluice.web.live.hub import Hub, Identities
from sluice.web.live.link import Link
from sluice.web.live.orders import OrderFeed
from sluice.web.live.places import PlaceFeed
from sluice.web.live.rooms import RoomFeed
from sluice.web.live.sales import SaleFeed
from sluice.web.live.sessions import SessionWatch
from sluice.web.live.wires import BorrowedWire, GranianWire
from sluice.web.metrics import Counts

PATH: Final = "/v1/live"
NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
LISTEN_EVERY_S: Final = 5.0
RETRY_S: Final = 0.5
FILES_FOR_OTHERS: Final = 1024
"""Stores, and the connections of everybody who is not live."""

CookieOf = Callable[[Any, str | None], str | None]
log = get_logger("live")


class Live:
    """One for each HTTP process."""

    def __init__(
        self,
        *,
        identities: Identities,
        now_ms: Callable[[], int],
        connections_max: int,
        sales: SaleFeed,
        orders: OrderFeed,
        places: PlaceFeed,
        rooms: RoomFeed,
        listen_on: Callable[[], Awaitable[None]],
        counts: Counts,
        cookie_of: CookieOf,
        is_alive: Callable[[bytes], Awaitable[bool]],
    ) -> None:
        """`listen_on` says for a while that somebody is connected here, and so news is wanted.
        `cookie_of` gives the session's token that came with a handshake's headers, where the page
        that opens the connection is our own; `is_alive` asks for a session again."""

        def joined(link: Link) -> None:
            orders.joined(link)
            places.joined(link)
            rooms.joined(link)
            self._somebody.set()

        self.sessions = SessionWatch(is_alive)
        """To be told of every session that ends, and when news of that ceases and begins."""
        self.hub = hub = Hub(
            identities,
            now_ms,
            connections_max=room_for(connections_max),
            joined=joined,
            asked=sales.asked,
            watch=self.sessions,
            counts=counts,
        )
        sales.hub = orders.hub = places.hub = rooms.hub = hub
        self._orders = orders
        self._places = places
        self.rooms = rooms
        self._cookie_of = cookie_of
        self._listen_on = listen_on
        self._somebody = asyncio.Event()
        self._descriptors = Descriptors()
        self.loops: Sequence[Callable[[], Awaitable[None]]] = (
            hub.run,
            sales.run,
            orders.run,
            orders.reconcile,
            places.run,
            rooms.run,
            self._want_news,
            self.sessions.run,
        )
        """To be run for as long as the process serves."""

    def heard(self, news: list[News] | None) -> None:
        """What the cache server's channel says; None where some of it may have been missed."""
        if news is None:
            self._orders.missed()
            self._places.missed()
            self.rooms.missed()
        else:
            self._orders.heard(news)
            self._places.heard(news)
            self.rooms.heard(news)

    def began_to_wait(self, item_id: int, digest: bytes) -> None:
        """Somebody has just taken a place in line, by a request to this process."""
        self._places.began(item_id, digest)

    async def close(self) -> None:
        """Everybody is told to go to another server."""
        await self.hub.close()

    async def _want_news(self) -> None:
        """As long as somebody is connected; at once for the first, who looks again when the herald
        has begun to speak. Until it is cancelled."""
        while True:
            await self._somebody.wait()
            self._somebody.clear()
            try:
                await self._listen_on()
                await asyncio.sleep(LISTEN_EVERY_S)
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            if len(self.hub):
                self._somebody.set()

    async def serve(self, scope: Any, proto: Any) -> None:
        """A WebSocket handshake, and everything after it. Never raises: whatever a client does to
        its connection is no fault of ours."""
        if scope.path != PATH:
            proto.close(NOT_FOUND)
            return
        link = self.hub.admit()
        if link is None:
            proto.close(UNAVAILABLE)
            return
        try:
            await self._look_at_cookie(scope, link)
            await self._converse(scope, proto, link)
        except (Unavailable, Overloaded):
            proto.close(UNAVAILABLE)
        except (ProtocolClosed, ProtocolError):
            log.debug("A handshake was not finished.", action="live.handshake")
        finally:
            self.hub.gone(link)

    async def _look_at_cookie(self, scope: Any, link: Link) -> None:
        """Whoever comes with one need not say who they are. One that is nobody's (any more) is
        passed over: there may still be a token. Raises `Unavailable` and `Overloaded`."""
        token = self._cookie_of(scope.headers, scope.authority)
        if token is not None:
            with suppress(Unauthenticated):
                link.claimed = await self.hub.recognise(token)

    async def _converse(self, scope: Any, proto: Any, link: Link) -> None:
        descriptor = await self._descriptors.borrow(scope)
        if descriptor is None:
            await self._by_granian(proto, link)
            return
        try:
            # Granian's object is kept, and never asked for anything: see `descriptors`.
            transport = await proto.accept()
            await _served_directly(descriptor, link)
            del transport
        finally:
            self._descriptors.give_back(descriptor)

    async def _by_granian(self, proto: Any, link: Link) -> None:
        wire = GranianWire(proto, await proto.accept(), link)
        link.attach(wire)
        # Granian may drive this coroutine without an asyncio task; waiting for several needs one.
        await asyncio.ensure_future(wire.run())


def room_for(connections: int) -> int:
    """As many of these as the limit of open files allows, when everything else has its own."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    return max(min(connections, files - FILES_FOR_OTHERS), 0)


async def _served_directly(descriptor: int, link: Link) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    wire = BorrowedWire(descriptor, link, end)
    link.attach(wire)
    try:
        await over
    finally:
        with suppress(OSError):
            wire.cut()
