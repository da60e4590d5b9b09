"""What the console asks of the product: orders as a file, keys, the team, health, incidents."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from tests.support.api import FOR_A_CROWD, a_sale
from tests.support.examples import Stage
from tests.support.http import Browser, Client
from tests.support.people import account, give, log_in
from tests.support.product import ADMIN_TOKEN, Product, until
from tests.support.tokens import identity_token

RISKY = '=HYPERLINK("http://evil.example")'
EVIL_BUYER = "=1+1"


@pytest.fixture(scope="module")
def http(product: Product) -> Any:
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with Browser(product.url, headers=admin) as client:
        yield client


def a_live_sale(http: httpx.Client, title: str, stock: int = 5) -> dict[str, Any]:
    [item] = a_sale()["items"]
    items = [{**item, "title": title, "stock": stock}]
    new = a_sale(title=title, items=items, policy=FOR_A_CROWD)
    sale: dict[str, Any] = http.post("/v1/admin/sales", json=new).raise_for_status().json()
    http.post(f"/v1/admin/sales/{sale['id']}/publish").raise_for_status()
    return sale


def bought(product: Product, sale: dict[str, Any], name: str) -> str:
    """An order number, once the order is recorded or rejected."""
    secrets = json.loads((product.data / "secrets.json").read_text())
    stage = Stage(product.url, secrets, identity_token(product.identity_secret(), name))
    return stage._bought(None, sale["id"], sale["items"][0]["id"])


def shelve(product: Product, item: str, available: int) -> None:
    """So many of an item's three units are there, and the others are written off."""
    with closing(sqlite3.connect(product.data / "sluice.db", timeout=20)) as db:
        units = "UPDATE items SET available = ?, written_off = 3 - ? WHERE id = ?"
        db.execute(units, (available, available, item))
        db.commit()


def test_orders_are_taken_away_as_a_file_without_a_formula_in_it(
    product: Product, http: httpx.Client
) -> None:
    sale = a_live_sale(http, RISKY)
    orders = [bought(product, sale, name) for name in (EVIL_BUYER, "mei", "bo")]

    answer = http.get(f"/v1/admin/orders?sale={sale['id']}&format=csv")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert [row["order"] for row in rows] == orders[::-1]
    assert {row["sale_title"] for row in rows} == {"'" + RISKY}
    assert all(not cell.startswith(("=", "@", "+")) for row in rows for cell in row.values())
    assert rows[-1]["buyer"] == f"jwt::{EVIL_BUYER}"
    empty = http.get(f"/v1/admin/orders?sale={sale['id']}&state=paid&format=csv")
    assert empty.content.count(b"\r\n") == 1


def test_an_order_is_found_by_its_number_its_buyer_and_the_whole_login(
    product: Product, http: httpx.Client
) -> None:
    sale = a_live_sale(http, "Search")
    order = bought(product, sale, "searched")
    [found] = http.get(f"/v1/admin/orders?q={order}").json()["data"]
    buyer = found["buyer"]
    assert buyer == "jwt::searched"
    assert [each["id"] for each in http.get("/v1/admin/orders", params={"q": buyer}).json()["data"]]
    for nobody in (buyer[:-1], "searched", order[:-1], "%", "acct:1 OR 1=1"):
        assert http.get("/v1/admin/orders", params={"q": nobody}).json()["data"] == []
    assert http.get(f"/v1/admin/orders?q={order}&state=paid").json()["data"] == []
    facts = http.get(f"/v1/admin/orders/{order}").json()
    assert (facts["item_title"], facts["payments"], facts["refunds"]) == ("Search", [], [])


def test_a_key_that_looks_changes_nothing_and_one_that_was_revoked_opens_nothing(
    product: Product, http: httpx.Client
) -> None:
    made = http.post("/v1/admin/keys", json={"name": "The till"}).json()
    token = made["key"]
    with Client(product.url) as client:
        assert client.get("/v1/admin/sales", token)[0] == 200
        assert client.post("/v1/admin/sales", token, a_sale())[0] == 403
        assert client.post("/v1/admin/keys", token, {"name": "mine"})[0] == 403
        assert client.get("/v1/admin/users", token)[0] == 403
        assert client.get("/v1/orders", token)[0] == 401
        assert client.get("/v1/admin/sales", token[:-1] + "A")[0] == 401
        assert http.delete(f"/v1/admin/keys/{made['id']}").status_code == 204
        assert client.get("/v1/admin/sales", token)[0] == 401
    listed = http.get("/v1/admin/keys").json()["data"]
    [mine] = [each for each in listed if each["id"] == made["id"]]
    assert (mine["state"], mine["ends_with"]) == ("revoked", token[-4:])
    assert mine["last_used_at"] is not None
    assert token not in json.dumps(listed)
    kept = b"".join(path.read_bytes() for path in product.data.glob("sluice.db*"))
    assert token.encode() not in kept


