"""The line for what is held out: joining, leaving, one's place, and who gets what comes back."""

from __future__ import annotations

import pytest
from tests.contract.gate_servers import SHARDS, plant
from tests.contract.gate_stage import HOUR_MS, LEASE_MS, Stage, attempt, hold, waiter

from sluice.domain.errors import GateUnavailable
from sluice.domain.log import Edited, ItemTotals, Joined, Left, Marked, Promoted, Released
from sluice.domain.number import EPOCH_S, join, split
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.gate import keys
from sluice.gate.gate import Gate, LostEpoch
from sluice.gate.wire import Place

JOINED, WAITING, NONE = WaitOutcome.JOINED, WaitOutcome.WAITING, WaitOutcome.NONE


async def outcome(stage: Stage, buyer: str = "acct:1", **how: int) -> WaitOutcome:
    return (await stage.join(waiter(buyer, **how)))[0].outcome


async def promoted(stage: Stage) -> list[tuple[int, str]]:
    """(entry, buyer) of every promotion so far, in order."""
    return [(fact.entry, fact.buyer) for fact in await stage.log() if isinstance(fact, Promoted)]


# --- a place in line ------------------------------------------------------------------------------


async def test_the_line_is_in_the_order_of_joining_within_a_batch_and_over_batches(
    stage: Stage,
) -> None:
    await stage.put(stock=1)
    await stage.sell_out()

    first, second = await stage.join(waiter("acct:1"), waiter("acct:2"))
    [third] = await stage.join(waiter("acct:3"))

    assert [p.ahead for p in (first, second, third)] == [0, 1, 2]
    assert 0 < first.entry < second.entry < third.entry
    assert {split(p.entry).shard for p in (first, second, third)} == {0}
    assert await stage.places(waiter("acct:3"), waiter("acct:1"), waiter("acct:4")) == [
        third._replace(outcome=WAITING),
        first._replace(outcome=WAITING),
        Place(NONE, 0, 0),
    ]
    assert await stage.gate.waitlist_lengths(0, [1, 2]) == [3, 0]
    await stage.audit()


