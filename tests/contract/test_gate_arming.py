"""Who may let the gate sell: epochs, leases, and everything that takes the gate's memory away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.contract.gate_servers import SHARDS, Server
from tests.contract.gate_stage import LEASE_MS, Stage, attempt

from sluice.domain.errors import GateNotArmed
from sluice.domain.outcome import Outcome
from sluice.gate import library
from sluice.gate.client import primaries
from sluice.gate.gate import Gate, LostEpoch

SHORT_LEASE_MS = 60


async def on_all(gate: Gate, *words: str) -> None:
    for execute in primaries(gate.client):
        await execute(*words)


async def reload_library(gate: Gate) -> None:
    await on_all(gate, "FUNCTION", "LOAD", "REPLACE", library.source())


async def flush_functions(gate: Gate) -> None:
    await on_all(gate, "FUNCTION", "FLUSH")
    await gate.load_library()


async def disarm(gate: Gate) -> None:
    await gate.disarm(0)


async def let_the_lease_end(gate: Gate) -> None:
    await gate.arm(0, 1, SHORT_LEASE_MS)
    async with asyncio.timeout(30):
        while (await gate.status(0)).armed:  # noqa: ASYNC110 - the server's clock, not ours
            await asyncio.sleep(0.01)


STOPS: dict[str, Callable[[Gate], Awaitable[None]]] = {
    "disarmed": disarm,
    "lease ended": let_the_lease_end,
    "library reloaded": reload_library,
    "functions flushed": flush_functions,
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_sales_stop_until_the_gate_is_armed_again(
    stage: Stage, stop: Callable[[Gate], Awaitable[None]]
) -> None:
    await stage.put(per_buyer=3)
    mine = attempt()
    number = (await stage.one(mine)).number

    await stop(stage.gate)

    assert await stage.outcomes(mine, attempt("acct:2")) == [Outcome.NOT_ARMED] * 2
    assert not (await stage.gate.status(0)).armed
    assert await stage.available() == 9

    await stage.gate.arm(0, 1, LEASE_MS)
    replayed, bought = await stage.buy(mine, attempt("acct:2"))
    assert (replayed.outcome, replayed.number) == (Outcome.REPLAYED, number)
    assert bought.outcome is Outcome.ACCEPTED
    await stage.audit()


async def test_a_gate_without_its_functions_is_not_armed(stage: Stage) -> None:
    await stage.put()
    await on_all(stage.gate, "FUNCTION", "FLUSH")

    with pytest.raises(GateNotArmed):
        await stage.buy(attempt())
    assert not await stage.gate.library_is_current()


async def test_a_gate_that_lost_its_data_sells_nothing_until_a_new_epoch_is_armed(
    stage: Stage,
) -> None:
    await stage.put()
    await on_all(stage.gate, "FLUSHALL")

    assert await stage.outcomes(attempt()) == [Outcome.NOT_ARMED]
    assert (await stage.gate.status(0)).epoch is None
    with pytest.raises(LostEpoch):
        await stage.gate.arm(0, 1, LEASE_MS)

    # Even the same epoch, begun again, has to be armed: the old lease does not count.
    await stage.gate.begin_epoch(0, 1, 0)
    await stage.put()
    assert await stage.outcomes(attempt()) == [Outcome.NOT_ARMED]
    await stage.gate.arm(0, 1, LEASE_MS)
    assert await stage.outcomes(attempt()) == [Outcome.ACCEPTED]


async def test_a_gate_of_another_epoch_refuses_sales_and_everything_else(stage: Stage) -> None:
    await stage.put()
    gate = stage.gate
    for epoch in (0, 2):
        [decision] = await gate.reserve(0, epoch, [attempt()])
        assert decision.outcome is Outcome.NOT_ARMED
        for call in (
            gate.arm(0, epoch, 1000),
            gate.mark(0, epoch, [1]),
            gate.edit_stock(0, epoch, 1, 1, 5),
            gate.set_state(0, epoch, [1], "closed", 0),
            Stage(gate, 0, epoch).release(attempt(), 1),
            Stage(gate, 0, epoch).put(),
        ):
            with pytest.raises(LostEpoch):
                await call
    assert await stage.outcomes(attempt()) == [Outcome.ACCEPTED]
    await stage.audit()


async def test_a_new_epoch_disarms_and_starts_its_log_at_one(stage: Stage) -> None:
    await stage.put(per_buyer=2)
    await stage.buy(attempt())

    assert await stage.gate.begin_epoch(0, 2, 0)

    later = Stage(stage.gate, 0, epoch=2)
    assert await later.outcomes(attempt()) == [Outcome.NOT_ARMED]
    assert await stage.outcomes(attempt()) == [Outcome.NOT_ARMED]
    await stage.gate.arm(0, 2, LEASE_MS)
    assert (await later.one(attempt())).counter == 1
    assert len(await stage.log()) == len(await later.log()) == 1


async def test_an_epoch_never_goes_back(stage: Stage) -> None:
    assert await stage.gate.begin_epoch(0, 9, 100)
    await stage.gate.arm(0, 9, LEASE_MS)

    for epoch in (1, 8, 9):
        assert not await stage.gate.begin_epoch(0, epoch, 0)

    status = await stage.gate.status(0)
    assert (status.epoch, status.armed) == (9, True)


async def test_epochs_are_compared_as_numbers(stage: Stage) -> None:
    assert await stage.gate.begin_epoch(0, 9, 0)
    assert await stage.gate.begin_epoch(0, 10, 0)
    assert not await stage.gate.begin_epoch(0, 9, 0)


async def test_a_lease_is_told_in_the_servers_time_and_can_be_made_longer(stage: Stage) -> None:
    before = await stage.gate.time_ms()
    until_ms = await stage.gate.arm(0, 1, 5000)
    status = await stage.gate.status(0)

    assert before + 5000 <= until_ms <= status.now_ms + 5000
    assert (status.armed_until_ms, status.armed) == (until_ms, True)
    assert await stage.gate.arm(0, 1, 60_000) > until_ms


async def test_shards_are_armed_one_by_one(gate: Gate, gate_server: Server) -> None:
    stages = [Stage(gate, shard) for shard in SHARDS]
    for stage in stages:
        await stage.open()
        await stage.put()

    await gate.disarm(SHARDS[0])

    outcomes = [await stage.outcomes(attempt()) for stage in stages]
    assert outcomes == [[Outcome.NOT_ARMED], [Outcome.ACCEPTED], [Outcome.ACCEPTED]]


async def test_loading_the_library_that_is_there_already_keeps_the_gate_armed(
    stage: Stage,
) -> None:
    await stage.put()

    await stage.gate.load_library()

    assert await stage.gate.library_is_current()
    assert await stage.outcomes(attempt()) == [Outcome.ACCEPTED]


async def test_another_version_of_the_library_is_replaced_and_forgets_that_it_was_armed(
    stage: Stage,
) -> None:
    await stage.put()
    other = library.source().replace(
        "local SEQUENCE_MAX", "-- of another release\nlocal SEQUENCE_MAX"
    )
    await on_all(stage.gate, "FUNCTION", "LOAD", "REPLACE", other)
    assert not await stage.gate.library_is_current()

    await stage.gate.load_library()

    assert await stage.gate.library_is_current()
    assert await stage.outcomes(attempt()) == [Outcome.NOT_ARMED]


async def test_the_servers_say_how_durable_they_are(gate: Gate, gate_server: Server) -> None:
    facts = await gate.server_facts()

    assert len(facts) == (3 if "cluster" in gate_server.url else 1)
    for server in facts:
        assert server["server"] in ("redis", "valkey")
        assert int(server["version"].split(".")[0]) >= 7
        assert (server["appendonly"], server["appendfsync"]) == ("yes", "always")
        assert server["maxmemory-policy"] == "noeviction"
