"""What the gate decides about attempts, one by one and in batches. On all three servers."""

from __future__ import annotations

import pytest
from tests.contract.gate_stage import HOUR_MS, Stage, attempt

from sluice.accounts.identity import buyer_digest
from sluice.domain.outcome import Outcome

ACCEPTED, REPLAYED, SOLD_OUT = Outcome.ACCEPTED, Outcome.REPLAYED, Outcome.SOLD_OUT
LIMIT_REACHED, OTHER_QUANTITY = Outcome.LIMIT_REACHED, Outcome.OTHER_QUANTITY


# --- stock ----------------------------------------------------------------------------------------


async def test_a_batch_gets_exactly_the_stock_in_the_order_of_the_line(stage: Stage) -> None:
    await stage.put(stock=3)

    outcomes = await stage.outcomes(*(attempt(f"acct:{n}") for n in range(5)))

    assert outcomes == [ACCEPTED] * 3 + [SOLD_OUT] * 2
    assert await stage.available() == 0
    await stage.audit()


async def test_what_is_too_many_for_one_may_still_be_enough_for_the_next(stage: Stage) -> None:
    await stage.put(stock=3, per_buyer=3)

    outcomes = await stage.outcomes(
        attempt("acct:1", quantity=2), attempt("acct:2", quantity=2), attempt("acct:3")
    )

    assert outcomes == [ACCEPTED, SOLD_OUT, ACCEPTED]
    await stage.audit()


async def test_items_of_one_batch_have_their_own_stock(stage: Stage) -> None:
    await stage.put(1, stock=1, group=1)
    await stage.put(2, stock=2, group=2)

    outcomes = await stage.outcomes(
        *(attempt(f"acct:{n}", item=1, group=1) for n in range(3)),
        *(attempt(f"acct:{n}", item=2, group=2) for n in range(3)),
    )

    assert outcomes == [ACCEPTED, SOLD_OUT, SOLD_OUT, ACCEPTED, ACCEPTED, SOLD_OUT]
    await stage.audit()


async def test_a_decision_tells_number_quantity_slots_and_log_entry(stage: Stage) -> None:
    await stage.put(per_buyer=3)

    refused, bought = await stage.buy(attempt(quantity=4), attempt(quantity=2))

    assert refused == (LIMIT_REACHED, 0, 0, 0, 0)
    assert bought[2:] == (2, 0b11, 1)
    assert bought.number > 2**53


# --- limits and slots -----------------------------------------------------------------------------


async def test_a_buyers_limit_holds_inside_one_batch(stage: Stage) -> None:
    await stage.put(per_buyer=2)

    decisions = await stage.buy(attempt(), attempt(), attempt(), attempt("acct:2"))

    assert [d.outcome for d in decisions] == [ACCEPTED, ACCEPTED, LIMIT_REACHED, ACCEPTED]
    assert [d.slots for d in decisions] == [0b01, 0b10, 0, 0b01]
    await stage.audit()


async def test_a_buyers_limit_holds_across_batches(stage: Stage) -> None:
    await stage.put(per_buyer=2)
    await stage.buy(attempt())
    await stage.buy(attempt())

    assert await stage.outcomes(attempt()) == [LIMIT_REACHED]
    await stage.audit()


async def test_the_limit_speaks_before_the_stock_and_names_the_order_that_is_held(
    stage: Stage,
) -> None:
    await stage.put(stock=1)
    mine = await stage.one(attempt())

    refused = await stage.one(attempt())

    assert (refused.outcome, refused.number) == (LIMIT_REACHED, mine.number)


async def test_a_quantity_that_only_partly_fits_the_limit_is_refused_as_a_whole(
    stage: Stage,
) -> None:
    await stage.put(per_buyer=3)
    await stage.buy(attempt(quantity=2))

    assert await stage.outcomes(attempt(quantity=2)) == [LIMIT_REACHED]
    assert await stage.available() == 8


async def test_variants_of_one_product_share_their_limit(stage: Stage) -> None:
    await stage.put(1, per_buyer=2, group=1)
    await stage.put(2, per_buyer=2, group=1)
    await stage.put(3, per_buyer=2, group=2)

    one = await stage.outcomes(attempt(item=1), attempt(item=2), attempt(item=1))
    later = await stage.outcomes(attempt(item=2), attempt(item=3, group=2))

    assert one == [ACCEPTED, ACCEPTED, LIMIT_REACHED]
    assert later == [LIMIT_REACHED, ACCEPTED]
    assert [(h.item_id, h.slots) for h in await stage.held_by()] == [(1, 0b01), (2, 0b10)]
    await stage.audit()


