"""A ledger that is away says so by its deadline, and is back when its database is."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.contract.ledger_proxy import Proxy, between
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, unit
from tests.polling import until_it_is

from sluice.domain.errors import FenceLost, LedgerUnavailable
from sluice.domain.log import LogBatch
from sluice.ledger.ledger import Ledger

DEADLINE_MS = 800
SLACK_S = 4.0
"""A busy test machine's own delays."""


@pytest.fixture
async def wire(database: str, ledger_url: str) -> AsyncIterator[tuple[Proxy, Ledger]]:
    """A ledger whose database can be cut off. SQLite is a file: it has tests of its own below."""
    if database == "sqlite":
        pytest.skip("SQLite has no wire to cut")
    async with between(ledger_url) as (proxy, url), opened(url, DEADLINE_MS) as ledger:
        await ledger.check_ready()
        yield proxy, ledger


async def unavailable(call: Callable[[], Awaitable[object]]) -> None:
    """`call` says that the ledger is away, and in time."""
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        await call()
    assert time.monotonic() - began < DEADLINE_MS / 1000 + SLACK_S


async def works(ledger: Ledger) -> bool:
    await ledger.positions()
    return await ledger.claim_shard(3, "the test", 1000) is not None


async def test_a_server_that_is_gone_is_unavailable_and_then_back(
    wire: tuple[Proxy, Ledger],
) -> None:
    proxy, ledger = wire
    assert await works(ledger)

    await proxy.cut()
    await unavailable(ledger.positions)
    await unavailable(lambda: ledger.claim_shard(3, "the test", 1000))
    await unavailable(ledger.check_ready)

    await proxy.start()
    await until_it_is(lambda: works(ledger))


async def test_a_server_that_hangs_is_unavailable_by_the_deadline_and_then_back(
    wire: tuple[Proxy, Ledger],
) -> None:
    proxy, ledger = wire
    assert await works(ledger)

    proxy.hang()
    await unavailable(ledger.positions)
    await asyncio.gather(*(unavailable(ledger.now_ms) for _ in range(20)))
    await unavailable(lambda: ledger.claim_shard(3, "the test", 1000))

    proxy.flow()
    await until_it_is(lambda: works(ledger))


async def test_a_batch_cut_off_in_the_middle_is_recorded_once(
    wire: tuple[Proxy, Ledger], shop: Shop
) -> None:
    """Whatever became of the transaction, the position knows."""
    proxy, ledger = wire
    item = await shop.item(unit(5000))
    batches = [
        LogBatch(0, shop.lease.epoch, n + 1, n + 1, [shop.accepted(item) for _ in range(200)])
        for n in range(8)
    ]

    async def cut_and_mend() -> None:
        for _ in range(4):
            await asyncio.sleep(0.02)  # not to wait for anything: to fall anywhere in a batch
            await proxy.cut()
            await proxy.start()

    async def drain() -> None:
        while (at := (await shop.ledger.positions())[0].counter) < len(batches):
            # What was cut off at its commit may commit after we asked for the position: then the
            # batch is refused, and the position is asked for anew, as the worker does.
            with contextlib.suppress(LedgerUnavailable, FenceLost):
                await ledger.record(shop.lease, batches[at])

    await asyncio.gather(drain(), cut_and_mend())

    assert await shop.count("orders") == 1600
    assert await shop.broken() == set()


async def test_a_caller_who_gives_up_leaves_the_ledger_usable(ledger: Ledger) -> None:
    for _ in range(20):
        call = asyncio.ensure_future(ledger.claim_shard(3, "the test", 1000))
        await asyncio.sleep(0)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    assert await works(ledger)


# --- SQLite -------------------------------------------------------------------------------------


@pytest.fixture
async def file(database: str, ledger_url: str) -> AsyncIterator[tuple[str, Ledger]]:
    if database != "sqlite":
        pytest.skip("about SQLite's file")
    async with opened(ledger_url, DEADLINE_MS) as ledger:
        yield ledger_url.removeprefix("sqlite:///"), ledger


@asynccontextmanager
async def write_lock(path: str) -> AsyncIterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


async def test_a_writer_that_holds_the_file_makes_writes_unavailable_and_reads_not(
    file: tuple[str, Ledger],
) -> None:
    path, ledger = file
    async with write_lock(path):
        await unavailable(lambda: ledger.claim_shard(3, "the test", 1000))
        assert await ledger.positions() == {}
    assert await works(ledger)


async def test_a_writer_gets_its_turn_between_the_batches_of_a_busy_recorder(
    file: tuple[str, Ledger], shop: Shop
) -> None:
    _, other_process = file
    item = await shop.item(unit(100_000))
    stopped = False

    async def drain() -> None:
        while not stopped:
            await shop.record(*(shop.accepted(item) for _ in range(500)))

    async def administer() -> None:
        nonlocal stopped
        try:
            for n in range(10):
                await other_process.request_edit(item.id, +1, f"edit {n}")
        finally:
            stopped = True

    await asyncio.gather(drain(), administer())
    assert (await shop.now(item)).stock == 100_010
    assert await shop.broken() == set()


async def test_a_folder_that_is_not_there_is_unavailable(database: str) -> None:
    if database != "sqlite":
        pytest.skip("about SQLite's file")
    async with opened("sqlite:////nowhere/at/all/ledger.db", DEADLINE_MS) as ledger:
        await unavailable(ledger.check_ready)
        await unavailable(lambda: ledger.claim_shard(0, "the test", 1000))


async def test_a_full_disk_is_unavailable_and_loses_nothing(
    file: tuple[str, Ledger], shop: Shop
) -> None:
    item = await shop.item(unit(5000))
    await shop.sell(item, 10)
    _, ledger = file
    async with ledger._engines.writing.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
    batch = shop.batch(*(shop.accepted(item) for _ in range(1000)))

    with pytest.raises(LedgerUnavailable):
        await ledger.record(shop.lease, batch)

    assert await shop.broken() == set()
    assert (await shop.ledger.record(shop.lease, batch)).orders == 1000
    assert await shop.broken() == set()
