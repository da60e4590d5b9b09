"""A gate alone, for scenarios that need neither HTTP nor a ledger."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bench.processes import BenchError, running, wait_until
from sluice.accounts.identity import buyer_digest
from sluice.domain.errors import SettingsError
from sluice.domain.outcome import Outcome
from sluice.embedded.binary import Binary, ask_version, find_binary
from sluice.embedded.store import Store
from sluice.gate.gate import Gate, GateItem
from sluice.gate.wire import Attempt

EPOCH = 1
SHARD = 0
BATCH = 256
"""The product's own limit for one call (SLUICE_BATCH_MAX)."""
LEASE_MS = 3_600_000
START_S = 30.0


def embedded_binary() -> Binary:
    try:
        return find_binary()
    except SettingsError as error:
        raise BenchError(str(error)) from None


def system_redis() -> Binary | None:
    """The distribution's redis-server, where there is one."""
    path = shutil.which("redis-server")
    return ask_version(Path(path)) if path else None


@contextmanager
def gate_server(folder: Path, binary: Binary) -> Iterator[str]:
    """A server set as `sluice up` sets the gate's (AOF always); yields its URL."""
    with _server("gate", folder, binary) as url:
        yield url


@contextmanager
def cache_server(folder: Path, binary: Binary) -> Iterator[str]:
    """A server set as `sluice up` sets the cache's; yields its URL."""
    with _server("cache", folder, binary) as url:
        yield url


@contextmanager
def _server(name: str, folder: Path, binary: Binary) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(
        name=name,
        binary=binary,
        socket=folder / f"{name}.sock",
        folder=folder,
        log=folder / f"{name}.log",
        durable=name == "gate",
    )
    with running(store.command(), log=folder / f"{name}.out", cwd=folder) as child:
        wait_until(f"the {name} server", store.answers, seconds=START_S, child=child, log=store.log)
        yield f"unix://{store.socket}"


@asynccontextmanager
async def armed_gate(url: str) -> AsyncIterator[Gate]:
    """The gate of `url` with its library, in its first epoch and armed for the whole run."""
    gate = Gate.from_url(url, timeout_s=30.0)
    try:
        await gate.load_library()
        await gate.begin_epoch(SHARD, EPOCH, 0)
        await gate.arm(SHARD, EPOCH, LEASE_MS)
        yield gate
    finally:
        await gate.close()


async def put_on_sale(gate: Gate, item_id: int, stock: int) -> None:
    now_ms = await gate.time_ms()
    item = GateItem(
        shard=SHARD,
        epoch=EPOCH,
        item_id=item_id,
        stock=stock,
        available=stock,
        per_buyer=1,
        publication=1,
        starts_at_ms=now_ms - 1000,
        ends_at_ms=now_ms + LEASE_MS,
        edit=0,
        limit_group=item_id,
        waits_until_ms=0,
    )
    await gate.load_item(item)
    await gate.set_state(SHARD, EPOCH, [item_id], "open", item.ends_at_ms)


def attempts(item_id: int, first: int, count: int) -> list[Attempt]:
    """Different buyers who try one item; `first` numbers them. One limit group an item."""
    made = []
    for index in range(first, first + count):
        buyer = b"jwt::b%04d-%08d" % (item_id, index)
        nonce = item_id.to_bytes(4, "big") + index.to_bytes(8, "big")
        made.append(Attempt(item_id, item_id, 1, nonce, buyer_digest(buyer), buyer, 1, False))
    return made


async def hold(gate: Gate, item_id: int, first: int, count: int) -> None:
    """Let `count` more buyers hold a unit each. Raises `BenchError` where the gate refuses one."""
    for start in range(first, first + count, BATCH):
        batch = attempts(item_id, start, min(BATCH, first + count - start))
        await accept(gate, batch)


async def accept(gate: Gate, batch: Sequence[Attempt]) -> None:
    decisions = await gate.reserve(SHARD, EPOCH, batch)
    refused = [d.outcome.name for d in decisions if d.outcome is not Outcome.ACCEPTED]
    if refused:
        raise BenchError(f"The gate refused {len(refused)} attempts: {sorted(set(refused))}.")


async def info(gate: Gate, section: str) -> dict[str, Any]:
    """`INFO section`, as redis-py parses it."""
    return dict(await gate.client.execute_command("INFO", section))


async def settled(gate: Gate) -> None:
    """Wait until no rewrite of the append-only file disturbs what is measured."""
    for _ in range(600):
        facts = await info(gate, "persistence")
        if not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"]:
            return
        await asyncio.sleep(0.1)
    raise BenchError("The gate's server rewrites its append-only file for over a minute.")
