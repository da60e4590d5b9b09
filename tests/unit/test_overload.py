"""What is shed, and when: pure rules, on a clock of the test's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sluice.admission import overload
from sluice.admission.overload import (
    AFTER_S_MAX,
    BOUND_ENDS_S,
    BOUND_MIN,
    LEVEL_MAX,
    RETURNS_MAX,
    STANDING_S,
    STEP_S,
    Bound,
    ComeAgain,
    Level,
    Standing,
    Work,
    shares,
)

TARGET_S = 0.025
RATE = 10_000
BOUND = RATE * TARGET_S


def _looks(level: Level, wait_s: float, seconds: float, start_s: float) -> float:
    """Looks at a wait that stays the same; the time after them."""
    for _ in range(round(seconds / STEP_S)):
        start_s += STEP_S
        level.look(start_s, wait_s)
    return start_s


def test_nothing_is_shed_while_requests_wait_no_longer_than_they_may() -> None:
    level = Level(TARGET_S)
    _looks(level, TARGET_S * 0.9, 5.0, 0.0)
    assert level.value == 0.0


def test_a_burst_that_is_served_soon_is_no_overload() -> None:
    level = Level(TARGET_S)
    at = _looks(level, 0.0, 1.0, 0.0)
    at = _looks(level, TARGET_S * 20, STANDING_S - 2 * STEP_S, at)
    _looks(level, 0.0, STEP_S, at)
    assert level.value == 0.0


def test_a_queue_that_stands_is_shed_within_half_a_second_and_less_and_less_after() -> None:
    level = Level(TARGET_S)
    at = _looks(level, TARGET_S * 4, 0.5, 0.0)
    assert level.value >= 1.0, "all cheap work"
    at = _looks(level, TARGET_S * 4, 1.0, at)
    assert level.value == LEVEL_MAX
    _looks(level, 0.0, LEVEL_MAX / overload.GAIN * STEP_S + STEP_S, at)
    assert level.value == 0.0, "and everybody is let in again"


def test_a_process_that_has_just_begun_knows_of_no_queue() -> None:
    standing = Standing()
    assert standing.look(0.0, 5.0) == 0.0
    assert standing.look(STANDING_S / 2, 5.0) == 0.0
    assert standing.look(STANDING_S, 5.0) == 5.0


def test_cheap_work_goes_first_then_purchases_and_orders_last() -> None:
    assert shares(0.0, 0.0) == (0.0, 0.0, 0.0, 0.0, 0.0)
    assert shares(0.5, 0.0) == (0.5, 0.5, 0.0, 0.0, 0.0)
    assert shares(1.25, 0.0) == (1.0, 1.0, 0.25, 0.0, 0.0)
    assert shares(2.5, 0.0) == (1.0, 1.0, 1.0, 0.5, 0.0)
    assert shares(LEVEL_MAX, 2.0)[Work.ALWAYS] == 0.0


@pytest.mark.parametrize("queue", [0.0, 0.3, 1.0, 1.7, 2.2, 3.0])
@pytest.mark.parametrize("gate", [0.0, 0.6, 1.0])
def test_nothing_is_shed_before_what_is_cheaper(queue: float, gate: float) -> None:
    _, *by_purchase = shares(queue, gate)
    assert all(cheaper >= dearer for cheaper, dearer in pairwise(by_purchase))


def test_a_slow_gate_keeps_nobody_from_looking_and_paying() -> None:
    assert shares(0.0, 1.0) == (0.0, 1.0, 0.0, 0.0, 0.0)


class Gate:
    """Decides so many purchases a second, and the bound looks on."""

    def __init__(self) -> None:
        self.bound = Bound(TARGET_S)
        self.now_s, self.decided = 10.0, 0.0

    def decides(self, rate: float, seconds: float, *, too_many: bool = False) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self.decided += rate * STEP_S
            self.bound.look(self.now_s, round(self.decided), too_many=too_many)

    def let_in(self, people: int) -> int:
        """How many of them."""
        let_in = 0
        for _ in range(people):
            if not self.bound.is_full(self.now_s):
                self.bound.under_way += 1
                let_in += 1
        return let_in


def test_any_number_of_purchases_may_be_under_way_while_they_are_decided_in_time() -> None:
    gate = Gate()
    gate.decides(RATE, 1.0)
    assert gate.let_in(100_000) == 100_000
    assert gate.bound.level == 0.0


def test_of_too_many_purchases_as_many_are_let_in_as_are_decided_in_time() -> None:
    gate = Gate()
    gate.decides(RATE, 2.0)
    gate.decides(RATE, STEP_S, too_many=True)
    assert gate.let_in(100_000) == pytest.approx(BOUND, rel=0.02)
    assert gate.bound.level == 1.0
    gate.bound.under_way -= 10
    assert gate.let_in(100) == pytest.approx(10, abs=1), "exactly those whose place it is"


def test_a_gate_that_slows_down_gets_fewer_and_one_that_stands_still_has_something_to_do() -> None:
    gate = Gate()
    gate.decides(RATE, 2.0)
    gate.decides(RATE * 0.8, 2.0, too_many=True)
    assert gate.bound.limit == pytest.approx(BOUND * 0.8, rel=0.02)
    gate.decides(0, 30.0, too_many=True)
    assert gate.let_in(1000) == BOUND_MIN


def test_everybody_is_let_in_again_when_nobody_was_refused_for_a_while() -> None:
    gate = Gate()
    gate.decides(RATE, 1.0, too_many=True)
    gate.bound.under_way = 1000
    gate.decides(RATE, BOUND_ENDS_S * 2)
    assert gate.bound.limit < 1000, "it is still full"
    gate.bound.under_way = 0
    gate.decides(RATE, BOUND_ENDS_S / 2)
    assert gate.bound.limit < 1000
    gate.decides(RATE, BOUND_ENDS_S)
    assert gate.let_in(1000) == 1000


def test_the_more_are_turned_away_the_longer_they_stay_away() -> None:
    again = ComeAgain()
    again.look(0.0)
    assert {again.seconds() for _ in range(200)} == {1, 2}, "not all in the same second"
    again.look(10.0)
    assert again.after_s == 1.0
    for _ in range(int(RETURNS_MAX * 5)):
        again.seconds()
    again.look(11.0)
    assert again.after_s == pytest.approx(5.0, rel=0.1), "so that they come back at about the rate"
    for _ in range(int(RETURNS_MAX * 100)):
        again.seconds()
    again.look(12.0)
    assert again.after_s == AFTER_S_MAX
    again.look(12.0 + AFTER_S_MAX)
    assert again.after_s == 1.0, "and when nobody is turned away any more, not for long"
