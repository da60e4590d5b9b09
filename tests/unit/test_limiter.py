"""Limits of one process: what it gives by itself, what it asks for, and while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sluice.accounts.identity import Identity
from sluice.admission import limits as limits_module
from sluice.admission.blacklist import Blacklist
from sluice.admission.challenges.challenges import Offered
from sluice.admission.counting import OwnCounters
from sluice.admission.limits import Limiter, Verdict
from sluice.admission.sale_limits import BUY, PASS, RouteLimits, SaleLimits
from sluice.admission.share import CELLS, Share
from sluice.domain.blacklist import BUYER, Blacklisted
from sluice.domain.errors import CacheUnavailable
from sluice.domain.limit import Check, Taken
from sluice.domain.sale import Challenge, Limits, Policy
from sluice.web.entrance import Entrance

ANN = b"a" * 16
HOME = "203.0.113.9"


class Store:
    """A blacklist that is not shared with anybody; `away` says that it cannot be told."""

    def __init__(self) -> None:
        self.there: dict[str, Blacklisted] = {}
        self.away = False

    async def add(self, entry: Blacklisted) -> None:
        if self.away:
            raise CacheUnavailable
        self.there[entry.who] = entry

    async def remove(self, who: str) -> bool:
        return self.there.pop(who, None) is not None

    async def until(self, now_ms: int) -> dict[str, int]:
        return {e.who: e.until_ms for e in self.there.values() if e.until_ms > now_ms}

    async def entries(self, offset: int, count: int) -> list[Blacklisted]:
        return list(self.there.values())[offset : offset + count]

    async def follow(self, heard: Any) -> None: ...


class Counters(OwnCounters):
    """Shared counters of this process alone, which count their calls."""

    def __init__(self, now: list[int]) -> None:
        super().__init__(lambda: now[0])
        self.calls = 0
        self.away = False

    async def take(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        self.calls += 1
        if self.away:
            raise CacheUnavailable
        return await super().take(requests)


class Process:
    """One HTTP process's limits."""

    def __init__(self, shared: Counters, now: list[int], *, processes: int = 1) -> None:
        self.now = now
        self.shared = shared
        self.store = Store()
        self.limiter = Limiter(
            shared,
            OwnCounters(lambda: now[0]),
            Share(processes, lambda: now[0] / 1000),
            Blacklist(self.store, lambda: now[0]),
            refusals_max=10,
            blacklist_s=600,
            queue_max=1000,
        )
        self.sales = SaleLimits(self.limiter.share)

    def limits(self, route: Any = PASS, **limits: Any) -> RouteLimits:
        return self.sales.of(route, 7, Limits(**limits))

    async def ask(self, limits: RouteLimits, who: bytes = ANN, address: str = HOME) -> Verdict:
        return self.limiter.give(limits, who, address) or await self.limiter.take(
            limits, who, address
        )

    async def allowed(self, limits: RouteLimits, times: int, who: bytes = ANN) -> int:
        verdicts = [await self.ask(limits, who) for _ in range(times)]
        return sum(verdict.refused is None for verdict in verdicts)


@pytest.fixture
def now() -> list[int]:
    return [1_700_000_000_000]


@pytest.fixture
def process(now: list[int], monkeypatch: pytest.MonkeyPatch) -> Process:
    # On a busy machine what waited too long would be counted by the process alone.
    monkeypatch.setattr(limits_module, "DEADLINE_S", 60.0)
    return Process(Counters(now), now)


@pytest.mark.parametrize("quota", [1, 3, 10, 120, 1000, 12_345])
async def test_one_process_gives_exactly_the_quota(process: Process, quota: int) -> None:
    limits = process.limits(per_buyer_per_minute=quota, per_address_per_minute=None)
    assert await process.allowed(limits, quota + 50) == quota


async def test_most_buyers_are_counted_without_asking(process: Process) -> None:
    limits = process.limits()
    for n in range(20):
        assert await process.allowed(limits, 1, who=n.to_bytes(16)) == 1
    assert process.shared.calls == 0


