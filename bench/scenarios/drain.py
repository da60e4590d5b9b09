"""A million queued orders into the ledger: the real `sluice work` alone, on each database.

The gate is filled once, with nobody recording. Each ledger then starts at the log's beginning.
"""

from __future__ import annotations

import asyncio
import math
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine

from bench import databases
from bench.gates import (
    BATCH,
    EPOCH,
    SHARD,
    armed_gate,
    cache_server,
    embedded_binary,
    gate_server,
    hold,
    put_on_sale,
)
from bench.processes import (
    BenchError,
    cpu_seconds,
    environment,
    last_words,
    python,
    running,
)
from bench.run import Bench, Figure, Outcome
from sluice.domain.money import Money
from sluice.domain.sale import NewItem, NewSale
from sluice.ledger.engine import driver_url
from sluice.ledger.ledger import Ledger
from sluice.ledger.migrate import upgrade
from sluice.ledger.records import Answered
from sluice.ledger.tables import metadata

AT_LEAST = {"sqlite": 30_000, "postgresql": 25_000, "mariadb": None}
DRAIN_S = 300.0
POLL_S = 0.05
_DAY_MS = 86_400_000

Database = Callable[[Path], AbstractContextManager[str | None]]
DATABASES: dict[str, Database] = {
    "sqlite": databases.sqlite,
    "postgresql": databases.postgresql,
    "mariadb": databases.mariadb,
}


def run(bench: Bench) -> Outcome:
    found = Outcome()
    count = bench.sizes.drained
    binary = embedded_binary()
    with gate_server(bench.subfolder("drain-gate"), binary) as gate_url:
        bench.say(f"drain: {count:,} orders into the gate's log")
        asyncio.run(_queue(gate_url, count))
        for name, database in DATABASES.items():
            bench.say(f"drain: {count:,} orders from the log into {name}")
            folder = bench.subfolder(f"drain-{name}")
            with database(folder) as url, cache_server(folder / "cache", binary) as cache_url:
                if url is None:
                    found.notes.append(f"{name} is not installed, so its drain is not measured.")
                else:
                    _drain(found, name, folder, (gate_url, cache_url, url), count)
    return found


async def _queue(gate_url: str, count: int) -> None:
    async with armed_gate(gate_url) as gate:
        await put_on_sale(gate, 1, count)
        await hold(gate, 1, 0, count)
        await gate.disarm(SHARD)


def _drain(found: Outcome, name: str, folder: Path, urls: tuple[str, str, str], count: int) -> None:
    gate_url, cache_url, ledger_url = urls
    upgrade(ledger_url)
    before = asyncio.run(_prepare(ledger_url, count))
    environ = environment(
        SLUICE_DATA_DIR=str(folder),
        SLUICE_REDIS_URL=gate_url,
        SLUICE_CACHE_URL=cache_url,
        SLUICE_DATABASE_URL=ledger_url,
    )
    command = python("sluice.cli.main", "work")
    with running(command, log=folder / "work.log", environ=environ) as work:
        timed = asyncio.run(_watch(ledger_url, work, count, folder / "work.log"))
    rows = asyncio.run(_rows(ledger_url))
    if rows["orders"] != count:
        raise BenchError(f"{name}: {rows['orders']:,} of {count:,} orders are in the ledger.")
    per_order = (sum(rows.values()) - before) / count
    found.figures += [
        Figure(name=f"{name}, orders", value=timed[0], unit="/s", at_least=AT_LEAST[name]),
        Figure(name=f"{name}, rows an order", value=per_order, unit="rows"),
    ]
    found.details[name] = {"rows": rows, "recorder_cores": timed[1]}


async def _prepare(url: str, count: int) -> int:
    """The sale as the ledger would know it, with the shard in the gate's epoch; rows by then."""
    ledger = Ledger.from_url(url, deadline_ms=10_000)
    try:
        now_ms = await ledger.now_ms()
        item = NewItem(title="Drained", price=Money(990, "CNY"), stock=count)
        sale = await ledger.create_sale(
            NewSale(
                title="Drain",
                starts_at_ms=now_ms - 1000,
                ends_at_ms=now_ms + _DAY_MS,
                items=(item,),
            ),
            shards=1,
        )
        assert not isinstance(sale, Answered)
        await ledger.publish(sale.id)
        lease = await ledger.claim_shard(SHARD, "bench", 60_000)
        assert lease is not None
        lease = await ledger.begin_epoch(lease)
        assert lease.epoch == EPOCH
        assert sale.items[0].id == 1, "the gate was filled for item 1"
        await ledger.mark_loaded(1, EPOCH, 0)
        await ledger.yield_shard(lease)
    finally:
        await ledger.close()
    return sum((await _rows(url)).values())


async def _watch(
    url: str, work: subprocess.Popen[bytes], count: int, log: Path
) -> tuple[float, float]:
    """Orders per second, and the cores that `sluice work` used."""
    ledger = Ledger.from_url(url, deadline_ms=10_000)
    try:
        async with asyncio.timeout(DRAIN_S):
            first_at, already, spent = await _look(ledger, work, lambda counter: counter > 0)
            last_at, _, spent_then = await _look(
                ledger, work, lambda counter: counter >= math.ceil(count / BATCH)
            )
    except TimeoutError:
        raise BenchError(f"not drained in {DRAIN_S:g} s. {last_words(log)}") from None
    finally:
        await ledger.close()
    took_s = last_at - first_at
    return (count - already * BATCH) / took_s, (spent_then - spent) / took_s


async def _look(
    ledger: Ledger, work: subprocess.Popen[bytes], enough: Callable[[int], bool]
) -> tuple[float, int, float]:
    """When the recorded position was enough for the first time: time, position, CPU seconds."""
    while True:
        position = (await ledger.positions())[SHARD].counter
        if enough(position):
            return time.monotonic(), position, cpu_seconds(work.pid)
        if work.poll() is not None:
            raise BenchError(f"`sluice work` ended with code {work.returncode}.")
        await asyncio.sleep(POLL_S)


async def _rows(url: str) -> dict[str, int]:
    """Rows of every table of the ledger, counted in SQL."""
    engine = create_async_engine(driver_url(url))
    try:
        async with engine.connect() as connection:
            return {
                table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
                for table in metadata.sorted_tables
            }
    finally:
        await engine.dispose()
