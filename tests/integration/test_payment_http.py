"""Paying on the running product: the page, the simulator's real calls, and calls of strangers."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.api import a_sale
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until

from sluice.domain.signature import KEY_BYTES, Message, key_of, secret_of, signed_headers

SECRET = secret_of(bytes(range(KEY_BYTES)))
OLD_SECRET = secret_of(bytes(range(1, KEY_BYTES + 1)))
WEBHOOK = "/v1/webhooks/payments/simulator"
WITHIN_S = 20.0

_buyers = iter(range(10_000))


class Checkout:
    """An order that is to be paid, and the page where it can be."""

    def __init__(self, product: Product, sale: dict[str, Any]) -> None:
        self.token = Client.token(product.identity_secret(), f"buyer-{next(_buyers)}")
        self.product = product
        with Client(product.url) as client:
            item = sale["items"][0]["id"]
            status, admitted = client.post(
                f"/v1/sales/{sale['id']}/items/{item}/pass", self.token, None
            )
            assert status == 200, admitted
            status, bought = client.post(admitted["buy_url"], self.token, {"quantity": 1})
            assert status == 202, bought
        self.order_id = str(bought["order"]["id"])
        self.until("awaiting_payment")
        status, self.payment = self.ask()
        assert status == 200, self.payment
        self.page = urlsplit(self.payment["checkout_url"]).path

    def ask(self) -> tuple[int, Any]:
        with Client(self.product.url) as client:
            return client.post(f"/v1/orders/{self.order_id}/payment", self.token, {})

    def order(self) -> dict[str, Any]:
        with Client(self.product.url) as client:
            _, order = client.get(f"/v1/orders/{self.order_id}", self.token)
        return dict(order)

    def until(self, state: str) -> dict[str, Any]:
        return dict(
            until(
                lambda: (order := self.order())["state"] == state and order,
                within_s=WITHIN_S,
                what=f"the order is {state}",
            )
        )

    def knobs(self, **knobs: Any) -> None:
        with Client(self.product.url) as client:
            assert client.post(f"{self.page}/knobs", "", knobs)[0] == 200

    def act(self, action: str) -> int:
        return raw(self.product, "POST", self.page, f"action={action}".encode())[0]

    def callback(self, **changes: Any) -> bytes:
        data = {
            "order_id": self.order_id,
            "payment_id": self.payment["payment_id"],
            "amount": "399.00",
            "currency": "CNY",
            **changes,
        }
        return json.dumps({"type": "payment.captured", "data": data}).encode()


def raw(
    product: Product, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    place = urlsplit(product.url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)) as line:
        line.request(method, path, body, {n.replace("_", "-"): v for n, v in headers.items()})
        answer = line.getresponse()
        headers_in = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers_in, answer.read()


def signed(
    body: bytes, secret: str = SECRET, *, name: str = "evt_1", ago_s: int = 0
) -> dict[str, str]:
    message = Message(name, int(time.time()) - ago_s, body)
    return {n.replace("-", "_"): v for n, v in signed_headers([key_of(secret)], message).items()}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    data = tmp_path_factory.mktemp("pay") / "data"
    with Product(data, SLUICE_PAYMENT_SECRET=f"{SECRET},{OLD_SECRET}") as running:
        yield running
        assert '"level": "error"' not in running.log(), running.log()[-4000:]


@pytest.fixture(scope="module")
def sale(product: Product) -> dict[str, Any]:
    with Client(product.url) as client:
        status, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, a_sale())
        assert status == 201, sale
        assert client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, None)[0] == 200
    return dict(sale)


@pytest.fixture
def checkout(product: Product, sale: dict[str, Any]) -> Checkout:
    return Checkout(product, sale)


# --- the page -------------------------------------------------------------------------------------


def test_who_pays_at_the_page_has_paid(checkout: Checkout) -> None:
    assert checkout.ask() == (200, checkout.payment), "asked again it is the same place"
    assert checkout.act("pay") == 303
    order = checkout.until("paid")
    assert order["payment"]["state"] == "captured"
    assert checkout.ask()[0] == 409


def test_who_fails_there_may_try_again(checkout: Checkout) -> None:
    checkout.act("fail")
    again = until(
        lambda: (
            (found := checkout.ask()[1])["payment_id"] != checkout.payment["payment_id"] and found
        ),
        within_s=WITHIN_S,
        what="another payment",
    )
    assert again["checkout_url"] != checkout.payment["checkout_url"]
    assert checkout.order()["state"] == "awaiting_payment"


def test_the_page_is_calm_and_closed(checkout: Checkout) -> None:
    status, headers, page = raw(checkout.product, "GET", checkout.page, accept_language="zh-CN")
    assert status == 200
    assert "模拟器" in page.decode()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert headers["content-type"].startswith("text/html")
    status, headers, _ = raw(checkout.product, "GET", "/static/checkout.css")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/css")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/simulator/checkout/sim_stranger", b"", 404),
        ("POST", "/simulator/checkout/sim_stranger", b"action=pay", 404),
        ("POST", "/simulator/checkout/sim_stranger", b"action=steal", 422),
        ("POST", "/simulator/checkout/sim_stranger", b"", 422),
        ("POST", "/simulator/checkout/sim_stranger", b"&" * 4000, 422),
        ("POST", "/simulator/checkout/sim_stranger", b"a" * 5000, 413),
        ("POST", "/simulator/checkout/sim_stranger/knobs", b"{}", 404),
        ("POST", "/simulator/checkout/sim_stranger/knobs", b'{"drop": 2}', 422),
    ],
)
def test_the_pages_refuse_what_does_not_fit(
    product: Product, method: str, path: str, body: bytes, status: int
) -> None:
    assert raw(product, method, path, body)[0] == status


# --- the webhook ----------------------------------------------------------------------------------


def test_a_callback_counts_once_however_often_it_comes(checkout: Checkout) -> None:
    body = checkout.callback()
    for _ in range(3):
        headers = signed(body, name=f"evt_{checkout.order_id}")
        assert raw(checkout.product, "POST", WEBHOOK, body, **headers)[0] == 200
    assert checkout.order()["state"] == "paid", "200 says that it is in the ledger"


def test_a_secret_is_changed_without_a_gap(checkout: Checkout) -> None:
    body = checkout.callback()
    headers = signed(body, OLD_SECRET, name=f"evt_{checkout.order_id}")
    assert raw(checkout.product, "POST", WEBHOOK, body, **headers)[0] == 200
    assert checkout.order()["state"] == "paid"


def test_a_strangers_callback_is_refused_and_changes_nothing(checkout: Checkout) -> None:
    body = checkout.callback()
    stranger = signed(body, secret_of(b"s" * KEY_BYTES))
    for headers in ({}, stranger, signed(body, ago_s=301), signed(body, ago_s=-330), signed(b"{}")):
        status, answered, said = raw(checkout.product, "POST", WEBHOOK, body, **headers)
        assert status == 401
        assert answered["content-type"] == "application/problem+json"
        assert json.loads(said)["code"] == "bad_signature"
    assert checkout.order()["state"] == "awaiting_payment"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (WEBHOOK, b"", 422),
        (WEBHOOK, b"{", 422),
        (WEBHOOK, b'{"type":"payment.captured","data":{"order_id":"1","payment_id":"1"}}', 422),
        (WEBHOOK, b'{"type":"news","data":{"order_id":"1","payment_id":"1"}}', 200),
        ("/v1/webhooks/payments/alipay", b"{}", 404),
        ("/v1/webhooks/payments/", b"{}", 404),
        ("/v1/webhooks/payments/simulator/x", b"{}", 404),
    ],
)
def test_signed_nonsense_is_no_fault_of_ours(
    product: Product, path: str, body: bytes, status: int
) -> None:
    assert raw(product, "POST", path, body, **signed(body))[0] == status


def test_a_callback_has_its_bounds(product: Product) -> None:
    large = b" " * (300 << 10)
    assert raw(product, "POST", WEBHOOK, large, **signed(large))[0] == 413
    assert raw(product, "GET", WEBHOOK)[0] == 405


# --- what providers do ----------------------------------------------------------------------------


def test_repeated_forged_and_late_calls_pay_once(checkout: Checkout) -> None:
    checkout.knobs(repeat=1, forge=1, delay_ms=300, reorder=1)
    checkout.act("pay")
    checkout.until("paid")
    with checkout.product.ledger() as ledger:
        until(
            lambda: not ledger.execute("SELECT 1 FROM simulator_calls").fetchall(),
            within_s=WITHIN_S,
            what="every call is made",
        )
        kept = "SELECT COUNT(*) FROM inbox WHERE payment_id = ?"
        assert ledger.execute(kept, [checkout.payment["payment_id"]]).fetchone() == (1,)
    assert [step["state"] for step in checkout.order()["history"]].count("paid") == 1


def test_a_wrong_amount_goes_back(checkout: Checkout) -> None:
    checkout.knobs(wrong_amount=1)
    checkout.act("pay")
    with checkout.product.ledger() as ledger:
        until(
            lambda: _payment_state(ledger, checkout) == "refunded",
            within_s=WITHIN_S,
            what="the money is back",
        )
    assert checkout.order()["state"] == "awaiting_payment"


def _payment_state(ledger: sqlite3.Connection, checkout: Checkout) -> str:
    wanted = "SELECT state FROM payments WHERE id = ?"
    (state,) = ledger.execute(wanted, [checkout.payment["payment_id"]]).fetchone()
    return str(state)


@pytest.mark.verify
def test_what_was_planned_survives_a_restart(tmp_path: Path) -> None:
    """The provider's books are its own: what it meant to tell it tells after a kill, too."""
    with Product(tmp_path / "data") as product:
        with Client(product.url) as client:
            _, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, a_sale())
            client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, None)
        checkout = Checkout(product, sale)
        checkout.knobs(delay_ms=1500)
        checkout.act("pay")
        product.stop()
        product.start()
        checkout.until("paid")
        assert product.audit()["ok"]
