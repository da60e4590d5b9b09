"""A `Live` behind a real Granian in this process, with stores made of plain dicts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sluice.accounts.csrf import Csrf
from sluice.accounts.identity import Identity, buyer_digest
from sluice.cache.news import News
from sluice.catalog.snapshots import ItemRoute, Shown
from sluice.catalog.view import render_order
from sluice.domain.errors import CacheUnavailable, LedgerUnavailable, Unauthenticated
from sluice.domain.log import ItemTotals
from sluice.domain.money import Money
from sluice.domain.order import HistoryEntry, Order, OrderState
from sluice.gate.wire import Place, Waiter
from sluice.waiting import InLine
from sluice.web.credentials import Credentials
from sluice.web.live.endpoint import Live
from sluice.web.live.orders import OrderFeed
from sluice.web.live.places import PlaceFeed
from sluice.web.live.rooms import RoomFeed
from sluice.web.live.sales import SaleFeed
from sluice.web.metrics import Counts
from tests.support.granian import serving
from tests.support.live import LiveClient

FAR_S = 4_000_000_000


def identity(name: str, expires_at_s: int = FAR_S) -> Identity:
    return Identity(name, buyer_digest(name.encode()), b"b" * 16, expires_at_s)


class Doors:
    """A token is the buyer's name, `NAME until SECOND`, or `bad`."""

    def __init__(self) -> None:
        self.away = False
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    def of_bearer(self, token: str, now_s: int, /) -> Identity | None:
        name, _, until = token.partition(" until ")
        known = identity(name, int(until or FAR_S))
        if name == "bad" or known.expires_at_s <= now_s:
            raise Unauthenticated
        return None if name.startswith(("slow-", "st_")) else known

    async def of_bearer_slow(self, token: str, now_s: int, /) -> Identity:
        await asyncio.sleep(0)
        if self.away:
            raise CacheUnavailable
        self.asked.set()
        await self.may_answer.wait()
        if token == "slow-bad":
            raise Unauthenticated
        return identity(token)


class Books:
    """Orders and sales as the stores would tell them."""

    def __init__(self) -> None:
        self.by_number: dict[int, Order] = {}
        self.sales: dict[int, dict[str, Any]] = {}
        self.away = False
        self.reads = 0

    def order(self, number: int, buyer: str, state: OrderState) -> Order:
        order = Order(
            number=number,
            sale_id=1,
            item_id=2,
            buyer=buyer,
            quantity=1,
            amount=Money(990, "CNY"),
            state=state,
            placed_at_ms=1_795_000_000_000,
            history=[HistoryEntry(state=state, at_ms=1_795_000_000_000)],
        )
        self.by_number[number] = order
        return order

    async def orders(self, numbers: Sequence[int], /) -> dict[int, Order]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise LedgerUnavailable
        return {n: self.by_number[n] for n in numbers if n in self.by_number}

    async def newest_numbers(self, buyers: Sequence[str], each: int, /) -> dict[str, list[int]]:
        if self.away:
            raise LedgerUnavailable
        orders = self.by_number.values()
        return {b: sorted(o.number for o in orders if o.buyer == b)[-each:] for b in buyers}

    def sale(self, sale_id: int, state: str, *items: tuple[int, str, int]) -> None:
        self.sales[sale_id] = {
            "id": str(sale_id),
            "state": state,
            "starts_at": "2026-01-01T00:00:00.000Z",
            "ends_at": "2080-01-01T00:00:00.000Z",
            "items": [
                {"id": str(i), "state": told, "stock": 50, "remaining_hint": left}
                for i, told, left in items
            ],
        }

    async def shown(self, sale_id: int, /) -> Shown | None:
        if self.away:
            raise LedgerUnavailable
        if sale_id not in self.sales:
            return None
        whole = json.dumps(self.sales[sale_id]).encode()
        return Shown(whole[:-1], str(hash(whole)), b"")


class NoLines:
    """A gate in which nobody waits, and a channel that nobody hears."""

    async def totals(self, shard: int, item_ids: Sequence[int], /) -> list[ItemTotals]:
        return []

    async def waitlist_places(self, shard: int, waiters: list[Waiter], /) -> list[Place]:
        return []

    async def tell(self, news: Sequence[News], until: int | None, /) -> None: ...

    async def is_listened_to(self) -> bool:
        return False

    async def places(self, buyers: Sequence[Identity], route: ItemRoute, /) -> list[InLine | None]:
        raise AssertionError("nobody waits")

    async def waited_for(self, item_ids: Sequence[int], /) -> set[int]:
        return set()


class LiveShop:
    def __init__(self, connections_max: int) -> None:
        self.counts = Counts()
        self.doors = Doors()
        self.books = Books()
        self.now_ms = 1_795_000_000_000
        self.sales = SaleFeed(self.books, self.clock)
        self.orders = OrderFeed(self.books, render_order, self.clock)
        nobody = NoLines()
        self.live = Live(
            identities=self.doors,
            now_ms=self.clock,
            connections_max=connections_max,
            sales=self.sales,
            orders=self.orders,
            places=PlaceFeed(
                nobody, nobody, lambda: [], lambda _: None, nobody, lambda _: {}, self.clock
            ),
            rooms=RoomFeed(cast(Any, nobody), nobody, list, self.clock),
            listen_on=self.listen_on,
            counts=self.counts,
            cookie_of=Credentials(Csrf([b"k" * 32]), "").socket_token,
            is_alive=self.is_alive,
        )
        self.hub = self.live.hub
        self.port = 0
        self.listened_on = 0
        self.ended: set[bytes] = set()
        """Digests of sessions that are over."""
        self._clients: list[LiveClient] = []

    async def listen_on(self) -> None:
        self.listened_on += 1

    def clock(self) -> int:
        return self.now_ms

    async def is_alive(self, digest: bytes) -> bool:
        await asyncio.sleep(0)
        if self.doors.away:
            raise CacheUnavailable
        return digest not in self.ended

    async def knock(self, path: str = "/v1/live", **headers: str) -> LiveClient:
        """A connection on which nothing was said yet. Raises `Refused`."""
        client = await LiveClient.connect(self.port, path, **headers)
        self._clients.append(client)
        return client

    async def enter(self, token: str, *topics: str) -> LiveClient:
        client = await self.knock()
        client.say({"token": token})
        assert (await client.hear())["type"] == "ready"
        for topic in topics:
            client.say({"subscribe": topic})
        return client

    async def close(self) -> None:
        for client in self._clients:
            client.abort()
        await asyncio.gather(
            *(client.writer.wait_closed() for client in self._clients), return_exceptions=True
        )
        await self.live.close()

    async def serve(self, scope: Any, proto: Any) -> None:
        await self.live.serve(scope, proto)


@asynccontextmanager
async def live_shop(connections_max: int = 1000) -> AsyncIterator[LiveShop]:
    shop = LiveShop(connections_max)
    async with serving(shop.serve) as url:
        shop.port = int(url.rpartition(":")[2])
        loops = [asyncio.ensure_future(loop()) for loop in shop.live.loops]
        try:
            yield shop
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await shop.close()
