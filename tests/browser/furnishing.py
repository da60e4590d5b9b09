"""A shop with something on every page of the console: made once, looked at in both languages."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.browser.stage import Stage
from tests.browser.watching import pay
from tests.support.http import Client
from tests.support.people import give, log_in
from tests.support.product import ADMIN_TOKEN, Product, until

ITEMS = [
    {
        "title": "Teapot, celadon",
        "price": {"amount": "399.00", "currency": "CNY"},
        "stock": 40,
        "per_buyer": 2,
    },
    {"title": "Cup, unglazed", "price": {"amount": "68.50", "currency": "CNY"}, "stock": 120},
]


@dataclass
class Furnished:
    stage: Stage
    admin: str
    """A session's token of an admin; so are the other two."""
    merchant: str
    buyer: str
    live: dict[str, Any]
    draft: dict[str, Any]
    gone: dict[str, Any]
    """A sale that sold out, with a line."""
    paid: dict[str, Any]
    """An order."""
    endpoint: str


def furnish(product: Product) -> Furnished:
    stage = Stage(product)
    with Client(product.url) as client:
        people = {}
        for login, role in (("lin-admin", "admin"), ("mei-sells", "merchant"), ("bo-buys", "")):
            people[login] = log_in(client, login)
            if role:
                give(client, login, role)
    live = stage.sale("Autumn drop", items=ITEMS, challenge="none")
    draft = stage.sale(
        "Winter drop", items=ITEMS, starts_in_s=86_400, ends_in_s=90_000, publish=False
    )
    gone = stage.sale("One of a kind", stock=1)
    paused = stage.sale("Seconds", stock=12)
    stage.admin(
        f"/v1/admin/sales/{paused['id']}/pause", {"reason": "The photographs were mixed up."}
    )
    ended = stage.sale("Summer leftovers", stock=3)
    stage.admin(f"/v1/admin/sales/{ended['id']}/close")
    buyers = [people["bo-buys"], *(stage.buyer("crowd") for _ in range(5))]
    orders = [stage.buy(live, token) for token in buyers]
    for order, token in zip(orders[:2], buyers[:2], strict=True):
        pay(stage, order, token)
        paid(stage, order, token)
    stage.cancel(orders[2], buyers[2])
    stage.buy(gone, buyers[3])
    line(stage, gone, buyers[:3])
    stage.admin(f"/v1/admin/sales/{live['id']}/codes", {"count": 40, "uses": 1})
    stage.admin(f"/v1/admin/sales/{live['id']}/guests", {"buyers": ["acct:901", "jwt:shop:42"]})
    hook = {"url": "https://hooks.shop.invalid/sluice", "description": "The warehouse"}
    endpoint = stage.admin("/v1/admin/webhooks", hook)
    with Client(product.url) as client:
        client.post(f"/v1/admin/webhooks/{endpoint['id']}/test", ADMIN_TOKEN, {})
    stage.admin("/v1/admin/keys", {"name": "The till"})
    stage.admin("/v1/admin/users", {"phone": "13800138999", "roles": ["merchant"]})
    kept_out = {"address": "203.0.113.9", "seconds": 86_400, "reason": "A script, by hand."}
    stage.admin("/v1/admin/blacklist", kept_out)
    return Furnished(
        stage=stage,
        admin=people["lin-admin"],
        merchant=people["mei-sells"],
        buyer=people["bo-buys"],
        live=live,
        draft=draft,
        gone=gone,
        paid=orders[0],
        endpoint=endpoint["id"],
    )


def paid(stage: Stage, order: dict[str, Any], token: str) -> None:
    with Client(stage.url) as client:
        until(
            lambda: client.get(f"/v1/orders/{order['id']}", token)[1]["state"] == "paid",
            within_s=40,
            what="the order is paid",
        )


def line(stage: Stage, sale: dict[str, Any], tokens: list[str]) -> None:
    path = f"/v1/sales/{sale['id']}/items/{sale['items'][0]['id']}/waitlist"
    with Client(stage.url) as client:
        for token in tokens:
            until(
                lambda token=token: client.post(path, token, {})[0] in (200, 201),
                within_s=40,
                what="a place in line",
            )


def lose(stage: Stage, *, stuck: bool = False) -> str:
    """An order that the ledger refused, as if its units had been broken on the shelf and then
    found again; with `stuck`, as if nobody had decided what becomes of its hold. Its number."""
    sale = stage.sale("Broken on the shelf", stock=3)
    item = sale["items"][0]["id"]
    token = stage.buyer("unlucky")
    with closing(sqlite3.connect(stage.product.data / "sluice.db", timeout=20)) as db:

        def shelf(available: int) -> None:
            units = "UPDATE items SET available = ?, written_off = 3 - ? WHERE id = ?"
            db.execute(units, (available, available, item))
            db.commit()

        if stuck:
            lost = "NEW.reason = 'rejected' BEGIN SELECT RAISE(IGNORE); END"
            db.execute(f"CREATE TRIGGER lost BEFORE INSERT ON releases WHEN {lost}")
        shelf(0)
        number = str(stage.buy(sale, token)["id"])
        shelf(3)
        db.execute("DROP TRIGGER IF EXISTS lost")
        db.commit()
    return number