def test_a_full_key_gives_commands_under_its_own_name(product: Product, http: httpx.Client) -> None:
    made = http.post("/v1/admin/keys", json={"name": "The shop", "scope": "full"}).json()
    with Client(product.url) as client:
        assert client.post("/v1/admin/sales", made["key"], a_sale())[0] == 201
    [action] = http.get(f"/v1/admin/actions?actor=key:{made['id']}").json()["data"]
    assert (action["action"], action["status"]) == ("POST /v1/admin/sales", 201)


def test_a_key_that_was_asked_for_twice_is_made_once(product: Product, http: httpx.Client) -> None:
    header = {"Idempotency-Key": "the-same"}
    first, again = (
        http.post("/v1/admin/keys", json={"name": "Twice"}, headers=header).json() for _ in range(2)
    )
    assert first == again
    other = http.post("/v1/admin/keys", json={"name": "Other"}, headers=header)
    assert other.json()["code"] == "idempotency_mismatch"
    kept = b"".join(path.read_bytes() for path in product.data.glob("sluice.db*"))
    assert first["key"].encode() not in kept


def test_nobody_takes_the_role_from_the_last_admin(product: Product, http: httpx.Client) -> None:
    with Client(product.url) as client:
        for login in ("console-one", "console-two"):
            log_in(client, login)
            give(client, login, "admin")
        admins = http.get("/v1/admin/users?role=admin&limit=100").json()["data"]
        ids = [each["id"] for each in admins]
        answers = [
            http.post(f"/v1/admin/users/{user}/roles", json={"roles": []}).status_code
            for user in ids
        ]
        assert answers == [200] * (len(ids) - 1) + [409]
        assert account(client, admins[-1]["login"])["roles"][-1] == "admin"


def test_a_phone_is_invited_before_it_has_an_account_and_a_login_after(
    http: httpx.Client,
) -> None:
    invited = http.post("/v1/admin/users", json={"phone": "13800138777", "roles": ["merchant"]})
    assert invited.json()["roles"] == ["buyer", "merchant"]
    assert invited.json()["phone"] == "+8613800138777"
    nobody = http.post("/v1/admin/users", json={"login": "not-here", "roles": ["merchant"]})
    assert nobody.status_code == 404
    both = http.post("/v1/admin/users", json={"login": "a-b", "phone": "1", "roles": []})
    assert both.status_code == 422


def test_health_knows_the_stores_and_the_worker(http: httpx.Client) -> None:
    def healthy() -> Any:
        said = http.get("/v1/admin/health").raise_for_status().json()
        return said if said["ok"] else None

    said = until(healthy, within_s=30, what="everything is well")
    [worker] = said["workers"]
    [shard] = said["gate"]["shards"]
    assert shard["owner"] == worker["name"]
    assert {"releaser", "herald", "deliverer"} <= set(worker["runs"])
    assert said["gate"]["servers"][0]["appendonly"] == "yes"


def test_an_order_that_the_ledger_refused_is_an_incident_and_its_units_are_seen_to_go_back(
    product: Product, http: httpx.Client
) -> None:
    sale = a_live_sale(http, "Lost", stock=3)
    item = sale["items"][0]["id"]
    # As if units had broken on the shelf behind the gate's back, and were then found again.
    shelve(product, item, 0)
    order = bought(product, sale, "unlucky")
    shelve(product, item, 3)

    def lost() -> Any:
        found = http.get("/v1/admin/dead-letters").json()["data"]
        return [each for each in found if each["order_id"] == order]

    [letter] = until(lost, within_s=40, what="the dead letter")
    told = http.get("/v1/admin/incidents").json()["data"]
    [incident] = [each for each in told if each["subject"] == f"order:{order}"]
    path = f"/v1/admin/incidents/{incident['id']}/seen"
    seen = http.post(path, json={"note": "counting the shelf"}).json()
    assert (seen["seen"]["by"], seen["seen"]["note"]) == ("admin", "counting the shelf")
    left = http.get("/v1/admin/incidents?open=true").json()["data"]
    assert incident["id"] not in [each["id"] for each in left]

    for _ in range(2):
        retried = http.post(f"/v1/admin/dead-letters/{letter['id']}/retry")
        assert retried.json()["state"] in ("returning", "returned")

    def returned() -> bool:
        return bool(lost()[0]["state"] == "returned")

    until(returned, within_s=40, what="its units are back")

    def well() -> bool:
        return bool(http.get("/v1/admin/audit").json()["ok"])

    until(well, within_s=30, what="gate and ledger agree")
