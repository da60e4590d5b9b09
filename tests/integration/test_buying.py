"""Buying over HTTP from a running product: who gets what answer, first and ever after."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.granian import connection
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until

from sluice.admission.passes import Passes
from sluice.catalog.view import render_order
from sluice.domain.money import Money
from sluice.domain.order import HistoryEntry, Order, OrderState
from sluice.domain.times import parse_time

names = itertools.count(1)
PAST, FUTURE = "2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z"


@dataclass
class Shop:
    """A client of the product, with what a merchant and a shop's buyers can do."""

    product: Product
    http: Client

    def buyer(self) -> str:
        """A token of a buyer whom nobody has seen before."""
        return self.http.token(self.product.identity_secret(), f"buyer-{next(names)}")

    def open(self, *, stock: int = 5, per_buyer: int = 1, **changes: Any) -> Sold:
        item = {
            "title": "Teapot",
            "price": {"amount": "9.90", "currency": "CNY"},
            "stock": stock,
            "per_buyer": per_buyer,
        }
        body = {"title": "Drop", "starts_at": PAST, "ends_at": FUTURE, "items": [item], **changes}
        status, sale = self.http.post("/v1/admin/sales", ADMIN_TOKEN, body)
        assert status == 201, sale
        sold = Sold(self, sale["id"], [each["id"] for each in sale["items"]])
        sold.merchant("publish")
        return sold


@dataclass
class Sold:
    """A published sale."""

    shop: Shop
    id: str
    items: list[str]

    def merchant(self, step: str, body: Any = None) -> Any:
        status, answer = self.shop.http.post(
            f"/v1/admin/sales/{self.id}/{step}", ADMIN_TOKEN, body or {}
        )
        assert status == 200, answer
        return answer

    def ask(self, token: str, nth: int = 0) -> tuple[int, Any]:
        path = f"/v1/sales/{self.id}/items/{self.items[nth]}/pass"
        return self.shop.http.post(path, token, {})

    def get_pass(self, token: str, nth: int = 0) -> str:
        status, body = self.ask(token, nth)
        assert status == 200, body
        assert body["buy_url"] == f"/v1/buy/{body['pass']}"
        return str(body["pass"])

    def buy(self, text: str, token: str, quantity: int = 1) -> tuple[int, Any]:
        return self.shop.http.post(f"/v1/buy/{text}", token, {"quantity": quantity})

    def order(self, token: str, quantity: int = 1) -> dict[str, Any]:
        """Bought, with what was answered; and the pass under `pass`."""
        text = self.get_pass(token)
        status, body = self.buy(text, token, quantity)
        assert status == 202, body
        return {**body, "pass": text}


@pytest.fixture
def shop(product: Product) -> Iterator[Shop]:
    with Client(product.url) as http:
        yield Shop(product, http)


# --- the order ------------------------------------------------------------------------------------


