"""A product in which everything is taken: orders without buyers who would have to be waited for.

The gate is asked directly, in the product's own batches, while `sluice up` runs; from there on it
is the product's way alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from bench.gates import BATCH, SHARD
from bench.processes import BenchError
from bench.product import Product
from sluice.accounts.identity import buyer_digest
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.gate.gate import Gate
from sluice.gate.wire import Attempt, Waiter

LOCK_S = 30.0
_DUE = (
    "UPDATE orders SET pay_by_ms = 1 WHERE state = 'awaiting_payment'",
    "UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire'",
)


def take_all(shop: Product, publication: int, item_id: int, count: int) -> None:
    """`count` buyers hold a unit each, and the ledger has their orders."""
    asyncio.run(_take(shop, publication, item_id, count))
    shop.drain()


def line_up(shop: Product, publication: int, item_id: int, count: int) -> None:
    """`count` others wait for one, and the ledger knows of them."""
    asyncio.run(_line_up(shop, publication, item_id, count))
    shop.drain()


def make_due(shop: Product) -> None:
    """Everybody's time to pay is over: the ledger's clock cannot be turned, its deadlines can."""
    with closing(writing(shop)) as ledger, ledger:
        for statement in _DUE:
            ledger.execute(statement)


def writing(shop: Product) -> sqlite3.Connection:
    """The ledger's file, past the product."""
    return sqlite3.connect(shop.data_dir / "sluice.db", timeout=LOCK_S)


async def _take(shop: Product, publication: int, item_id: int, count: int) -> None:
    gate = Gate.from_url(shop.settings().gate_url, timeout_s=LOCK_S)
    try:
        epoch = await _epoch(gate)
        for start in range(0, count, BATCH):
            attempts = [
                Attempt(
                    item_id,
                    _limit_group(shop, item_id),
                    publication,
                    item_id.to_bytes(4, "big") + index.to_bytes(8, "big"),
                    buyer_digest(_name(b"h", index)),
                    _name(b"h", index),
                    1,
                    False,
                )
                for index in range(start, min(start + BATCH, count))
            ]
            for decision in await gate.reserve(SHARD, epoch, attempts):
                if decision.outcome is not Outcome.ACCEPTED:
                    raise BenchError(f"The gate said {decision.outcome.name}.")
    finally:
        await gate.close()


async def _line_up(shop: Product, publication: int, item_id: int, count: int) -> None:
    gate = Gate.from_url(shop.settings().gate_url, timeout_s=LOCK_S)
    try:
        epoch, group = await _epoch(gate), _limit_group(shop, item_id)
        for start in range(0, count, BATCH):
            waiters = [
                Waiter(item_id, group, publication, buyer_digest(name), name)
                for name in (_name(b"w", i) for i in range(start, min(start + BATCH, count)))
            ]
            for place in await gate.join_waitlist(SHARD, epoch, waiters):
                if place.outcome is not WaitOutcome.JOINED:
                    raise BenchError(f"The gate said {place.outcome.name}.")
    finally:
        await gate.close()


async def _epoch(gate: Gate) -> int:
    epoch = (await gate.status(SHARD)).epoch
    if epoch is None:
        raise BenchError("The gate has no memory.")
    return epoch


def _limit_group(shop: Product, item_id: int) -> int:
    with closing(writing(shop)) as ledger:
        found = ledger.execute("SELECT limit_group FROM items WHERE id = ?", [item_id])
        return int(found.fetchone()[0])


def _name(kind: bytes, index: int) -> bytes:
    return b"jwt::%s%09d" % (kind, index)
