"""Over HTTP, on the running product: cancelling, standing in line, refunds, the operator."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.support.api import a_sale
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until

_names = itertools.count(1)
PRICE = {"amount": "399.00", "currency": "CNY"}


class Shop:
    """A sale of a few units, and its buyers."""

    def __init__(self, product: Product, client: Client, **changes: Any) -> None:
        self._secret = product.identity_secret()
        self.client = client
        body = a_sale(
            items=[{"title": "Teapot", "price": PRICE, "stock": changes.pop("stock", 1), **changes}]
        )
        sale = self.admin("POST", "/sales", body, 201)
        self.admin("POST", f"/sales/{sale['id']}/publish", {})
        self.sale, self.item = sale["id"], sale["items"][0]["id"]
        self.line = f"/v1/sales/{self.sale}/items/{self.item}/waitlist"

    def buyer(self) -> str:
        """The token of somebody new."""
        return self.client.token(self._secret, f"aftersales-{next(_names)}")

    def admin(
        self, method: str, path: str, body: Any = None, status: int = 200, **more: str
    ) -> Any:
        told, answer = self.client.send(method, f"/v1/admin{path}", ADMIN_TOKEN, body, more)
        assert told == status, answer
        return answer

    def ask(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        return self.client.send(method, path, token, body, {})

    def buy(self, token: str, quantity: int = 1) -> str:
        """The order, recorded."""
        _, admitted = self.ask("POST", f"/v1/sales/{self.sale}/items/{self.item}/pass", token, {})
        told, bought = self.ask("POST", admitted["buy_url"], token, {"quantity": quantity})
        assert told == 202, bought
        order = str(bought["order"]["id"])
        self.until_state(token, order, "awaiting_payment")
        return order

    def pay(self, token: str, order: str) -> None:
        told, checkout = self.ask("POST", f"/v1/orders/{order}/payment", token, {})
        assert told == 200, checkout
        page = checkout["checkout_url"].removeprefix(self.client.url)
        assert self.client.form(page, action="pay") == 303
        self.until_state(token, order, "paid")

    def order(self, token: str, order: str) -> Any:
        told, shown = self.ask("GET", f"/v1/orders/{order}", token)
        assert told == 200, shown
        return shown

    def until_state(self, token: str, order: str, state: str) -> Any:
        def there() -> Any:
            shown = self.order(token, order)
            return shown["state"] == state and shown

        return until(there, within_s=40, what=f"order {order} is {state}")

    def entry(self, token: str) -> Any:
        told, shown = self.ask("GET", self.line, token)
        assert told == 200, shown
        return shown["entry"]

    def until_recorded(self, waiting: int) -> list[Any]:
        """So many in line, as the ledger has it."""
        path = f"/items/{self.item}/waitlist"

        def there() -> Any:
            found = self.admin("GET", path)["data"]
            return len(found) == waiting and found

        return list(until(there, within_s=40, what="the ledger has the line"))

    def until_promoted(self, token: str) -> str:
        def there() -> Any:
            entry = self.entry(token)
            return entry["state"] == "promoted" and entry["order_id"]

        order = str(until(there, within_s=40, what="the head of the line is promoted"))
        self.until_state(token, order, "awaiting_payment")
        return order

    def numbers(self) -> Any:
        """What the operator watches."""
        return self.admin("GET", f"/sales/{self.sale}/live")["items"][0]


@pytest.fixture
def client(product: Product) -> Any:
    with Client(product.url) as client:
        yield client


# --- cancelling -----------------------------------------------------------------------------------


def test_a_cancelled_order_goes_back_on_sale_and_stays_cancelled(
    product: Product, client: Client
) -> None:
    shop = Shop(product, client)
    ann, bob = shop.buyer(), shop.buyer()
    order = shop.buy(ann)

    told, cancelled = shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})
    again = shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})

    assert (told, cancelled["state"]) == (200, "cancelled")
    assert [step["state"] for step in cancelled["history"]] == [
        *("queued", "awaiting_payment", "cancelled")
    ]
    assert again == (200, cancelled)
    until(lambda: shop.numbers()["available"] == 1, within_s=40, what="it is back on sale")
    until(
        lambda: (
            shop.ask("POST", f"/v1/sales/{shop.sale}/items/{shop.item}/pass", bob, {})[0] == 200
        ),
        within_s=40,
        what="every process knows",
    )
    assert shop.buy(bob) != order


def test_an_order_can_be_cancelled_while_it_is_queued(product: Product, client: Client) -> None:
    shop = Shop(product, client, stock=30)
    told = []
    for ann in [shop.buyer() for _ in range(30)]:
        _, admitted = shop.ask("POST", f"/v1/sales/{shop.sale}/items/{shop.item}/pass", ann, {})
        _, bought = shop.ask("POST", admitted["buy_url"], ann, {"quantity": 1})
        order = bought["order"]["id"]
        status, shown = shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})
        assert status == 200, shown
        told.append(shown["state"])
        shop.until_state(ann, order, "cancelled")
    assert set(told) <= {"queued", "cancelled"}
    until(lambda: shop.numbers()["available"] == 30, within_s=40, what="all are back on sale")


def test_nobody_cancels_for_somebody_else(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    order = shop.buy(shop.buyer())
    status, _ = shop.ask("POST", f"/v1/orders/{order}/cancel", shop.buyer(), {})
    assert status == 404


def test_a_paid_order_cannot_be_cancelled_and_an_open_payment_is_closed_first(
    product: Product, client: Client
) -> None:
    shop = Shop(product, client, stock=2)
    ann, bob = shop.buyer(), shop.buyer()
    paid, open_one = shop.buy(ann), shop.buy(bob)
    shop.pay(ann, paid)
    _, checkout = shop.ask("POST", f"/v1/orders/{open_one}/payment", bob, {})
    shown = shop.order(bob, open_one)
    assert shown["payment"] == {"state": "pending", "checkout_url": checkout["checkout_url"]}

    refused, problem = shop.ask("POST", f"/v1/orders/{paid}/cancel", ann, {})
    told, cancelled = shop.ask("POST", f"/v1/orders/{open_one}/cancel", bob, {})

    assert (refused, problem["code"]) == (409, "conflict")
    assert (told, cancelled["state"], cancelled["payment"]["state"]) == (200, "cancelled", "void")
    page = checkout["checkout_url"].removeprefix(client.url)
    client.form(page, action="pay")
    assert shop.order(bob, open_one)["state"] == "cancelled", "a closed checkout takes no money"


# --- standing in line -----------------------------------------------------------------------------


def test_the_line_moves_in_order_as_units_come_back(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann, bob, cid = shop.buyer(), shop.buyer(), shop.buyer()
    order = shop.buy(ann)

    first, joined = shop.ask("POST", shop.line, bob, {})
    again, same = shop.ask("POST", shop.line, bob, {})
    assert (first, again) == (201, 200)
    assert same["entry"] == joined["entry"]
    assert (joined["entry"]["position"], joined["entry"]["ahead"]) == (1, 0)
    _, behind = shop.ask("POST", shop.line, cid, {})
    assert (behind["entry"]["position"], behind["entry"]["state"]) == (2, "waiting")
    assert shop.numbers()["waitlisted"] == 2
    waiting = shop.until_recorded(2)
    assert [each["id"] for each in waiting] == [joined["entry"]["id"], behind["entry"]["id"]]

    shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})

    promoted = shop.until_promoted(bob)
    shown = shop.order(bob, promoted)
    assert (shown["state"], shown["quantity"]) == ("awaiting_payment", 1)
    assert shown["pay_by"] > shown["placed_at"]
    until(lambda: shop.entry(cid)["position"] == 1, within_s=40, what="the line has moved")
    status, problem = shop.ask("DELETE", shop.line, bob)
    assert (status, problem["code"], problem["order_id"]) == (409, "conflict", promoted)
    shop.pay(bob, promoted)


def test_whoever_leaves_is_passed_over(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann, bob, cid = shop.buyer(), shop.buyer(), shop.buyer()
    order = shop.buy(ann)
    shop.ask("POST", shop.line, bob, {})
    shop.ask("POST", shop.line, cid, {})

    assert shop.ask("DELETE", shop.line, bob)[0] == 204
    assert shop.ask("DELETE", shop.line, bob)[0] == 204
    assert shop.entry(cid)["position"] == 1
    shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})

    shop.until_promoted(cid)
    until(lambda: shop.entry(bob)["state"] == "left", within_s=40, what="the ledger knows")


def test_nobody_waits_who_need_not_or_may_not(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann, bob = shop.buyer(), shop.buyer()

    assert shop.ask("GET", shop.line, bob)[0] == 404
    status, problem = shop.ask("POST", shop.line, bob, {})
    assert (status, problem["code"]) == (409, "available")
    order = shop.buy(ann)
    status, problem = shop.ask("POST", shop.line, ann, {})
    assert (status, problem["code"], problem["order_id"]) == (409, "limit_reached", order)
    assert shop.ask("POST", f"/v1/sales/{shop.sale}/items/999999/waitlist", bob, {})[0] == 404
    assert shop.ask("POST", shop.line, "", {})[0] == 401


def test_a_refusal_says_whether_one_can_wait(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    shop.buy(shop.buyer())

    def refused() -> Any:
        path = f"/v1/sales/{shop.sale}/items/{shop.item}/pass"
        status, problem = shop.ask("POST", path, shop.buyer(), {})
        return status == 409 and problem

    problem = until(refused, within_s=40, what="sold out is known")
    assert (problem["code"], problem["may_return"], problem["waitlist"]) == ("sold_out", True, True)
    path = f"/v1/sales/{shop.sale}"
    until(
        lambda: shop.ask("GET", path, "")[1]["items"][0]["state"] == "held",
        within_s=40,
        what="the page says so, too",
    )


def test_when_the_sale_is_closed_everybody_in_line_is_told_so(
    product: Product, client: Client
) -> None:
    shop = Shop(product, client)
    ann, bob = shop.buyer(), shop.buyer()
    order = shop.buy(ann)
    assert shop.ask("POST", shop.line, bob, {})[0] == 201
    shop.until_recorded(1)  # the gate forgets whoever does not wait any more

    shop.admin("POST", f"/sales/{shop.sale}/close", {})

    until(lambda: shop.entry(bob)["state"] == "closed", within_s=40, what="the line is closed")
    shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})
    until(lambda: shop.numbers()["available"] == 1, within_s=40, what="the unit is nobody's")


# --- refunds --------------------------------------------------------------------------------------


def test_units_are_refunded_one_by_one_and_go_back_or_not(product: Product, client: Client) -> None:
    shop = Shop(product, client, stock=3, per_buyer=3)
    ann = shop.buyer()
    order = shop.buy(ann, 3)
    shop.pay(ann, order)
    path = f"/orders/{order}/refund"
    one = {"reason": "One was cracked.", "quantity": 1, "restock": False}

    first = shop.admin("POST", path, one, Idempotency_Key=f"{order}-1")
    again = shop.admin("POST", path, one, Idempotency_Key=f"{order}-1")
    assert again == first
    assert (first["state"], first["payment"]["state"]) == ("paid", "refunding")
    until_refunded(shop, ann, order, 1)
    item = shop.admin("GET", f"/sales/{shop.sale}")["items"][0]
    assert (item["available"], item["paid"]) == (0, 2), "written off"

    shop.admin("POST", path, {**one, "restock": True}, Idempotency_Key=f"{order}-2")
    until_refunded(shop, ann, order, 2)
    until(lambda: shop.numbers()["available"] == 1, within_s=40, what="it is back on sale")

    rest = shop.admin("POST", path, {"reason": "All of it."}, Idempotency_Key=f"{order}-3")
    assert rest["state"] == "refunding"
    shown = shop.until_state(ann, order, "refunded")
    assert (shown["refunded_quantity"], shown["payment"]["state"]) == (3, "refunded")
    assert not open_money(shop, order)
    shop.admin("POST", path, one, 409, Idempotency_Key=f"{order}-4")


def test_a_refund_needs_a_paid_order_a_key_and_a_reason(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann = shop.buyer()
    order = shop.buy(ann)
    path = f"/orders/{order}/refund"
    shop.admin("POST", path, {"reason": "So."}, 409, Idempotency_Key=f"{order}-unpaid")
    shop.pay(ann, order)
    shop.admin("POST", path, {"reason": "So."}, 422)
    shop.admin("POST", path, {}, 422, Idempotency_Key=f"{order}-no-reason")
    shop.admin("POST", path, {"reason": "So.", "quantity": 0}, 422, Idempotency_Key=f"{order}-none")
    shop.admin("POST", path, {"reason": "So.", "quantity": 2}, 422, Idempotency_Key=f"{order}-two")
    shop.admin("POST", "/orders/12345/refund", {"reason": "So."}, 404, Idempotency_Key="none")


def test_a_refunded_unit_goes_to_whoever_waits(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann, bob = shop.buyer(), shop.buyer()
    order = shop.buy(ann)
    shop.pay(ann, order)
    shop.ask("POST", shop.line, bob, {})

    shop.admin(
        *("POST", f"/orders/{order}/refund", {"reason": "Moved away."}),
        Idempotency_Key=f"{order}-refund",
    )

    shop.pay(bob, shop.until_promoted(bob))
    assert shop.until_state(ann, order, "refunded")["refunded_quantity"] == 1


def test_a_scrape_counts_what_happened_after_the_win(product: Product, client: Client) -> None:
    shop = Shop(product, client)
    ann, bob = shop.buyer(), shop.buyer()
    order = shop.buy(ann)
    shop.ask("POST", shop.line, bob, {})
    shop.ask("POST", f"/v1/orders/{order}/cancel", ann, {})
    shop.pay(bob, shop.until_promoted(bob))
    shown = ("orders", "joined", "promoted", "released", "callbacks")
    wanted = [f'sluice_events_total{{event="{event}"}}' for event in shown]

    until(
        lambda: all(line in client.text("/metrics") for line in wanted),
        within_s=40,
        what=f"{wanted} in the metrics",
    )
    [workers] = [
        line
        for line in client.text("/metrics").splitlines()
        if line.startswith("sluice_http_workers")
    ]
    assert workers.endswith(" 1.0"), "the process behind it is no HTTP worker"


def test_an_operator_cancels_what_is_not_paid(product: Product, client: Client) -> None:
    shop = Shop(product, client, stock=2)
    ann, bob = shop.buyer(), shop.buyer()
    order, paid = shop.buy(ann), shop.buy(bob)
    shop.pay(bob, paid)

    cancelled = shop.admin("POST", f"/orders/{order}/cancel", {"reason": "By telephone."})

    assert cancelled["state"] == "cancelled"
    shop.admin("POST", f"/orders/{paid}/cancel", {"reason": "By telephone."}, 409)
    shop.admin("POST", "/orders/12345/cancel", {"reason": "By telephone."}, 404)
    assert product.audit()["ok"]


def until_refunded(shop: Shop, token: str, order: str, units: int) -> None:
    until(
        lambda: shop.order(token, order)["refunded_quantity"] == units,
        within_s=40,
        what=f"the money of {units} units is back",
    )


def open_money(shop: Shop, order: str) -> list[Any]:
    found = shop.admin("GET", "/money?limit=100")["data"]
    return [owed for owed in found if owed["order_id"] == order]
