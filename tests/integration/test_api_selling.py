"""The merchant's commands over HTTP: sales from draft to end, their stock, and each done once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.support.api import ADMIN, BUYER, Api, a_sale, api

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[Api]:
    async with api() as client:
        yield client


def with_key(key: str) -> dict[str, str]:
    return {**ADMIN, "Idempotency-Key": key}


async def test_a_created_sale_is_a_draft_that_nobody_else_sees(http: Api) -> None:
    sale = await http.create_sale(title="A secret")
    assert sale["state"] == "draft"
    shown = (await http.get(f"/v1/admin/sales/{sale['id']}", headers=ADMIN)).json()
    assert shown["title"] == "A secret"
    listed = (await http.get("/v1/sales")).json()["data"]
    assert sale["id"] not in {each["id"] for each in listed}


async def test_a_sale_lives_from_draft_to_end(http: Api) -> None:
    sale = await http.open_sale()
    path = f"/v1/admin/sales/{sale['id']}"
    assert sale["state"] == "live"
    paused = await http.post(f"{path}/pause", headers=ADMIN, json={"reason": "A wrong photo."})
    assert (paused.json()["state"], paused.json()["pause_reason"]) == ("paused", "A wrong photo.")
    assert (await http.post(f"{path}/resume", headers=ADMIN)).json()["state"] == "live"
    assert (await http.post(f"{path}/close", headers=ADMIN)).json()["state"] == "ended"
    reopened = await http.post(f"{path}/resume", headers=ADMIN)
    assert (reopened.status_code, reopened.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("step", ["publish", "close"])
async def test_a_step_repeated_answers_the_same_again(http: Api, step: str) -> None:
    sale = await http.open_sale()
    path = f"/v1/admin/sales/{sale['id']}/{step}"
    first = await http.post(path, headers=ADMIN)
    again = await http.post(path, headers=ADMIN)
    assert first.status_code == again.status_code == 200
    assert first.json()["state"] == again.json()["state"]


async def test_all_that_is_wrong_with_a_sale_is_said_at_once(http: Api) -> None:
    body = a_sale(title="", items=[{"title": "x", "stock": -1}], colour="red")
    answer = await http.post("/v1/admin/sales", headers=ADMIN, json=body)
    assert answer.status_code == 422
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"title", "items[0].price", "items[0].stock", "colour"}


@pytest.mark.parametrize(
    "price", [None, {}, {"amount": "9.90", "currency": None}, {"amount": None, "currency": "CNY"}]
)
async def test_a_price_that_is_null_is_not_a_price_of_nothing(http: Api, price: Any) -> None:
    items = [{"title": "Teapot", "price": price, "stock": 1}]
    answer = await http.post("/v1/admin/sales", headers=ADMIN, json=a_sale(items=items))
    assert answer.status_code == 422
    assert {error["field"].partition(".")[0] for error in answer.json()["errors"]} == {"items[0]"}


async def test_a_change_needs_a_body(http: Api) -> None:
    sale = await http.create_sale()
    answer = await http.patch(f"/v1/admin/sales/{sale['id']}", headers=ADMIN)
    assert answer.status_code == 422


async def test_what_a_change_names_is_changed(http: Api) -> None:
    sale = await http.create_sale()
    path = f"/v1/admin/sales/{sale['id']}"
    item = sale["items"][0]["id"]
    body = {
        "title": "Another name",
        "items": [{"id": item, "price": {"amount": "1.00", "currency": "CNY"}}],
        "policy": {"pass_ttl_seconds": 30},
    }
    changed = (await http.patch(path, headers=ADMIN, json=body)).json()
    assert changed["title"] == "Another name"
    assert changed["items"][0]["price"]["amount"] == "1.00"
    assert changed["items"][0]["stock"] == 50
    assert changed["policy"]["pass_ttl_seconds"] == 30


async def test_the_price_of_a_live_sale_is_fixed(http: Api) -> None:
    sale = await http.open_sale()
    item = {"id": sale["items"][0]["id"], "price": {"amount": "1.00", "currency": "CNY"}}
    answer = await http.patch(
        f"/v1/admin/sales/{sale['id']}", headers=ADMIN, json={"items": [item]}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


# --- once -----------------------------------------------------------------------------------------


async def test_a_sale_is_created_once_per_key(http: Api) -> None:
    answers = [
        await http.post("/v1/admin/sales", headers=with_key("one"), json=a_sale()) for _ in range(3)
    ]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1, "the first answer, word for word"
    assert answers[0].headers["content-type"] == "application/json"


async def test_a_key_with_another_body_is_refused(http: Api) -> None:
    await http.post("/v1/admin/sales", headers=with_key("two"), json=a_sale())
    answer = await http.post("/v1/admin/sales", headers=with_key("two"), json=a_sale(title="Other"))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_counts_for_its_own_route_alone(http: Api) -> None:
    created = await http.post("/v1/admin/sales", headers=with_key("three"), json=a_sale())
    sale = created.json()["id"]
    published = await http.post(f"/v1/admin/sales/{sale}/publish", headers=with_key("three"))
    assert (published.status_code, published.json()["state"]) == (200, "live")


async def test_a_refused_command_does_not_use_its_key_up(http: Api) -> None:
    refused = await http.post("/v1/admin/sales", headers=with_key("four"), json=a_sale(title=""))
    assert refused.status_code == 422
    created = await http.post("/v1/admin/sales", headers=with_key("four"), json=a_sale())
    assert created.status_code == 201


async def test_a_steps_first_answer_is_kept_although_the_sale_went_on(http: Api) -> None:
    sale = await http.open_sale()
    path = f"/v1/admin/sales/{sale['id']}"
    body = {"reason": "A wrong photo."}
    first = await http.post(f"{path}/pause", headers=with_key("five"), json=body)
    await http.post(f"{path}/resume", headers=ADMIN)
    again = await http.post(f"{path}/pause", headers=with_key("five"), json=body)
    assert first.content == again.content
    assert (await http.get(path, headers=ADMIN)).json()["state"] == "live", "paused once, not twice"
    other = await http.post(f"{path}/pause", headers=with_key("five"), json={"reason": "Other."})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    "keys",
    [[""], [" "], ["two words"], ["a" * 256], ["ключ"], ["a", "b"], ["tab\there"]],
    ids=["empty", "blank", "two words", "long", "not ascii", "two", "tab"],
)
async def test_a_key_that_is_not_one_plain_word_is_refused(http: Api, keys: list[str]) -> None:
    headers: list[tuple[str, Any]] = [("Authorization", ADMIN["Authorization"])]
    headers += [("Idempotency-Key", key.encode()) for key in keys]
    answer = await http.post("/v1/admin/sales", headers=headers, json=a_sale())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


# --- stock ----------------------------------------------------------------------------------------


async def edit_stock(http: Api, item: str, key: str, body: Any) -> Any:
    return await http.post(f"/v1/admin/items/{item}/stock", headers=with_key(key), json=body)


async def test_stock_grows_and_shrinks(http: Api) -> None:
    sale = await http.create_sale()
    item = sale["items"][0]["id"]
    more = await edit_stock(http, item, "more", {"delta": 5, "reason": "Found some."})
    assert (more.status_code, more.json()["state"], more.json()["stock"]) == (200, "applied", 55)
    less = await edit_stock(http, item, "less", {"delta": -55, "reason": "Lost them all."})
    assert less.json()["stock"] == 0
    shown = (await http.get(f"/v1/admin/sales/{sale['id']}", headers=ADMIN)).json()
    assert shown["items"][0]["stock"] == 0


async def test_stock_is_edited_once_per_key(http: Api) -> None:
    item = (await http.create_sale())["items"][0]["id"]
    body = {"delta": 5, "reason": "Found some."}
    answers = [await edit_stock(http, item, "once", body) for _ in range(3)]
    assert {answer.json()["stock"] for answer in answers} == {55}
    other = await edit_stock(http, item, "once", {**body, "delta": 6})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_stock_needs_a_key(http: Api) -> None:
    item = (await http.create_sale())["items"][0]["id"]
    body = {"delta": 5, "reason": "Found some."}
    answer = await http.post(f"/v1/admin/items/{item}/stock", headers=ADMIN, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_units_that_are_not_there_cannot_be_taken_away(http: Api) -> None:
    item = (await http.create_sale())["items"][0]["id"]
    answer = await edit_stock(http, item, "too many", {"delta": -51, "reason": "Oops."})
    assert answer.status_code == 422  # the key is two words
    answer = await edit_stock(http, item, "too-many", {"delta": -51, "reason": "Oops."})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("delta", [0, 1.5, "5", None, True, 10**30, -(10**30)])
async def test_a_delta_is_a_whole_number_and_not_0(http: Api, delta: Any) -> None:
    item = (await http.create_sale())["items"][0]["id"]
    answer = await edit_stock(http, item, f"delta-{delta}", {"delta": delta, "reason": "Oops."})
    assert answer.status_code == 422


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/admin/sales", "/v1/admin/orders", "/v1/admin/audit", "/v1/admin/dead-letters"]
)
async def test_only_the_admin_may(http: Api, path: str) -> None:
    nobody = await http.get(path)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    stranger = await http.get(path, headers={"Authorization": "Bearer something"})
    assert stranger.status_code == 401
    buyer = await http.get(path, headers=BUYER)
    assert (buyer.status_code, buyer.json()["code"]) == (403, "not_allowed")


async def test_nobody_learns_from_a_refusal_what_the_body_should_have_been(http: Api) -> None:
    answer = await http.post("/v1/admin/sales", headers=BUYER, json={"nonsense": 1})
    assert answer.status_code == 403