def test_a_purchase_is_queued_at_once_and_soon_awaits_payment(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    bought = sale.order(ann)
    number = bought["order"]["id"]
    assert bought["order"]["state"] == "queued"
    assert bought["poll_after_ms"] > 0

    def recorded() -> Any:
        _, order = shop.http.get(f"/v1/orders/{number}", ann, Sluice_Receipt=bought["receipt"])
        return order if order["state"] == "awaiting_payment" else None

    order = until(recorded, within_s=30, what="the order is recorded")
    assert [step["state"] for step in order["history"]] == ["queued", "awaiting_payment"]
    pay_by, recorded_at = parse_time(order["pay_by"]), parse_time(order["history"][1]["at"])
    assert pay_by is not None
    assert recorded_at is not None
    assert pay_by - recorded_at == 900_000, "the hold clock starts when the ledger commits"
    status, mine = shop.http.get("/v1/orders", ann)
    assert (status, [each["id"] for each in mine["data"]]) == (200, [number])


def test_what_the_lane_joins_from_parts_is_what_the_view_would_render(shop: Shop) -> None:
    sale = shop.open(per_buyer=3)
    shown = sale.order(shop.buyer(), quantity=3)["order"]
    at_ms = parse_time(shown["placed_at"])
    assert at_ms is not None
    order = Order(
        number=int(shown["id"]),
        sale_id=int(sale.id),
        item_id=int(sale.items[0]),
        buyer="",
        quantity=3,
        amount=Money(2970, "CNY"),
        state=OrderState.QUEUED,
        placed_at_ms=at_ms,
        history=[HistoryEntry(state=OrderState.QUEUED, at_ms=at_ms)],
    )
    assert shown == json.loads(json.dumps(render_order(order)))


def test_an_order_that_is_not_yet_recorded_is_found_with_and_without_its_receipt(
    shop: Shop,
) -> None:
    sale, ann = shop.open(), shop.buyer()
    shop.product.pause("work")
    try:
        bought = sale.order(ann)
        number = bought["order"]["id"]
        for headers in ({}, {"Sluice_Receipt": bought["receipt"]}):
            status, order = shop.http.get(f"/v1/orders/{number}", ann, **headers)
            assert (status, order["state"]) == (200, "queued")
        stranger, _ = shop.http.get(
            f"/v1/orders/{number}", shop.buyer(), Sluice_Receipt=bought["receipt"]
        )
        assert stranger == 404
    finally:
        shop.product.resume("work")


def test_somebody_elses_order_is_not_found(shop: Shop) -> None:
    bought = shop.open().order(shop.buyer())
    status, body = shop.http.get(f"/v1/orders/{bought['order']['id']}", shop.buyer())
    assert (status, body["code"]) == (404, "not_found")


# --- the same pass again --------------------------------------------------------------------------


def test_the_same_pass_answers_with_the_same_order_whatever_happened_since(shop: Shop) -> None:
    sale, ann = shop.open(stock=1), shop.buyer()
    bought = sale.order(ann)

    def again() -> Any:
        status, body = sale.buy(bought["pass"], ann)
        assert status == 202, body
        return body["order"]["id"]

    assert again() == bought["order"]["id"], "at once"
    assert sale.ask(shop.buyer())[0] in {200, 409}
    assert again() == bought["order"]["id"], "sold out"
    sale.merchant("pause", {"reason": "A wrong photo."})
    assert again() == bought["order"]["id"], "paused"
    sale.merchant("resume")
    sale.merchant("close")
    assert again() == bought["order"]["id"], "closed"


def test_the_same_pass_with_another_quantity_is_invalid(shop: Shop) -> None:
    sale, ann = shop.open(per_buyer=2), shop.buyer()
    bought = sale.order(ann)
    status, body = sale.buy(bought["pass"], ann, 2)
    assert (status, body["code"]) == (422, "invalid")


def test_twenty_clicks_on_one_pass_are_one_order(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    text = sale.get_pass(ann)

    def click(_: int) -> tuple[int, str]:
        with Client(shop.product.url) as http:
            status, body = http.post(f"/v1/buy/{text}", ann, {"quantity": 1})
            return status, body["order"]["id"]

    with ThreadPoolExecutor(20) as fingers:
        answers = set(fingers.map(click, range(20)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 202


# --- refusals -------------------------------------------------------------------------------------


def test_one_person_buys_once_and_is_told_the_order_they_have(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    second = sale.get_pass(ann)
    bought = sale.order(ann)
    status, body = sale.buy(second, ann)
    assert (status, body["code"]) == (409, "limit_reached")
    assert body["order_id"] == bought["order"]["id"]


def test_variants_of_a_limit_group_share_the_limit(shop: Shop) -> None:
    def variant(title: str) -> dict[str, Any]:
        price = {"amount": "9.90", "currency": "CNY"}
        return {"title": title, "price": price, "stock": 5, "limit_group": "shoe"}

    sale, ann = shop.open(items=[variant("40"), variant("41")]), shop.buyer()
    other = sale.get_pass(ann, 1)
    sale.order(ann)
    status, body = sale.buy(other, ann)
    assert (status, body["code"]) == (409, "limit_reached")


def test_the_last_unit_goes_once_and_the_others_hear_that_it_may_return(shop: Shop) -> None:
    sale = shop.open(stock=1)
    late = shop.buyer()
    text = sale.get_pass(late)
    sale.order(shop.buyer())
    status, body = sale.buy(text, late)
    assert (status, body["code"]) == (409, "sold_out")

    def held() -> bool:
        _, again = sale.buy(text, late)
        return again["may_return"] is True

    until(held, within_s=30, what="it is known that the unit is held and not paid")

    def refused() -> bool:
        status, body = sale.ask(shop.buyer())
        return (status, body.get("code")) == (409, "sold_out")

    until(refused, within_s=30, what="no pass is given for what is sold out")

    def shown_as_held() -> bool:
        _, shown = shop.http.get(f"/v1/sales/{sale.id}")
        return bool(shown["items"][0]["state"] == "held")

    until(shown_as_held, within_s=30, what="the page says that all units are held")


def test_before_the_start_there_is_no_pass_and_the_start_is_told(shop: Shop) -> None:
    sale = shop.open(starts_at="2035-01-01T00:00:00Z")
    status, body = sale.ask(shop.buyer())
    assert (status, body["code"]) == (403, "not_started")
    assert parse_time(body["starts_at"]) == parse_time("2035-01-01T00:00:00Z")


def test_a_paused_sale_says_why_for_pass_and_purchase(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    text = sale.get_pass(ann)
    sale.merchant("pause", {"reason": "A wrong photo."})
    for status, body in (sale.buy(text, ann), sale.ask(ann)):
        assert (status, body["code"], body["reason"]) == (409, "paused", "A wrong photo.")


def test_an_ended_sale_is_gone(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    text = sale.get_pass(ann)
    sale.merchant("close")
    for status, body in (sale.buy(text, ann), sale.ask(ann)):
        assert (status, body["code"]) == (410, "ended")


def test_a_draft_and_an_item_of_another_sale_are_not_found(shop: Shop) -> None:
    one, other = shop.open(), shop.open()
    body = {
        "title": "Draft",
        "starts_at": PAST,
        "ends_at": FUTURE,
        "items": [{"title": "x", "price": {"amount": "1.00", "currency": "CNY"}, "stock": 1}],
    }
    _, draft = shop.http.post("/v1/admin/sales", ADMIN_TOKEN, body)
    paths = [
        f"/v1/sales/{draft['id']}/items/{draft['items'][0]['id']}/pass",
        f"/v1/sales/{one.id}/items/{other.items[0]}/pass",
        f"/v1/sales/{one.id}/items/99999999/pass",
        "/v1/sales/x/items/y/pass",
        f"/v1/sales/{one.id}/items/{one.items[0]}/more/pass",
    ]
    for path in paths:
        status, answer = shop.http.post(path, shop.buyer(), {})
        assert (status, answer["code"]) == (404, "not_found"), path


def test_a_pass_is_its_buyers_alone(shop: Shop) -> None:
    sale = shop.open()
    status, body = sale.buy(sale.get_pass(shop.buyer()), shop.buyer())
    assert (status, body["code"]) == (403, "bad_pass")


def test_an_expired_pass_cannot_buy_but_still_answers_with_its_order(shop: Shop) -> None:
    sale, ann, bob = shop.open(), shop.buyer(), shop.buyer()
    expired = expire(shop, sale.get_pass(ann))
    status, body = sale.buy(expired, ann)
    assert (status, body["code"]) == (403, "bad_pass")
    bought = sale.order(bob)
    status, body = sale.buy(expire(shop, bought["pass"]), bob)
    assert (status, body["order"]["id"]) == (202, bought["order"]["id"])


def expire(shop: Shop, text: str) -> str:
    """The same pass, signed by the product's own key, as it would be an hour later."""
    kept = json.loads((shop.product.data / "secrets.json").read_text())
    passes = Passes([key.encode() for key in kept["secret_keys"]])
    genuine = passes.verify(text)
    assert genuine is not None
    return passes.sign(genuine._replace(expires_at_s=genuine.expires_at_s - 3600))


def test_every_forged_pass_gets_the_same_answer(shop: Shop) -> None:
    sale, ann = shop.open(), shop.buyer()
    genuine = sale.get_pass(ann)
    kid, payload, signature = genuine.split(".")
    forgeries = [
        f"{kid}.{payload}.{signature[::-1]}",
        f"{kid}.{payload[::-1]}.{signature}",
        f"{kid[::-1]}.{payload}.{signature}",
        f"{payload}.{signature}",
        f"{genuine}.x",
        genuine[:-1],
        "x",
        "..",
        "%00",
        "a" * 5000,
    ]
    answers = set()
    for forged in forgeries:
        status, body = sale.buy(forged, ann)
        answers.add((status, body["code"], body["detail"]))
    assert len(answers) == 1
    assert next(iter(answers))[:2] == (403, "bad_pass")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"quantity": 0}', 422),
        (b'{"quantity": -1}', 422),
        (b'{"quantity": 33}', 422),
        (b'{"quantity": 1e3}', 422),
        (b'{"quantity": "1"}', 422),
        (b'{"quantity": 99999999999999999999999}', 422),
        (b'{"quantity": null}', 422),
        (b'{"quantity": 1, "price": "0.01"}', 422),
        (b"[]", 422),
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b"[" * 900, 422),
        (b" " * 2000, 413),
    ],
)
def test_a_body_that_cannot_be_used_changes_nothing(shop: Shop, body: bytes, status: int) -> None:
    sale, ann = shop.open(stock=1), shop.buyer()
    text = sale.get_pass(ann)
    answered, problem = shop.http.raw("POST", f"/v1/buy/{text}", ann, body)
    assert (answered, problem["status"]) == (status, status)
    assert sale.buy(text, ann)[0] == 202, "the pass is as good as before"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a b", "x" * 9000])
def test_nobody_is_not_told_anything(shop: Shop, token: str) -> None:
    sale = shop.open()
    text = sale.get_pass(shop.buyer())
    for method, path in (
        ("POST", f"/v1/sales/{sale.id}/items/{sale.items[0]}/pass"),
        ("POST", f"/v1/buy/{text}"),
        ("GET", "/v1/orders/120163242092789761"),
    ):
        with Client(shop.product.url) as http:
            status, body = http.raw(method, path, token, b"")
        assert (status, body["code"]) == (401, "unauthenticated"), path


@pytest.mark.parametrize(
    "wanted", ["0", "-1", "01", "1e9", "9223372036854775808", "x", "%00", "1" * 400, "%EF%BC%91"]
)
def test_an_order_number_that_no_gate_can_have_minted_is_not_found(shop: Shop, wanted: str) -> None:
    assert shop.http.get(f"/v1/orders/{wanted}", shop.buyer())[0] == 404


USUAL, TWO, BROKEN = b'{"quantity":1}', b'{"quantity":2}', b'{"quantity":x}'


def test_in_a_rush_everybody_is_answered_by_their_own_body_even_who_sends_it_late(
    shop: Shop,
) -> None:
    sale = shop.open(stock=500, per_buyer=2, policy={"limits": {"per_address_per_minute": 100_000}})
    bodies = [USUAL] * 40 + [USUAL, TWO, BROKEN, USUAL] * 15
    buyers = [shop.buyer() for _ in bodies]
    passes = [sale.get_pass(buyer) for buyer in buyers]
    late = set(range(len(bodies) - 6, len(bodies)))

    async def ask() -> list[tuple[int, Any]]:
        everybody_else = asyncio.Event()
        left = len(bodies) - len(late)

        async def one(at: int) -> tuple[int, Any]:
            nonlocal left
            async with connection(shop.product.url) as (reader, writer):
                head = f"POST /v1/buy/{passes[at]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                head += f"Authorization: Bearer {buyers[at]}\r\nContent-Type: application/json\r\n"
                writer.write(f"{head}Content-Length: {len(bodies[at])}\r\n\r\n".encode())
                if at in late:
                    await everybody_else.wait()
                writer.write(bodies[at])
                answer = await reader.read()
                left -= at not in late
                if not left:
                    everybody_else.set()
                said, _, body = answer.partition(b"\r\n\r\n")
                return int(said.split()[1]), json.loads(body)

        return await asyncio.gather(*map(one, range(len(bodies))))

    answers = asyncio.run(ask())
    for body, (status, answer) in zip(bodies, answers, strict=True):
        if body == BROKEN:
            assert (status, answer["code"]) == (422, "invalid")
        else:
            assert status == 202, answer
            assert answer["order"]["quantity"] == (2 if body == TWO else 1)
    numbers = [answer["order"]["id"] for _, answer in answers if "order" in answer]
    assert len(set(numbers)) == len(numbers)
    for text, buyer, body, (_, answer) in zip(passes, buyers, bodies, answers, strict=True):
        again = sale.buy(text, buyer, 2 if body == TWO else 1)[1]
        assert body == BROKEN or again["order"]["id"] == answer["order"]["id"]
