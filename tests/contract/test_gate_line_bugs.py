"""Each guard of the waitlist taken out of the library: the books must notice."""

from __future__ import annotations

import pytest
from tests.contract.gate_servers import plant
from tests.contract.gate_stage import HOUR_MS, LEASE_MS, Stage, attempt, waiter

from sluice.domain.log import Promoted
from sluice.domain.number import join
from sluice.domain.outcome import WaitOutcome
from sluice.gate.gate import Gate
from sluice.gate.wire import Hold

ENDED = WaitOutcome.ENDED

GUARDS = {
    "nobody overtakes the line": ("item.spoken_for or", ""),
    "one place a buyer": ("elseif line.scores[member] then", "elseif false then"),
    "one place a buyer within a batch": ("if told then", "if false then"),
    "no line for what is on sale": (
        "elseif line.available > 0 and line.length == 0 then",
        "elseif false then",
    ),
    "who holds it does not wait": ("elseif held or not free_slots", "elseif not free_slots"),
    "who is at the limit does not wait": (
        "elseif held or not free_slots(holds, line.limit, 1) then",
        "elseif held then",
    ),
    "who holds it is not promoted": ("not holds_item(holder.records, item.id)\n      and ", ""),
    "slots of a promotion": (
        "holder.records = holder.records .. number .. struct.pack(HOLD, slots, item.id)",
        "",
    ),
    "one unit, one promotion": (
        "item.available, item.held = item.available - 1, item.held + 1",
        "",
    ),
    "promoted once": (
        "redis.call('ZREMRANGEBYRANK', item.line, 0, item.at - 1)",
        "redis.call('ZREMRANGEBYRANK', item.line, 1, item.at - 1)",
    ),
    "the head first": ("redis.call('ZRANGE', item.line", "redis.call('ZREVRANGE', item.line"),
    "a gate that is not armed promotes nobody": ("if not turn.armed then return false end", ""),
    "promotions end": ("and now < item.waits", ""),
    "closed": ("(item.state == 'open' or item.state == 'paused') and", ""),
    "leaving once": ("line.scores[one.member] = nil", ""),
    "leaving": ("if line.gone then", "if false then"),
    "closing": ("redis.call('ZREMRANGEBYRANK', keys[3], 0, #logged - 1)", ""),
    "entries to the last bit": (
        "(second - shard.base) * SEQUENCE_STEP + sequence",
        "second * 2147483648 * SEQUENCE_STEP + sequence",
    ),
    "the lines end": ("if now >= line.ends or not line_moves(line, now) then", "if false then"),
}


async def storm(gate: Gate) -> None:
    """Raises AssertionError where somebody gets, keeps or is told what is not theirs."""
    await _numbers(gate)
    stage = Stage(gate)
    await stage.open()
    await _turns(stage)
    await _limits(stage)
    await _away(stage)
    await _revived(stage)
    await stage.gate.mark(0, 1, [1, 2, 3, 6])
    await stage.audit()
    await _ends(stage)


async def _turns(stage: Stage) -> None:
    """Who asks twice, who leaves twice, who has no reason to wait; and units that come back."""
    await stage.put(1, stock=3, per_buyer=2)
    await stage.join(waiter("acct:1"))
    holds = await stage.sell_out(units=3)
    one, leaving = waiter("acct:1"), waiter("acct:3")
    await stage.join(waiter("holder:1:0"), one, one)
    await stage.join(one, *(waiter(f"acct:{n}") for n in range(2, 9)))
    await stage.leave(leaving, leaving)
    await stage.leave(leaving)
    await stage.give_back(*holds[:2])
    await stage.gate.edit_stock(0, 1, 1, 1, 1)


async def _limits(stage: Stage) -> None:
    """Two variants that share a limit: who gets one of them has no claim to the other."""
    await stage.put(2, stock=2, group=2)
    await stage.put(3, stock=2, group=2)
    second = await stage.sell_out(2, group=2, units=2)
    third = await stage.sell_out(3, group=2, units=2)
    await stage.join(waiter("holder:3:0", item=2, group=2))
    for item in (2, 3):
        await stage.queue("acct:1", "acct:2", "acct:3", item=item, group=2)
    await stage.give_back(second[0], third[0])
    await stage.give_back(second[1], third[1])


async def _away(stage: Stage) -> None:
    """Units that come back while the gate is not armed: given out later, and to nobody else."""
    mine = await stage.held_by("acct:1", 1)
    assert mine, "a promotion is a hold"
    await stage.gate.disarm(0)
    await stage.give_back(Hold(mine[0].number, 1, 1, waiter("acct:1").digest))
    await stage.gate.promote_waitlist(0, 1, [1])
    assert (await stage.totals(1))[0].available == 1, "a gate that is not armed accepts nobody"
    await stage.gate.arm(0, 1, LEASE_MS)
    await stage.one(attempt("acct:70"))
    await stage.gate.promote_waitlist(0, 1, [1])


async def _revived(stage: Stage) -> None:
    """A line that was over, in whose time a buyer who waits has bought, and that goes on."""
    await stage.put(6, stock=2, per_buyer=2, group=6)
    first, second = await stage.sell_out(6, group=6, units=2)
    await stage.queue("acct:1", "acct:2", item=6, group=6)
    ends = await stage.gate.time_ms() + HOUR_MS
    await stage.gate.set_state(0, 1, [6], "open", ends, 0)
    stage.books.items[6].open_to_all = True
    await stage.give_back(first)
    await stage.one(attempt("acct:1", item=6, group=6))
    await stage.gate.set_state(0, 1, [6], "open", ends, ends)
    await stage.give_back(second)


async def _ends(stage: Stage) -> None:
    """Lines that are over, each in its way: nobody joins, nobody is promoted, all are let go."""
    now = await stage.gate.time_ms()
    before = len(await stage.log())
    for item, state, waits in ((4, "closed", now + HOUR_MS), (5, "open", now - 1)):
        await stage.put(item, stock=1, group=item)
        [held] = await stage.sell_out(item, group=item)
        await stage.queue("acct:1", "acct:2", item=item, group=item)
        await stage.gate.set_state(0, 1, [item], state, now + HOUR_MS, waits)  # type: ignore[arg-type]
        assert await stage.join(waiter("acct:9", item=item, group=item)) == [(ENDED, 0, 0)]
        await stage.give_back(held)
        await stage.gate.close_waitlist(0, 1, item, 5)
        assert await stage.line(item) == 0
    assert not any(isinstance(fact, Promoted) for fact in (await stage.log())[before:])


async def _numbers(gate: Gate) -> None:
    """An entry's name keeps its last bit where a whole number in a double would have lost it."""
    stage = Stage(gate, 9)
    floor = 2**31 - 1000
    await stage.open(floor)
    await stage.put(stock=0)
    entries = await stage.queue("acct:1", "acct:2", "acct:3")
    assert entries == [join(floor + 1, 9, n) for n in (1, 2, 3)]
    places = await stage.places(*(waiter(f"acct:{n}") for n in (1, 2, 3)))
    assert [(p.entry, p.ahead) for p in places] == list(zip(entries, range(3), strict=True))


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
