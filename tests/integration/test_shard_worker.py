"""One shard's worker between a real gate and a real ledger: when to sell, and when not to."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.bench import LEASE_MS, Bench, attempt, open_bench
from tests.valkey import Valkey, running

from sluice.domain.errors import GateNotArmed, GateUnavailable
from sluice.domain.order import OrderState
from sluice.domain.outcome import Outcome
from sluice.gate import keys
from sluice.workers.shard import ShardWorker


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running(durable=True) as server:
        yield server


@pytest.fixture
async def bench(tmp_path: Path, valkey: Valkey) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, valkey) as made:
        yield made


@contextlib.asynccontextmanager
async def working(worker: ShardWorker) -> AsyncIterator[ShardWorker]:
    running_worker = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running_worker


async def until(holds: Callable[[], Awaitable[object]], what: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not await holds():  # noqa: ASYNC110 - a store cannot set an event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


async def armed(bench: Bench) -> bool:
    try:
        return (await bench.gate.status(0)).armed
    except GateNotArmed:
        return False


async def until_armed(bench: Bench) -> None:
    await until(lambda: armed(bench), "the gate is armed")


async def until_recorded(bench: Bench, count: int) -> None:
    async def done() -> bool:
        return len(await bench.ledger.list_orders(limit=100)) >= count

    await until(done, f"{count} orders in the ledger")


async def test_a_new_shard_gets_an_epoch_is_armed_and_its_orders_are_recorded(
    bench: Bench,
) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell(stock=2)
        decisions = await bench.gate.reserve(
            0, 1, [attempt(sale, "ann"), attempt(sale, "bob"), attempt(sale, "cid")]
        )
        await until_recorded(bench, 2)
    assert [d.outcome for d in decisions] == [
        Outcome.ACCEPTED,
        Outcome.ACCEPTED,
        Outcome.SOLD_OUT,
    ]
    orders = await bench.ledger.orders([d.number for d in decisions[:2]])
    assert {o.buyer for o in orders.values()} == {"jwt::ann", "jwt::bob"}
    assert {o.state for o in orders.values()} == {OrderState.AWAITING_PAYMENT}


async def test_a_stopping_worker_reads_the_log_to_its_end_and_gives_the_shard_up(
    bench: Bench,
) -> None:
    worker = bench.worker()
    async with working(worker):
        await until_armed(bench)
        sale = await bench.sell(stock=50)
        for n in range(50):
            await bench.gate.reserve(0, 1, [attempt(sale, f"buyer-{n}")])
        worker.stop()
    assert len(await bench.ledger.list_orders(limit=100)) == 50
    assert await bench.ledger.claim_shard(0, "another", 1000) is not None


async def test_a_restarted_gate_sells_nothing_until_the_worker_has_checked_it(
    bench: Bench, valkey: Valkey
) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell()
    valkey.kill()
    valkey.start()
    await until(lambda: answers(bench), "the connections of before are replaced")
    first = attempt(sale, "ann")
    (refused,) = await bench.gate.reserve(0, 1, [first])
    assert refused.outcome is Outcome.NOT_ARMED
    async with working(bench.worker("two")):
        await until_armed(bench)
        (accepted,) = await bench.gate.reserve(0, 1, [first])
    assert accepted.outcome is Outcome.ACCEPTED


async def test_a_gate_that_lost_its_memory_stays_shut_and_says_why(bench: Bench) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        await bench.sell()
    await bench.gate.client.execute_command("FLUSHALL")
    async with working(bench.worker("two")) as worker:
        await until(lambda: told(worker), "the worker says why")
        assert worker.shut is not None
        assert "lost its memory" in worker.shut
        assert not await armed(bench)


async def test_a_gate_that_is_behind_the_ledger_stays_shut(bench: Bench) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell()
        await bench.gate.reserve(0, 1, [attempt(sale, "ann")])
        await until_recorded(bench, 1)
    await bench.gate.client.execute_command("HSET", keys.shard(0), "counter", 0)
    async with working(bench.worker("two")) as worker:
        await until(lambda: told(worker), "the worker says why")
        assert worker.shut is not None
        assert "lost its last writes" in worker.shut
        assert not await armed(bench)


async def test_a_gap_in_the_log_halts_the_recorder_and_shuts_the_gate(bench: Bench) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell()
    for buyer in ("ann", "bob"):
        await bench.gate.arm(0, 1, LEASE_MS)
        await bench.gate.reserve(0, 1, [attempt(sale, buyer)])
    position = (await bench.ledger.positions())[0].counter
    await bench.gate.client.execute_command("XDEL", keys.stream(0, 1), f"{position + 1}-0")
    async with working(bench.worker("two")) as worker:
        await until(lambda: told(worker), "the worker says why")
        assert worker.shut is not None
        assert f"from entry {position} to {position + 2}" in worker.shut
    assert await bench.ledger.list_orders(limit=10) == []


async def test_a_gate_more_generous_than_the_ledger_is_shut_at_the_next_audit_mark(
    bench: Bench,
) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell()
        item = keys.item(0, sale.items[0].id)
        await bench.gate.client.execute_command("HINCRBY", item, "available", 3)
        await bench.gate.mark(0, 1, [sale.items[0].id])
        await until(lambda: not_armed(bench), "the gate is shut")
    async with working(bench.worker("two")) as worker:
        await until(lambda: told(worker), "the next worker keeps it shut")
        assert not await armed(bench)
        await bench.gate.client.execute_command("HINCRBY", item, "available", -3)
        await bench.gate.mark(0, 1, [sale.items[0].id])
        await until_armed(bench)


async def test_of_two_workers_one_records_and_the_other_takes_over_when_it_is_gone(
    bench: Bench,
) -> None:
    first, second = bench.worker("one"), bench.worker("two")
    async with working(second):
        async with working(first):
            await until_armed(bench)
            sale = await bench.sell(stock=20)
            await bench.gate.reserve(0, 1, [attempt(sale, "ann")])
            await until_recorded(bench, 1)
        await until_armed(bench)
        await bench.gate.reserve(0, 1, [attempt(sale, "bob")])
        await until_recorded(bench, 2)
    assert len(await bench.ledger.list_orders(limit=10)) == 2


async def test_with_too_long_a_backlog_the_gate_is_not_armed_any_longer(bench: Bench) -> None:
    worker = bench.worker(backlog_max=3)
    async with working(worker):
        await until_armed(bench)
        sale = await bench.sell(stock=50)
    await bench.gate.arm(0, 1, 2000)
    decisions = await bench.gate.reserve(0, 1, [attempt(sale, f"buyer-{n}") for n in range(10)])
    assert {each.outcome for each in decisions} == {Outcome.ACCEPTED}
    with locked(bench):
        async with working(bench.worker("two", backlog_max=3)):
            await until(lambda: not_armed(bench), "the lease ended and was not renewed")
            assert await bench.ledger.list_orders(limit=100) == []


async def test_a_dead_lettered_order_gives_its_units_back_in_the_gate(bench: Bench) -> None:
    async with working(bench.worker()):
        await until_armed(bench)
        sale = await bench.sell(stock=2)
        # The ledger has one unit less than the gate believes: its conditional update must hold.
        await asyncio.to_thread(one_unit_less, bench)
        decisions = await bench.gate.reserve(0, 1, [attempt(sale, "ann"), attempt(sale, "bob")])

        async def back() -> bool:
            return (await bench.gate.totals(0, [sale.items[0].id]))[0].available == 1

        await until(back, "the unit is back in the gate")
    orders = await bench.ledger.orders([d.number for d in decisions])
    assert [orders[d.number].state for d in decisions] == [
        OrderState.AWAITING_PAYMENT,
        OrderState.REJECTED,
    ]


def one_unit_less(bench: Bench) -> None:
    """Not in the loop, which whoever holds SQLite's one lock may need to come to an end."""
    database = sqlite3.connect(bench.database, isolation_level=None, timeout=30)
    with contextlib.closing(database) as other:
        other.execute("UPDATE items SET available = 1, stock = 1")


async def answers(bench: Bench) -> bool:
    try:
        return bool(await bench.gate.time_ms())
    except GateUnavailable:
        return False


async def told(worker: ShardWorker) -> bool:
    return worker.shut is not None


async def not_armed(bench: Bench) -> bool:
    return not await armed(bench)


@contextlib.contextmanager
def locked(bench: Bench) -> Iterator[None]:
    """Nobody else writes to the ledger meanwhile."""
    with contextlib.closing(sqlite3.connect(bench.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
