"""docs/overload.md says what still answers while a store is away: each row, with the real store
stopped under the running product."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from tests.contract.ledger_proxy import Proxy
from tests.integration.test_up_elsewhere import PG_URL, _execute, missing
from tests.support.api import FOR_A_CROWD, a_sale
from tests.support.http import Client
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product, until
from tests.valkey import Valkey, running

BACK_S = 30
"""A store that is back is used again long before that."""


class Wire:
    """A `Proxy` to PostgreSQL that a test without an event loop can handle."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy("127.0.0.1", int(PG_URL.rpartition(":")[2].partition("/")[0]))
        self.start()
        self.port = self._proxy.port

    def start(self) -> None:
        self._do(self._proxy.start())

    def cut(self) -> None:
        self._do(self._proxy.cut())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)


class Bought(NamedTuple):
    order: str
    receipt: str


class Shop:
    """A running product, its stores, and a sale that is on."""

    def __init__(self, product: Product, gate: Valkey, cache: Valkey, wire: Wire) -> None:
        self.product = product
        self.gate = gate
        self.cache = cache
        self.wire = wire
        self.secret = product.identity_secret()
        self.http = Client(product.url)
        self.at_once = Client(product.url, again_on=())
        """For what is answered while a store is away."""
        _, sale = self.http.post("/v1/admin/sales", ADMIN_TOKEN, a_sale(policy=FOR_A_CROWD))
        assert self.http.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, {})[0] == 200
        self.sale, self.item = sale["id"], sale["items"][0]["id"]
        self.pass_path = f"/v1/sales/{self.sale}/items/{self.item}/pass"

    def token(self, name: str) -> str:
        return Client.token(self.secret, name)

    def buy_path(self, token: str) -> str:
        status, said = self.http.post(self.pass_path, token, {})
        assert status == 200, said
        return str(said["buy_url"])

    def buy(self, token: str) -> Bought:
        status, said = self.http.post(self.buy_path(token), token, {"quantity": 1})
        assert status == 202, said
        return Bought(said["order"]["id"], said["receipt"])

    def recorded(self, order: str, token: str) -> str:
        """Until the order is in the ledger, and this process has told of it."""
        path = f"/v1/orders/{order}"
        until(
            lambda: self.at_once.get(path, token)[1].get("state") == "awaiting_payment",
            within_s=BACK_S,
            what="the order is recorded",
        )
        return path

    def look(self) -> None:
        """What needs no store."""
        for path in (f"/v1/sales/{self.sale}", "/v1/sales", "/livez", "/metrics"):
            assert self.http.page(path) == 200, path

    def leaves_alone(self, store: str) -> None:
        """Until calls to a store end at once."""
        until(
            lambda: self.http.get("/readyz")[1]["breakers"].get(store) == "open",
            within_s=BACK_S,
            what=f"{store} is left alone",
        )
        assert f'sluice_breaker_opened_total{{store="{store}"}}' in self.http.text("/metrics")

    def sells(self, token: str) -> None:
        """Until a purchase is accepted again, with one and the same pass."""
        path = self.buy_path(token)
        until(
            lambda: self.at_once.post(path, token, {"quantity": 1})[0] == 202,
            within_s=BACK_S,
            what="it sells again",
        )


@contextmanager
def _database() -> Iterator[tuple[Wire, str]]:
    name = f"sluice_degraded_{os.getpid()}"
    try:
        asyncio.run(_execute(f"CREATE DATABASE {name}"))
    except (OSError, asyncpg.PostgresError) as error:
        missing(f"there is no PostgreSQL at {PG_URL}: {error}")
    user = PG_URL.partition("//")[2].rpartition("@")[0]
    wire = Wire()
    try:
        yield wire, f"postgresql://{user}@127.0.0.1:{wire.port}/{name}"
    finally:
        wire.close()
        asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("degraded")
    with running() as gate, running() as cache, _database() as (wire, url):
        stores = {
            "SLUICE_REDIS_URL": gate.url,
            "SLUICE_CACHE_URL": cache.url,
            "SLUICE_DATABASE_URL": url,
            # What is measured here is not how long the gate sells by itself.
            "SLUICE_GATE_LEASE_MS": "60000",
            "SLUICE_DEADLINE_MS": "2500",
            "PYTHONPATH": "",  # as impatient as it comes
        }
        with Product(folder / "data", **stores) as product:
            shop = Shop(product, gate, cache, wire)
            with shop.http, shop.at_once:
                yield shop


