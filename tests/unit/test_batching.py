"""Requests that travel together: order, bounds, deadlines, and what a bad batch does to others."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from sluice.batching import RUSH, Batcher
from sluice.domain.errors import NotFound, Overloaded, Unavailable

LONG_S = 5.0
SHORT_S = 0.1


class Store:
    """Answers `n` with `-n`, when it is let; remembers the batches it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.faults: list[BaseException] = []
        self.at_once = 0
        self.most_at_once = 0

    async def ask(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
            if self.faults:
                raise self.faults.pop(0)
            return [-number for number in numbers]
        finally:
            self.at_once -= 1

    def batcher(
        self,
        *,
        batch_max: int = 100,
        queue_max: int = 1000,
        deadline_s: float = LONG_S,
        calls_max: int = 1,
    ) -> Batcher[int, int]:
        return Batcher(
            self.ask,
            batch_max=batch_max,
            queue_max=queue_max,
            deadline_s=deadline_s,
            calls_max=calls_max,
        )

    async def asked(self, count: int) -> None:
        """Until it was asked `count` times."""
        async with asyncio.timeout(LONG_S):
            while len(self.batches) < count:  # noqa: ASYNC110 - one turn of the loop at a time
                await asyncio.sleep(0)


@pytest.fixture
async def store() -> Store:
    return Store()


# --- batches --------------------------------------------------------------------------------------


async def test_what_arrives_together_travels_together_and_is_answered_in_order(
    store: Store,
) -> None:
    batcher = store.batcher()

    answers = await asyncio.gather(*map(batcher.submit, range(5)))

    assert answers == [0, -1, -2, -3, -4]
    assert store.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_during_a_call_is_the_next_call(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher()
    first = batcher.submit(1)
    await store.asked(1)
    rest = [batcher.submit(number) for number in (2, 3)]
    assert batcher.waiting == 2

    store.open.set()

    assert [await first, *await asyncio.gather(*rest)] == [-1, -2, -3]
    assert store.batches == [[1], [2, 3]]


async def test_a_batch_is_bounded_and_the_rest_follows_in_order(store: Store) -> None:
    batcher = store.batcher(batch_max=4)

    answers = await asyncio.gather(*map(batcher.submit, range(10)))

    assert answers == [-n for n in range(10)]
    assert store.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_calls_at_once_are_bounded_and_all_of_them_are_used(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(batch_max=4, calls_max=2)
    pending = [batcher.submit(n) for n in range(10)]
    await store.asked(2)

    assert store.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    store.open.set()
    await asyncio.gather(*pending)

    assert store.batches[2:] == [[8, 9]]
    assert store.most_at_once == 2


async def test_a_remainder_does_not_wait_while_a_call_is_free(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(batch_max=4, calls_max=2)
    pending = [batcher.submit(n) for n in range(6)]

    await store.asked(2)

    assert store.batches == [[0, 1, 2, 3], [4, 5]]
    store.open.set()
    await asyncio.gather(*pending)


async def test_a_later_request_finds_the_free_call_behind_others_that_wait(
    store: Store,
) -> None:
    store.open.clear()
    batcher = store.batcher(batch_max=2, calls_max=3)
    pending = [batcher.submit(n) for n in range(3)]
    await store.asked(2)
    pending.append(batcher.submit(3))

    await store.asked(3)

    assert store.batches == [[0, 1], [2], [3]]
    store.open.set()
    await asyncio.gather(*pending)


async def test_nobody_is_forgotten_however_requests_come_and_go(store: Store) -> None:
    batcher = store.batcher(batch_max=3, calls_max=2)

    async def buyer(number: int) -> None:
        for turn in range(20):
            if (number + turn) % 5 == 0:
                batcher.submit(number).cancel()
            if (number * turn) % 3 == 0:
                await asyncio.sleep(0)
            assert await batcher.submit(number) == -number

    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*map(buyer, range(1, 30)))
    assert batcher.waiting == 0


# --- bounds ---------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(queue_max=2)
    first = batcher.submit(1)
    await store.asked(1)
    waiting = [batcher.submit(2), batcher.submit(3)]

    with pytest.raises(Overloaded):
        batcher.submit(4)

    store.open.set()
    await asyncio.gather(first, *waiting)
    assert await batcher.submit(5) == -5
    assert store.batches == [[1], [2, 3], [5]]


async def test_a_request_that_waited_too_long_is_told_so_and_never_sent(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(deadline_s=SHORT_S)
    sent = batcher.submit(1)
    await store.asked(1)
    late = batcher.submit(2)

    with pytest.raises(Unavailable):
        await sent
    with pytest.raises(Overloaded):
        await late

    store.open.set()
    assert await batcher.submit(3) == -3
    assert store.batches == [[1], [3]]


async def test_every_request_is_answered_within_the_deadline_in_front_of_a_dead_store(
    store: Store,
) -> None:
    store.open.clear()
    deadline_s = 0.4
    batcher = store.batcher(deadline_s=deadline_s, batch_max=2, calls_max=2)
    took: list[float] = []

    async def buyer(number: int) -> None:
        await asyncio.sleep(number * 0.03)  # arrivals spread over more than one deadline
        began = monotonic()
        with pytest.raises((Unavailable, Overloaded)):
            await batcher.submit(number)
        took.append(monotonic() - began)

    await asyncio.gather(*map(buyer, range(20)))

    assert max(took) < deadline_s + 4.0, "the deadline, and some room for a busy machine"


# --- faults ---------------------------------------------------------------------------------------


async def test_a_call_that_takes_too_long_is_unknown_for_its_whole_batch(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(deadline_s=SHORT_S)

    told = await asyncio.gather(*map(batcher.submit, (1, 2)), return_exceptions=True)

    assert [type(one) for one in told] == [Unavailable, Unavailable]
    assert store.at_once == 0, "the call was given up"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Unavailable("away"), Unavailable),
        (NotFound(), NotFound),
        (TimeoutError(), Unavailable),
        (ConnectionError("reset"), Unavailable),
        (KeyError("a bug"), Unavailable),
    ],
)
async def test_a_call_that_breaks_is_told_to_its_whole_batch_and_to_no_other(
    store: Store, fault: Exception, expected: type[Exception]
) -> None:
    store.faults = [fault]
    batcher = store.batcher(batch_max=2)

    told = await asyncio.gather(*map(batcher.submit, range(4)), return_exceptions=True)

    assert [type(one) for one in told[:2]] == [expected, expected]
    assert told[2:] == [-2, -3]
    assert await batcher.submit(9) == -9


@pytest.mark.parametrize("answers", [0, 1, 3])
async def test_a_wrong_number_of_answers_is_unknown_for_everyone(answers: int) -> None:
    async def ask(_: list[int]) -> list[int]:
        return [7] * answers

    batcher: Batcher[int, int] = Batcher(ask, batch_max=9, queue_max=9, deadline_s=LONG_S)

    async with asyncio.timeout(LONG_S):
        told = await asyncio.gather(*map(batcher.submit, (1, 2)), return_exceptions=True)

    assert [type(one) for one in told] == [Unavailable, Unavailable]


async def test_a_cancelled_call_is_unknown_and_does_not_stop_the_rest(store: Store) -> None:
    store.faults = [asyncio.CancelledError()]
    batcher = store.batcher(batch_max=1)

    told = await asyncio.gather(*map(batcher.submit, (1, 2)), return_exceptions=True)

    assert isinstance(told[0], Unavailable)
    assert told[1] == -2


async def test_a_requester_who_left_before_the_call_is_not_sent(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher()
    first = batcher.submit(1)
    await store.asked(1)
    gone, stays = batcher.submit(2), batcher.submit(3)
    gone.cancel()

    store.open.set()

    assert [await first, await stays] == [-1, -3]
    assert store.batches == [[1], [3]]


async def test_a_requester_who_left_during_the_call_does_not_harm_the_others(
    store: Store,
) -> None:
    store.open.clear()
    batcher = store.batcher()
    gone, stays = batcher.submit(1), batcher.submit(2)
    await store.asked(1)
    gone.cancel()

    store.open.set()

    assert await stays == -2
    assert await batcher.submit(3) == -3


async def test_a_batch_that_nobody_waits_for_any_more_makes_no_call(store: Store) -> None:
    batcher = store.batcher()
    for one in [batcher.submit(number) for number in range(3)]:
        one.cancel()

    assert await batcher.submit(9) == -9
    assert store.batches == [[9]]


# --- the end --------------------------------------------------------------------------------------


async def test_closing_answers_everything_that_waits_and_takes_no_more(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(batch_max=2)
    pending = [batcher.submit(number) for number in range(7)]
    await store.asked(1)

    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        batcher.submit(8)
    store.open.set()
    await closing

    assert [one.result() for one in pending] == [-number for number in range(7)]


async def test_closing_at_once_still_sends_what_was_submitted_before(store: Store) -> None:
    batcher = store.batcher()
    one = batcher.submit(1)

    await batcher.close()

    assert one.result() == -1


async def test_closing_in_front_of_a_dead_store_ends_with_the_deadline(store: Store) -> None:
    store.open.clear()
    batcher = store.batcher(batch_max=1, deadline_s=SHORT_S)
    pending = [batcher.submit(number) for number in range(50)]

    async with asyncio.timeout(LONG_S):
        await batcher.close()

    assert all(one.done() for one in pending)
    assert all(isinstance(one.exception(), Unavailable | Overloaded) for one in pending)


async def test_closing_what_was_never_used_ends_at_once(store: Store) -> None:
    await store.batcher().close()


async def test_in_a_rush_calls_begin_no_more_often_than_allowed_and_carry_more() -> None:
    batches: list[int] = []
    began: list[float] = []

    async def ask(requests: list[int]) -> list[int]:
        began.append(monotonic())
        batches.append(len(requests))
        return requests

    batcher = Batcher(ask, batch_max=1000, queue_max=1000, deadline_s=5, gather_s=0.05)

    async def visitor(first: int) -> None:
        for n in range(first, first + 20):
            assert await batcher.submit(n) == n

    await asyncio.gather(*(visitor(start) for start in range(0, 200, 20)))
    assert sum(batches) == 200
    assert min(b - a for a, b in pairwise(began)) >= 0.045


async def test_a_full_batch_does_not_wait_to_gather_more() -> None:
    async def ask(requests: list[int]) -> list[int]:
        return requests

    batcher = Batcher(ask, batch_max=2, queue_max=10, deadline_s=5, gather_s=60)
    async with asyncio.timeout(30):
        assert await batcher.submit(1) == 1
        assert tuple(await asyncio.gather(batcher.submit(2), batcher.submit(3))) == (2, 3)


class Body:
    """A draft that is complete when it is told so."""

    def __init__(self, number: int, *, there: bool = False) -> None:
        self.number = number
        self.there = there
        self.looks = 0

    def request(self) -> int | None:
        self.looks += 1
        return self.number if self.there else None


async def rushing(store: Store, **bounds: Any) -> Batcher[int, int]:
    """A batcher that has just sent many at once."""
    batcher = store.batcher(**bounds)
    for future in [batcher.submit(n) for n in range(RUSH)]:
        await future
    return batcher


async def test_who_comes_alone_is_not_taken_before_it_is_complete() -> None:
    store = Store()
    batcher = store.batcher()
    assert batcher.submit_soon(Body(1, there=True)) is None
    await batcher.submit(1)
    await asyncio.sleep(0)  # its call has ended, too
    assert batcher.submit_soon(Body(1, there=True)) is None, "the last call had one"


async def test_in_a_rush_what_is_complete_when_the_call_begins_travels_with_it() -> None:
    store = Store()
    batcher = await rushing(store)
    bodies = [Body(n, there=True) for n in range(100, 103)]
    futures = [batcher.submit_soon(body) for body in bodies]
    assert [await future for future in futures if future is not None] == [-100, -101, -102]
    assert store.batches[1:] == [[100, 101, 102]]


async def test_what_is_late_is_looked_at_twice_and_then_told_to_wait_for_itself() -> None:
    store = Store()
    batcher = await rushing(store)
    late, never = Body(7), Body(8)
    first, second = batcher.submit_soon(late), batcher.submit_soon(never)
    assert first is not None
    assert second is not None
    while not late.looks:  # noqa: ASYNC110 - one turn of the loop at a time
        await asyncio.sleep(0)
    late.there = True
    assert (await first, await second) == (-7, None)
    assert (late.looks, never.looks) == (2, 2)
    assert store.batches[1:] == [[7]]
    assert batcher.waiting == 0


async def test_drafts_wait_behind_calls_and_count_in_the_queue() -> None:
    store = Store()
    batcher = await rushing(store, queue_max=RUSH + 2)
    store.open.clear()
    first = batcher.submit(1)
    await store.asked(2)
    drafts = [batcher.submit_soon(Body(n, there=True)) for n in range(2, RUSH + 4)]
    assert batcher.waiting == RUSH + 2
    with pytest.raises(Overloaded):
        batcher.submit_soon(Body(99, there=True))
    with pytest.raises(Overloaded):
        batcher.submit(99)
    store.open.set()
    assert await first == -1
    assert [await future for future in drafts if future] == [-n for n in range(2, RUSH + 4)]


async def test_drafts_are_answered_before_it_closes() -> None:
    store = Store()
    batcher = await rushing(store)
    there, missing = batcher.submit_soon(Body(5, there=True)), batcher.submit_soon(Body(6))
    assert there is not None
    assert missing is not None
    await batcher.close()
    assert (await there, await missing) == (-5, None)
    with pytest.raises(Overloaded):
        batcher.submit_soon(Body(7))


async def test_a_draft_whose_caller_has_gone_is_not_sent() -> None:
    store = Store()
    batcher = await rushing(store)
    gone, missing = batcher.submit_soon(Body(5, there=True)), batcher.submit_soon(Body(6))
    stays = batcher.submit_soon(Body(9, there=True))
    assert gone is not None
    assert missing is not None
    assert stays is not None
    gone.cancel()
    missing.cancel()
    assert await stays == -9
    assert store.batches[1:] == [[9]]
