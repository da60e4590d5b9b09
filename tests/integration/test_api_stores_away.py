"""With every store away: 503 within a second, told as it is, and nothing else changes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.api import ADMIN, BUYER, Api, a_sale, api_without_stores

SOON_S = 5.0
KEY = {**ADMIN, "Idempotency-Key": "one"}


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_without_stores(tmp_path) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/v1/sales", {}, None),
        ("GET", "/v1/orders", BUYER, None),
        ("GET", "/v1/admin/sales", ADMIN, None),
        ("GET", "/v1/admin/sales/7", ADMIN, None),
        ("GET", "/v1/admin/sales/7/live", ADMIN, None),
        ("GET", "/v1/admin/orders", ADMIN, None),
        ("GET", "/v1/admin/dead-letters", ADMIN, None),
        ("GET", "/v1/admin/audit", ADMIN, None),
        ("POST", "/v1/admin/sales", ADMIN, a_sale()),
        ("POST", "/v1/admin/sales", KEY, a_sale()),
        ("PATCH", "/v1/admin/sales/7", ADMIN, {"title": "Another"}),
        ("POST", "/v1/admin/sales/7/publish", ADMIN, None),
        ("POST", "/v1/admin/sales/7/publish", KEY, None),
        ("POST", "/v1/admin/sales/7/pause", ADMIN, {"reason": "Why not."}),
        ("POST", "/v1/admin/items/7/stock", KEY, {"delta": 1, "reason": "Why not."}),
    ],
)
async def test_what_needs_a_store_is_unavailable_and_says_so_soon(
    http: Api, method: str, path: str, headers: dict[str, str], body: Any
) -> None:
    began = time.monotonic()
    answer = await http.request(method, path, headers=headers, json=body)
    assert time.monotonic() - began < SOON_S
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in answer.text, "where the store is, is nobody's business"


async def test_it_is_alive_but_not_ready(http: Api) -> None:
    assert (await http.get("/livez")).status_code == 200
    began = time.monotonic()
    ready = await http.get("/readyz")
    assert time.monotonic() - began < SOON_S
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert ready.json() == {
        "ready": False,
        "ledger": "away",
        "shards": [{"shard": 0, "gate": "away"}],
        "breakers": {},
    }


async def test_metrics_and_documentation_need_no_store(http: Api) -> None:
    metrics = await http.get("/metrics")
    assert "sluice_ledger_up 0.0" in metrics.text
    for path in ("/docs", "/docs/problems", "/openapi.json"):
        assert (await http.get(path)).status_code == 200


async def test_a_mistake_is_told_before_the_stores_are_asked(http: Api) -> None:
    answer = await http.post("/v1/admin/sales", headers=ADMIN, json={"title": 1})
    assert answer.status_code == 422
    assert (await http.get("/v1/admin/sales")).status_code == 401
    assert (await http.get("/v1/sales?limit=x")).status_code == 422
