"""Each guard of the library taken out: the books that the other tests rely on must notice.

A test that stays green without the guard would have been worth nothing.
"""

from __future__ import annotations

import pytest
from tests.contract.gate_servers import plant
from tests.contract.gate_stage import LEASE_MS, Stage, attempt, hold

from sluice.domain.outcome import Outcome
from sluice.gate.gate import Gate

GUARDS = {
    "stock check": ("or item.available < quantity then", "then"),
    "limit check": ("for _ = 1, limit do", "for _ = 1, 32 do"),
    "whole quantity or nothing": ("if quantity > 0 then return nil end", ""),
    "limit within a batch": (
        "group.prior[nonce], group.holds[digest] = record, hold",
        "group.prior[nonce] = record",
    ),
    "replay of a nonce": ("if prior then", "if false then"),
    "repeat within a batch": (
        "group.prior[nonce], group.holds[digest] = record, hold",
        "group.holds[digest] = hold",
    ),
    "armed check": (
        "return lease and lease.epoch == epoch and now < lease.until_ms",
        "return true",
    ),
    "end of the lease": ("and now < lease.until_ms", ""),
    "release once": (
        """        .. string.sub(holder.records, at + HOLD_BYTES)
      holder.changed = true""",
        "        .. string.sub(holder.records, at + HOLD_BYTES)",
    ),
    "release once within a call": ("turn.holders[name] = holder", ""),
    "edits once": ("if number <= last then", "if false then"),
    "edits in order": ("if number > last + 1 then", "if false then"),
    "decrease of what is held": ("local applied = available + delta >= 0", "local applied = true"),
    "numbers only grow": (
        "if second > shard.second then shard.second, shard.sequence = second, 0 end",
        "if second ~= shard.second then shard.second, shard.sequence = second, 0 end",
    ),
    "full second": ("if shard.sequence == SEQUENCE_MAX then", "if false then"),
    "expired pass": ("if expired or publication", "if publication"),
    "publication": ("if expired or publication ~= item.publication then", "if expired then"),
    "end of the sale": ("or now >= item.ends then", "then"),
    "start of the sale": ("if now < item.starts then", "if false then"),
    "unopened item": ("if item.state == 'loaded' then", "if false then"),
    "pause": ("if item.state == 'paused' then", "if false then"),
}


async def storm(gate: Gate) -> None:
    """A bit of everything. Raises AssertionError where something is sold that must not be."""
    stage = Stage(gate)
    await stage.open()
    await stage.put(1, stock=6, per_buyer=2)
    await _buying(stage)
    await _edits(stage)
    await _windows(stage)
    await _numbers(stage)
    await stage.gate.mark(0, 1, [1, 2, 3])
    await stage.audit()
    await _unarmed(stage)


async def _buying(stage: Stage) -> None:
    """Double clicks, greedy buyers, releases asked for twice, and more buyers than units."""
    first = attempt("acct:1")
    decisions = await stage.buy(first, first, attempt("acct:1"), attempt("acct:1"))
    await stage.buy(first, attempt("acct:1", quantity=2), attempt("acct:2", quantity=3))
    for _ in range(2):
        await stage.gate.release(0, 1, [hold(first, decisions[0].number)] * 2)
    assert await stage.held_by("acct:1"), "the other unit is still held"
    await stage.buy(first, attempt("acct:1", quantity=2))
    await stage.buy(*(attempt(f"acct:{n}", quantity=2) for n in range(3, 9)))


async def _edits(stage: Stage) -> None:
    for number, delta in ((1, 3), (1, 3), (3, 1), (2, -20), (3, -1)):
        await stage.gate.edit_stock(0, 1, 1, number, delta)


async def _windows(stage: Stage) -> None:
    async def refused(expected: Outcome, **how: object) -> None:
        one = attempt("acct:50", item=2, group=2, **how)  # type: ignore[arg-type]
        assert await stage.outcomes(one) == [expected]

    await stage.put(2, group=2, state=None)
    await refused(Outcome.NOT_ARMED)
    await stage.put(2, group=2)
    await refused(Outcome.BAD_PASS, expired=True)
    await refused(Outcome.BAD_PASS, publication=2)
    await stage.set_state("paused", 2)
    await refused(Outcome.PAUSED)
    await stage.set_state("open", 2, ends_in_ms=-1)
    await refused(Outcome.ENDED)
    await stage.put(3, group=2, starts_in_ms=60_000)
    assert await stage.outcomes(attempt("acct:51", item=3, group=2)) == [Outcome.NOT_STARTED]


async def _numbers(stage: Stage) -> None:
    """As if the clock had stepped back by an hour, near the end of a second's sequence."""
    await stage.set_state("open", 2)
    last = (await stage.one(attempt("acct:60", item=2, group=2))).number
    stage.books.jump_to(second=(last >> 32) + 3600, sequence=2**24 - 3)
    await stage.run(
        "HSET", "sluice:{0}:shard", "second", (last >> 32) + 3600, "sequence", 2**24 - 3
    )
    await stage.buy(*(attempt(f"acct:{n}", item=2, group=2) for n in range(61, 65)))


async def _unarmed(stage: Stage) -> None:
    await stage.gate.edit_stock(0, 1, 2, 1, 5)
    for lease_ms in (None, -LEASE_MS):
        if lease_ms is None:
            await stage.gate.disarm(0)
        else:
            await stage.gate.arm(0, 1, lease_ms)
        refused = await stage.outcomes(attempt("acct:70", item=2, group=2))
        assert refused == [Outcome.NOT_ARMED]


async def test_the_whole_library_weathers_the_storm(gate: Gate) -> None:
    await storm(gate)


@pytest.mark.parametrize("gate_server", ["valkey", "redis"], indirect=True)
@pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS)
async def test_a_library_without_a_guard_is_found_out(
    own_library: Gate, guard: tuple[str, str]
) -> None:
    await plant(own_library, *guard)

    with pytest.raises(AssertionError):
        await storm(own_library)
