"""`sluice up` on stores that are there already: each is one URL, and none of them is started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until

from sluice.embedded.store import ask

PG_URL = os.environ.get("SLUICE_TEST_PG_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
DROP = str(Path(__file__).parents[2] / "examples" / "drop.toml")
START_S = 30


def missing(what: str) -> None:
    if os.environ.get("SLUICE_REQUIRE_SERVERS") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis as it comes, without a log: fit to run on, not to promise anything."""
    program = shutil.which("redis-server")
    if program is None:
        missing("there is no redis-server")
        return
    socket = tmp_path / "r.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + START_S
        while ask(socket, b"PING") != b"+PONG":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield f"unix://{socket}"
        finally:
            server.kill()


@pytest.fixture
def database_url() -> Iterator[str]:
    name = f"sluice_up_{os.getpid()}"
    try:
        asyncio.run(_execute(f"CREATE DATABASE {name}"))
    except (OSError, asyncpg.PostgresError) as error:
        missing(f"there is no PostgreSQL at {PG_URL}: {error}")
    yield urlunsplit(urlsplit(PG_URL)._replace(path=f"/{name}"))
    asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(PG_URL)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.verify
def test_a_sale_on_redis_and_postgresql(tmp_path: Path, redis_url: str, database_url: str) -> None:
    stores = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_CACHE_URL": f"{redis_url}?db=1",
        "SLUICE_DATABASE_URL": database_url,
    }
    with Product(tmp_path / "data", **stores) as product, Client(product.url) as http:
        assert product.children("valkey-server") == []
        assert not (product.data / "sluice.db").exists()

        sale = json.loads(product.run("sale", "create", DROP, "--publish", "--json"))
        item = sale["items"][0]["id"]
        token = product.run("token", "ada").strip()
        place = f"/v1/sales/{sale['id']}/items/{item}/pass"
        _, answer = until(
            lambda: (given := http.post(place, token, {}))[0] == 200 and given,
            within_s=30,
            what="a pass",
        )
        status, bought = http.post(f"/v1/buy/{answer['pass']}", token, {"quantity": 1})
        assert status == 202
        order = f"/v1/orders/{bought['order']['id']}"
        until(
            lambda: http.get(order, token)[1]["state"] == "awaiting_payment",
            within_s=30,
            what="the order is in the ledger",
        )
        assert http.get("/v1/admin/audit", ADMIN_TOKEN)[1]["ok"] is True

        findings = json.loads(product.run("doctor", "--json", check=False))["findings"]
        broken = {f"{f['store']}: {f['setting']}" for f in findings if f["ok"] is False}
        assert broken == {"gate: appendonly"}
