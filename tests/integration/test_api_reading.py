"""What can be read over HTTP besides the hot lane: lists, live numbers, the house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.support.api import ADMIN, BUYER, Api, api

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[Api]:
    async with api() as client:
        yield client


SOON_S = 20.0


async def pages(http: Api, path: str, limit: int, headers: dict[str, str]) -> list[list[Any]]:
    """All pages of a list, by their cursors."""
    found, cursor = [], ""
    while True:
        answer = await http.get(f"{path}?limit={limit}{cursor}", headers=headers)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["data"])
        if answer.json()["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json()['next_cursor']}"


# --- lists ----------------------------------------------------------------------------------------


async def test_sales_are_listed_newest_first_page_by_page(http: Api) -> None:
    made = [(await http.open_sale(title=f"Sale {n}"))["id"] for n in range(5)]
    await http.create_sale(title="A draft")
    public = await pages(http, "/v1/sales", 2, {})
    ids = [sale["id"] for page in public for sale in page]
    assert ids[:5] == made[::-1]
    assert max(map(len, public)) == 2
    everything = await pages(http, "/v1/admin/sales", 3, ADMIN)
    titles = [sale["title"] for page in everything for sale in page]
    assert titles[0] == "A draft"
    assert len(titles) == len(set(ids)) + 1


async def test_a_page_that_is_just_full_has_no_next(http: Api) -> None:
    count = len((await http.get("/v1/admin/sales?limit=100", headers=ADMIN)).json()["data"])
    answer = await http.get(f"/v1/admin/sales?limit={max(count, 1)}", headers=ADMIN)
    assert answer.json()["next_cursor"] is None


async def test_an_unchanged_list_is_not_sent_again(http: Api) -> None:
    await http.open_sale()
    first = await http.get("/v1/sales")
    assert "max-age" in first.headers["cache-control"]
    again = await http.get("/v1/sales", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    several = f'"other", {first.headers["etag"]}'
    assert (await http.get("/v1/sales", headers={"If-None-Match": several})).status_code == 304
    await http.open_sale(title="One more")
    async with asyncio.timeout(SOON_S):
        while True:
            changed = await http.get("/v1/sales", headers={"If-None-Match": first.headers["etag"]})
            if changed.status_code == 200:
                break
            await asyncio.sleep(0.02)
    assert changed.json()["data"][0]["title"] == "One more"


@pytest.mark.parametrize("path", ["/v1/sales", "/v1/orders", "/v1/admin/sales", "/v1/admin/orders"])
@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1e1", "limit=٣"),
        *("cursor=", "cursor=x", "cursor=%00", "cursor=MA", "cursor=MTA=", "cursor=%ff"),
        *("cursor=" + "9" * 500, "cursor=LTU", "cursor=MS41", "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk"),
    ],
)
async def test_a_bad_page_is_refused_by_name(http: Api, path: str, query: str) -> None:
    headers = ADMIN if "admin" in path else BUYER
    answer = await http.get(f"{path}?{query}", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("query", "field"), [("sale=x", "sale"), ("sale=0", "sale"), ("state=bought", "state")]
)
async def test_a_bad_filter_is_refused_by_name(http: Api, query: str, field: str) -> None:
    answer = await http.get(f"/v1/admin/orders?{query}", headers=ADMIN)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_orders_can_be_narrowed_down(http: Api) -> None:
    answer = await http.get("/v1/admin/orders?sale=1&state=rejected", headers=ADMIN)
    assert answer.json() == {"data": [], "next_cursor": None}


async def test_a_buyer_sees_themselves_and_their_own_orders(http: Api) -> None:
    me = await http.get("/v1/me", headers=BUYER)
    assert me.json() == {"buyer": {"id": "jwt::mei", "roles": ["buyer"]}}
    assert me.headers["cache-control"] == "no-store"
    assert (await http.get("/v1/orders", headers=BUYER)).json()["data"] == []


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic eA==", "Bearer a.b.c", "Bearer x y"]
)
async def test_whoever_is_not_known_is_told_how_to_be(http: Api, authorization: str) -> None:
    for path in ("/v1/me", "/v1/orders"):
        answer = await http.get(path, headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


# --- watching -------------------------------------------------------------------------------------


async def test_live_numbers_are_those_of_the_stores(http: Api) -> None:
    sale = await http.open_sale()
    live = (await http.get(f"/v1/admin/sales/{sale['id']}/live", headers=ADMIN)).json()
    (item,) = live["items"]
    assert (item["stock"], item["available"], item["queued"], item["paid"]) == (50, 50, 0, 0)
    assert live["rates"] == {}


@pytest.mark.parametrize(
    "path", ["/v1/admin/sales/{}", "/v1/admin/sales/{}/live", "/v1/admin/sales/{}/publish"]
)
@pytest.mark.parametrize(
    "sale", ["999999", "0", "-1", "x", "1.0", "٣", "9" * 30, "%00", "1%2f1", "1 OR 1=1"]
)
async def test_what_is_not_there_is_not_found(http: Api, path: str, sale: str) -> None:
    method = "POST" if path.endswith("publish") else "GET"
    answer = await http.request(method, path.format(sale), headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# --- the house ------------------------------------------------------------------------------------


async def test_a_house_in_order_is_alive_and_ready(http: Api) -> None:
    assert (await http.get("/livez")).json() == {"alive": True}
    ready = await http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "ready": True,
        "ledger": "ok",
        "shards": [{"shard": 0, "gate": "armed"}],
        "breakers": {},
    }


async def test_a_gate_that_is_not_armed_is_not_ready(http: Api) -> None:
    gate = http.parts.gate
    epoch = (await gate.status(0)).epoch
    assert epoch is not None
    await gate.disarm(0)
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["shards"] == [{"shard": 0, "gate": "not_armed"}]
    assert (await http.get("/livez")).status_code == 200
    await gate.arm(0, epoch, 60_000)
    assert (await http.get("/readyz")).status_code == 200


async def test_metrics_can_be_read_by_prometheus(http: Api) -> None:
    await http.get("/nowhere")
    answer = await http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    seen = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert seen["sluice_gate_armed"].samples[0].value == 1
    routes = {sample.labels["route"] for sample in seen["sluice_http_requests"].samples}
    assert "none" in routes
    assert not any("mei" in sample for sample in answer.text.split())


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
async def test_pages_allow_nothing_from_outside_or_inline(http: Api, path: str) -> None:
    answer = await http.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for word in ("http://", "https://", "<style", "onclick", " style="):
        assert word not in answer.text
    for script in answer.text.split("<script")[1:]:
        assert "src=" in script.partition(">")[0], "no script is inline"


async def test_all_that_a_page_asks_for_is_there(http: Api) -> None:
    for path in ("/docs", "/docs/problems"):
        text = (await http.get(path)).text
        wanted = {part.partition('"')[0] for part in text.split('"/')[1:]}
        for each in wanted:
            assert (await http.get(f"/{each}")).status_code == 200, each


async def test_every_problem_code_has_its_place_on_the_page(http: Api) -> None:
    text = (await http.get("/docs/problems")).text
    codes = (await http.get("/openapi.json")).json()["components"]["schemas"]["Problem"]
    for code in codes["properties"]["code"]["enum"]:
        assert f'id="{code}"' in text


@pytest.mark.parametrize(
    "name", ["docs.html", "__init__.py", "..%2fproblems.py", "%2e%2e%2fproblems.py", "%00", ""]
)
async def test_only_named_files_are_served(http: Api, name: str) -> None:
    assert (await http.get(f"/static/{name}")).status_code == 404
