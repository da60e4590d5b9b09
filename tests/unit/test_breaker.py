"""A store that does not answer is left alone, and found again when it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from sluice.breaker import (
    FAULTS_MAX,
    PAUSE_S,
    PAUSE_S_MAX,
    RECENT,
    SLOW_S,
    TRY_LOST_S,
    Breaker,
    State,
)
from sluice.domain.errors import GateAway, GateNotArmed, GateUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _is_fault(error: Exception) -> bool:
    return isinstance(error, GateUnavailable)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("gate:0", GateAway, _is_fault, clock=clock, draw=lambda low, high: high)


def _state(breaker: Breaker) -> str:
    """As it is now: what is known of an attribute outlives calls that change it, for mypy."""
    return str(breaker.state)


async def _answers() -> str:
    return "yes"


async def _fails() -> str:
    raise GateUnavailable


async def _refuses() -> str:
    raise GateNotArmed


def _times_out(clock: Clock) -> Callable[[], Coroutine[Any, Any, str]]:
    async def call() -> str:
        clock.now += SLOW_S
        raise GateUnavailable

    return call


async def _fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(GateUnavailable):
            await breaker.run(_fails())


async def test_a_store_that_answers_is_asked_every_time(breaker: Breaker) -> None:
    for _ in range(100):
        assert await breaker.run(_answers()) == "yes"
    assert _state(breaker) == State.CLOSED


async def test_what_the_store_refuses_is_an_answer(breaker: Breaker) -> None:
    for _ in range(100):
        with pytest.raises(GateNotArmed):
            await breaker.run(_refuses())
    assert _state(breaker) == State.CLOSED


async def test_after_some_faults_in_a_row_calls_end_without_reaching_it(breaker: Breaker) -> None:
    await _fail(breaker, FAULTS_MAX - 1)
    await breaker.run(_answers())
    await _fail(breaker, FAULTS_MAX - 1)
    assert _state(breaker) == State.CLOSED, "not in a row"
    await _fail(breaker, 1)
    assert _state(breaker) == State.OPEN
    asked = []

    async def call() -> None:
        asked.append(1)

    with pytest.raises(GateAway):
        await breaker.run(call())
    assert not asked
    assert breaker.opened == 1


async def test_two_calls_that_were_waited_for_are_enough(breaker: Breaker, clock: Clock) -> None:
    call = _times_out(clock)
    for state in (State.CLOSED, State.OPEN):
        with pytest.raises(GateUnavailable):
            await breaker.run(call())
        assert _state(breaker) == state


async def test_a_store_that_fails_every_other_time_is_left_alone_too(breaker: Breaker) -> None:
    for _ in range(RECENT // 2):
        await breaker.run(_answers())
        await _fail(breaker, 1)
    assert _state(breaker) == State.CLOSED, "half of the calls are borne"
    await _fail(breaker, 1)
    assert _state(breaker) == State.OPEN


async def test_after_a_pause_one_call_tries_and_the_others_still_end_at_once(
    breaker: Breaker, clock: Clock
) -> None:
    await _fail(breaker, FAULTS_MAX)
    clock.now += PAUSE_S * 2
    held = asyncio.Event()

    async def slow() -> str:
        await held.wait()
        return "yes"

    trying = asyncio.ensure_future(breaker.run(slow()))
    await asyncio.sleep(0)
    assert _state(breaker) == State.HALF_OPEN
    with pytest.raises(GateAway):
        await breaker.run(_answers())
    held.set()
    assert await trying == "yes"
    assert _state(breaker) == State.CLOSED
    assert await breaker.run(_answers()) == "yes"


async def test_a_store_that_stays_away_is_tried_less_often_and_never_given_up(
    breaker: Breaker, clock: Clock
) -> None:
    await _fail(breaker, FAULTS_MAX)
    tries = []
    for _ in range(200):
        try:
            await breaker.run(_fails())
        except GateAway:
            clock.now += 0.05
        except GateUnavailable:
            tries.append(clock.now)
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= pauses[0] * 4, "longer and longer"
    assert max(pauses) <= PAUSE_S_MAX * 1.5
    clock.now += PAUSE_S_MAX * 2
    assert await breaker.run(_answers()) == "yes"
    await _fail(breaker, FAULTS_MAX)
    clock.now += PAUSE_S * 1.5
    assert await breaker.run(_answers()) == "yes", "and starts with a short pause again"


async def test_a_try_that_is_lost_keeps_nobody_from_trying_for_ever(
    breaker: Breaker, clock: Clock
) -> None:
    await _fail(breaker, FAULTS_MAX)
    clock.now += PAUSE_S * 2
    lost = asyncio.ensure_future(breaker.run(asyncio.Event().wait()))
    await asyncio.sleep(0)
    clock.now += TRY_LOST_S
    assert await breaker.run(_answers()) == "yes"
    lost.cancel()


async def test_who_leaves_at_once_says_nothing_of_the_store(breaker: Breaker, clock: Clock) -> None:
    async def leave(after_s: float) -> None:
        call = asyncio.ensure_future(breaker.run(asyncio.Event().wait()))
        await asyncio.sleep(0)
        clock.now += after_s
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    for _ in range(FAULTS_MAX * 2):
        await leave(0.0)
    assert _state(breaker) == State.CLOSED
    await leave(SLOW_S)
    await leave(SLOW_S)
    assert _state(breaker) == State.OPEN, "whose deadline ended has waited for it"


async def test_a_late_answer_from_before_does_not_close_it(breaker: Breaker) -> None:
    held = asyncio.Event()

    async def slow() -> str:
        await held.wait()
        return "yes"

    early = asyncio.ensure_future(breaker.run(slow()))
    await asyncio.sleep(0)
    await _fail(breaker, FAULTS_MAX)
    held.set()
    await early
    assert _state(breaker) == State.OPEN
