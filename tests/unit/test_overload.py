"""What is shed, and when: pure rules, on a clock of the test's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sluice.admission import overload
from sluice.admission.overload import (
    AFTER_S_MAX,
    GATE_PATIENCE,
    LEVEL_MAX,
    RETURNS_MAX,
    STANDING_S,
    STEP_S,
    ComeAgain,
    Level,
    Standing,
    Work,
    gate_level,
    shares,
)

TARGET_S = 0.025
GATE_TARGET_S = TARGET_S * GATE_PATIENCE


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
@pytest.mark.parametrize("gate", [0.0, 0.6, 1.0, 1.5, 2.0])
def test_nothing_is_shed_before_what_is_cheaper(queue: float, gate: float) -> None:
    _, *by_purchase = shares(queue, gate)
    assert all(cheaper >= dearer for cheaper, dearer in pairwise(by_purchase))


def test_a_slow_gate_keeps_nobody_from_looking_and_paying() -> None:
    assert shares(0.0, 2.0) == (0.0, 1.0, 1.0, 0.0, 0.0)


def test_the_wait_for_the_gate_says_how_much_is_shed() -> None:
    assert gate_level(GATE_TARGET_S * 0.5, TARGET_S) == 0.0
    assert gate_level(GATE_TARGET_S, TARGET_S) == 1.0
    assert gate_level(GATE_TARGET_S * 1.5, TARGET_S) == pytest.approx(1.5)
    assert gate_level(GATE_TARGET_S * 9, TARGET_S) == 2.0


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