async def test_a_large_quota_is_asked_for_a_hundredth_at_a_time(process: Process) -> None:
    limits = process.limits(per_buyer_per_minute=None, per_address_per_minute=100_000)
    assert await process.allowed(limits, 5000) == 5000
    assert process.shared.calls < 10


@pytest.mark.parametrize("quota", [5, 10, 120, 2000])
@pytest.mark.parametrize("processes", [2, 4])
async def test_many_processes_never_give_more_than_the_quota(
    now: list[int], quota: int, processes: int
) -> None:
    shared = Counters(now)
    all_of_them = [Process(shared, now, processes=processes) for _ in range(processes)]
    declared = {"per_buyer_per_minute": quota, "per_address_per_minute": None}
    counts = [await each.allowed(each.limits(**declared), quota) for each in all_of_them]
    assert quota * 0.79 - 1 <= sum(counts) <= quota
    # Over the next minute it does not get better for whoever goes on: slices give back evenly.
    now[0] += 30_000
    for each in all_of_them:
        each.limiter.share.turn()
    counts = [await each.allowed(each.limits(**declared), quota) for each in all_of_them]
    assert sum(counts) == 0


async def test_the_minute_moves_on(process: Process, now: list[int]) -> None:
    limits = process.limits(per_buyer_per_minute=10, per_address_per_minute=None)
    assert await process.allowed(limits, 20) == 10
    now[0] += 61_000
    process.limiter.share.turn()
    now[0] += 61_000
    process.limiter.share.turn()
    process.limiter._known.clear()  # by the process's own clock, which did not move
    assert await process.allowed(limits, 20) == 10


async def test_a_refusal_stands_until_its_time_without_asking(process: Process) -> None:
    limits = process.limits(per_buyer_per_minute=5, per_address_per_minute=None)
    await process.allowed(limits, 6)
    calls = process.shared.calls
    verdict = await process.ask(limits)
    assert (verdict.refused, process.shared.calls) == ("buyer", calls)
    assert verdict.retry_after_s >= 1
    assert verdict.state.startswith('"buyer";r=0;t=')


async def test_a_request_that_one_limit_refuses_costs_nothing_of_the_others(
    process: Process,
) -> None:
    limits = process.limits(per_buyer_per_minute=100, per_address_per_minute=5)
    assert await process.allowed(limits, 50) == 5
    assert process.limiter.share.now[hash(b"pass:7:b:" + ANN) & (CELLS - 1)] == 5


@pytest.mark.parametrize("address", [HOME, "127.0.0.1"])
def test_one_step_gives_what_one_counter_after_the_other_gives(address: str) -> None:
    limits = Limits(per_buyer_per_minute=20, per_address_per_minute=50)
    quick, slow = Share(1, lambda: 0.0), Share(1, lambda: 0.0)
    one, other = RouteLimits(PASS, 7, limits, quick), RouteLimits(PASS, 7, limits, slow)
    given = 0
    for who in [ANN, b"b" * 16, ANN, ANN, ANN, b"c" * 16, ANN, ANN] * 3:
        keys = other.keys(who, address)
        left = [slow.give(limit, key) for limit, key in zip(other.by, keys, strict=True)]
        state = one.free(who, address, ())
        if None in left:  # the one step counts nothing then, and leaves the rest to the others
            assert state is None
            break
        assert state == other.state(left)
        given += 1
    assert given >= 4
    assert one.free(b"d" * 16, "203.0.113.77", {one.keys(b"d" * 16, "")[0]}) is None


async def test_each_route_has_counters_of_its_own(process: Process) -> None:
    one = {"per_buyer_per_minute": 1, "per_address_per_minute": None}
    assert await process.allowed(process.limits(**one), 3) == 1
    assert await process.allowed(process.limits(BUY, **one), 3) == 3, "repeats of a pass"
    assert process.limits(BUY, **one).policy == '"buyer";q=200;w=60'


async def test_nothing_is_counted_where_nothing_is_declared(process: Process) -> None:
    limits = process.limits(per_buyer_per_minute=None, per_address_per_minute=None)
    assert not limits.by
    assert limits.policy == ""


