"""Those who ask the gate: several processes at once, and the queue in front of it in each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import pytest
from tests.contract.gate_servers import SHARDS, Server
from tests.contract.gate_stage import LEASE_MS, Books, Stage, attempt, waiter
from tests.polling import until_it_is

from sluice.domain.errors import GateNotArmed, Overloaded, Unavailable
from sluice.domain.log import Joined, Left, Promoted, Released
from sluice.domain.outcome import Outcome
from sluice.gate.gate import Gate, GateStatus
from sluice.gate.reservations import ITEMS_MAX, Reservations
from sluice.gate.wire import Attempt, Decision

PROCESSES = 3
BUYERS = 150
LIMIT = 2
STOCK = 250
"""Nearly what the buyers may have together, so that both bounds are met."""


def queue(gate: Gate, *, batch_max: int = 256, deadline_s: float = 5) -> Reservations:
    return Reservations(gate, batch_max=batch_max, queue_max=1000, deadline_s=deadline_s)


# --- several processes ----------------------------------------------------------------------------


async def fight(program: str, url: str, *numbers: int) -> list[Any]:
    """What each process was told; all of them start at the same moment. `numbers` are the shard
    and what comes after the seed."""
    shard, *rest = map(str, numbers)
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tests.contract.{program}"),
            *(url, shard, str(seed), *rest),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for seed in range(1, PROCESSES + 1)
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    assert [child.returncode for child in children] == [0] * PROCESSES
    return [json.loads(out) for out, _ in told]


async def test_several_processes_get_exactly_the_stock_and_nobody_more_than_the_limit(
    gate: Gate, gate_server: Server
) -> None:
    stage = Stage(gate, SHARDS[1])
    await stage.open()
    await stage.put(stock=STOCK, per_buyer=LIMIT)

    told = await fight("gate_buyers", gate_server.url, stage.shard, BUYERS)

    accepted = {nonce: number for one in told for nonce, number in one["accepted"].items()}
    assert len(accepted) == sum(len(one["accepted"]) for one in told) == STOCK
    assert len(set(accepted.values())) == STOCK, "every order has a number of its own"
    for one in told:
        assert all(accepted[nonce] == number for nonce, number in one["replayed"])
        assert len(one["replayed"]) == len(one["accepted"]), "each pass was sent twice"
        assert set(one["refused"]) == {"SOLD_OUT", "LIMIT_REACHED"}
    books = await stage.audit()
    assert {fact.nonce.hex(): str(number) for number, fact in books.held.items()} == accepted
    assert max(units_by_buyer(books).values()) == LIMIT
    assert await stage.available() == 0


def units_by_buyer(books: Books) -> Counter[str]:
    units: Counter[str] = Counter()
    for fact in books.held.values():
        units[fact.buyer] += fact.quantity
    return units


@pytest.mark.parametrize("gate_server", ["valkey", "cluster"], indirect=True)
async def test_several_processes_around_one_line_leave_it_in_order(
    gate: Gate, gate_server: Server
) -> None:
    """The same buyers in each process join, leave, buy and give back, all at once."""
    stage = Stage(gate, SHARDS[1])
    await stage.open()
    await stage.put(stock=5, per_buyer=2)

    told = await fight("gate_crowd", gate_server.url, stage.shard, 25, 400)

    facts = await stage.log()
    books = await stage.audit()
    joined = {str(fact.entry): fact.buyer for fact in facts if isinstance(fact, Joined)}
    assert {entry: buyer for one in told for entry, buyer in one["joined"].items()} == joined
    assert len(joined) == sum(len(one["joined"]) for one in told)
    assert sum(one["left"] for one in told) == sum(isinstance(fact, Left) for fact in facts)
    assert sum(one["released"] for one in told) == sum(isinstance(f, Released) for f in facts)
    assert sum(isinstance(fact, Promoted) for fact in facts) > 20, "the line has moved"
    places = await stage.places(*map(waiter, books.items[1].line.values()))
    assert [place.ahead for place in places] == list(range(len(places)))


# --- the queue ------------------------------------------------------------------------------------


async def test_the_queue_learns_the_epoch_and_follows_it(stage: Stage) -> None:
    await stage.put(per_buyer=5)
    reservations = queue(stage.gate)
    assert reservations.epoch(0) == 0
    first = await reservations.submit(0, attempt())
    assert (first.outcome, reservations.epoch(0)) == (Outcome.ACCEPTED, 1)

    await stage.gate.begin_epoch(0, 2, 0)
    unarmed = await reservations.submit(0, attempt())
    await stage.gate.arm(0, 2, LEASE_MS)
    second = await reservations.submit(0, attempt())

    assert unarmed.outcome is Outcome.NOT_ARMED
    assert (second.outcome, second.counter) == (Outcome.ACCEPTED, 1)
    assert reservations.epoch(0) == 2
    await reservations.close()


async def test_a_process_that_names_the_epoch_before_gets_its_batch_decided_all_the_same(
    stage: Stage,
) -> None:
    await stage.put(per_buyer=5)
    reservations = queue(stage.gate)
    await reservations.submit(0, attempt())
    later = Stage(stage.gate, 0, epoch=2)
    await later.open()

    decisions = await asyncio.gather(*(reservations.submit(0, attempt()) for _ in range(3)))

    assert [d.outcome for d in decisions] == [Outcome.ACCEPTED] * 3
    assert len(await later.log()) == 3
    await reservations.close()


async def test_a_gate_that_holds_no_epoch_is_not_armed(gate: Gate) -> None:
    reservations = queue(gate)

    with pytest.raises(GateNotArmed):
        await reservations.submit(0, attempt())
    await reservations.close()


class MovesOn(Gate):
    """A gate whose epoch changes just after a batch was decided."""

    calls = 0

    async def reserve(self, *args: Any) -> list[Decision]:
        self.calls += 1
        return await super().reserve(*args)

    async def status(self, shard: int) -> GateStatus:
        status = await super().status(shard)
        return status._replace(epoch=(status.epoch or 0) + self.calls)


async def test_a_batch_of_which_something_was_decided_is_not_sent_again(stage: Stage) -> None:
    """Its first item is only loaded, which looks like a gate that is not armed."""
    await stage.put(1, state=None, group=1)
    await stage.put(2, group=2)
    gate = MovesOn(stage.gate.client)
    reservations = queue(gate)

    shut, bought = await asyncio.gather(
        reservations.submit(0, attempt(item=1, group=1)),
        reservations.submit(0, attempt(item=2, group=2)),
    )

    assert (shut.outcome, bought.outcome) == (Outcome.NOT_ARMED, Outcome.ACCEPTED)
    assert gate.calls == 1
    await reservations.close()


async def test_a_batch_over_more_items_than_one_call_can_name_is_decided_in_order(
    stage: Stage,
) -> None:
    items = ITEMS_MAX + 10
    for item in (1, 2, items):
        await stage.put(item, group=item)
    tries = [attempt(item=item, group=item) for item in range(1, items + 1)]
    reservations = queue(stage.gate, batch_max=1000)

    decisions = await asyncio.gather(*(reservations.submit(0, one) for one in [*tries, tries[0]]))

    bought = [n for n, d in enumerate(decisions, 1) if d.outcome is Outcome.ACCEPTED]
    assert bought == [1, 2, items]
    assert decisions[-1].outcome is Outcome.REPLAYED
    assert decisions[-1].number == decisions[0].number
    await stage.audit()
    await reservations.close()


async def test_the_largest_batch_that_settings_allow_is_decided(stage: Stage) -> None:
    await stage.put(stock=700)
    tries = [attempt(f"acct:{n}:".ljust(255, "x"), quantity=1) for n in range(1000)]

    decisions = await stage.buy(*tries)

    assert Counter(d.outcome for d in decisions) == {
        Outcome.ACCEPTED: 700,
        Outcome.SOLD_OUT: 300,
    }
    await stage.audit()


async def test_an_attempt_that_cannot_be_sent_is_refused_before_it_joins_its_neighbours(
    stage: Stage,
) -> None:
    await stage.put()
    reservations = queue(stage.gate)
    good = attempt()
    bought = reservations.submit(0, good)

    for bad in (
        good._replace(quantity=0),
        good._replace(quantity=33),
        good._replace(nonce=b"short"),
        good._replace(digest=b"x" * 17),
        good._replace(buyer=b"x" * 256),
    ):
        with pytest.raises(ValueError):
            reservations.submit(0, bad)

    assert (await bought).outcome is Outcome.ACCEPTED
    await reservations.close()


async def test_a_gate_that_hangs_is_unavailable_within_the_deadline_and_heals(
    stage: Stage, gate_server: Server
) -> None:
    await stage.put()
    mine = attempt()
    patient, reservations = queue(stage.gate), queue(stage.gate, deadline_s=0.8)
    await patient.submit(0, mine)

    with gate_server.frozen():
        async with asyncio.timeout(4):  # the client itself would wait for 5 s
            told = await asyncio.gather(
                *(reservations.submit(0, one) for one in (mine, attempt("acct:2"))),
                return_exceptions=True,
            )

    async def heals() -> bool:
        try:
            return (await reservations.submit(0, mine)).outcome is Outcome.REPLAYED
        except Overloaded:
            return False

    await until_it_is(heals)
    assert all(isinstance(one, Unavailable | Overloaded) for one in told)
    await patient.close()
    await reservations.close()


async def test_shards_wait_in_queues_of_their_own(gate: Gate) -> None:
    stages = [Stage(gate, shard) for shard in SHARDS]
    for stage in stages:
        await stage.open()
        await stage.put()
    reservations = queue(gate)

    submitted: list[asyncio.Future[Decision]] = []
    sent: list[tuple[int, Attempt]] = [(shard, attempt()) for shard in SHARDS]
    for shard, one in sent:
        submitted.append(reservations.submit(shard, one))
    assert reservations.waiting == len(SHARDS)

    assert [(await one).number >> 24 & 0xFF for one in submitted] == list(SHARDS)
    await reservations.close()
