"""Gate, ledger and recorder on real servers, without HTTP: what operator and auditor work on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.polling import until_it_is
from tests.support.files import make_ledger
from tests.valkey import Valkey

from sluice.accounts.identity import buyer_digest
from sluice.domain.money import Money
from sluice.domain.outcome import Outcome
from sluice.domain.sale import Item, NewItem, NewSale, Sale
from sluice.gate import keys, wire
from sluice.gate.client import translated
from sluice.gate.gate import Gate
from sluice.gate.wire import Attempt, Decision
from sluice.ledger.ledger import Ledger
from sluice.operate import Operator
from sluice.pipe.stream import Pipe, RedisLog
from sluice.settings import Settings
from sluice.workers.shard import Pace, ShardWorker

HOUR_MS = 3_600_000
LEDGER_DEADLINE_MS = 10_000
"""Generous: the disk may be doing other things."""
SQL_WAIT_S = 30.0
LEASE_MS = 10_000
"""Long enough that no stall of the machine disarms the gate."""
_attempts = itertools.count(1)


class Shop:
    """A gate of one server, a ledger in a file, and a recorder for each shard."""

    def __init__(self, valkey: Valkey, database: Path, *, shards: int = 1) -> None:
        self.valkey = valkey
        self.database = database
        self.settings = Settings(shards=shards, deadline_ms=3000)
        self.gate = Gate.from_url(valkey.url, timeout_s=5)
        self.ledger = Ledger.from_url(
            f"sqlite:///{database}", deadline_ms=LEDGER_DEADLINE_MS, clock=self.gate.time_ms
        )
        self.announced: list[int] = []
        self.operator = Operator(self.ledger, self.gate, self._announce, self.settings)
        self._workers: list[ShardWorker] = []
        self._running: list[asyncio.Task[None]] = []

    async def _announce(self, sale_id: int) -> None:
        self.announced.append(sale_id)

    async def start(self) -> None:
        """Recorders for all shards; the gate is armed when this returns."""
        for shard in range(self.settings.shards):
            worker = ShardWorker(
                shard,
                f"test-{next(_attempts)}",
                gate=self.gate,
                ledger=self.ledger,
                open_pipe=self._pipe,
                digest=lambda buyer: buyer_digest(buyer.encode()),
                pace=Pace(lease_ms=LEASE_MS, record_max=500, backlog_max=10**6, trim_after_s=300),
            )
            self._workers.append(worker)
            self._running.append(asyncio.create_task(worker.run()))
        await until_it_is(self._armed)

    def wake(self) -> None:
        """The ledger has decided to release something."""
        for worker in self._workers:
            worker.wake()

    async def stop(self) -> None:
        """The recorders; what is accepted from here on waits in the log."""
        for worker in self._workers:
            worker.stop()
        await asyncio.gather(*self._running)
        self._workers.clear()
        self._running.clear()

    async def drained(self) -> None:
        """Returns when the ledger has recorded all that the gate has logged."""
        await until_it_is(self._drained)

    async def _armed(self) -> bool:
        told = [await self.gate.status(shard) for shard in range(self.settings.shards)]
        return all(status.armed for status in told)

    async def _drained(self) -> bool:
        positions = await self.ledger.positions()
        told = [(s, await self.gate.status(s)) for s in range(self.settings.shards)]
        return all(positions[shard].counter >= status.counter for shard, status in told)

    async def close(self) -> None:
        await self.stop()
        await self.ledger.close()
        await self.gate.close()

    # --- selling ---------------------------------------------------------------------------

    async def draft(self, *stocks: int, per_buyer: int = 1, price: int = 990) -> Sale:
        now_ms = await self.gate.time_ms()
        items = tuple(
            NewItem(title="Tea", price=Money(price, "CNY"), stock=stock, per_buyer=per_buyer)
            for stock in stocks
        )
        new = NewSale(
            title="Drop",
            starts_at_ms=now_ms - HOUR_MS,
            ends_at_ms=now_ms + HOUR_MS,
            items=items,
        )
        sale = await self.operator.create(new)
        assert isinstance(sale, Sale)
        return sale

    async def open(self, *stocks: int, per_buyer: int = 1, price: int = 990) -> Sale:
        sale = await self.draft(*stocks, per_buyer=per_buyer, price=price)
        await self.operator.publish(sale.id)
        return await self.sale(sale.id)

    async def sale(self, sale_id: int) -> Sale:
        return (await self.ledger.sales([sale_id]))[sale_id]

    async def buy(self, item: Item, *buyers: str, publication: int = 1) -> list[Decision]:
        """One attempt for each buyer, in one batch."""
        attempts = [
            Attempt(
                item.id,
                item.limit_group,
                publication,
                next(_attempts).to_bytes(12, "big"),
                buyer_digest(buyer.encode()),
                buyer.encode(),
                1,
                False,
            )
            for buyer in buyers
        ]
        epoch = (await self.ledger.positions())[item.shard].epoch
        return await self.gate.reserve(item.shard, epoch, attempts)

    async def outcome(self, item: Item, buyer: str, publication: int = 1) -> Outcome:
        return (await self.buy(item, buyer, publication=publication))[0].outcome

    async def totals(self, item: Item) -> tuple[int, int, int]:
        """The gate's available, held and stock."""
        [totals] = await self.gate.totals(item.shard, [item.id])
        return totals.available, totals.held, totals.stock

    async def sql(self, *statements: str, **values: Any) -> None:
        """Raw statements, past every CHECK and trigger: for breaking things."""
        # In a thread: who holds SQLite's one lock may need this loop to come to an end.
        await asyncio.to_thread(self._sql, statements, values)

    def _sql(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        opened = sqlite3.connect(self.database, timeout=SQL_WAIT_S, isolation_level=None)
        with contextlib.closing(opened) as database:
            database.execute("PRAGMA ignore_check_constraints = ON")
            database.execute("BEGIN IMMEDIATE")
            names = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = names.fetchall()
            for name, _ in triggers:
                database.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                database.execute(statement, values)
            for _, definition in triggers:
                database.execute(definition)
            database.execute("COMMIT")

    async def redis(self, *words: Any) -> Any:
        """One raw command to the gate's server: for breaking things."""
        return await self.gate.client.execute_command(*words)

    def _pipe(self, shard: int, epoch: int, counter: int) -> Pipe:
        async def execute(*words: Any) -> Any:
            return await translated(self.gate.client.execute_command(*words))

        log = RedisLog(execute, keys.stream)
        return Pipe(log, wire.unpack_entry, shard, epoch, counter)


@contextlib.asynccontextmanager
async def opened(valkey: Valkey, folder: Path, *, shards: int = 1) -> AsyncIterator[Shop]:
    """A shop whose gate is armed."""
    database = folder / "ledger.db"
    await asyncio.to_thread(make_ledger, database)
    shop = Shop(valkey, database, shards=shards)
    try:
        await shop.start()
        yield shop
    finally:
        await shop.close()


def buyers(count: int, prefix: str = "jwt:shop:") -> Sequence[str]:
    return [f"{prefix}{n}" for n in range(count)]
