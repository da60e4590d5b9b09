"""Counters of limits: the cache server's and a process's own go by the same rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.valkey import Valkey, running

from sluice.admission.counting import OwnCounters
from sluice.cache.limits import LimitCounters
from sluice.cache.scripts import Script, script
from sluice.cache.server import CacheServer
from sluice.domain.errors import CacheUnavailable
from sluice.domain.limit import Check, LimitKind, Rule, Taken, per_minute, per_second

TEN = per_minute("buyer", 10)


class Counters(Protocol):
    async def take(self, requests: Sequence[Sequence[Check]], /) -> list[Taken]: ...

    async def forget(self, counters: Sequence[bytes], /) -> None: ...


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


class Clock:
    """A clock that both kinds go by: real milliseconds, moved on by the test."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000


class ByHand:
    """The cache server with a script whose clock is the test's."""

    def __init__(self, server: CacheServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def run(self, which: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        text = which.text.replace(
            "redis.call('TIME')", f"{{{self._clock.ms // 1000}, {self._clock.ms % 1000 * 1000}}}"
        )
        answer: bytes = await self._server.do("EVAL", text, len(keys), *keys, *arguments)
        return answer

    async def delete(self, *names: bytes) -> None:
        await self._server.delete(*names)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[CacheServer]:
    client = CacheServer.from_url(valkey.url)
    await client.do("FLUSHALL")
    yield client
    await client.close()


@pytest.fixture(params=["shared", "own"])
def counters(request: pytest.FixtureRequest, server: CacheServer, clock: Clock) -> Counters:
    if request.param == "own":
        return OwnCounters(lambda: clock.ms)
    return LimitCounters(ByHand(server, clock))  # type: ignore[arg-type]


async def allowed(counters: Counters, rule: Rule, times: int, key: bytes = b"k") -> int:
    taken = await counters.take([[Check(rule, key)] for _ in range(times)])
    return sum(each.refused < 0 for each in taken)


@pytest.mark.parametrize("rule", [TEN, per_second("sale", 10), per_second("sale", 5, burst_s=2)])
async def test_no_more_than_the_quota_are_allowed_at_once(counters: Counters, rule: Rule) -> None:
    assert await allowed(counters, rule, 8) == 8
    assert await allowed(counters, rule, 1000) == 2
    assert await allowed(counters, rule, 1000, key=b"another") == 10


async def test_what_is_left_is_told(counters: Counters) -> None:
    first, second = await counters.take([[Check(TEN, b"k")], [Check(TEN, b"k", 9)]])
    assert (first.left[0].remaining, second.left[0].remaining) == (9, 0)
    assert first.left[0].reset_ms == 60_000


async def test_a_window_gives_back_what_is_older_than_itself(
    counters: Counters, clock: Clock
) -> None:
    assert await allowed(counters, TEN, 10) == 10
    clock.ms += 59_000
    assert await allowed(counters, TEN, 10) == 0
    clock.ms += 12_000
    assert await allowed(counters, TEN, 20) == 10


async def test_a_bucket_fills_evenly(counters: Counters, clock: Clock) -> None:
    rule = per_second("sale", 10)
    assert await allowed(counters, rule, 20) == 10
    clock.ms += 350
    assert await allowed(counters, rule, 20) == 3
    clock.ms += 60_000
    assert await allowed(counters, rule, 20) == 10


@pytest.mark.parametrize("rule", [TEN, per_second("sale", 3)])
async def test_waiting_for_as_long_as_it_is_told_is_enough(
    counters: Counters, clock: Clock, rule: Rule
) -> None:
    await allowed(counters, rule, rule.quota - 1)
    clock.ms += 7_777
    await allowed(counters, rule, rule.quota)
    [refused] = await counters.take([[Check(rule, b"k")]])
    assert refused.refused == 0
    clock.ms += refused.retry_ms - 1
    assert await allowed(counters, rule, 1) == 0
    clock.ms += 1
    assert await allowed(counters, rule, 1) == 1


async def test_a_refused_request_takes_from_no_counter(counters: Counters) -> None:
    wide, narrow = Check(per_minute("address", 100), b"a"), Check(per_minute("buyer", 1), b"b")
    first, second = await counters.take([[wide, narrow], [wide, narrow]])
    assert (first.refused, second.refused) == (-1, 1)
    assert second.left[0].remaining == 99


async def test_the_check_with_the_longest_wait_is_named(counters: Counters) -> None:
    soon, late = Check(per_second("sale", 1), b"s"), Check(per_minute("buyer", 1), b"b")
    _, second = await counters.take([[soon, late], [soon, late]])
    assert second.refused == 1
    assert second.retry_ms > 1000


async def test_a_counter_begins_anew_when_it_is_forgotten(counters: Counters) -> None:
    assert await allowed(counters, TEN, 20) == 10
    await counters.forget([b"k"])
    assert await allowed(counters, TEN, 20) == 10


_steps = st.lists(
    st.tuples(
        st.integers(0, 40_000),
        st.lists(
            st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=3),
            min_size=1,
            max_size=5,
        ),
    ),
    max_size=12,
)
_RULES = [
    per_minute("a", 5),
    per_minute("b", 3),
    per_second("c", 2, burst_s=3),
    Rule("d", LimitKind.BUCKET, 7, 60_000),
]


@given(steps=_steps)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_both_decide_alike_whatever_happens(
    steps: list[tuple[int, list[list[tuple[int, int]]]]], server: CacheServer, clock: Clock
) -> None:
    await server.do("FLUSHALL")
    shared = LimitCounters(ByHand(server, clock))  # type: ignore[arg-type]
    own = OwnCounters(lambda: clock.ms)
    for passed_ms, batch in steps:
        clock.ms += passed_ms
        requests = [
            [Check(_RULES[which], b"%d" % which, units) for which, units in dict(request).items()]
            for request in batch
        ]
        assert await shared.take(requests) == await own.take(requests)


async def test_many_processes_share_one_quota(server: CacheServer, valkey: Valkey) -> None:
    clients = [CacheServer.from_url(valkey.url) for _ in range(4)]
    counts = await asyncio.gather(
        *(allowed(LimitCounters(client), TEN, 25) for client in clients for _ in range(4))
    )
    assert sum(counts) == 10
    await asyncio.gather(*(client.close() for client in clients))


async def test_counters_go_when_they_count_nothing_any_more(
    server: CacheServer, valkey: Valkey
) -> None:
    quick = Rule("quick", LimitKind.WINDOW, 3, 6)
    await LimitCounters(server).take([[Check(quick, b"w")], [Check(per_second("b", 9), b"b")]])
    with redis.Redis.from_url(valkey.url) as other:
        lives = {key: other.pttl(key) for key in other.keys("sluice:limit:*")}
        assert lives.keys() == {b"sluice:limit:w", b"sluice:limit:b"}
        assert all(0 < life <= 2500 for life in lives.values())


async def test_a_script_that_the_server_forgot_is_sent_again(server: CacheServer) -> None:
    await allowed(LimitCounters(server), TEN, 1)
    await server.do("SCRIPT", "FLUSH")
    assert await allowed(LimitCounters(server), TEN, 20) == 9


async def test_more_checks_than_fit_in_one_call_are_still_decided_in_order(
    server: CacheServer,
) -> None:
    requests = [[Check(TEN, b"%d" % n), Check(TEN, b"all")] for n in range(4100)]
    taken = await LimitCounters(server).take(requests)
    assert [each.refused for each in taken] == [-1] * 10 + [1] * 4090


async def test_a_server_that_is_away_is_said(valkey: Valkey) -> None:
    with running() as other:
        client = CacheServer.from_url(other.url)
        other.kill()
        with pytest.raises(CacheUnavailable):
            await LimitCounters(client).take([[Check(TEN, b"k")]])
        await client.close()


def test_the_script_is_named_by_its_digest() -> None:
    assert len(script("limits").digest) == 40