async def test_joining_again_is_the_same_entry_in_the_same_batch_and_later(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    await stage.queue("acct:9")

    first, again = await stage.join(waiter("acct:1"), waiter("acct:1"))
    [later] = await stage.join(waiter("acct:1"))

    assert first.outcome is JOINED
    assert again == later == first._replace(outcome=WAITING)
    assert await stage.line() == 2
    await stage.audit()


async def test_orders_and_entries_are_numbered_from_one_sequence(stage: Stage) -> None:
    await stage.put(1, stock=1)
    await stage.put(2, stock=9, group=2)
    [held] = await stage.sell_out()
    [entry] = await stage.queue("acct:1")
    order = (await stage.one(attempt("acct:2", item=2, group=2))).number
    await stage.give_back(held)
    [mine] = await stage.held_by("acct:1")

    assert held.number < entry < order < mine.number
    await stage.audit()


async def test_leaving_moves_the_others_up_and_is_done_once(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    entries = await stage.queue("acct:1", "acct:2", "acct:3")

    assert await stage.leave(waiter("acct:2"), waiter("acct:2"), waiter("acct:8")) == [
        True,
        False,
        False,
    ]
    assert await stage.leave(waiter("acct:2")) == [False]

    assert [p.ahead for p in await stage.places(waiter("acct:1"), waiter("acct:3"))] == [0, 1]
    assert (await stage.log())[-1] == Left(entries[1], 1, "left")
    await stage.audit()


async def test_who_left_joins_at_the_end_with_another_entry(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    [first, _] = await stage.queue("acct:1", "acct:2")
    await stage.leave(waiter("acct:1"))

    [again] = await stage.join(waiter("acct:1"))

    assert again.outcome is JOINED
    assert (again.ahead, again.entry > first) == (1, True)
    await stage.audit()


async def test_each_item_has_a_line_of_its_own(stage: Stage) -> None:
    for item in (1, 2):
        await stage.put(item, stock=1, group=item)
        await stage.sell_out(item, group=item)

    places = await stage.join(
        waiter("acct:1"), waiter("acct:2", item=2, group=2), waiter("acct:1", item=2, group=2)
    )

    assert [(p.outcome, p.ahead) for p in places] == [(JOINED, 0), (JOINED, 0), (JOINED, 1)]
    assert await stage.gate.waitlist_lengths(0, [1, 2]) == [1, 2]
    await stage.audit()


async def test_more_than_fit_one_call_stand_in_order(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    buyers = [f"acct:{n}" for n in range(600)]

    entries = await stage.queue(*buyers)

    places = await stage.places(*map(waiter, reversed(buyers)))
    assert [p.ahead for p in places] == list(range(599, -1, -1))
    assert [p.entry for p in places] == entries[::-1]
    assert await stage.leave(*map(waiter, buyers[:300])) == [True] * 300
    assert (await stage.places(waiter("acct:599")))[0].ahead == 299
    await stage.audit()


async def test_entries_stay_exact_above_two_to_the_53(gate: Gate) -> None:
    """A score is a double: far from 2026 a whole number would lose its last bits in it."""
    stage = Stage(gate, 7)
    floor = 1_900_000_000
    await stage.open(floor)
    await stage.put(stock=1)
    await stage.run("HSET", keys.shard(7), "second", floor + 5, "sequence", 2**24 - 9)
    await stage.sell_out()

    entries = await stage.queue("acct:1", "acct:2", "acct:3")

    assert entries == [join(floor + 5, 7, 2**24 - 7 + n) for n in range(3)]
    assert [p.entry for p in await stage.places(waiter("acct:1"), waiter("acct:3"))] == [
        entries[0],
        entries[2],
    ]
    await stage.leave(waiter("acct:3"))
    assert (await stage.log())[-1] == Left(entries[2], 1, "left")


async def test_a_new_epoch_keeps_the_line_that_the_gate_remembers(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    entries = await stage.queue("acct:1", "acct:2")

    later = Stage(stage.gate, 0, epoch=2)
    await later.open(second_floor=2_000_000_000 - EPOCH_S)

    assert [p.entry for p in await later.places(waiter("acct:1"), waiter("acct:2"))] == entries
    [third] = await later.join(waiter("acct:3"))
    assert (third.ahead, third.entry > entries[1]) == (2, True)


@pytest.mark.parametrize("gate_server", ["valkey", "redis"], indirect=True)
async def test_whoever_waits_costs_less_than_200_bytes(stage: Stage) -> None:
    """With a buyer key of a usual length."""
    await stage.put(stock=0)
    count = 2000
    await stage.queue(*(f"jwt:shop:customer-{n:010}" for n in range(count)))

    used = await stage.run("MEMORY", "USAGE", keys.line(0, 1), "SAMPLES", "0")

    assert used / count < 200


# --- who cannot wait ------------------------------------------------------------------------------


async def test_nobody_waits_for_what_can_be_bought(stage: Stage) -> None:
    await stage.put(stock=2)
    await stage.buy(attempt("acct:5"))

    assert await outcome(stage) is WaitOutcome.AVAILABLE
    assert await stage.line() == 0


async def test_who_holds_the_item_cannot_wait_for_more_of_it(stage: Stage) -> None:
    await stage.put(stock=1, per_buyer=3)
    [held] = await stage.sell_out()

    [place] = await stage.join(waiter("holder:1:0"))

    assert place == (WaitOutcome.LIMIT_REACHED, held.number, 0)


async def test_who_has_used_the_limit_of_the_group_cannot_wait(stage: Stage) -> None:
    await stage.put(1, stock=1, per_buyer=2)
    await stage.put(2, stock=9, per_buyer=2)
    await stage.sell_out()
    both = await stage.one(attempt("acct:1", item=2, quantity=2))
    await stage.one(attempt("acct:2", item=2))

    full, free = await stage.join(waiter("acct:1"), waiter("acct:2"))

    assert full == (WaitOutcome.LIMIT_REACHED, both.number, 0)
    assert free.outcome is JOINED, "one slot of the group is free"
    await stage.audit()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"state": None}, WaitOutcome.NOT_ARMED),
        ({"waits_in_ms": 0}, WaitOutcome.NO_WAITLIST),
        ({"waits_in_ms": -1}, WaitOutcome.ENDED),
        ({"ends_in_ms": -1}, WaitOutcome.ENDED),
        ({"state": "closed"}, WaitOutcome.ENDED),
        ({"starts_in_ms": HOUR_MS // 2}, WaitOutcome.NOT_STARTED),
        ({"state": "paused"}, JOINED),
        ({"publication": 2}, WaitOutcome.UNKNOWN_ITEM),
        ({}, JOINED),
    ],
)
async def test_when_one_can_wait(stage: Stage, how: dict[str, object], expected: object) -> None:
    await stage.put(stock=0, **how)  # type: ignore[arg-type]

    assert await outcome(stage) is expected
    assert await stage.line() == (expected is JOINED)


async def test_an_item_that_the_gate_does_not_know_is_told_apart(stage: Stage) -> None:
    await stage.put(stock=0)

    places = await stage.join(waiter(item=2), waiter("acct:2"))

    assert [p.outcome for p in places] == [WaitOutcome.UNKNOWN_ITEM, JOINED]


async def test_whoever_waits_already_is_told_so_whatever_happened_since(stage: Stage) -> None:
    await stage.put(stock=0)
    [entry] = await stage.queue("acct:1")
    await stage.set_state("closed", ends_in_ms=-1)

    assert await stage.join(waiter("acct:1")) == [(WAITING, entry, 0)]


async def test_a_gate_that_is_not_armed_takes_nobody_in_and_lets_everybody_go(
    stage: Stage,
) -> None:
    await stage.put(stock=0)
    await stage.queue("acct:1")
    await stage.gate.disarm(0)

    assert await outcome(stage, "acct:2") is WaitOutcome.NOT_ARMED
    assert (await stage.places(waiter("acct:1")))[0].outcome is WAITING
    assert await stage.leave(waiter("acct:1")) == [True]
    await stage.audit()


async def test_every_call_of_another_epoch_is_refused(stage: Stage) -> None:
    await stage.put(stock=0)
    await stage.queue("acct:1")
    gate = stage.gate
    for epoch in (0, 2):
        for call in (
            gate.join_waitlist(0, epoch, [waiter("acct:2")]),
            gate.leave_waitlist(0, epoch, [waiter("acct:1")]),
            gate.promote_waitlist(0, epoch, [1]),
            gate.close_waitlist(0, epoch, 1, 10),
            gate.load_waitlist(0, epoch, 1, [(join(1, 0, 1), b"acct:7", b"d" * 16)]),
        ):
            with pytest.raises(LostEpoch):
                await call
    assert await stage.line() == 1


async def test_a_gate_without_its_memory_does_not_say_that_nobody_waits(gate: Gate) -> None:
    with pytest.raises(LostEpoch):
        await gate.waitlist_places(0, [waiter()])


async def test_nobody_asks_nothing(stage: Stage) -> None:
    assert await stage.join() == []
    assert await stage.leave() == []
    assert await stage.places() == []
    assert await stage.gate.waitlist_lengths(0, []) == []


# --- what comes back ------------------------------------------------------------------------------


async def test_a_release_goes_to_the_head_of_the_line_in_the_same_step(stage: Stage) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    first, _second = await stage.queue("acct:1", "acct:2")

    assert await stage.give_back(held) == [True]

    [mine] = await stage.held_by("acct:1")
    assert (mine.item_id, mine.quantity, mine.slots) == (1, 1, 1)
    *_, released, order = await stage.log()
    assert released == Released(held.number, 1, 1)
    assert order == Promoted(mine.number, 1, 1, first, "acct:1")
    assert order.nonce == b"wait" + first.to_bytes(8, "big")
    assert await stage.totals() == [ItemTotals(1, 0, 1, 1, 1)]
    assert await stage.places(waiter("acct:1"), waiter("acct:2")) == [
        (NONE, 0, 0),
        (WAITING, _second, 0),
    ]
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.SOLD_OUT]
    await stage.audit()


async def test_a_release_that_is_asked_for_twice_promotes_once(stage: Stage) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1", "acct:2")

    assert await stage.give_back(held, held) == [True, False]
    assert await stage.give_back(held) == [False]

    assert await stage.line() == 1
    await stage.audit()


async def test_what_nobody_waits_for_goes_back_on_sale(stage: Stage) -> None:
    await stage.put(stock=3, per_buyer=3)
    mine = attempt("acct:9", quantity=3)
    number = (await stage.one(mine)).number
    await stage.queue("acct:1", "acct:2")

    assert await stage.release(mine, number)

    assert await stage.totals() == [ItemTotals(1, 1, 2, 3, 0)]
    assert [buyer for _, buyer in await promoted(stage)] == ["acct:1", "acct:2"]
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.ACCEPTED]
    await stage.audit()


async def test_units_keep_moving_until_somebody_keeps_one_or_the_line_is_empty(
    stage: Stage,
) -> None:
    """Five promotions in a row that nobody pays."""
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    buyers = [f"acct:{n}" for n in range(5)]
    entries = await stage.queue(*buyers)
    for buyer in buyers:
        await stage.give_back(held)
        [got] = await stage.held_by(buyer)
        held = held._replace(number=got.number, digest=waiter(buyer).digest)
    assert await stage.outcomes(attempt("acct:9")) == [Outcome.SOLD_OUT]

    await stage.give_back(held)

    assert await promoted(stage) == list(zip(entries, buyers, strict=True))
    assert await stage.outcomes(attempt("acct:9")) == [Outcome.ACCEPTED]
    await stage.audit()


async def test_who_was_promoted_and_gave_it_back_may_wait_again(stage: Stage) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    await stage.give_back(held)
    [got] = await stage.held_by("acct:1")

    assert await outcome(stage) is WaitOutcome.LIMIT_REACHED
    await stage.give_back(held._replace(number=got.number, digest=waiter().digest))
    assert await outcome(stage) is WaitOutcome.AVAILABLE
    await stage.audit()


async def test_a_promotion_takes_the_lowest_free_slot_of_the_group(stage: Stage) -> None:
    await stage.put(1, stock=1, per_buyer=3)
    await stage.put(2, stock=9, per_buyer=3)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    others = [attempt("acct:1", item=2) for _ in range(2)]
    first, _ = await stage.buy(*others)
    await stage.release(others[0], first.number)

    await stage.give_back(held)

    assert [(h.item_id, h.slots) for h in await stage.held_by("acct:1")] == [(2, 0b10), (1, 0b01)]
    await stage.audit()


async def test_who_has_no_slot_left_is_passed_over_and_leaves_the_line(stage: Stage) -> None:
    await stage.put(1, stock=1)
    await stage.put(2, stock=9)
    [held] = await stage.sell_out()
    entries = await stage.queue("acct:1", "acct:2", "acct:3")
    await stage.buy(attempt("acct:1", item=2))

    await stage.give_back(held)

    *_, passed_over, order = await stage.log()
    assert passed_over == Left(entries[0], 1, "limit_reached")
    assert isinstance(order, Promoted)
    assert (order.entry, order.buyer) == (entries[1], "acct:2")
    assert await stage.line() == 1
    await stage.audit()


async def test_who_waits_for_two_variants_gets_one_of_them(stage: Stage) -> None:
    """The limit of the group holds between two lines that move in one call."""
    holds = []
    for item in (1, 2):
        await stage.put(item, stock=1)
        holds += await stage.sell_out(item)
        await stage.queue("acct:1", "acct:2", item=item)

    assert await stage.give_back(*holds) == [True, True]

    assert [h.item_id for h in await stage.held_by("acct:1")] == [1]
    assert [h.item_id for h in await stage.held_by("acct:2")] == [2]
    assert await stage.gate.waitlist_lengths(0, [1, 2]) == [1, 0]
    await stage.audit()


async def test_a_slot_that_is_given_back_in_the_same_call_counts(stage: Stage) -> None:
    await stage.put(1, stock=1)
    await stage.put(2, stock=9)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    other = attempt("acct:1", item=2)
    number = (await stage.one(other)).number

    await stage.give_back(held, hold(other, number))

    assert [h.item_id for h in await stage.held_by("acct:1")] == [1]
    await stage.audit()


async def test_an_increase_goes_to_the_line_first_and_the_rest_on_sale(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    entries = await stage.queue("acct:1", "acct:2")

    assert await stage.gate.edit_stock(0, 1, 1, 1, 3) == ("applied", 4, 1)

    edited, *orders = (await stage.log())[-3:]
    assert edited == Edited(1, 1, 3, True)
    assert [order.entry for order in orders if isinstance(order, Promoted)] == entries
    assert await stage.totals() == [ItemTotals(1, 1, 3, 4, 0)]
    await stage.audit()


async def test_a_decrease_takes_nothing_from_those_who_wait(stage: Stage) -> None:
    await stage.put(stock=2)
    await stage.sell_out(units=2)
    await stage.queue("acct:1")

    assert await stage.gate.edit_stock(0, 1, 1, 1, -1) == ("refused", 2, 0)
    assert await stage.line() == 1
    await stage.audit()


async def test_a_paused_sale_keeps_its_promise_to_those_who_wait(stage: Stage) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    await stage.set_state("paused")

    await stage.give_back(held)

    assert len(await stage.held_by("acct:1")) == 1
    await stage.audit()


@pytest.mark.parametrize("ends", ["waits are over", "closed", "without a waitlist"])
async def test_after_the_end_units_go_back_on_sale(stage: Stage, ends: str) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    now = await stage.gate.time_ms()
    state, waits = {
        "waits are over": ("open", now - 1),
        "closed": ("closed", None),
        "without a waitlist": ("open", 0),
    }[ends]
    await stage.gate.set_state(0, 1, [1], state, now + HOUR_MS, waits)  # type: ignore[arg-type]
    stage.books.items[1].open_to_all = True

    await stage.give_back(held)

    assert await stage.totals() == [ItemTotals(1, 1, 0, 1, 1)]
    assert await stage.outcomes(attempt("acct:2")) == [
        Outcome.ENDED if state == "closed" else Outcome.ACCEPTED
    ]
    await stage.audit()


async def test_promotions_may_go_on_after_the_end_of_the_sale(stage: Stage) -> None:
    """`waitlist_until` may be later: payment windows end later, too."""
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    await stage.set_state("open", ends_in_ms=-1)

    await stage.give_back(held)

    assert len(await stage.held_by("acct:1")) == 1
    assert await outcome(stage, "acct:2") is WaitOutcome.ENDED
    await stage.audit()


async def test_a_state_that_says_nothing_of_the_waitlist_leaves_its_end_alone(
    stage: Stage,
) -> None:
    await stage.put(stock=0)
    await stage.set_state("paused")
    await stage.set_state("open")

    assert await outcome(stage) is JOINED


# --- what had to be left --------------------------------------------------------------------------


async def test_a_gate_that_is_not_armed_promotes_nobody_and_nobody_overtakes_the_line(
    stage: Stage,
) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    await stage.queue("acct:1")
    await stage.gate.disarm(0)

    assert await stage.give_back(held) == [True]
    assert await stage.totals() == [ItemTotals(1, 1, 0, 1, 1)]
    assert await stage.gate.promote_waitlist(0, 1, [1]) == 0

    await stage.gate.arm(0, 1, LEASE_MS)
    assert await stage.outcomes(attempt("acct:2")) == [Outcome.SOLD_OUT]
    assert (await stage.join(waiter("acct:3")))[0].ahead == 1
    assert await stage.gate.promote_waitlist(0, 1, [1, 2]) == 1
    assert len(await stage.held_by("acct:1")) == 1
    assert await stage.gate.promote_waitlist(0, 1, [1, 2]) == 0
    await stage.audit()


@pytest.fixture
async def narrow(own_library: Gate) -> Stage:
    """A stage whose lines are two buyers long at most."""
    return await narrowed(own_library, ("local LINE_MAX = 250000", "local LINE_MAX = 2"))


@pytest.fixture
async def slow(own_library: Gate) -> Stage:
    """A stage where one call looks at ten buyers of a line at most."""
    return await narrowed(own_library, ("local LOOK_MAX = 2000", "local LOOK_MAX = 10"))


async def narrowed(gate: Gate, bound: tuple[str, str]) -> Stage:
    await plant(gate, *bound)
    stage = Stage(gate)
    await stage.open()
    return stage


async def test_a_line_that_is_full_takes_nobody_in_and_keeps_everybody(narrow: Stage) -> None:
    await narrow.put(stock=0)

    places = await narrow.join(waiter("acct:1"), waiter("acct:2"), waiter("acct:3"))

    assert [p.outcome for p in places] == [JOINED, JOINED, WaitOutcome.FULL]
    assert await outcome(narrow, "acct:2") is WAITING
    await narrow.leave(waiter("acct:1"))
    assert await outcome(narrow, "acct:3") is JOINED
    await narrow.audit()


async def test_more_than_one_call_may_do_is_done_all_the_same(slow: Stage) -> None:
    """Many who have bought the other variant meanwhile, and then one who has not."""
    await slow.put(1, stock=1)
    await slow.put(2, stock=25)
    [held] = await slow.sell_out()
    buyers = [f"acct:{n}" for n in range(25)]
    await slow.queue(*buyers, "acct:last")
    await slow.buy(*(attempt(buyer, item=2) for buyer in buyers))

    assert await slow.give_back(held) == [True]

    assert [h.item_id for h in await slow.held_by("acct:last")] == [1]
    assert await slow.line() == 0
    await slow.audit()


async def test_what_one_call_had_to_leave_is_nobody_elses(
    slow: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever would have gone on was killed after the first call."""
    await slow.put(stock=1)
    await slow.sell_out()
    await slow.queue(*(f"acct:{n}" for n in range(12)))

    async def killed(*_: object) -> int:
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(slow.gate, "promote_waitlist", killed)
        await slow.gate.edit_stock(0, 1, 1, 1, 13)

    assert await slow.totals() == [ItemTotals(1, 3, 11, 14, 2)]
    assert await slow.outcomes(attempt("acct:50")) == [Outcome.SOLD_OUT]
    assert await slow.gate.promote_waitlist(0, 1, [1]) == 2
    assert await slow.outcomes(attempt("acct:50")) == [Outcome.ACCEPTED]
    await slow.audit()


async def test_a_large_increase_is_given_out_to_the_last_unit(slow: Stage) -> None:
    await slow.put(stock=1)
    await slow.sell_out()
    buyers = [f"acct:{n}" for n in range(41)]
    await slow.queue(*buyers)

    assert await slow.gate.edit_stock(0, 1, 1, 1, 40) == ("applied", 41, 0)

    assert [buyer for _, buyer in await promoted(slow)] == buyers[:40]
    assert await slow.totals() == [ItemTotals(1, 0, 41, 41, 1)]
    await slow.audit()


async def test_a_line_is_read_on_over_many_who_have_no_slot_left(stage: Stage) -> None:
    count = 600
    await stage.put(1, stock=1)
    await stage.put(2, stock=count)
    [held] = await stage.sell_out()
    buyers = [f"acct:{n}" for n in range(count)]
    await stage.queue(*buyers, "acct:last")
    await stage.buy(*(attempt(buyer, item=2) for buyer in buyers))

    assert await stage.give_back(held) == [True]

    assert [h.item_id for h in await stage.held_by("acct:last")] == [1]
    assert await stage.line() == 0
    await stage.audit()


# --- the end of a line, and a rebuild -------------------------------------------------------------


async def test_a_line_is_closed_from_its_head_in_parts(stage: Stage) -> None:
    await stage.put(stock=0)
    entries = await stage.queue("acct:1", "acct:2", "acct:3")
    close = stage.gate.close_waitlist

    assert await close(0, 1, 1, 0) == 3
    assert await close(0, 1, 1, 2) == 1
    assert await close(0, 1, 1, 2) == 0
    before = (await stage.gate.status(0)).counter
    assert await close(0, 1, 1, 2) == 0

    assert (await stage.gate.status(0)).counter == before
    assert (await stage.log())[-3:] == [Left(entry, 1, "closed") for entry in entries]
    assert await stage.run("EXISTS", keys.line(0, 1)) == 0
    await stage.audit()


async def test_a_line_is_put_back_in_its_order_and_goes_on_behind_it(stage: Stage) -> None:
    await stage.put(stock=1, state=None)
    now = await stage.gate.time_ms() // 1000 - EPOCH_S
    entries = [join(now - 100, 0, 7), join(now - 100, 0, 9), join(now + 50, 0, 3)]
    rows = [(e, f"acct:{e}".encode(), waiter(f"acct:{e}").digest) for e in entries]

    assert await stage.gate.load_waitlist(0, 1, 1, rows[1:]) == 2
    assert await stage.gate.load_waitlist(0, 1, 1, rows) == 3
    assert await stage.gate.load_waitlist(0, 1, 1, []) == 0
    await stage.set_state("open")

    places = await stage.places(*(waiter(f"acct:{e}") for e in entries))
    assert [(p.entry, p.ahead) for p in places] == [(e, n) for n, e in enumerate(entries)]
    assert await stage.outcomes(attempt("acct:8")) == [Outcome.SOLD_OUT], "it is spoken for"
    [last] = await stage.join(waiter("acct:9"))
    assert (last.ahead, last.entry > entries[2]) == (3, True)
    assert await stage.gate.promote_waitlist(0, 1, [1]) == 1
    assert len(await stage.held_by(f"acct:{entries[0]}")) == 1


async def test_a_line_is_put_back_only_before_its_item_opens(stage: Stage) -> None:
    await stage.put(1, stock=0)
    rows = [(join(1, 0, 1), b"acct:7", waiter("acct:7").digest)]

    assert await stage.gate.load_waitlist(0, 1, 1, rows) == 0
    assert await stage.gate.load_waitlist(0, 1, 2, rows) == 0
    assert await stage.gate.waitlist_lengths(0, [1, 2]) == [0, 0]


async def test_an_entry_of_another_shard_is_not_put_back(stage: Stage) -> None:
    await stage.put(stock=0, state=None)
    before = await stage.content()

    with pytest.raises(GateUnavailable):
        await stage.gate.load_waitlist(
            0, 1, 1, [(join(1, 1, 1), b"acct:7", waiter("acct:7").digest)]
        )

    assert await stage.content() == before


async def test_nothing_is_promoted_while_an_item_is_being_loaded(stage: Stage) -> None:
    await stage.put(stock=1, state=None)
    rows = [(join(1, 0, 1), b"acct:7", waiter("acct:7").digest)]
    await stage.gate.load_waitlist(0, 1, 1, rows)

    assert await stage.gate.promote_waitlist(0, 1, [1]) == 0
    await stage.set_state("open")
    assert await stage.gate.promote_waitlist(0, 1, [1]) == 1


# --- the log --------------------------------------------------------------------------------------


async def test_the_log_tells_of_the_line_in_order_and_marks_count_it(stage: Stage) -> None:
    await stage.put(stock=1)
    [held] = await stage.sell_out()
    first, second = await stage.queue("acct:1", "acct:ß")
    await stage.gate.mark(0, 1, [1])
    await stage.give_back(held)
    await stage.leave(waiter("acct:ß"))
    await stage.gate.mark(0, 1, [1])
    [mine] = await stage.held_by("acct:1")

    assert (await stage.log())[1:] == [
        Joined(first, 1, "acct:1"),
        Joined(second, 1, "acct:ß"),
        Marked((ItemTotals(1, 0, 1, 1, 2),)),
        Released(held.number, 1, 1),
        Promoted(mine.number, 1, 1, first, "acct:1"),
        Left(second, 1, "left"),
        Marked((ItemTotals(1, 0, 1, 1, 0),)),
    ]
    assert (await stage.gate.status(0)).counter == 7, "a batch is one entry of each kind"
    await stage.audit()


async def test_what_changes_nothing_is_not_in_the_log(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.sell_out()
    await stage.queue("acct:1")
    before = (await stage.gate.status(0)).counter

    await stage.join(waiter("acct:1"), waiter("holder:1:0"), waiter(item=9))
    await stage.leave(waiter("acct:8"))
    await stage.places(waiter("acct:1"))
    await stage.gate.promote_waitlist(0, 1, [1, 9])

    assert (await stage.gate.status(0)).counter == before


async def test_lines_of_all_shards_live_where_their_shard_lives(gate: Gate) -> None:
    for shard in SHARDS:
        stage = Stage(gate, shard)
        await stage.open()
        await stage.put(stock=1)
        [held] = await stage.sell_out()
        await stage.queue("acct:1")
        await stage.give_back(held)
        assert len(await stage.held_by("acct:1")) == 1
        await stage.audit()
