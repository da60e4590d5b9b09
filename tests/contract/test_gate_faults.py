"""Faults of the server: what fails has no effect or an unknown one, and the gate drains anyway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio.cluster import RedisCluster
from tests.contract.gate_servers import Server
from tests.contract.gate_stage import LEASE_MS, Stage, attempt, hold, waiter

from sluice.domain.errors import GateUnavailable, Unavailable
from sluice.domain.outcome import Outcome
from sluice.gate import keys
from sluice.gate.client import primaries
from sluice.gate.gate import Gate
from sluice.gate.wire import Hold

# --- a call that breaks half-way ------------------------------------------------------------------

MINE = attempt("acct:1", nonce=1001)
BATCH = [attempt("acct:2", nonce=1002), attempt("acct:3", item=2, group=2, nonce=1003)]


WAITS = waiter("acct:5", item=3, group=2)


class Broken:
    """A shard with two items and one hold, and a third item that is held out and has a line, in
    which one key is of a wrong type."""

    def __init__(self, stage: Stage, number: int, third: Hold) -> None:
        self.stage = stage
        self.number = number
        self.third = third

    @classmethod
    async def set_up(cls, stage: Stage) -> Broken:
        await stage.put(1, group=1)
        await stage.put(2, group=2)
        await stage.put(3, stock=1, group=2)
        number = (await stage.one(MINE)).number
        [third] = await stage.sell_out(3, group=2)
        await stage.join(WAITS)
        return cls(stage, number, third)

    async def reserve(self) -> object:
        return await self.stage.buy(*BATCH)

    async def release(self) -> object:
        return await self.stage.release(MINE, self.number)

    async def edit(self) -> object:
        return await self.stage.gate.edit_stock(0, 1, 1, 1, 5)

    async def mark(self) -> object:
        return await self.stage.gate.mark(0, 1, [1, 2])

    async def set_state(self) -> object:
        return await self.stage.gate.set_state(0, 1, [1, 2], "closed", 0)

    async def join(self) -> object:
        return await self.stage.join(waiter("acct:6", item=3, group=2))

    async def leave(self) -> object:
        return await self.stage.leave(WAITS)

    async def release_to_the_line(self) -> object:
        return await self.stage.give_back(self.third)

    async def edit_to_the_line(self) -> object:
        return await self.stage.gate.edit_stock(0, 1, 3, 1, 5)

    async def close(self) -> object:
        return await self.stage.gate.close_waitlist(0, 1, 3, 10)


SPOILT = {
    "reserve": [
        keys.shard(0),
        keys.stream(0, 1),
        keys.item(0, 2),
        keys.attempts(0, 2),
        keys.holders(0, 2),
        keys.line(0, 2),
    ],
    "release": [
        *(keys.shard(0), keys.stream(0, 1)),
        *(keys.item(0, 1), keys.holders(0, 1), keys.line(0, 1)),
    ],
    "edit": [keys.shard(0), keys.stream(0, 1), keys.item(0, 1), keys.line(0, 1)],
    "mark": [keys.shard(0), keys.stream(0, 1), keys.item(0, 2), keys.line(0, 2)],
    "set_state": [keys.shard(0), keys.item(0, 2)],
    "join": [
        *(keys.shard(0), keys.stream(0, 1)),
        *(keys.item(0, 3), keys.holders(0, 2), keys.line(0, 3)),
    ],
    "leave": [keys.shard(0), keys.stream(0, 1), keys.line(0, 3)],
    "release_to_the_line": [
        *(keys.shard(0), keys.stream(0, 1)),
        *(keys.item(0, 3), keys.holders(0, 2), keys.line(0, 3)),
    ],
    "edit_to_the_line": [
        *(keys.shard(0), keys.stream(0, 1)),
        *(keys.item(0, 3), keys.holders(0, 2), keys.line(0, 3)),
    ],
    "close": [keys.shard(0), keys.stream(0, 1), keys.line(0, 3)],
}


@pytest.mark.parametrize(
    ("call", "key"), [(call, key) for call, planted in SPOILT.items() for key in planted]
)
async def test_a_call_that_meets_an_error_leaves_no_trace(
    stage: Stage, call: str, key: str
) -> None:
    broken = await Broken.set_up(stage)
    await stage.run("DEL", key)
    await stage.run("SET", key, "not what it should be")
    before = await stage.content()

    with pytest.raises(GateUnavailable):
        await getattr(broken, call)()

    assert await stage.content() == before


@pytest.mark.parametrize("call", [call for call in SPOILT if call != "set_state"])
async def test_a_log_that_is_ahead_of_its_counter_lets_nothing_change(
    stage: Stage, call: str
) -> None:
    """What cannot be logged must not happen: the ledger would never hear of it."""
    broken = await Broken.set_up(stage)
    await stage.run("XADD", keys.stream(0, 1), "9-0", "k", "m", "d", "")
    before = await stage.content()

    with pytest.raises(GateUnavailable):
        await getattr(broken, call)()

    assert await stage.content() == before


async def test_a_release_that_names_the_wrong_item_changes_nothing(stage: Stage) -> None:
    await stage.put(1)
    await stage.put(2)
    number = (await stage.one(MINE)).number
    before = await stage.content()

    with pytest.raises(GateUnavailable):
        await stage.gate.release(0, 1, [hold(MINE, number)._replace(item_id=2)])

    assert await stage.content() == before


# --- out of memory --------------------------------------------------------------------------------


@pytest.fixture
async def full(stage: Stage) -> AsyncIterator[Stage]:
    """A stage with an order in it, on servers that are far above their memory limit."""
    await stage.put(per_buyer=2)
    await stage.buy(MINE)
    await on_all(stage.gate, "CONFIG", "SET", "maxmemory", "1")
    yield stage
    await on_all(stage.gate, "CONFIG", "SET", "maxmemory", "0")


async def on_all(gate: Gate, *words: str) -> None:
    for execute in primaries(gate.client):
        await execute(*words)


async def test_above_maxmemory_nothing_is_sold_and_nothing_changes(full: Stage) -> None:
    before = await full.content()

    with pytest.raises(GateUnavailable):
        await full.buy(attempt("acct:2"))

    assert await full.content() == before


async def test_above_maxmemory_the_gate_still_drains(full: Stage) -> None:
    [held] = await full.held_by()

    assert await full.release(MINE, held.number)
    assert await full.gate.mark(0, 1, [1]) == 3
    assert len(await full.log()) == 3
    assert await full.pipe().trim(3) == 2
    assert await full.available() == 10


async def test_above_maxmemory_the_line_lets_go_and_moves_on_and_takes_nobody_in(
    stage: Stage,
) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1", "acct:2", "acct:3", "acct:4")
    await on_all(stage.gate, "CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(GateUnavailable):
            await stage.join(waiter("acct:5"))
        assert await stage.leave(waiter("acct:1")) == [True]
        assert await stage.give_back(held) == [True]
        assert len(await stage.held_by("acct:2")) == 1
        assert await stage.gate.promote_waitlist(0, 1, [1]) == 0
        assert await stage.gate.close_waitlist(0, 1, 1, 1) == 1
    finally:
        await on_all(stage.gate, "CONFIG", "SET", "maxmemory", "0")
    await stage.audit()


async def test_above_maxmemory_sales_can_still_be_stopped_and_kept_stopped(full: Stage) -> None:
    assert await full.set_state("paused") == 1
    await full.gate.disarm(0)
    assert not (await full.gate.status(0)).armed


async def test_above_maxmemory_the_lease_can_be_kept_up(full: Stage) -> None:
    """Or what follows a full gate would be an unarmed one."""
    assert await full.gate.arm(0, 1, LEASE_MS)

    await on_all(full.gate, "CONFIG", "SET", "maxmemory", "0")
    assert await full.outcomes(attempt("acct:2")) == [Outcome.ACCEPTED]


# --- a server that does not answer ----------------------------------------------------------------


@pytest.fixture
async def hasty(gate_server: Server, stage: Stage) -> AsyncIterator[Gate]:
    """Another client of the same gate, which waits for a moment only."""
    gate = Gate.from_url(gate_server.url, timeout_s=1.5)
    await gate.status(0)
    yield gate
    await gate.close()


async def test_a_call_without_an_answer_is_unknown_and_the_same_pass_finds_out(
    stage: Stage, hasty: Gate, gate_server: Server
) -> None:
    await stage.put()
    mine = attempt()

    with gate_server.frozen(), pytest.raises(GateUnavailable):
        await hasty.reserve(0, 1, [mine])
    again = await hasty.reserve(0, 1, [mine])
    other = await hasty.reserve(0, 1, [attempt("acct:2")])

    assert again[0].outcome in (Outcome.ACCEPTED, Outcome.REPLAYED)
    assert other[0].outcome is Outcome.ACCEPTED
    assert other[0].number > again[0].number
    assert await stage.available() == 8
    await stage.audit()


async def test_a_call_given_up_half_way_does_not_leave_its_answer_to_the_next_one(
    stage: Stage, gate_server: Server
) -> None:
    """A connection that still owes an answer must not be used again."""
    await stage.put(1, stock=3)
    await stage.put(2, stock=5)

    with gate_server.frozen(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await stage.gate.totals(0, [1])

    assert [t.stock for t in await stage.totals(2)] == [5]
    assert [t.stock for t in await stage.totals(1)] == [3]


async def test_a_server_that_is_away_is_unavailable_at_once_and_answers_when_it_is_back(
    stage: Stage, gate_server: Server
) -> None:
    await stage.put()
    gate_server.kill()
    try:
        for call in (
            stage.buy(attempt()),
            stage.gate.status(0),
            stage.gate.time_ms(),
            stage.gate.load_library(),
            stage.gate.server_facts(),
        ):
            async with asyncio.timeout(4):  # where it waited for an answer it would be 5 s
                with pytest.raises(Unavailable):
                    await call
    finally:
        gate_server.restart()

    await stage.gate.arm(0, 1, LEASE_MS)
    assert await stage.outcomes(attempt()) == [Outcome.ACCEPTED]


async def test_a_connection_that_the_clusters_driver_closes_under_a_call_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it learns its nodes anew, calls trip over what is left of their connection."""

    async def trips(*_: object, **__: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'writelines'")

    monkeypatch.setattr(RedisCluster, "execute_command", trips)
    gate = Gate.from_url("redis+cluster://127.0.0.1:1", timeout_s=0.1)

    with pytest.raises(GateUnavailable):
        await gate.status(0)


async def test_a_cluster_is_asked_for_decisions_and_not_for_the_place_of_keys(
    stage: Stage,
) -> None:
    await stage.put()
    await on_all(stage.gate, "CONFIG", "RESETSTAT")

    await stage.buy(attempt())
    await stage.log()

    for execute in primaries(stage.gate.client):
        used = await execute("INFO", "commandstats")
        assert "getkeys" not in str(used)


async def test_a_crowd_that_asks_for_its_orders_gets_through(stage: Stage) -> None:
    await stage.put()
    await stage.buy(MINE)

    held = await asyncio.gather(*(stage.held_by() for _ in range(500)))

    assert {len(one) for one in held} == {1}
