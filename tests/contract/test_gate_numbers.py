"""Order numbers as the gate mints them: unique, growing, exact, whatever the clock does."""

from __future__ import annotations

from tests.contract.gate_servers import SHARDS, Server
from tests.contract.gate_stage import Stage, attempt

from sluice.domain.number import EPOCH_S, SEQUENCE_MAX, join, split
from sluice.gate import keys
from sluice.gate.gate import Gate


async def sold(stage: Stage, count: int = 1) -> list[int]:
    """The numbers of `count` orders of one batch."""
    decisions = await stage.buy(*(attempt() for _ in range(count)))
    assert all(decision.number for decision in decisions)
    return [decision.number for decision in decisions]


async def open_shard(gate: Gate, shard: int, second_floor: int = 0) -> Stage:
    stage = Stage(gate, shard)
    await stage.open(second_floor)
    await stage.put(stock=1000, per_buyer=32)
    return stage


async def now_s(gate: Gate) -> int:
    return await gate.time_ms() // 1000 - EPOCH_S


async def test_a_number_is_the_servers_second_the_shard_and_a_sequence(gate: Gate) -> None:
    stage = await open_shard(gate, 7)
    before = await now_s(gate)

    first, second = map(split, await sold(stage, 2))

    assert before <= first.second <= await now_s(gate)
    assert (first.shard, first.sequence) == (7, 1)
    assert second == first._replace(sequence=2)


async def test_numbers_grow_without_a_gap_over_batches(gate: Gate) -> None:
    stage = await open_shard(gate, 0)
    numbers = [number for size in (1, 5, 2) for number in await sold(stage, size)]

    assert sorted(set(numbers)) == numbers
    await stage.audit()


async def test_the_highest_shard_keeps_every_bit(gate: Gate) -> None:
    stage = await open_shard(gate, 255)
    await stage.run("HSET", keys.shard(255), "second", 2**31 - 1, "sequence", SEQUENCE_MAX - 1)

    assert await sold(stage) == [2**63 - 1]
    [accepted] = await stage.log()
    [held] = await stage.held_by()
    assert accepted.number == held.number == 2**63 - 1  # type: ignore[union-attr]


async def test_decision_log_hold_and_replay_tell_one_number_above_two_to_the_53(
    gate: Gate,
) -> None:
    stage = await open_shard(gate, 3)
    mine = attempt()
    number = (await stage.one(mine)).number

    assert number > 2**53
    assert number % 2 == 1, "the last bit is the one that a double would lose"
    assert (await stage.one(mine)).number == number
    assert [fact.number for fact in await stage.log()] == [number]  # type: ignore[union-attr]
    assert [held.number for held in await stage.held_by()] == [number]
    assert await stage.release(mine, number)


async def test_a_clock_that_stepped_back_does_not_take_numbers_back(gate: Gate) -> None:
    stage = await open_shard(gate, 0)
    ahead = await now_s(gate) + 3600
    await stage.run("HSET", keys.shard(0), "second", ahead, "sequence", 41)

    assert await sold(stage, 2) == [join(ahead, 0, 42), join(ahead, 0, 43)]
    assert await sold(stage) == [join(ahead, 0, 44)]


async def test_a_full_second_goes_on_in_the_next_one(gate: Gate) -> None:
    stage = await open_shard(gate, 1)
    ahead = await now_s(gate) + 3600
    await stage.run("HSET", keys.shard(1), "second", ahead, "sequence", SEQUENCE_MAX - 1)

    assert await sold(stage, 3) == [
        join(ahead, 1, SEQUENCE_MAX),
        join(ahead + 1, 1, 1),
        join(ahead + 1, 1, 2),
    ]
    assert await sold(stage) == [join(ahead + 1, 1, 3)]


async def test_a_new_epoch_starts_above_every_number_of_its_floor(gate: Gate) -> None:
    floor = await now_s(gate) + 3600
    stage = await open_shard(gate, 2, floor)

    [number] = await sold(stage)

    assert number > join(floor, 2, SEQUENCE_MAX)


async def test_a_new_epoch_starts_above_what_the_gate_itself_remembers(gate: Gate) -> None:
    """What the ledger has not read yet is not in the floor that it knows."""
    stage = await open_shard(gate, 0)
    ahead = await now_s(gate) + 3600
    await stage.run("HSET", keys.shard(0), "second", ahead, "sequence", 9)
    [last] = await sold(stage)

    later = Stage(gate, 0, epoch=2)
    await later.open(second_floor=0)

    assert (await sold(later))[0] > last


async def test_shards_number_on_their_own_and_never_collide(
    gate: Gate, gate_server: Server
) -> None:
    stages = [await open_shard(gate, shard) for shard in SHARDS]

    numbers = [number for stage in stages for number in await sold(stage, 3)]

    assert len(set(numbers)) == 9
    assert [split(number).shard for number in numbers[::3]] == list(SHARDS)
    for stage in stages:
        await stage.audit()
