"""The waiting room of a running product: HTTP, live connections, the pacer, and what kills it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.polling import until_it_is
from tests.support.http import Client
from tests.support.live import LiveClient, live
from tests.support.product import ADMIN_TOKEN, Product, until

from sluice.admission.challenges.tokens import Tokens
from sluice.cache.server import CacheServer
from sluice.cache.waiting_room import RoomCells
from sluice.domain.waiting_room import CALL_S
from sluice.settings import Settings

names = itertools.count(1)
WITHIN_S = 30.0
PAST, FUTURE = "2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z"
FAST = {"enabled": True, "admit_per_second": 1000}
CLOSED = {"enabled": True, "admit_per_second": 0.1, "active_max": 1}


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@dataclass
class Drop:
    """A published sale with a waiting room, and its buyers."""

    product: Product
    http: Client
    id: str
    item: str

    @property
    def path(self) -> str:
        return f"/v1/sales/{self.id}/waiting-room"

    def buyer(self) -> str:
        return self.http.token(self.product.identity_secret(), f"waits-{next(names)}")

    def join(self, token: str, body: Any = None) -> tuple[int, Any]:
        return self.http.post(self.path, token, body or {})

    def place(self, token: str) -> Any:
        status, place = self.http.get(self.path, token)
        assert status == 200, place
        return place

    def leave(self, token: str) -> int:
        return self.http.send("DELETE", self.path, token, None, {})[0]

    def ask(self, token: str, body: Any = None) -> tuple[int, Any]:
        return self.http.post(f"/v1/sales/{self.id}/items/{self.item}/pass", token, body or {})

    def buy(self, token: str) -> tuple[int, Any]:
        status, given = self.ask(token)
        assert status == 200, given
        return self.http.post(given["buy_url"], token, {"quantity": 1})

    def is_in(self, token: str) -> bool:
        return bool(self.place(token)["status"] == "admitted")

    def until_in(self, token: str) -> None:
        until(lambda: self.is_in(token), within_s=WITHIN_S, what="the buyer's turn", every_s=0.2)

    def admin(self, step: str, body: Any, **headers: str) -> tuple[int, Any]:
        path = f"/v1/admin/sales/{self.id}/{step}"
        return self.http.post(path, ADMIN_TOKEN, body, **headers)

    def live(self) -> Any:
        status, told = self.http.get(f"/v1/admin/sales/{self.id}/live", ADMIN_TOKEN)
        assert status == 200, told
        return told["waiting_room"]


def open_drop(product: Product, http: Client, room: Any, **changes: Any) -> Drop:
    policy = {
        "limits": {"per_buyer_per_minute": 1000, "per_address_per_minute": 1_000_000},
        "waiting_room": room,
        **changes.pop("policy", {}),
    }
    price = {"amount": "0.00" if changes.pop("free", False) else "9.90", "currency": "CNY"}
    item = {"title": "Teapot", "price": price, "stock": changes.pop("stock", 5)}
    body = {"title": "Drop", "starts_at": PAST, "ends_at": FUTURE, "items": [item], **changes}
    status, sale = http.post("/v1/admin/sales", ADMIN_TOKEN, {**body, "policy": policy})
    assert status == 201, sale
    drop = Drop(product, http, sale["id"], sale["items"][0]["id"])
    status, answer = drop.admin("publish", {})
    assert status == 200, answer
    return drop


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("room") / "data"
    with Product(folder, "--workers", "2") as running:
        yield running


@pytest.fixture
def http(product: Product) -> Iterator[Client]:
    with Client(product.url) as client:
        yield client


def test_a_sale_without_a_room_needs_none(product: Product, http: Client) -> None:
    drop = open_drop(product, http, {})
    token = drop.buyer()
    assert drop.join(token)[1]["status"] == "not_needed"
    assert drop.place(token)["status"] == "not_needed"
    assert drop.ask(token)[0] == 200
    assert drop.live() is None


def test_it_opens_some_time_before_the_start_and_draws_at_the_start(
    product: Product, http: Client
) -> None:
    far = open_drop(product, http, FAST, starts_at=soon(7200))
    status, problem = far.join(far.buyer())
    assert (status, problem["code"]) == (403, "not_started")
    assert problem["opens_at"] < problem["starts_at"]
    drop = open_drop(product, http, CLOSED, starts_at=soon(8))
    tokens = [drop.buyer() for _ in range(6)]
    for number, token in enumerate(tokens, 1):
        status, place = drop.join(token)
        assert (status, place["number"], place["shuffled"]) == (201, number, True)
        assert (place["position"], place["ahead"], place["eta_seconds"]) == (None, None, None)
        assert place["poll_after_ms"] >= 1000
    assert drop.ask(tokens[0])[1]["code"] == "not_started"
    until(lambda: drop.live()["active"] == 1, within_s=WITHIN_S, what="one is in")

    def all_know() -> bool:
        """Each process has heard that one is in; until then it tells the place of before."""
        places = [drop.place(token) for token in tokens]
        waiting = [place["position"] for place in places if place["status"] == "waiting"]
        return sorted(waiting, key=str) == [1, 2, 3, 4, 5]

    until(all_know, within_s=WITHIN_S, what="places one to five")
    status, late = drop.join(drop.buyer())
    assert (status, late["shuffled"], late["ahead"]) == (201, False, 5)


def test_who_asks_for_a_pass_waits_for_their_turn_and_then_gets_it(
    product: Product, http: Client
) -> None:
    drop = open_drop(product, http, FAST)
    token = drop.buyer()
    status, place = drop.ask(token)
    assert (status, place["status"], place["position"]) == (202, "waiting", 1)
    assert place["poll_after_ms"] >= 72
    drop.until_in(token)
    assert parse(drop.place(token)["admitted_until"]) > datetime.now(UTC)
    status, order = drop.buy(token)
    assert (status, order["order"]["state"]) == (202, "queued")


def test_who_polls_the_pass_hears_their_call_whatever_passes_are_limited_to(
    product: Product, http: Client
) -> None:
    limits = {"per_buyer_per_minute": 1, "per_address_per_minute": None}
    drop = open_drop(product, http, {**FAST, "active_max": 1}, policy={"limits": limits})
    first, token = drop.buyer(), drop.buyer()
    drop.join(first)
    drop.until_in(first)
    status, place = drop.ask(token)
    assert (status, place["status"]) == (202, "waiting")
    assert 24_000 <= place["poll_after_ms"] <= CALL_S * 1000 / 2
    assert drop.ask(token)[0] == 202, "who comes when they are told to is not refused"
    assert drop.leave(first) == 204
    drop.until_in(token)
    assert drop.ask(token)[0] == 200
    assert [drop.ask(token)[0] for _ in range(3)][-1] == 429, "passes are limited as ever"


def parse(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_place_is_the_buyers_on_every_device_until_they_leave(
    product: Product, http: Client
) -> None:
    drop = open_drop(product, http, CLOSED)
    first, second = drop.buyer(), drop.buyer()
    drop.join(first)
    drop.until_in(first)
    assert drop.join(second)[0] == 201
    for _ in range(6):  # other connections come to the other process too
        with Client(product.url) as elsewhere:
            status, place = elsewhere.post(drop.path, second, {})
            assert (status, place["number"]) == (200, 2)
    assert drop.place(second)["position"] == 1
    assert drop.leave(second) == 204
    assert drop.leave(second) == 204
    assert http.get(drop.path, second)[0] == 404
    assert drop.join(second)[1]["number"] == 3


def test_only_so_many_are_in_at_once(product: Product, http: Client) -> None:
    drop = open_drop(product, http, {**FAST, "active_max": 2}, stock=50)
    tokens = [drop.buyer() for _ in range(6)]
    for token in tokens:
        drop.join(token)
    until(lambda: drop.live()["active"] == 2, within_s=WITHIN_S, what="two are in")
    inside = [token for token in tokens if drop.is_in(token)]
    assert len(inside) == 2
    assert drop.buy(inside[0])[0] == 202
    until(lambda: drop.live()["admitted"] == 3, within_s=WITHIN_S, what="a third")
    assert drop.live()["active"] == 2


def test_no_more_come_in_than_the_stock_can_serve(product: Product, http: Client) -> None:
    drop = open_drop(product, http, {**FAST, "factor": 1.0}, stock=3)
    tokens = [drop.buyer() for _ in range(8)]
    for token in tokens:
        drop.join(token)
    until(lambda: drop.live()["active"] == 3, within_s=WITHIN_S, what="three are in")
    buyer = next(token for token in tokens if drop.is_in(token))
    assert drop.buy(buyer)[0] == 202
    # Two units are left for the two who are in: nobody else comes for them.
    until(lambda: drop.live()["active"] == 2, within_s=WITHIN_S, what="two are in")
    assert drop.live()["admitted"] == 3


def test_while_units_may_return_they_wait_and_then_it_is_over_for_all(
    product: Product, http: Client
) -> None:
    drop = open_drop(product, http, FAST, stock=1, policy={"waitlist": False})
    winner, loser = drop.buyer(), drop.buyer()
    drop.join(winner)
    drop.until_in(winner)
    status, accepted = drop.buy(winner)
    assert status == 202
    drop.join(loser)
    assert drop.place(loser)["status"] == "waiting"
    order = f"/v1/orders/{accepted['order']['id']}"
    until(
        lambda: http.get(order, winner)[1]["state"] == "awaiting_payment",
        within_s=WITHIN_S,
        what="the order is recorded",
    )
    assert http.post(f"{order}/cancel", winner, {})[0] == 200
    drop.until_in(loser)
    drop.admin("close", {})
    until(lambda: drop.place(loser)["status"] == "over", within_s=WITHIN_S, what="over")
    assert drop.place(loser)["reason"] == "ended"


def test_when_everything_is_sold_everybody_is_told(product: Product, http: Client) -> None:
    drop = open_drop(product, http, FAST, stock=1, free=True)
    winner, loser = drop.buyer(), drop.buyer()
    drop.join(winner)
    drop.until_in(winner)
    drop.admin("pace", {"active_max": 1, "admit_per_second": 0.1})
    drop.join(loser)
    assert drop.buy(winner)[0] == 202
    until(lambda: drop.place(loser)["status"] == "over", within_s=WITHIN_S, what="over")
    over = drop.place(loser)
    assert (over["reason"], over["position"]) == ("sold_out", None)
    assert drop.join(drop.buyer())[1]["status"] == "over"


def test_a_pause_keeps_the_places(product: Product, http: Client) -> None:
    drop = open_drop(product, http, FAST)
    drop.admin("pause", {"reason": 'A "price" was wrong.'})
    token = drop.buyer()
    until(lambda: drop.ask(token)[1].get("code") == "paused", within_s=WITHIN_S, what="paused")
    status, place = drop.join(token)
    assert (status, place["status"], place["reason"]) == (201, "waiting", "paused")
    assert place["detail"] == 'A "price" was wrong.'
    drop.admin("resume", {})
    drop.until_in(token)


def test_the_challenge_is_asked_for_the_place_and_not_again(product: Product, http: Client) -> None:
    drop = open_drop(product, http, FAST, starts_at=soon(5), policy={"challenge": "arithmetic"})
    token, other = drop.buyer(), drop.buyer()
    assert drop.join(token)[1]["code"] == "challenge_failed"
    kept = json.loads((product.data / "secrets.json").read_text())
    keys = [key.encode() for key in kept["secret_keys"]]
    status, challenge = http.get(f"/v1/sales/{drop.id}/challenge", token)
    assert status == 200, challenge
    given = Tokens(keys).open(challenge["challenge_id"])
    assert given is not None
    body = {"challenge_id": challenge["challenge_id"], "answer": str(given.answer)}
    assert drop.join(other, body)[1]["code"] == "challenge_failed"
    assert drop.join(token, body)[0] == 201
    assert drop.join(token)[0] == 200
    drop.until_in(token)
    assert drop.buy(token)[0] == 202
    assert drop.ask(other)[1]["code"] == "challenge_failed"


def test_only_guests_come_into_the_room_of_an_invited_sale(product: Product, http: Client) -> None:
    drop = open_drop(product, http, FAST, policy={"invite_only": True})
    token = drop.buyer()
    assert drop.join(token)[1]["code"] == "not_allowed"
    assert drop.admin("codes", {"code": f"COME IN {drop.id}", "uses": 1, "priority": 4})[0] == 201
    invited = http.post(f"/v1/sales/{drop.id}/invitation", token, {"code": f"come in {drop.id}"})
    assert invited[0] == 200
    assert drop.join(token)[0] == 201
    drop.until_in(token)


def test_a_priority_puts_its_buyer_ahead(product: Product, http: Client) -> None:
    drop = open_drop(product, http, CLOSED)
    assert drop.admin("codes", {"code": f"FRIENDS {drop.id}", "uses": 9, "priority": 4})[0] == 201
    first, waits, friend = drop.buyer(), drop.buyer(), drop.buyer()
    drop.join(first)
    drop.until_in(first)
    drop.join(waits)
    assert drop.join(friend)[1]["position"] == 2
    http.post(f"/v1/sales/{drop.id}/invitation", friend, {"code": f"FRIENDS {drop.id}"})
    assert drop.join(friend)[1]["position"] == 1
    assert drop.place(waits)["position"] == 2


def test_an_operator_changes_the_pace_of_a_live_sale(product: Product, http: Client) -> None:
    drop = open_drop(product, http, CLOSED, stock=50)
    tokens = [drop.buyer() for _ in range(4)]
    for token in tokens:
        drop.join(token)
    until(lambda: drop.live()["active"] == 1, within_s=WITHIN_S, what="one is in")
    assert drop.live()["waiting"] == 3
    assert drop.live()["mode"] == "fixed"
    body = {"admit_per_second": None, "active_max": None}
    status, pace = drop.admin("pace", body, Idempotency_Key="pace-1")
    assert (status, pace) == (200, {"sale_id": drop.id, **body})
    until(lambda: drop.live()["admitted"] == 4, within_s=WITHIN_S, what="all are in")
    assert drop.live()["mode"] == "automatic"
    drop.admin("pace", {"active_max": 7})
    again = drop.admin("pace", body, Idempotency_Key="pace-1")
    assert again == (200, pace)
    shown = http.get(f"/v1/admin/sales/{drop.id}", ADMIN_TOKEN)[1]["policy"]["waiting_room"]
    assert (shown["active_max"], shown["opens_before_seconds"]) == (7, 600)
    assert drop.admin("pace", {"active_max": 0})[0] == 422
    assert drop.admin("pace", {"speed": 1})[0] == 422
    assert open_drop(product, http, {}).admin("pace", {"active_max": 1})[0] == 409
    trail = http.get("/v1/admin/actions", ADMIN_TOKEN)[1]["data"]
    assert any("pace" in action["action"] for action in trail)


async def test_whoever_is_connected_is_told(product: Product, http: Client) -> None:
    drop = open_drop(product, http, CLOSED, stock=1, free=True)
    first, second = drop.buyer(), drop.buyer()
    async with live(product.port, first) as one, live(product.port, second) as two:
        drop.join(first)
        assert (await place_of(drop, one, "admitted"))["number"] == 1
        drop.join(second)
        assert (await place_of(drop, two, "waiting"))["position"] == 1
        assert drop.buy(first)[0] == 202
        assert (await place_of(drop, two, "over"))["reason"] == "sold_out"
    async with live(product.port, second) as again:
        assert (await place_of(drop, again, "over"))["reason"] == "sold_out"


async def place_of(drop: Drop, client: LiveClient, status: str) -> Any:
    message = await client.until(
        lambda heard: (
            heard["type"] == "waiting_room.position"
            and heard["data"]["sale_id"] == drop.id
            and heard["data"]["status"] == status
        )
    )
    return message["data"]


async def test_the_load_can_ask_for_a_room_that_the_policy_does_not(
    product: Product, http: Client
) -> None:
    drop = open_drop(product, http, {})
    server = CacheServer.from_url(Settings.read({}, product.data).cache_server_url)
    cells = RoomCells(server)
    try:
        token = drop.buyer()

        async def waits() -> bool:
            await cells.engage([int(drop.id)])
            return drop.ask(token)[0] == 202

        await until_it_is(waits, WITHIN_S)
        assert drop.live()["waiting"] == 1
        await cells.engage([])

        async def needs_none() -> bool:
            return drop.ask(token)[0] == 200

        await until_it_is(needs_none, WITHIN_S)
    finally:
        await server.close()


@pytest.mark.verify
def test_a_pacer_that_is_killed_is_followed_by_another(product: Product, http: Client) -> None:
    drop = open_drop(product, http, {**FAST, "admit_per_second": 1}, stock=50)
    tokens = [drop.buyer() for _ in range(5)]
    for token in tokens:
        drop.join(token)
    drop.until_in(tokens[0])
    product.kill("work")
    drop.until_in(tokens[4])
    assert drop.live()["admitted"] == 5


@pytest.mark.verify
def test_while_the_cache_server_is_away_nobody_else_comes_in(tmp_path: Any) -> None:
    with Product(tmp_path / "data", PYTHONPATH="") as product, Client(product.url) as http:
        drop = open_drop(product, http, FAST)
        inside, outside = drop.buyer(), drop.buyer()
        drop.join(inside)
        drop.until_in(inside)
        assert drop.buy(inside)[0] == 202
        product.pause("cache.sock")
        try:
            with Client(product.url, again_on=("overloaded",)) as at_once:
                asks = replace(drop, http=at_once)
                for status, problem in (asks.join(outside), asks.ask(outside)):
                    assert (status, problem["code"]) == (503, "unavailable")
            # Whose turn it is known to be goes on, and selling is as exact as ever.
            status, answer = drop.ask(inside)
            assert status == 200, answer
            status, answer = http.post(answer["buy_url"], inside, {"quantity": 1})
            assert (status, answer["code"]) == (409, "limit_reached")
        finally:
            product.resume("cache.sock")
        until(lambda: drop.join(outside)[0] in (200, 201), within_s=WITHIN_S, what="it is back")
        drop.until_in(outside)