def test_with_the_gate_away_one_can_look_and_see_ones_orders(shop: Shop) -> None:
    ada = shop.token("ada")
    order = shop.recorded(shop.buy(ada).order, ada)
    bob = shop.token("bob")
    path = shop.buy_path(bob)
    shop.gate.send(signal.SIGSTOP)
    try:
        status, said = shop.at_once.post(path, bob, {"quantity": 1})
        assert (status, said["code"]) == (503, "unavailable")
        assert "unknown" in said["detail"], "it may have arrived"
        shop.leaves_alone("gate:0")
        shop.look()
        assert shop.http.get(order, ada)[1]["state"] == "awaiting_payment"
        assert shop.http.get("/v1/orders", ada)[0] == 200
        assert shop.http.post(shop.pass_path, shop.token("eve"), {})[0] == 200
        until(
            lambda: "not asked" in shop.at_once.post(path, bob, {"quantity": 1})[1]["detail"],
            within_s=BACK_S,
            what="a purchase ends at once, and says that it did not reach the gate",
        )
        assert shop.http.get("/readyz")[1]["shards"] == [{"shard": 0, "gate": "away"}]
    finally:
        shop.gate.send(signal.SIGCONT)
    until(
        lambda: shop.at_once.post(path, bob, {"quantity": 1})[0] == 202,
        within_s=BACK_S,
        what="the same pass buys when the gate is back",
    )


def test_with_the_cache_away_who_is_known_goes_on(shop: Shop) -> None:
    mei = somebody(shop.product, "mei")
    order = shop.buy(mei).order
    path = shop.recorded(order, mei)
    stranger = somebody(shop.product, "stranger")
    shop.cache.send(signal.SIGSTOP)
    try:
        until(
            lambda: shop.at_once.get(path, stranger)[0] == 503,
            within_s=BACK_S,
            what="a session that was never looked up is not known",
        )
        shop.leaves_alone("cache")
        shop.look()
        assert shop.http.get(path, mei)[0] == 200
        assert shop.http.get("/v1/orders", mei)[0] == 200
        assert shop.at_once.get("/v1/sessions", mei)[0] == 503, "not what only the store can tell"
        assert shop.http.post(shop.pass_path, mei, {})[0] == 200
        shop.buy(shop.token("ned"))
    finally:
        shop.cache.send(signal.SIGCONT)
    until(
        lambda: shop.at_once.get("/v1/sessions", stranger)[0] == 200,
        within_s=BACK_S,
        what="sessions are known again",
    )


def test_with_the_ledger_away_it_sells_on_and_claims_no_more_than_it_knows(shop: Shop) -> None:
    kim, lou = shop.token("kim"), shop.token("lou")
    known = shop.recorded(shop.buy(kim).order, kim)
    assert shop.http.get("/v1/sales")[0] == 200
    shop.wire.cut()
    try:
        until(
            lambda: shop.http.get("/readyz")[1]["ledger"] == "away",
            within_s=BACK_S,
            what="the ledger is away",
        )
        shop.look()
        bought = shop.buy(lou)
        status, told = shop.http.get(known, kim)
        assert (status, told["state"]) == (200, "awaiting_payment"), "as it was last told"
        path = f"/v1/orders/{bought.order}"
        for receipt in ({}, {"sluice_receipt": bought.receipt}):
            status, said = shop.at_once.get(path, lou, **receipt)
            assert (status, said["code"]) == (503, "unavailable"), "nor `queued`: who knows?"
            assert "nothing of it is lost" in said["detail"]
        status, said = shop.at_once.get(path, kim)
        assert "nothing of it is lost" not in said["detail"], "nobody else's order"
        shop.leaves_alone("ledger:reading")
    finally:
        shop.wire.start()
    shop.recorded(bought.order, lou)
    shop.sells(shop.token("max"))
    assert shop.http.get("/v1/admin/audit", ADMIN_TOKEN)[1]["ok"] is True
