"""The merchant's routes around webhooks, and one message through the whole running product."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from tests.support.api import ADMIN, BUYER, Api, a_sale, api
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until
from tests.support.receiver import receiving

from sluice.domain.signature import key_of
from sluice.domain.webhook import ENDPOINTS_MAX, EVENT_TYPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "https://shop.example/hooks"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Api]:
    async with api() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def http(shared: Api) -> AsyncIterator[Api]:
    """Without any endpoint."""
    yield shared
    for endpoint in await shared.parts.ledger.endpoints():
        await shared.parts.ledger.delete_endpoint(endpoint.id)


def with_key(key: str) -> dict[str, str]:
    return {**ADMIN, "Idempotency-Key": key}


async def added(http: Api, **changes: Any) -> dict[str, Any]:
    body = {"url": URL, **changes}
    answer = await http.post("/v1/admin/webhooks", headers=ADMIN, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_secret_is_shown_once(http: Api) -> None:
    made = await added(http, events=["order.paid"], description="The warehouse")
    assert key_of(made["secret"])
    path = f"/v1/admin/webhooks/{made['id']}"
    shown = (await http.get(path, headers=ADMIN)).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    listed = (await http.get("/v1/admin/webhooks", headers=ADMIN)).json()
    assert listed == {"data": [shown], "next_cursor": None}
    assert made["secret"] not in str(listed)


async def test_the_list_is_paged(http: Api) -> None:
    made = [(await added(http))["id"] for _ in range(3)]
    first = (await http.get("/v1/admin/webhooks?limit=2", headers=ADMIN)).json()
    rest = f"/v1/admin/webhooks?limit=2&cursor={first['next_cursor']}"
    second = (await http.get(rest, headers=ADMIN)).json()
    assert [each["id"] for each in first["data"] + second["data"]] == made
    assert second["next_cursor"] is None


async def test_only_the_admin_comes_in(http: Api) -> None:
    for path in ("/v1/admin/webhooks", "/v1/admin/deliveries"):
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers=BUYER)).status_code == 403


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://169.254.169.254/",
        "https://2130706433/",
        "https://user:word@shop.example/",
        "gopher://shop.example/",
        "shop.example",
        "",
        7,
        None,
    ],
)
async def test_a_url_that_may_not_be_reached_is_refused_at_once(http: Api, url: object) -> None:
    answer = await http.post("/v1/admin/webhooks", headers=ADMIN, json={"url": url})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["url"]


async def test_the_operators_networks_may_be_written_down(http: Api) -> None:
    here = (ipaddress.ip_network("127.0.0.0/8"),)
    allowed = replace(http.parts.settings, webhook_networks=here)
    object.__setattr__(http.parts, "settings", allowed)
    try:
        assert (await added(http, url="http://127.0.0.1:9000/"))["state"] == "active"
    finally:
        object.__setattr__(http.parts, "settings", replace(allowed, webhook_networks=()))


@pytest.mark.parametrize(
    "events", [[], ["order.*", "order.*"], ["order"], ["payment.captured"], "order.*", [1], None]
)
async def test_only_what_can_be_told_can_be_asked_for(http: Api, events: object) -> None:
    answer = await http.post(
        "/v1/admin/webhooks", headers=ADMIN, json={"url": URL, "events": events}
    )
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["events"]


async def test_all_that_is_wrong_is_said_at_once(http: Api) -> None:
    body = {"url": "ftp://x", "events": [], "description": "\x00", "colour": "red"}
    answer = await http.post("/v1/admin/webhooks", headers=ADMIN, json=body)
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"url", "events", "description", "colour"}


async def test_an_endpoint_is_added_once_per_key(http: Api) -> None:
    body = {"url": URL}
    first = await http.post("/v1/admin/webhooks", headers=with_key("a"), json=body)
    again = await http.post("/v1/admin/webhooks", headers=with_key("a"), json=body)
    other = await http.post("/v1/admin/webhooks", headers=with_key("a"), json={"url": f"{URL}/2"})
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert other.json()["code"] == "idempotency_mismatch"
    assert len(await http.parts.ledger.endpoints()) == 1


async def test_there_are_only_so_many(http: Api) -> None:
    for _ in range(ENDPOINTS_MAX):
        await added(http)
    answer = await http.post("/v1/admin/webhooks", headers=ADMIN, json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_what_a_change_names_is_changed(http: Api) -> None:
    made = await added(http, description="old")
    path = f"/v1/admin/webhooks/{made['id']}"
    change = {"url": f"{URL}/new", "events": list(EVENT_TYPES), "description": "", "state": "off"}
    changed = (await http.patch(path, headers=ADMIN, json=change)).json()
    assert {name: changed[name] for name in change} == change
    assert changed["off_reason"]
    back = (await http.patch(path, headers=ADMIN, json={"state": "active"})).json()
    assert (back["state"], back["off_reason"], back["url"]) == ("active", None, f"{URL}/new")
    for wrong in ({"state": "gone"}, {"url": "http://10.0.0.1/"}, {"secret": "whsec_mine"}):
        assert (await http.patch(path, headers=ADMIN, json=wrong)).status_code == 422


async def test_a_deleted_endpoint_is_not_found(http: Api) -> None:
    made = await added(http)
    path = f"/v1/admin/webhooks/{made['id']}"
    assert (await http.delete(path, headers=ADMIN)).status_code == 204
    for answer in (
        await http.get(path, headers=ADMIN),
        await http.delete(path, headers=ADMIN),
        await http.patch(path, headers=ADMIN, json={}),
        await http.post(f"{path}/secret", headers=ADMIN, json={}),
        await http.post(f"{path}/test", headers=ADMIN),
        await http.post(f"{path}/replay", headers=ADMIN, json={"since": "2026-01-01T00:00:00Z"}),
    ):
        assert answer.status_code == 404


async def test_a_new_secret_and_the_end_of_the_old_one(http: Api) -> None:
    made = await added(http)
    path = f"/v1/admin/webhooks/{made['id']}/secret"
    body = {"old_valid_for_seconds": 60}
    rotated = await http.post(path, headers=with_key("r"), json=body)
    again = await http.post(path, headers=with_key("r"), json=body)
    assert rotated.status_code == 200
    assert rotated.content == again.content
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["old_secret_until"]
    at_once = await http.post(path, headers=ADMIN, json={"old_valid_for_seconds": 0})
    assert at_once.json()["old_secret_until"] is None
    assert (
        await http.post(path, headers=ADMIN, json={"old_valid_for_seconds": -1})
    ).status_code == 422


async def test_deliveries_are_looked_at_narrowed_down_and_sent_again(http: Api) -> None:
    made = await added(http)
    path = f"/v1/admin/webhooks/{made['id']}"
    first = await http.post(f"{path}/test", headers=with_key("t"))
    again = await http.post(f"{path}/test", headers=with_key("t"))
    assert (first.status_code, first.content) == (202, again.content)
    delivery = first.json()
    assert (delivery["type"], delivery["state"]) == ("webhook.test", "pending")

    one = f"/v1/admin/deliveries/{delivery['id']}"
    assert (await http.get(one, headers=ADMIN)).json() == delivery
    for query, found in (
        (f"endpoint={made['id']}", [delivery]),
        (f"endpoint={made['id']}&state=pending", [delivery]),
        (f"endpoint={made['id']}&state=failed", []),
        ("order=117000000000000042", []),
    ):
        listed = await http.get(f"/v1/admin/deliveries?{query}", headers=ADMIN)
        assert listed.json() == {"data": found, "next_cursor": None}, query
    wrong = await http.get("/v1/admin/deliveries?state=lost", headers=ADMIN)
    assert wrong.status_code == 422

    replayed = await http.post(f"{one}/replay", headers=ADMIN)
    assert (replayed.status_code, replayed.json()["webhook_id"]) == (200, delivery["webhook_id"])
    since = {"since": "2026-01-01T00:00:00Z"}
    failed = await http.post(f"{path}/replay", headers=ADMIN, json=since)
    assert failed.json() == {"replayed": 0}
    await http.patch(path, headers=ADMIN, json={"state": "off"})
    for refused in (
        await http.post(f"{one}/replay", headers=ADMIN),
        await http.post(f"{path}/replay", headers=ADMIN, json=since),
        await http.post(f"{path}/test", headers=ADMIN),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_whoever_watches_sees_what_is_waiting(http: Api) -> None:
    made = await added(http)
    await http.post(f"/v1/admin/webhooks/{made['id']}/test", headers=ADMIN)
    text = (await http.get("/metrics")).text
    assert 'sluice_webhook_endpoints{state="active"} 1.0' in text
    pending = next(line for line in text.splitlines() if 'deliveries{state="pending"}' in line)
    assert float(pending.split()[-1]) >= 1
    assert "sluice_webhook_oldest_pending_seconds " in text
    assert f'sluice_webhook_attempts_total{{endpoint="{made["id"]}",result="delivered"}} 0' in text


@pytest.mark.verify
@pytest.mark.timeout(240)
async def test_a_worker_that_is_killed_in_the_middle_leaves_nothing_untold(tmp_path: Path) -> None:
    """What it held is sent when its claims end, a minute later."""
    buyers = 40

    async def slowly(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response(status=204)

    async with receiving(slowly) as merchant:
        with Product(tmp_path / "data", SLUICE_WEBHOOK_NETWORKS="127.0.0.0/8") as product:
            with Client(product.url) as client:
                url = {"url": merchant.url, "events": ["order.*"]}
                assert client.post("/v1/admin/webhooks", ADMIN_TOKEN, url)[0] == 201
                _, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, a_sale())
                client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, {})
                path = f"/v1/sales/{sale['id']}/items/{sale['items'][0]['id']}/pass"
                orders = []
                for n in range(buyers):
                    buyer = client.token(product.identity_secret(), f"buyer-{n}")
                    _, passed = client.post(path, buyer, {})
                    _, bought = client.post(f"/v1/buy/{passed['pass']}", buyer, {"quantity": 1})
                    orders.append((bought["order"]["id"], buyer))
                await merchant.count(5)
                product.kill("work")
                for order, buyer in orders:
                    assert client.post(f"/v1/orders/{order}/cancel", buyer, {})[0] == 200

            def happened() -> list[str]:
                """What the ledger has: an order that was not in it yet when it was cancelled has
                never waited for payment."""
                with product.ledger() as ledger:
                    history = "SELECT state, order_number FROM order_history ORDER BY 2, ordinal"
                    return [f"order.{state} {order}" for state, order in ledger.execute(history)]

            until(
                lambda: sum(each.startswith("order.cancelled") for each in happened()) == buyers,
                within_s=60,
                what="all are cancelled",
            )
            expected = happened()
            await merchant.until(
                lambda: len(set(merchant.delivered())) == len(expected), "everything", within_s=150
            )
    for order, _ in orders:
        told = [each for each in dict.fromkeys(merchant.delivered()) if each.endswith(order)]
        assert told == [each for each in expected if each.endswith(order)]
    assert len(expected) > buyers, "some had been recorded before"


@pytest.mark.verify
async def test_the_running_product_tells_a_merchant_of_a_sale_and_an_order(tmp_path: Path) -> None:
    async with receiving() as merchant:
        with Product(tmp_path / "data", SLUICE_WEBHOOK_NETWORKS="127.0.0.0/8") as product:
            with Client(product.url) as client:
                status, endpoint = client.post(
                    "/v1/admin/webhooks", ADMIN_TOKEN, {"url": f"{merchant.url}/hooks"}
                )
                assert status == 201, endpoint
                _, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, a_sale())
                client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, {})
                buyer = client.token(product.identity_secret(), "mei")
                path = f"/v1/sales/{sale['id']}/items/{sale['items'][0]['id']}/pass"
                _, passed = client.post(path, buyer, {})
                _, bought = client.post(f"/v1/buy/{passed['pass']}", buyer, {"quantity": 1})
            await merchant.count(2)
    order = bought["order"]["id"]
    assert sorted(merchant.delivered()) == [
        f"order.awaiting_payment {order}",
        f"sale.published {sale['id']}",
    ]
    assert all(came.signed_by(endpoint["secret"]) for came in merchant.got)
    assert endpoint["secret"] not in product.log()
