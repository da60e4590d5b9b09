"""Sales and other buyers, by the API, for tests that look at pages."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.http import Client
from tests.support.people import log_in
from tests.support.product import ADMIN_TOKEN, Product, until

_names = itertools.count()


def at(seconds: float) -> str:
    """So long from now, in RFC 3339."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


class Stage:
    def __init__(self, product: Product) -> None:
        self.product = product
        self.url = product.url

    def sale(
        self,
        title: str = "Autumn drop",
        *,
        stock: int = 50,
        starts_in_s: float = -60,
        ends_in_s: float = 86_400,
        publish: bool = True,
        items: list[dict[str, Any]] | None = None,
        **policy: Any,
    ) -> dict[str, Any]:
        """A sale that is on, unless it starts later; returns when the gate sells it."""
        limits = {"per_buyer_per_minute": None, "per_address_per_minute": None}
        price = {"amount": "399.00", "currency": "CNY"}
        body = {
            "title": title,
            "starts_at": at(starts_in_s),
            "ends_at": at(ends_in_s),
            "items": items or [{"title": "Teapot, celadon", "price": price, "stock": stock}],
            "policy": {"limits": limits, **policy},
        }
        sale = self.admin("/v1/admin/sales", body)
        if publish:
            sale = self.admin(f"/v1/admin/sales/{sale['id']}/publish")
        return sale

    def admin(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        with Client(self.url) as client:
            status, said = client.post(path, ADMIN_TOKEN, {} if body is None else body, **headers)
        assert status in (200, 201), (path, status, said)
        return dict(said)

    def buyer(self, name: str = "buyer") -> str:
        """A session's token of somebody new."""
        with Client(self.url) as client:
            return log_in(client, f"{name}-{next(_names)}")

    def buy(self, sale: dict[str, Any], token: str) -> dict[str, Any]:
        """One unit of the sale's first item, as the ledger has it."""
        item = sale["items"][0]["id"]
        with Client(self.url) as client:

            def accepted() -> Any:
                status, said = client.post(f"/v1/sales/{sale['id']}/items/{item}/pass", token, {})
                return said if status == 200 else None

            ticket = until(accepted, within_s=40, what="a pass")
            status, said = client.post(ticket["buy_url"], token, {"quantity": 1})
            assert status == 202, said
            number = said["order"]["id"]

            def recorded() -> Any:
                _, order = client.get(f"/v1/orders/{number}", token)
                return order if order["state"] != "queued" else None

            return dict(until(recorded, within_s=40, what="the order in the ledger"))

    def cancel(self, order: dict[str, Any], token: str) -> None:
        with Client(self.url) as client:
            status, said = client.post(f"/v1/orders/{order['id']}/cancel", token, {})
        assert status == 200, said

    def orders(self, token: str) -> list[dict[str, Any]]:
        with Client(self.url) as client:
            status, said = client.get("/v1/orders", token)
        assert status == 200, said
        return list(said["data"])

    def code_for(self, phone: str) -> str:
        """The log-in code that was sent last."""
        with Client(self.url) as client:

            def sent() -> str | None:
                _, said = client.get("/v1/admin/inbox", ADMIN_TOKEN)
                return next((each["code"] for each in said["data"] if each["phone"] == phone), None)

            return str(until(sent, within_s=30, what="a code"))
