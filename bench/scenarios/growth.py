"""What one acceptance costs the gate while it holds 10³, 10⁵ and 10⁶ units: it must not grow."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from bench.gates import (
    accept,
    armed_gate,
    attempts,
    embedded_binary,
    gate_server,
    hold,
    info,
    put_on_sale,
    settled,
)
from bench.run import Bench, Figure, Outcome
from bench.stats import flatness, median
from sluice.gate.gate import Gate

BATCH = 64
FLAT = 0.15


@dataclass(slots=True)
class Level:
    """One size: its items, filled beforehand, and what an acceptance cost in each round."""

    held: int
    items: list[int]
    server_us: list[float] = field(default_factory=list)
    """The server's own time in the function, an acceptance."""
    round_trip_us: list[float] = field(default_factory=list)
    """As the caller sees it: packing, the socket, the function, the flush to disk."""


def run(bench: Bench) -> Outcome:
    with gate_server(bench.subfolder("growth"), embedded_binary()) as url:
        return asyncio.run(_measure(bench, url))


async def _measure(bench: Bench, url: str) -> Outcome:
    async with armed_gate(url) as gate:
        levels = await _fill(bench, gate)
        await settled(gate)
        for index in range(bench.sizes.grown_rounds):
            bench.say(f"growth: round {index + 1} of {bench.sizes.grown_rounds}")
            # Turns within a round: whatever slows the machine down slows all sizes alike.
            for level in levels:
                await _round(gate, level, index, bench.sizes.grown_calls)
    return _found(levels)


async def _fill(bench: Bench, gate: Gate) -> list[Level]:
    """The smallest size gets an item a round, as a round would make a few hundred a lot more."""
    levels, item_id = [], 0
    for size in bench.sizes.grown:
        count = bench.sizes.grown_rounds if size <= 10_000 else 1
        level = Level(size, list(range(item_id + 1, item_id + 1 + count)))
        item_id += count
        for item in level.items:
            bench.say(f"growth: {size:,} held in item {item}")
            await put_on_sale(gate, item, 10_000_000)
            await hold(gate, item, 0, size)
        levels.append(level)
    return levels


async def _round(gate: Gate, level: Level, index: int, calls: int) -> None:
    item = level.items[index % len(level.items)]
    first = level.held + (index // len(level.items)) * calls * BATCH
    batches = [attempts(item, first + call * BATCH, BATCH) for call in range(calls)]
    before = await _function_us(gate)
    began = time.perf_counter()
    for batch in batches:
        await accept(gate, batch)
    took_us = (time.perf_counter() - began) * 1e6
    level.round_trip_us.append(took_us / (calls * BATCH))
    level.server_us.append((await _function_us(gate) - before) / (calls * BATCH))


async def _function_us(gate: Gate) -> float:
    stats = await info(gate, "commandstats")
    return float(stats["cmdstat_fcall"]["usec"])


def _found(levels: list[Level]) -> Outcome:
    server = [median(level.server_us) for level in levels]
    trips = [median(level.round_trip_us) for level in levels]
    found = Outcome(
        notes=[
            f"Batches of {BATCH}; server time is the gate's own time in the function "
            "(INFO commandstats), the round trip includes the flush to disk (AOF always)."
        ]
    )
    for level, server_us, trip_us in zip(levels, server, trips, strict=True):
        found.figures += [
            Figure(name=f"{level.held:,} held, server", value=server_us, unit="µs"),
            Figure(name=f"{level.held:,} held, round trip", value=trip_us, unit="µs"),
        ]
    found.figures += [
        Figure(name="growth, server", value=flatness(server) * 100, unit="%", at_most=FLAT * 100),
        Figure(name="growth, round trip", value=flatness(trips) * 100, unit="%"),
    ]
    found.details["levels"] = {
        str(level.held): {"server_us": level.server_us, "round_trip_us": level.round_trip_us}
        for level in levels
    }
    return found