async def test_the_lowest_free_slots_are_given_and_used_again_after_a_release(
    stage: Stage,
) -> None:
    await stage.put(stock=20, per_buyer=5)
    tries = [attempt(), attempt(quantity=2), attempt()]
    first, second, third = await stage.buy(*tries)
    assert [first.slots, second.slots, third.slots] == [0b00001, 0b00110, 0b01000]

    await stage.release(tries[0], first.number)
    await stage.release(tries[2], third.number)
    again = await stage.one(attempt(quantity=3))

    assert again.slots == 0b11001
    await stage.audit()


async def test_thirty_two_units_are_thirty_two_slots(stage: Stage) -> None:
    await stage.put(stock=100, per_buyer=32)

    most = await stage.buy(attempt(quantity=31), attempt(), attempt())

    assert [d.slots for d in most] == [2**31 - 1, 2**31, 0]
    assert most[2].outcome is LIMIT_REACHED
    assert [h.quantity for h in await stage.held_by()] == [31, 1]
    await stage.audit()


async def test_a_buyer_is_known_by_the_digest_and_logged_by_the_whole_key(stage: Stage) -> None:
    await stage.put(stock=9)
    buyers = ["jwt:shop:Ü", "jwt:shop:ü", "jwt:shop:u", "jwt:shop:" + "限" * 82]

    assert await stage.outcomes(*map(attempt, buyers)) == [ACCEPTED] * 4

    assert [fact.buyer for fact in await stage.log()] == buyers  # type: ignore[union-attr]


# --- the same attempt again -----------------------------------------------------------------------


async def test_a_repeat_in_the_same_batch_gets_the_same_number(stage: Stage) -> None:
    await stage.put(per_buyer=5)
    same = attempt(quantity=2)

    first, second, third = await stage.buy(same, same, same)

    assert (first.outcome, second.outcome, third.outcome) == (ACCEPTED, REPLAYED, REPLAYED)
    assert first.number == second.number == third.number
    assert second.quantity == 2
    assert second.counter == 0
    assert await stage.available() == 8
    await stage.audit()


async def test_a_repeat_of_a_refusal_is_decided_anew(stage: Stage) -> None:
    await stage.put(stock=1)
    winner, loser = attempt("acct:1"), attempt("acct:2")
    number = (await stage.buy(winner, loser))[0].number

    await stage.release(winner, number)

    assert await stage.outcomes(loser) == [ACCEPTED]


async def test_an_accepted_attempt_answers_with_its_order_whatever_happened_since(
    stage: Stage,
) -> None:
    await stage.put(stock=1)
    mine = attempt()
    number = (await stage.one(mine)).number

    async def replays() -> None:
        again = await stage.one(mine)
        assert (again.outcome, again.number) == (REPLAYED, number)

    assert await stage.outcomes(attempt("acct:2")) == [SOLD_OUT]
    await replays()
    await stage.release(mine, number)
    await replays()
    await stage.buy(attempt("acct:2"))
    await replays()
    await stage.set_state("paused")
    await replays()
    await stage.set_state("closed")
    await replays()
    await stage.set_state("open", ends_in_ms=-1)
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.ENDED]
    await replays()
    await stage.run("DEL", "sluice:{0}:item:1")
    assert await stage.outcomes(attempt("acct:3")) == [Outcome.UNKNOWN_ITEM]
    await replays()


async def test_the_same_pass_with_another_quantity_is_told_so_and_changes_nothing(
    stage: Stage,
) -> None:
    await stage.put(per_buyer=5)
    mine = attempt(nonce=77)

    outcomes = await stage.outcomes(mine, mine._replace(quantity=2))
    later = await stage.outcomes(mine._replace(quantity=3), mine)

    assert outcomes == [ACCEPTED, OTHER_QUANTITY]
    assert later == [OTHER_QUANTITY, REPLAYED]
    assert await stage.available() == 9


