"""A gate that was killed: what it acknowledged is still there, and it sells nothing until armed."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import suppress

import pytest
from tests.contract.gate_servers import SHARDS, Cluster, Server, empty
from tests.contract.gate_stage import LEASE_MS, Stage, attempt, waiter

from sluice.domain.errors import GateUnavailable
from sluice.domain.outcome import Outcome
from sluice.gate import keys
from sluice.gate.gate import Gate


async def test_a_restart_keeps_orders_and_log_and_sells_nothing_until_armed(
    stage: Stage, gate_server: Server
) -> None:
    await stage.put(stock=10, per_buyer=2)
    tries = [attempt("acct:1"), attempt("acct:2", quantity=2)]
    before = [decision.number for decision in await stage.buy(*tries)]
    ahead = (before[-1] >> 32) + 3600  # the clock will have stepped back by an hour
    await stage.run("HSET", keys.shard(0), "second", ahead)

    gate_server.kill()
    with pytest.raises(GateUnavailable):
        await stage.gate.status(0)
    gate_server.restart()

    status = await stage.gate.status(0)
    assert (status.epoch, status.counter, status.armed) == (1, 1, False)
    assert await stage.gate.library_is_current()
    assert await stage.outcomes(*tries, attempt("acct:3")) == [Outcome.NOT_ARMED] * 3

    await stage.gate.arm(0, 1, LEASE_MS)
    *again, late, new = await stage.buy(*tries, attempt("acct:1", quantity=2), attempt("acct:3"))
    assert [(d.outcome, d.number) for d in again] == [
        (Outcome.REPLAYED, number) for number in before
    ]
    assert (late.outcome, late.number) == (Outcome.LIMIT_REACHED, before[0])
    assert new.outcome is Outcome.ACCEPTED
    assert new.number >> 32 == ahead
    assert await stage.available() == 6
    assert [fact.number for fact in await stage.log()] == [  # type: ignore[union-attr]
        *before,
        new.number,
    ]


async def test_a_restart_keeps_the_line_and_nobody_is_promoted_until_armed(
    stage: Stage, gate_server: Server
) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    entries = await stage.queue("acct:1", "acct:2")

    gate_server.kill()
    with pytest.raises(GateUnavailable):
        await stage.places(waiter("acct:1"))
    gate_server.restart()

    places = await stage.places(waiter("acct:1"), waiter("acct:2"))
    assert [(p.entry, p.ahead) for p in places] == [(entries[0], 0), (entries[1], 1)]
    assert await stage.give_back(held) == [True]
    assert await stage.held_by("acct:1") == []
    await stage.gate.arm(0, 1, LEASE_MS)
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.SOLD_OUT]
    assert await stage.gate.promote_waitlist(0, 1, [1]) == 1
    assert len(await stage.held_by("acct:1")) == 1
    await stage.audit()


@pytest.mark.parametrize("gate_server", ["cluster"], indirect=True)
def test_a_node_that_is_away_takes_only_its_own_shards_with_it(gate_server: Cluster) -> None:
    try:
        assert asyncio.run(sold_without_a_node(gate_server)) == len(SHARDS) - 1
    finally:
        # The driver forgets connections that it had when a node went away, and does not close them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


async def sold_without_a_node(cluster: Cluster) -> int:
    """How many shards still sell while one of three nodes is away."""
    gate = Gate.from_url(cluster.url, timeout_s=5)
    try:
        await empty(gate)
        stages = [Stage(gate, shard) for shard in SHARDS]
        for stage in stages:
            await stage.open()
            await stage.put()
        with cluster.node_away(0):
            sold = 0
            for stage in stages:
                with suppress(GateUnavailable):
                    sold += (await stage.outcomes(attempt())) == [Outcome.ACCEPTED]
        return sold
    finally:
        await gate.close()
