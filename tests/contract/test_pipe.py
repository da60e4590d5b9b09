"""From the gate's log to the recorder: in order, without a gap, in pieces of bounded size."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import pytest
from tests.contract.gate_servers import Server
from tests.contract.gate_stage import HOUR_MS, Stage, attempt

from sluice.domain.errors import StreamGap
from sluice.domain.log import Accepted, LogBatch, Marked
from sluice.domain.number import SHARDS_MAX
from sluice.gate import keys, wire
from sluice.gate.client import translated
from sluice.gate.gate import Gate
from sluice.pipe import stream
from sluice.pipe.stream import Pipe, RedisLog


async def sell(stage: Stage, *sizes: int) -> list[list[int]]:
    """One batch of each size; the numbers of each."""
    sold = []
    for size in sizes:
        decisions = await stage.buy(*(attempt() for _ in range(size)))
        sold.append([decision.number for decision in decisions])
    return sold


@pytest.fixture
async def shop(stage: Stage) -> Stage:
    await stage.put(stock=1000, per_buyer=32)
    return stage


async def read(pipe: Pipe, facts_max: int = 1000, block_ms: int = 0) -> LogBatch | None:
    return await pipe.next_batch(facts_max=facts_max, block_ms=block_ms)


def numbers(batch: LogBatch | None) -> list[int]:
    assert batch is not None
    return [fact.number for fact in batch.entries if isinstance(fact, Accepted)]


async def test_a_batch_says_what_it_spans_and_the_next_one_goes_on(shop: Stage) -> None:
    one, two = await sell(shop, 2, 3)
    pipe = shop.pipe()

    batch = await read(pipe)

    assert batch is not None
    assert batch[:4] == (0, 1, 1, 2)
    assert numbers(batch) == one + two
    assert await read(pipe) is None
    [three] = await sell(shop, 1)
    later = await read(pipe)
    assert (later and later[:4], numbers(later)) == ((0, 1, 3, 3), three)


async def test_a_batch_is_bounded_and_never_splits_what_was_decided_together(
    shop: Stage,
) -> None:
    await sell(shop, 3, 2, 4, 1, 1)
    pipe = shop.pipe()

    spans = []
    while (batch := await read(pipe, facts_max=5)) is not None:
        spans.append((batch.first, batch.last, len(batch.entries)))

    assert spans == [(1, 2, 5), (3, 4, 5), (5, 5, 1)]


async def test_an_entry_larger_than_the_bound_still_comes_and_comes_alone(shop: Stage) -> None:
    await sell(shop, 9, 1)
    pipe = shop.pipe()

    first, second = await read(pipe, facts_max=2), await read(pipe, facts_max=2)

    assert (len(numbers(first)), len(numbers(second))) == (9, 1)


async def test_reading_resumes_at_any_position(shop: Stage) -> None:
    sold = await sell(shop, 1, 1, 1, 1)

    for position in range(5):
        batch = await read(shop.pipe(position))
        if position == 4:
            assert batch is None
        else:
            assert numbers(batch) == list(chain(*sold[position:]))


async def test_more_entries_than_one_read_brings_come_without_a_seam(
    shop: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "READ_MAX", 3)
    sold = await sell(shop, *[1] * 8)
    pipe = shop.pipe()

    got: list[int] = []
    while (batch := await read(pipe)) is not None:
        got += numbers(batch)

    assert got == list(chain(*sold))


async def test_entries_that_say_nothing_to_the_ledger_move_the_position_all_the_same(
    shop: Stage,
) -> None:
    await shop.gate.mark(0, 1, [])

    batch = await read(shop.pipe())

    assert batch == LogBatch(0, 1, 1, 1, [Marked(())])


# --- gaps -----------------------------------------------------------------------------------------


async def test_a_missing_entry_stops_the_pipe_and_what_stands_before_it_still_comes(
    shop: Stage,
) -> None:
    one, two, _, _ = await sell(shop, 1, 1, 1, 1)
    await shop.run("XDEL", keys.stream(0, 1), "3-0")
    pipe = shop.pipe()

    assert numbers(await read(pipe)) == one + two
    for _ in range(2):
        with pytest.raises(StreamGap):
            await read(pipe)


async def test_a_log_that_was_trimmed_too_far_is_a_gap(shop: Stage) -> None:
    await sell(shop, 1, 1, 1)
    await shop.pipe().trim(3)

    with pytest.raises(StreamGap):
        await read(shop.pipe())
    with pytest.raises(StreamGap):
        await read(shop.pipe(1))
    assert len(numbers(await read(shop.pipe(2)))) == 1


async def test_the_log_of_an_epoch_that_lost_its_start_is_a_gap(shop: Stage) -> None:
    await shop.run("XADD", keys.stream(0, 2), "2-0", "k", "m", "d", "")
    later = Stage(shop.gate, 0, epoch=2)

    with pytest.raises(StreamGap):
        await read(later.pipe())


@pytest.mark.parametrize(
    ("kind", "data"),
    [("z", b"?"), ("a", b"1;too short"), ("a", b"none"), ("r", b"odd"), ("e", b"1,2"), ("m", b"x")],
)
async def test_an_entry_that_cannot_be_read_stops_the_pipe_like_a_gap(
    shop: Stage, kind: str, data: bytes
) -> None:
    [one] = await sell(shop, 1)
    await shop.run("XADD", keys.stream(0, 1), "2-0", "k", kind, "d", data)
    pipe = shop.pipe()

    assert numbers(await read(pipe)) == one
    with pytest.raises(StreamGap):
        await read(pipe)


# --- waiting and trimming -------------------------------------------------------------------------


async def test_a_reader_that_waits_is_told_at_once(shop: Stage) -> None:
    pipe = shop.pipe()
    waiting = asyncio.create_task(read(pipe, block_ms=4000))
    await asyncio.sleep(0)

    async with asyncio.timeout(3):
        [sold] = await sell(shop, 2)
        assert numbers(await waiting) == sold


async def test_a_reader_that_waits_in_vain_gets_nothing(shop: Stage) -> None:
    assert await read(shop.pipe(), block_ms=10) is None


async def test_every_shard_there_can_be_may_be_waited_for_at_once(
    gate: Gate, gate_server: Server
) -> None:
    async def execute(*words: Any) -> Any:
        return await translated(gate.client.execute_command(*words))

    log = RedisLog(execute, keys.stream)
    pipes = [Pipe(log, wire.unpack_entry, shard, 1, 0) for shard in range(SHARDS_MAX)]

    assert await asyncio.gather(*(read(pipe, block_ms=100) for pipe in pipes)) == [None] * len(
        pipes
    )


async def test_trimming_forgets_below_and_keeps_the_rest(shop: Stage) -> None:
    sold = await sell(shop, 1, 1, 1, 1)
    pipe = shop.pipe()
    await read(pipe)

    assert await pipe.trim(3) == 2
    assert await pipe.trim(3) == 0
    assert numbers(await read(shop.pipe(2))) == sold[2] + sold[3]
    assert await shop.pipe().trim(HOUR_MS) == 2
    assert await read(pipe) is None
    [later] = await sell(shop, 1)
    assert numbers(await read(pipe)) == later
