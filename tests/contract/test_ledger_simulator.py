"""The simulator's books on each database: what a provider must not do twice."""

from __future__ import annotations

import asyncio

from sluice.domain.money import Money
from sluice.domain.simulation import PlannedCall, SimulatedCheckout, SimulatedRefund
from sluice.ledger.ledger import Ledger

CALL = PlannedCall("evt_1", b"{}", 0)


def a_checkout(reference: str = "sim_a", payment_id: int = 31) -> SimulatedCheckout:
    return SimulatedCheckout(
        reference, payment_id, 42, Money(39900, "CNY"), "open", 0, "https://x/{order}", b"", 900
    )


def a_refund(refund_id: int, minor: int) -> SimulatedRefund:
    return SimulatedRefund(refund_id, "sim_a", Money(minor, "CNY"), "completed")


async def test_a_payment_has_one_checkout_whoever_opens_it(ledger: Ledger) -> None:
    wanted = [a_checkout(f"sim_{n}") for n in range(8)]
    opened = await asyncio.gather(*(ledger.simulator_open(each) for each in wanted))
    assert len({each.reference for each in opened}) == 1
    assert await ledger.simulator_checkout_of(31) == opened[0]
    assert await ledger.simulator_checkout(opened[0].reference) == opened[0]
    assert await ledger.simulator_checkout("sim_other") is None


async def test_of_those_who_settle_at_once_one_does(ledger: Ledger) -> None:
    await ledger.simulator_open(a_checkout())
    ends = ["captured", "void", "failed"] * 3
    done = await asyncio.gather(*(ledger.simulator_settle("sim_a", end, 0, [CALL]) for end in ends))
    assert done.count(True) == 1
    checkout = await ledger.simulator_checkout("sim_a")
    assert checkout is not None
    assert checkout.state == ends[done.index(True)]
    assert len(await ledger.simulator_calls(100, 1000)) == 1


async def test_closing_ends_what_is_open_and_tells_how_all_stand(ledger: Ledger) -> None:
    for n in (1, 2, 3):
        await ledger.simulator_open(a_checkout(f"sim_{n}", payment_id=n))
    await ledger.simulator_settle("sim_2", "captured", 39900, [])
    stand = await ledger.simulator_close([3, 2, 9, 1, 3])
    assert [each and each.state for each in stand] == ["void", "captured", None, "void", "void"]
    assert await ledger.simulator_close([1, 2]) == [stand[3], stand[1]]
    assert await ledger.simulator_calls(10, 0) == [], "who closes need not be told"


async def test_a_call_is_made_by_one_process(ledger: Ledger) -> None:
    await ledger.simulator_open(a_checkout())
    calls = [PlannedCall(f"evt_{n}", b"{}", 0) for n in range(40)]
    await ledger.simulator_settle("sim_a", "captured", 39900, calls)
    claims = await asyncio.gather(*(ledger.simulator_calls(10, 60_000) for _ in range(8)))
    claimed = [call.event_id for claim in claims for call in claim]
    assert len(claimed) == len(set(claimed))
    while left := await ledger.simulator_calls(10, 60_000):
        claimed += [call.event_id for call in left]
    assert sorted(claimed) == sorted(call.event_id for call in calls)


async def test_a_call_comes_at_its_time_and_again_until_it_is_answered(ledger: Ledger) -> None:
    await ledger.simulator_open(a_checkout())
    later = PlannedCall("evt_later", b"{}", 3_600_000, forged=True)
    await ledger.simulator_settle("sim_a", "captured", 39900, [CALL, later])
    assert await ledger.simulator_call_due_ms() == 0
    (call,) = await ledger.simulator_calls(10, 0)
    assert (call.event_id, call.body, call.forged, call.attempts) == ("evt_1", b"{}", False, 0)
    await ledger.simulator_called([], [(call.id, 0)])
    (again,) = await ledger.simulator_calls(10, 0)
    assert (again.id, again.attempts) == (call.id, 1)
    await ledger.simulator_called([again.id], [])
    assert await ledger.simulator_calls(10, 0) == []
    due_ms = await ledger.simulator_call_due_ms()
    assert due_ms is not None
    assert 3_000_000 < due_ms <= 3_600_000


async def test_a_refund_is_one_for_its_id_and_never_more_than_came(ledger: Ledger) -> None:
    first, is_new = await ledger.simulator_refund(a_refund(7, 30000), 39900, [CALL])
    assert (first.state, is_new) == ("completed", True)
    again, is_new = await ledger.simulator_refund(a_refund(7, 30000), 39900, [CALL])
    assert (again, is_new) == (first, False)
    more, is_new = await ledger.simulator_refund(a_refund(8, 10000), 39900, [CALL])
    assert (more.state, is_new) == ("failed", False)
    assert await ledger.simulator_refunded("sim_a") == 30000
    assert len(await ledger.simulator_calls(10, 1000)) == 1


async def test_knobs_are_kept_with_their_checkout(ledger: Ledger) -> None:
    await ledger.simulator_open(a_checkout())
    assert await ledger.simulator_turn("sim_a", b'{"drop":1}')
    assert await ledger.simulator_turn("sim_a", b'{"drop":1}'), "the same again is no stranger"
    checkout = await ledger.simulator_checkout("sim_a")
    assert checkout is not None
    assert checkout.knobs == b'{"drop":1}'
    assert not await ledger.simulator_turn("sim_other", b"{}")
