"""Bytes of Redis for a held order, on every server at hand, with and without the gate's log.

The log is trimmed some minutes after the ledger has recorded it; until then an order is in it too.
What an HTTP worker occupies is measured by the accepted scenario, after its load.
"""

from __future__ import annotations

import asyncio

from bench.gates import (
    EPOCH,
    SHARD,
    armed_gate,
    embedded_binary,
    gate_server,
    hold,
    info,
    put_on_sale,
    settled,
    system_redis,
)
from bench.run import Bench, Figure, Outcome
from sluice.gate import keys
from sluice.gate.gate import Gate

HELD_BYTES_MAX = 200


def run(bench: Bench) -> Outcome:
    found = Outcome(
        notes=["One unit an order, buyer keys of 18 bytes, one item; growth of used_memory."]
    )
    binaries = [embedded_binary()]
    system = system_redis()
    if system is None:
        found.notes.append("There is no redis-server on PATH, so only the embedded server is told.")
    elif system.path != binaries[0].path:
        binaries.append(system)
    for binary in binaries:
        name = f"{binary.family} {'.'.join(map(str, binary.version))}"
        for held in bench.sizes.held:
            bench.say(f"memory: {held:,} held orders in {name}")
            folder = bench.subfolder(f"memory-{binary.family}-{held}")
            with gate_server(folder, binary) as url:
                with_log, without_log = asyncio.run(_weigh(url, held))
            label = f"{name}, {held:,} held"
            found.figures += [
                Figure(name=label, value=without_log, unit="bytes", at_most=HELD_BYTES_MAX),
                Figure(name=f"{label}, with its log", value=with_log, unit="bytes"),
            ]
    return found


async def _weigh(url: str, held: int) -> tuple[float, float]:
    """Bytes for a held order: with the log that holds it, and after the log was trimmed."""
    async with armed_gate(url) as gate:
        await put_on_sale(gate, 1, held)
        empty = await _used(gate)
        await hold(gate, 1, 0, held)
        full = await _used(gate)
        await gate.client.execute_command("XTRIM", keys.stream(SHARD, EPOCH), "MAXLEN", "=", 0)
        trimmed = await _used(gate)
    return (full - empty) / held, (trimmed - empty) / held


async def _used(gate: Gate) -> int:
    """The server's allocations, without the buffers of a rewrite under way."""
    await settled(gate)
    return int((await info(gate, "memory"))["used_memory"])
