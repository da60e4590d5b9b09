"""The gate's log: every change in its order; releases, stock edits and marks."""

from __future__ import annotations

from tests.contract.gate_servers import SHARDS
from tests.contract.gate_stage import Stage, attempt, hold

from sluice.domain.log import Accepted, Edited, ItemTotals, Marked, Released
from sluice.domain.outcome import Outcome
from sluice.gate import keys
from sluice.gate.gate import RELEASE_MAX, EditResult, Gate


async def test_every_change_is_in_the_log_in_its_order(stage: Stage) -> None:
    await stage.put(1, stock=5, per_buyer=2)
    await stage.put(2, stock=5, group=2)
    tries = [attempt("acct:7", quantity=2), attempt("acct:8", item=2, group=2)]
    first, second = await stage.buy(*tries)
    await stage.gate.mark(0, 1, [1, 2])
    await stage.release(tries[0], first.number)
    await stage.gate.edit_stock(0, 1, 2, 1, -10)
    await stage.gate.edit_stock(0, 1, 2, 2, 3)
    await stage.gate.mark(0, 1, [2])

    assert await stage.log() == [
        Accepted(first.number, 1, 2, 0b11, tries[0].nonce, "acct:7"),
        Accepted(second.number, 2, 1, 0b1, tries[1].nonce, "acct:8"),
        Marked((ItemTotals(1, 3, 2, 5), ItemTotals(2, 4, 1, 5))),
        Released(first.number, 1, 2),
        Edited(2, 1, -10, False),
        Edited(2, 2, 3, True),
        Marked((ItemTotals(2, 7, 1, 8),)),
    ]
    await stage.audit()
    status = await stage.gate.status(0)
    assert status.counter == 6, "a batch is one entry"


async def test_what_changes_nothing_is_not_in_the_log(stage: Stage) -> None:
    await stage.put(stock=1)
    mine = attempt()
    number = (await stage.one(mine)).number
    await stage.release(mine, number)
    before = (await stage.gate.status(0)).counter

    await stage.buy(mine, attempt("acct:2", quantity=2), attempt(item=9, group=9))
    await stage.release(mine, number)
    await stage.gate.edit_stock(0, 1, 1, 5, 1)
    await stage.gate.edit_stock(0, 1, 9, 1, 1)

    assert (await stage.gate.status(0)).counter == before == 2
    assert len(await stage.log()) == 2


async def test_each_shard_has_a_log_of_its_own(gate: Gate) -> None:
    stages = [Stage(gate, shard) for shard in SHARDS]
    for stage in stages:
        await stage.open()
        await stage.put()
        await stage.buy(attempt(f"acct:{stage.shard}"))

    logs = [await stage.log() for stage in stages]

    assert [[fact.buyer for fact in log] for log in logs] == [  # type: ignore[union-attr]
        [f"acct:{shard}"] for shard in SHARDS
    ]


# --- release --------------------------------------------------------------------------------------


async def test_a_release_gives_back_once_however_often_it_is_asked(stage: Stage) -> None:
    await stage.put(per_buyer=3)
    mine = attempt(quantity=2)
    held = hold(mine, (await stage.one(mine)).number)

    answers = await stage.gate.release(0, 1, [held, held])
    again = await stage.gate.release(0, 1, [held])

    assert (answers, again) == ([True, False], [False])
    assert await stage.totals() == [ItemTotals(1, 10, 0, 10)]
    await stage.audit()


async def test_a_release_of_another_buyer_or_number_changes_nothing(stage: Stage) -> None:
    await stage.put()
    mine, other = attempt(), attempt("acct:2")
    number = (await stage.one(mine)).number
    await stage.buy(other)

    assert not await stage.release(other, number)
    assert not await stage.release(mine, number + 7)
    assert await stage.available() == 8
    await stage.audit()


async def test_one_release_call_goes_over_several_items_and_buyers(stage: Stage) -> None:
    await stage.put(1, per_buyer=3, group=1)
    await stage.put(2, per_buyer=3, group=1)
    await stage.put(3, group=2)
    tries = [
        attempt("acct:1", item=1, quantity=2),
        attempt("acct:1", item=2),
        attempt("acct:2", item=2),
        attempt("acct:2", item=3, group=2),
    ]
    decisions = await stage.buy(*tries)
    holds = [hold(t, d.number) for t, d in zip(tries, decisions, strict=True)]

    assert await stage.gate.release(0, 1, holds[:3]) == [True] * 3

    assert [t.available for t in await stage.totals(1, 2, 3)] == [10, 10, 9]
    assert await stage.held_by("acct:1", 1, 2) == []
    assert [h.number for h in await stage.held_by("acct:2", 1, 2)] == [decisions[3].number]
    await stage.audit()