async def test_an_expired_pass_replays_but_never_buys(stage: Stage) -> None:
    await stage.put()
    mine = attempt()
    number = (await stage.one(mine)).number

    late, never = await stage.buy(mine._replace(replay_only=True), attempt("acct:2", expired=True))

    assert (late.outcome, late.number) == (REPLAYED, number)
    assert never.outcome is Outcome.BAD_PASS
    assert await stage.available() == 9


async def test_a_pass_of_another_publication_replays_but_never_buys(stage: Stage) -> None:
    await stage.put(publication=2)
    mine = attempt(publication=2)
    number = (await stage.one(mine)).number

    replayed, *refused = await stage.buy(
        mine._replace(publication=1),
        attempt("acct:2", publication=1),
        attempt("acct:3", publication=3),
    )

    assert (replayed.outcome, replayed.number) == (REPLAYED, number)
    assert [d.outcome for d in refused] == [Outcome.BAD_PASS] * 2


# --- when there is nothing to buy -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts_in_ms", "ends_in_ms", "expected"),
    [
        (HOUR_MS, 2 * HOUR_MS, Outcome.NOT_STARTED),
        (-HOUR_MS, HOUR_MS, Outcome.ACCEPTED),
        (0, HOUR_MS, Outcome.ACCEPTED),
        (-HOUR_MS, 0, Outcome.ENDED),
        (-2 * HOUR_MS, -HOUR_MS, Outcome.ENDED),
    ],
)
async def test_the_window_goes_by_the_servers_own_clock(
    stage: Stage, starts_in_ms: int, ends_in_ms: int, expected: Outcome
) -> None:
    await stage.put(starts_in_ms=starts_in_ms, ends_in_ms=ends_in_ms)

    assert await stage.outcomes(attempt()) == [expected]


async def test_a_paused_item_sells_again_when_it_is_resumed(stage: Stage) -> None:
    await stage.put()
    await stage.set_state("paused")
    assert await stage.outcomes(attempt()) == [Outcome.PAUSED]

    await stage.set_state("open")
    assert await stage.outcomes(attempt()) == [ACCEPTED]


async def test_a_closed_item_has_ended(stage: Stage) -> None:
    await stage.put()
    await stage.set_state("closed")

    assert await stage.outcomes(attempt()) == [Outcome.ENDED]


async def test_an_unknown_item_is_told_apart_and_leaves_its_neighbours_alone(
    stage: Stage,
) -> None:
    await stage.put(1)

    outcomes = await stage.outcomes(attempt(item=2, group=2), attempt(item=1))

    assert outcomes == [Outcome.UNKNOWN_ITEM, ACCEPTED]
    assert await stage.totals(1, 2) == await stage.totals(1)


async def test_an_item_that_is_loaded_and_not_opened_sells_nothing(stage: Stage) -> None:
    await stage.put(state=None)

    assert await stage.outcomes(attempt()) == [Outcome.NOT_ARMED]
    assert await stage.available() == 10

    await stage.set_state("open")
    assert await stage.outcomes(attempt()) == [ACCEPTED]


async def test_an_item_can_be_loaded_anew_until_it_is_opened(stage: Stage) -> None:
    await stage.put(stock=5, state=None)
    await stage.put(stock=7)
    assert await stage.available() == 7

    await stage.put(stock=9)

    assert await stage.available() == 7, "open for business: its stock is the gate's to count"


async def test_holds_of_many_buyers_are_those_of_each(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.gate.gate.FIND_MAX", 2)
    await stage.put(stock=5)
    await stage.sell_out(units=5)
    names = ["holder:1:3", "acct:nobody", *(f"holder:1:{n}" for n in range(5))]
    found = await stage.gate.holds_of(stage.shard, 1, [buyer_digest(n.encode()) for n in names])
    assert found == [await stage.held_by(name) for name in names]
    assert [len(held) for held in found] == [1, 0, 1, 1, 1, 1, 1]


async def test_an_empty_question_gets_an_empty_answer(stage: Stage) -> None:
    assert await stage.gate.totals(stage.shard, []) == []
    assert await stage.gate.find_holds(stage.shard, [], b"\0" * 16) == []
    assert await stage.gate.holds_of(stage.shard, 1, []) == []
    assert await stage.gate.release(stage.shard, stage.epoch, []) == []
    assert await stage.buy() == []
