"""Live push of the whole product, with two HTTP processes and everything behind them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.api import a_sale
from tests.support.http import Client
from tests.support.live import LiveClient, Refused, live
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product

CONNECTIONS = 6
"""So many of one buyer are hardly ever all taken by one of two processes."""


class Shop:
    def __init__(self, product: Product) -> None:
        self.product = product
        self.secret = product.identity_secret()

    def token(self, buyer: str) -> str:
        return Client.token(self.secret, buyer)

    async def ask(
        self, method: str, path: str, token: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        def send() -> tuple[int, Any]:
            with Client(self.product.url) as client:
                return client.send(method, path, token, body, headers)

        return await asyncio.to_thread(send)

    async def open_sale(self, **changes: Any) -> tuple[str, str]:
        status, sale = await self.ask("POST", "/v1/admin/sales", ADMIN_TOKEN, a_sale(**changes))
        assert status == 201, sale
        path = f"/v1/admin/sales/{sale['id']}/publish"
        assert (await self.ask("POST", path, ADMIN_TOKEN, {}))[0] == 200
        return sale["id"], sale["items"][0]["id"]

    async def buy(self, buyer: str, sale: str, item: str) -> str:
        """The order's id. Each process hears of a new sale in its own time."""
        token = self.token(buyer)
        async with asyncio.timeout(60):
            while True:
                path = f"/v1/sales/{sale}/items/{item}/pass"
                status, passed = await self.ask("POST", path, token, {})
                if status == 200:
                    status, bought = await self.ask("POST", passed["buy_url"], token, {})
                    if status == 202:
                        return str(bought["order"]["id"])
                await asyncio.sleep(0.05)

    async def order(self, buyer: str, number: str) -> Any:
        """As polling tells it."""
        status, order = await self.ask("GET", f"/v1/orders/{number}", self.token(buyer))
        assert status == 200
        del order["poll_after_ms"]
        return order

    @asynccontextmanager
    async def everywhere(self, buyer: str, *topics: str) -> AsyncIterator[list[LiveClient]]:
        """Connections of one buyer, spread over the processes as it comes."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(live(self.product.port, self.token(buyer), *topics))
                for _ in range(CONNECTIONS)
            ]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("live") / "data", "--workers", "2") as running:
        yield running


@pytest.fixture
def shop(product: Product) -> Shop:
    return Shop(product)


async def test_an_order_is_heard_of_by_every_connection_of_its_buyer_and_by_no_other(
    shop: Shop,
) -> None:
    sale, item = await shop.open_sale()
    async with shop.everywhere("mei") as mine, live(shop.product.port, shop.token("li")) as other:
        number = await shop.buy("mei", sale, item)
        heard = [await client.until("order.awaiting_payment") for client in mine]
        polled = await shop.order("mei", number)
        assert [each["data"] for each in heard] == [polled] * CONNECTIONS

        status, _ = await shop.ask("POST", f"/v1/orders/{number}/cancel", shop.token("mei"), {})
        assert status == 200
        last = [await client.until("order.cancelled") for client in mine]
        polled = await shop.order("mei", number)
        assert [each["data"] for each in last] == [polled] * CONNECTIONS

        others = await shop.buy("li", sale, item)
        assert (await other.hear())["data"]["id"] == others


async def test_a_session_is_heard_until_it_ends(shop: Shop) -> None:
    """By its token, or by its cookie from our own page; and in either process."""
    token = await asyncio.to_thread(somebody, shop.product, "wei")
    own = {"Cookie": f"sluice={token}", "Host": f"127.0.0.1:{shop.product.port}"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(live(shop.product.port, token))
            for _ in range(CONNECTIONS)
        ]
        page = await LiveClient.connect(shop.product.port, **own, Origin=shop.product.url)
        stack.push_async_callback(page.close)
        assert (await page.hear())["type"] == "ready"
        assert (await shop.ask("DELETE", "/v1/session", token))[0] == 204
        endings = await asyncio.gather(*(client.ending() for client in (*clients, page)))
    assert {ending.code for ending in endings} == {4401}


async def test_whoever_comes_back_is_told_how_things_stand(shop: Shop) -> None:
    sale, item = await shop.open_sale()
    number = await shop.buy("wang", sale, item)
    async with live(shop.product.port, shop.token("wang")) as client:
        heard = await client.until("order.awaiting_payment")
        assert heard["data"] == await shop.order("wang", number)


async def test_a_change_of_a_sale_reaches_all_who_subscribed(shop: Shop) -> None:
    sale, item = await shop.open_sale(items=[_item(stock=1)])
    async with shop.everywhere("zhao", f"sale:{sale}") as clients:
        for client in clients:
            assert (await client.until("sale.state"))["data"]["state"] == "live"
            assert (await client.until("item.state"))["data"]["state"] == "available"
        await shop.buy("qian", sale, item)
        for client in clients:
            held = await client.until(lambda heard: heard["data"].get("state") == "held")
            assert held["data"]["remaining_hint"] == 0
        path = f"/v1/admin/sales/{sale}/pause"
        assert (await shop.ask("POST", path, ADMIN_TOKEN, {"reason": "Rain."}))[0] == 200
        for client in clients:
            paused = await client.until("sale.state")
            assert (paused["data"]["state"], paused["data"]["pause_reason"]) == ("paused", "Rain.")


async def test_a_place_in_line_moves_up_and_becomes_an_order(shop: Shop) -> None:
    sale, item = await shop.open_sale(items=[_item(stock=1)])
    number = await shop.buy("holder", sale, item)
    line = f"/v1/sales/{sale}/items/{item}/waitlist"
    for buyer in ("first", "second"):
        assert (await shop.ask("POST", line, shop.token(buyer), {}))[0] == 201
    async with shop.everywhere("second") as seconds, shop.everywhere("first") as firsts:
        for place, clients in enumerate((firsts, seconds), 1):
            for client in clients:
                heard = await client.until("waitlist.position")
                assert heard["data"]["entry"]["position"] == place
        await shop.ask("POST", f"/v1/orders/{number}/cancel", shop.token("holder"), {})
        for client in firsts:
            promoted = await client.until("waitlist.promoted")
            mine = promoted["data"]["order"]["id"]
            await client.until("order.awaiting_payment")
            entry = await client.until("waitlist.position")
            assert entry["data"]["entry"]["order_id"] == mine
        for client in seconds:
            heard = await client.until("waitlist.position")
            assert heard["data"]["entry"]["position"] == 1
        _, polled = await shop.ask("GET", line, shop.token("second"))
        assert heard["data"]["entry"] == polled["entry"]
        assert polled["poll_after_ms"] > 0


async def test_what_is_no_handshake_is_the_clients_mistake_and_no_news_for_the_log(
    shop: Shop,
) -> None:
    before = len(_faults(shop.product))
    for status, headers in (
        (400, {"Sec_WebSocket_Key": None}),
        (400, {"Sec_WebSocket_Version": "8"}),
        (426, {"Upgrade": None}),
        (426, {"Upgrade": None, "Connection": None}),
    ):
        with pytest.raises(Refused) as refused:
            await LiveClient.connect(shop.product.port, **headers)
        assert refused.value.status == status, headers
    with pytest.raises(Refused) as refused:
        await LiveClient.connect(shop.product.port, "/v1/nothing")
    assert refused.value.status == 404
    client = await LiveClient.connect(shop.product.port)
    client.abort()
    async with live(shop.product.port, shop.token("still here")):
        assert len(_faults(shop.product)) == before


async def test_when_the_herald_is_killed_another_tells_what_it_had_not(shop: Shop) -> None:
    sale, item = await shop.open_sale()
    async with shop.everywhere("sun") as clients:
        await asyncio.to_thread(shop.product.kill, "work", signal.SIGKILL)
        number = await shop.buy("sun", sale, item)
        for client in clients:
            assert (await client.until("order.awaiting_payment"))["data"]["id"] == number


async def test_when_the_cache_server_was_away_nothing_that_matters_is_missed(shop: Shop) -> None:
    sale, item = await shop.open_sale()
    async with shop.everywhere("zhou", f"sale:{sale}") as clients:
        await asyncio.to_thread(shop.product.kill, "cache.sock", signal.SIGKILL)
        number = await shop.buy("zhou", sale, item)
        for client in clients:
            assert (await client.until("order.awaiting_payment"))["data"]["id"] == number


async def test_a_stop_says_goodbye(tmp_path: Path) -> None:
    product = Product(tmp_path / "data")
    product.start()
    client = await LiveClient.connect(product.port)
    client.say({"token": Client.token(product.identity_secret(), "mei")})
    assert (await client.hear())["type"] == "ready"
    ending = asyncio.ensure_future(client.ending())
    assert await asyncio.to_thread(product.stop) == 0
    assert (await ending).code == 1001
    assert not _faults(product)
    await client.close()


def _faults(product: Product) -> list[str]:
    """What the HTTP processes call errors."""
    lines = product.log().splitlines()
    ours = ('"process": "http"', '"process": "serve"')
    return [
        line
        for line in lines
        if "Traceback" in line or ('"error"' in line and any(name in line for name in ours))
    ]


def _item(stock: int) -> dict[str, Any]:
    return {"title": "Teapot", "price": {"amount": "399.00", "currency": "CNY"}, "stock": stock}
