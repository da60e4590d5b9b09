"""One endpoint's courier: what it takes, what it does not send, what it says of each attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from tests.polling import until

from sluice.delivery.sender import Outcome, Sender
from sluice.domain.signature import Message, secret_of
from sluice.domain.webhook import (
    FAMILIES,
    Attempted,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
)
from sluice.workers.courier import AT_ONCE, DOUBT_AFTER, HELD_MAX, Courier, Parcel, attempted

NOW_MS = 1_000_000
DAY_MS = 86_400_000
ENDPOINT = Endpoint(
    id=3,
    url="https://shop.example/",
    description="",
    events=FAMILIES,
    state=EndpointState.ACTIVE,
    off_reason=None,
    secret=secret_of(b"k" * 32),
    old_secret=None,
    old_secret_until_ms=None,
    version=7,
    active_since_ms=0,
    failing_since_ms=None,
    delivered=0,
    failed=0,
    created_at_ms=0,
)


def parcel(number: int, *, ours_for_ms: int = 60_000, body: bytes | None = b"{}") -> Parcel:
    delivery = Delivery(
        id=number,
        endpoint_id=3,
        uid=f"msg_{number}",
        event_id=number,
        type="order.paid",
        subject=f"order:{number}",
        occurred_at_ms=NOW_MS,
        state=DeliveryState.PENDING,
        attempts=0,
        created_at_ms=NOW_MS,
        give_up_at_ms=NOW_MS + DAY_MS,
        due_at_ms=NOW_MS,
        attempted_at_ms=None,
        status=None,
        error=None,
    )
    return Parcel(delivery, 99, NOW_MS + ours_for_ms, body)


class FakeSender:
    """Answers everything with `outcome` once `gate` is open."""

    attempt_ms_max = 15_000

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.gate = asyncio.Event()
        self.sent: list[str] = []

    async def send(self, _url: str, _keys: Sequence[bytes], message: Message) -> Outcome:
        self.sent.append(message.id)
        await self.gate.wait()
        return self.outcome


class Bench:
    def __init__(self, outcome: Outcome | None = None) -> None:
        self.sender = FakeSender(outcome or Outcome(204))
        self.done: list[Attempted] = []
        self.courier = Courier(
            ENDPOINT,
            cast(Sender, self.sender),
            now_ms=lambda: NOW_MS,
            done=self.done.append,
            hungry=lambda: None,
        )

    def settle(self) -> None:
        self.courier.settled(len(self.done))
        self.done.clear()


async def test_so_many_at_once_and_the_rest_afterwards() -> None:
    bench = Bench()
    bench.courier.take([parcel(n) for n in range(3 * AT_ONCE)])
    await asyncio.sleep(0)
    assert len(bench.sender.sent) == AT_ONCE
    bench.sender.gate.set()
    await until(lambda: len(bench.done) == 3 * AT_ONCE)
    assert bench.courier.held == 3 * AT_ONCE  # until they are in the ledger
    bench.settle()
    assert bench.courier.held == 0


async def test_more_is_taken_when_half_of_it_is_gone() -> None:
    bench = Bench()
    assert bench.courier.room() == HELD_MAX
    bench.courier.take([parcel(n) for n in range(HELD_MAX // 2 + 1)])
    assert bench.courier.room() == 0
    assert len(bench.courier.give_back()) == HELD_MAX // 2 + 1 - AT_ONCE
    assert bench.courier.room() == HELD_MAX - AT_ONCE


async def test_what_may_be_somebody_elses_before_it_ends_is_not_sent() -> None:
    bench = Bench()
    stale = FakeSender.attempt_ms_max - 1
    bench.courier.take([parcel(1, ours_for_ms=stale), parcel(2, ours_for_ms=stale + 1)])
    await asyncio.sleep(0)
    assert bench.sender.sent == ["msg_2"]


async def test_what_the_ledger_does_not_have_is_over_without_being_sent() -> None:
    bench = Bench()
    bench.courier.take([parcel(1, body=None)])
    await until(lambda: bool(bench.done))
    [told] = bench.done
    assert (told.delivered, told.retry_in_ms, bool(told.error)) == (False, None, True)
    assert bench.sender.sent == []


async def test_in_doubt_it_takes_one_at_a_time_until_one_succeeds() -> None:
    bench = Bench(Outcome(503))
    bench.sender.gate.set()
    bench.courier.take([parcel(n) for n in range(DOUBT_AFTER)])
    await until(lambda: len(bench.done) == DOUBT_AFTER)
    assert bench.courier.in_doubt
    assert bench.courier.room() == 0
    bench.settle()
    assert bench.courier.room() == 1
    bench.sender.outcome = Outcome(200)
    bench.courier.take([parcel(100)])
    await until(lambda: len(bench.done) == 1)
    bench.settle()
    assert not bench.courier.in_doubt
    assert bench.courier.room() == HELD_MAX


async def test_what_is_cut_off_is_named() -> None:
    bench = Bench()
    bench.courier.take([parcel(n) for n in range(AT_ONCE + 2)])
    await asyncio.sleep(0)
    assert len(bench.courier.give_back()) == 2
    assert len(await bench.courier.close(0)) == AT_ONCE


async def test_a_fault_of_ours_is_a_failed_attempt() -> None:
    bench = Bench()

    async def broken(*_: object) -> Outcome:
        raise RuntimeError("a bug")

    bench.sender.send = broken  # type: ignore[method-assign, assignment]
    bench.courier.take([parcel(1)])
    await until(lambda: bool(bench.done))
    [told] = bench.done
    assert (told.delivered, told.error) == (False, "our fault: RuntimeError")
    assert told.retry_in_ms


def test_an_attempt_is_told_with_what_comes_next() -> None:
    one = parcel(1)
    good = attempted(ENDPOINT, one, Outcome(200), NOW_MS)
    assert (good.delivered, good.retry_in_ms, good.gone) == (True, None, False)
    bad = attempted(ENDPOINT, one, Outcome(500), NOW_MS)
    assert (bad.delivered, bad.status, bad.endpoint_version) == (False, 500, 7)
    assert bad.retry_in_ms
    asked = attempted(ENDPOINT, one, Outcome(429, retry_after_s=1000), NOW_MS)
    assert asked.retry_in_ms
    assert asked.retry_in_ms > 700_000
    gone = attempted(ENDPOINT, one, Outcome(410), NOW_MS)
    assert (gone.delivered, gone.gone, gone.retry_in_ms) == (False, True, None)
    late = attempted(ENDPOINT, one, Outcome(None, "no answer"), NOW_MS + DAY_MS)
    assert late.retry_in_ms is None
