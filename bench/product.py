"""The product as a person runs it: `sluice up` on a folder of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.buyers import VALID_S, Target, identity_token
from bench.gates import SHARD
from bench.processes import (
    BenchError,
    descendants,
    environment,
    free_port,
    python,
    running,
    wait_until,
)
from sluice.admission.passes import Passes
from sluice.gate.gate import Gate
from sluice.settings import Settings

READY_S = 60.0
DRAIN_S = 180.0
HTTP_S = 10.0
ADMIN_TOKEN = "bench-admin-token-0123456789"
STOCK = 10_000_000


@dataclass(frozen=True, slots=True)
class Product:
    """One `sluice up` that is ready."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> Settings:
        return Settings.read({}, self.data_dir)

    def pids(self) -> dict[str, list[int]]:
        """Its processes by kind: http (the workers), gate, recorder."""
        family = descendants(self.process.pid)
        server = next((p.pid for p in family if " serve " in p.command), 0)
        return {
            "http": [p.pid for p in family if p.parent == server],
            "gate": [p.pid for p in family if "gate.sock" in p.command],
            "recorder": [p.pid for p in family if " work " in p.command],
        }

    # --- over HTTP -------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, token: str = ADMIN_TOKEN) -> Any:
        """The decoded answer. Raises `BenchError` on anything that is not 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HTTP_S)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            raw = answer.read()
        if not 200 <= answer.status < 300:
            raise BenchError(f"{method} {path} was answered {answer.status}: {raw[:300]!r}")
        return json.loads(raw) if raw.startswith(b"{") else raw.decode()

    def open_sale(self, stock: int = STOCK, limits: dict[str, int | None] | None = None) -> Target:
        """A live sale of one item; what passes for it say is read from one that it issues."""
        now = datetime.now(UTC)
        sale = self.ask(
            "POST",
            "/v1/admin/sales",
            {
                "title": "Bench",
                "starts_at": _time(now - timedelta(minutes=1)),
                "ends_at": _time(now + timedelta(days=1)),
                # Buyers are limited as by default; they all come from one address.
                "policy": {"limits": limits or {"per_address_per_minute": 10_000_000}},
                "items": [
                    {
                        "title": "Unit",
                        "price": {"amount": "9.90", "currency": "CNY"},
                        "stock": stock,
                        "per_buyer": 1,
                    }
                ],
            },
        )
        self.ask("POST", f"/v1/admin/sales/{sale['id']}/publish")
        sale_id, item_id = sale["id"], sale["items"][0]["id"]
        text = self._first_pass(f"/v1/sales/{sale_id}/items/{item_id}/pass")
        passed = Passes(self.settings().secret_keys).verify(text)
        assert passed is not None
        return Target(self.port, passed.publication, passed.item_id, int(sale_id))

    def sell_out(self) -> Target:
        """A sale of one unit, which somebody has just bought."""
        target = self.open_sale(stock=1)
        sale_id = self.ask("GET", "/v1/admin/sales?limit=1")["data"][0]["id"]
        text = self._first_pass(f"/v1/sales/{sale_id}/items/{target.item_id}/pass")
        self._until_sold(f"/v1/buy/{text}")
        return target

    def _first_pass(self, path: str) -> str:
        """A published sale reaches every process within moments."""
        deadline = time.monotonic() + HTTP_S
        while True:
            try:
                return str(self.ask("POST", path, token=self.token("first"))["pass"])
            except BenchError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _until_sold(self, path: str) -> None:
        deadline = time.monotonic() + HTTP_S
        while True:
            try:
                self.ask("POST", path, {"quantity": 1}, token=self.token("first"))
                return
            except BenchError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def token(self, name: str) -> str:
        return identity_token(self.settings().identity_secret, name, int(time.time()) + VALID_S)

    def attempts(self) -> dict[str, int]:
        """How each attempt to buy was decided since the start, by outcome, of all HTTP workers."""
        text: str = self.ask("GET", "/metrics")
        counted = {}
        for line in text.splitlines():
            if line.startswith("sluice_attempts_total{"):
                name, _, count = line.rpartition(" ")
                counted[name.split('"')[1]] = int(float(count))
        return counted

    # --- past HTTP -------------------------------------------------------------------------

    def held(self, item_id: int) -> int:
        """Units that the gate counts as held."""
        return asyncio.run(self._held(item_id))

    async def _held(self, item_id: int) -> int:
        gate = Gate.from_url(self.settings().gate_url)
        try:
            return (await gate.totals(SHARD, [item_id]))[0].held
        finally:
            await gate.close()

    def orders(self) -> int:
        """Orders in the ledger's file, counted past everything that Sluice says."""
        with closing(self._ledger()) as ledger:
            return int(ledger.execute("SELECT count(*) FROM orders").fetchone()[0])

    def orders_in(self, state: str) -> int:
        """The same, of those in one state."""
        with closing(self._ledger()) as ledger:
            found = ledger.execute("SELECT count(*) FROM orders WHERE state = ?", [state])
            return int(found.fetchone()[0])

    def recorded(self, numbers: list[int]) -> int:
        """How many of these order numbers the ledger has."""
        with closing(self._ledger()) as ledger:
            known = {row[0] for row in ledger.execute("SELECT number FROM orders")}
        return sum(number in known for number in numbers)

    def drain(self) -> None:
        """Wait until the recorder has read the gate's log to its end."""
        wait_until("the recorder", self._drained, seconds=DRAIN_S, every_s=0.1)

    def _drained(self) -> bool:
        log_end = asyncio.run(self._counter())
        with closing(self._ledger()) as ledger:
            row = ledger.execute("SELECT counter FROM shards WHERE shard = ?", [SHARD]).fetchone()
        return bool(row[0] >= log_end)

    async def _counter(self) -> int:
        gate = Gate.from_url(self.settings().gate_url)
        try:
            return (await gate.status(SHARD)).counter
        finally:
            await gate.close()

    def _ledger(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.data_dir / 'sluice.db'}?mode=ro", uri=True)


@contextmanager
def product(data_dir: Path, *, workers: int = 1, sheds: bool = False) -> Iterator[Product]:
    """`sluice up --no-demo`, from ready until its end.

    Connections that never pause are a queue by design, on a slow machine one that would be shed
    instead of measured: only with `sheds` is anybody turned away because of it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), data_dir.with_suffix(".log")
    log.unlink(missing_ok=True)
    command = python(
        "sluice.cli.main", "up", "--no-demo", "--data", str(data_dir), "--port", str(port)
    )
    environ = environment(SLUICE_ADMIN_TOKEN=ADMIN_TOKEN, SLUICE_LOG_LEVEL="warning")
    if not sheds:
        environ["SLUICE_QUEUE_TARGET_MS"] = "1000"
    with running([*command, "--workers", str(workers)], log=log, environ=environ) as child:
        wait_until(
            "sluice up",
            lambda: "ready http" in log.read_text(errors="replace"),
            seconds=READY_S,
            child=child,
            log=log,
        )
        yield Product(data_dir, port, child)


def _time(when: datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