async def test_while_the_shared_counters_are_away_each_process_counts_alone(
    process: Process,
) -> None:
    process.shared.away = True
    limits = process.limits(per_buyer_per_minute=10, per_address_per_minute=None)
    assert await process.allowed(limits, 30) == 10
    assert process.shared.calls == 1, "and does not ask again and again"
    assert process.limiter.alone > 0


async def test_ten_refusals_blacklist_and_nine_do_not(process: Process) -> None:
    for count in (9, 1):
        assert process.store.there == {}
        for _ in range(count):
            process.limiter.blame("jwt::ann")
        await process.limiter.count_refusals()
    assert process.store.there.keys() == {BUYER + "jwt::ann"}
    assert process.limiter.blacklist.left_ms(BUYER + "jwt::ann") == 600_000


async def test_refusals_of_many_processes_add_up(now: list[int]) -> None:
    shared = Counters(now)
    one, other = Process(shared, now, processes=2), Process(shared, now, processes=2)
    for process in (one, other):
        for _ in range(5):
            process.limiter.blame("jwt::ann")
        await process.limiter.count_refusals()
    assert not one.store.there
    assert other.store.there


async def test_whoever_is_let_off_begins_anew(process: Process) -> None:
    for _ in range(30):
        process.limiter.blame("jwt::ann")
    await process.limiter.count_refusals()
    assert await process.limiter.lift(BUYER + "jwt::ann")
    assert process.limiter.blacklist.left_ms(BUYER + "jwt::ann") == 0
    process.limiter.blame("jwt::ann")
    await process.limiter.count_refusals()
    assert process.store.there == {}


async def test_the_blacklist_holds_here_even_where_nobody_can_be_told(process: Process) -> None:
    process.store.away = True
    for _ in range(10):
        process.limiter.blame("jwt::ann")
    await process.limiter.count_refusals()
    assert process.limiter.blacklist.left_ms(BUYER + "jwt::ann") > 0


async def test_what_is_used_of_late_is_told_without_refusing(process: Process) -> None:
    from sluice.admission.challenges import difficulty

    checks = difficulty.checks(ANN, HOME)
    assert [await process.limiter.used(checks) for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]


async def test_work_grows_for_who_asks_often_and_for_them_alone(process: Process) -> None:
    levels: list[tuple[bool, int]] = []

    class Booth:
        async def offer(
            self, asked: Challenge, alternative: bool, sale: int, binding: bytes, level: int
        ) -> Offered:
            levels.append((alternative, level))
            return Offered("id", asked, b'"image":"x"', 0, Challenge.PROOF_OF_WORK)

    entrance = Entrance(cast("Any", Booth()), cast("Any", None), process.limiter)
    route: Any = SimpleNamespace(sale_id=7, policy=Policy(challenge=Challenge.PROOF_OF_WORK))
    ann, bob = (Identity(f"jwt::{n}", n.encode() * 16, n.encode() * 16, 0) for n in "ab")
    for _ in range(5):
        await entrance.offer(ann, route, HOME, False)
    await entrance.offer(bob, route, HOME, False)
    await entrance.offer(ann, route, HOME, True)
    assert [level for _, level in levels] == [0, 0, 1, 1, 2, 0, 0]
    assert levels[-1][0], "a picture has no level"


async def test_many_at_once_share_one_chunk(process: Process) -> None:
    limits = process.limits(per_buyer_per_minute=None, per_address_per_minute=1000)
    verdicts = await asyncio.gather(*(process.ask(limits) for _ in range(1200)))
    allowed = sum(verdict.refused is None for verdict in verdicts)
    assert 990 <= allowed <= 1000, "to a hundredth: who asks while a chunk is on its way"


@pytest.mark.parametrize("address", ["127.0.0.1", "::/64", "local"])
def test_callers_from_the_machine_itself_are_not_counted_together(address: str) -> None:
    limits = Limits(per_buyer_per_minute=None, per_address_per_minute=120)
    compiled = RouteLimits(PASS, 7, limits, Share(1, lambda: 0.0))
    assert compiled.keys(ANN, address) != compiled.keys(b"b" * 16, address)
    assert compiled.keys(ANN, HOME) == compiled.keys(b"b" * 16, HOME)
