"""A gate and a ledger side by side, on real stores: what a worker works between."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.accounts.identity import buyer_digest
from sluice.domain.money import Money
from sluice.domain.sale import Item, NewItem, NewSale, Sale
from sluice.gate import keys, wire
from sluice.gate.client import translated
from sluice.gate.gate import Gate, GateItem
from sluice.gate.wire import Attempt
from sluice.ledger.ledger import Ledger
from sluice.ledger.migrate import upgrade
from sluice.pipe.stream import Pipe, RedisLog
from sluice.workers.shard import Pace, ShardWorker
from tests.valkey import Valkey

HOUR_MS = 3_600_000
LEASE_MS = 5000
"""Long enough that no stall of the machine disarms the gate."""


@dataclass
class Bench:
    valkey: Valkey
    gate: Gate
    ledger: Ledger
    database: Path

    def open_pipe(self, shard: int, epoch: int, counter: int) -> Pipe:
        async def execute(*words: Any) -> Any:
            return await translated(self.gate.client.execute_command(*words))

        log = RedisLog(execute, keys.stream)
        return Pipe(log, wire.unpack_entry, shard, epoch, counter)

    def worker(self, owner: str = "one", *, backlog_max: int = 1000) -> ShardWorker:
        return ShardWorker(
            0,
            owner,
            gate=self.gate,
            ledger=self.ledger,
            open_pipe=self.open_pipe,
            digest=lambda buyer: buyer_digest(buyer.encode()),
            pace=Pace(lease_ms=LEASE_MS, record_max=500, backlog_max=backlog_max, trim_after_s=0),
        )

    async def sell(self, stock: int = 10, per_buyer: int = 1) -> Sale:
        """A live sale of one item, known to ledger and gate; the shard must have an epoch."""
        now = await self.gate.time_ms()
        item = NewItem(title="Teapot", price=Money(9900, "CNY"), stock=stock, per_buyer=per_buyer)
        made = await self.ledger.create_sale(
            NewSale(title="Drop", starts_at_ms=now - 1000, ends_at_ms=now + HOUR_MS, items=(item,)),
            shards=1,
        )
        assert isinstance(made, Sale)
        sale = await self.ledger.publish(made.id)
        for part in sale.items:
            await self.load(sale, part)
        return sale

    async def load(self, sale: Sale, item: Item) -> None:
        epoch = (await self.ledger.positions())[0].epoch
        await self.gate.load_item(
            GateItem(
                shard=0,
                epoch=epoch,
                item_id=item.id,
                stock=item.stock,
                available=item.available,
                per_buyer=item.per_buyer,
                publication=sale.publication,
                starts_at_ms=sale.starts_at_ms,
                ends_at_ms=sale.ends_at_ms,
                edit=0,
                limit_group=item.limit_group,
                waits_until_ms=sale.waits_until_ms,
            )
        )
        await self.gate.set_state(0, epoch, [item.id], "open", sale.ends_at_ms)
        assert await self.ledger.mark_loaded(item.id, epoch, 0)


def attempt(sale: Sale, buyer: str, quantity: int = 1) -> Attempt:
    key, item = f"jwt::{buyer}", sale.items[0]
    return Attempt(
        item.id,
        item.limit_group,
        sale.publication,
        secrets.token_bytes(12),
        buyer_digest(key.encode()),
        key.encode(),
        quantity,
        False,
    )


@contextlib.asynccontextmanager
async def open_bench(folder: Path, valkey: Valkey) -> AsyncIterator[Bench]:
    """A fresh ledger, and the gate's server as it is."""
    name = hashlib.blake2b(str(folder).encode(), digest_size=4).hexdigest()
    database = folder / f"{name}.db"
    url = f"sqlite:///{database}"
    await asyncio.to_thread(upgrade, url)
    gate = Gate.from_url(valkey.url, timeout_s=5)
    ledger = Ledger.from_url(url, deadline_ms=3000, clock=gate.time_ms)
    try:
        yield Bench(valkey, gate, ledger, database)
    finally:
        await ledger.close()
        await gate.close()