async def test_more_releases_than_fit_one_call_are_all_answered(stage: Stage) -> None:
    count = RELEASE_MAX + 20
    await stage.put(stock=count)
    tries = [attempt(f"acct:{n}") for n in range(count)]
    decisions = await stage.buy(*tries)
    holds = [hold(t, d.number) for t, d in zip(tries, decisions, strict=True)]

    answers = await stage.gate.release(0, 1, [*holds, holds[0]])

    assert answers == [True] * count + [False]
    assert await stage.available() == count
    await stage.audit()


async def test_a_hold_of_an_item_that_is_gone_is_still_given_up(stage: Stage) -> None:
    """Releases are never dropped, or the ledger would ask for this one for ever."""
    await stage.put()
    mine = attempt()
    number = (await stage.one(mine)).number
    await stage.run("DEL", keys.item(0, 1))

    assert await stage.release(mine, number)

    assert (await stage.log())[-1] == Released(number, 1, 1)
    assert await stage.totals() == []
    assert await stage.held_by() == []
    assert await stage.run("EXISTS", keys.item(0, 1)) == 0


async def test_the_last_hold_of_a_buyer_leaves_nothing_behind(stage: Stage) -> None:
    await stage.put()
    mine = attempt()
    await stage.release(mine, (await stage.one(mine)).number)

    assert await stage.run("EXISTS", keys.holders(0, 1)) == 0
    assert await stage.run("HLEN", keys.attempts(0, 1)) == 1, "the attempt outlives its hold"


# --- stock edits ----------------------------------------------------------------------------------


async def edit(stage: Stage, number: int, delta: int, item: int = 1) -> EditResult:
    return await stage.gate.edit_stock(0, 1, item, number, delta)


async def test_stock_edits_go_in_order_and_each_once(stage: Stage) -> None:
    await stage.put(stock=10)

    assert await edit(stage, 2, 5) == ("early", 10, 10)
    assert await edit(stage, 1, 5) == ("applied", 15, 15)
    assert await edit(stage, 1, 5) == ("repeated", 15, 15)
    assert await edit(stage, 2, -3) == ("applied", 12, 12)
    assert await edit(stage, 1, 5) == ("repeated", 12, 12)
    await stage.audit()


async def test_a_decrease_that_would_take_held_units_is_refused_and_uses_its_number_up(
    stage: Stage,
) -> None:
    await stage.put(stock=3)
    await stage.buy(attempt("acct:1"), attempt("acct:2"))

    assert await edit(stage, 1, -2) == ("refused", 3, 1)
    assert await edit(stage, 1, -1) == ("repeated", 3, 1)
    assert await edit(stage, 2, -1) == ("applied", 2, 0)
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.SOLD_OUT]
    await stage.audit()


async def test_an_increase_sells_again_what_was_sold_out(stage: Stage) -> None:
    await stage.put(stock=1)
    await stage.buy(attempt("acct:1"))

    await edit(stage, 1, 1)

    assert await stage.outcomes(attempt("acct:2"), attempt("acct:3")) == [
        Outcome.ACCEPTED,
        Outcome.SOLD_OUT,
    ]
    await stage.audit()


async def test_an_edit_of_an_unknown_item_is_told(stage: Stage) -> None:
    assert await edit(stage, 1, 1, item=9) == ("unknown_item", 0, 0)


async def test_edits_go_on_after_the_last_one_that_was_loaded(stage: Stage) -> None:
    await stage.put(stock=10)
    await stage.run("HSET", keys.item(0, 1), "edit", 6)

    assert (await edit(stage, 6, 1)).outcome == "repeated"
    assert (await edit(stage, 7, 1)).outcome == "applied"


# --- marks ----------------------------------------------------------------------------------------


async def test_a_mark_tells_the_totals_at_its_place_between_changes(stage: Stage) -> None:
    await stage.put(stock=5, per_buyer=5)
    for _ in range(3):
        await stage.buy(attempt())
        await stage.gate.mark(0, 1, [1])
    mine = attempt()
    await stage.release(mine, (await stage.one(mine)).number)
    counter = await stage.gate.mark(0, 1, [1])

    assert counter == 9
    assert (await stage.audit()).marks == 4


async def test_a_mark_leaves_out_items_that_the_gate_does_not_know(stage: Stage) -> None:
    await stage.put()
    await stage.gate.mark(0, 1, [1, 2])
    await stage.gate.mark(0, 1, [2])

    assert await stage.log() == [Marked((ItemTotals(1, 10, 0, 10),)), Marked(())]
