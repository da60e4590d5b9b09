"""The waiting room on the cache server: places, turns and the pace, by a clock moved by hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import permutations
from math import floor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.rooms import CALL_MS, GRACE_MS, OWNER, START_MS, TURN_MS, Room, digest
from tests.polling import until_it_is
from tests.support import patience
from tests.valkey import Valkey, running

from sluice.cache.server import CacheServer
from sluice.cache.waiting_room import RoomCells
from sluice.domain.errors import CacheUnavailable
from sluice.domain.waiting_room import (
    Blocked,
    Let,
    RoomAsk,
    RoomRequest,
    RoomStatus,
    eta_seconds,
    poll_after_ms,
)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[CacheServer]:
    client = CacheServer.from_url(valkey.url)
    await client.do("FLUSHALL")
    yield client
    await client.close()


@pytest.fixture
def room(server: CacheServer) -> Room:
    return Room(server)


# --- places ---------------------------------------------------------------------------------------


async def a_place_is_given_once(room: Room) -> None:
    room.at(5)
    first = await room.join("a")
    again, other, third = await room.join_all(["a", "b", "a"])
    assert (first.number, again.number, other.number, third.number) == (1, 1, 2, 1)
    assert (first.is_new, again.is_new, other.is_new, third.is_new) == (True, False, True, False)
    assert (await room.look("b")).ahead == 1
    assert (await room.look("nobody")).status is RoomStatus.NONE


async def those_after_the_start_stand_in_order_of_coming(room: Room) -> None:
    room.at(0)
    await room.join_all(range(50))
    places = await room.ask_all(RoomAsk.LOOK, range(50))
    assert [place.ahead for place in places] == list(range(50))
    assert not any(place.is_early for place in places)


async def nothing_is_told_of_a_draw_before_the_start(room: Room) -> None:
    room.at(-60)
    early = await room.join_all(range(20))
    assert all(place.is_early and not place.is_drawn and place.ahead == 0 for place in early)
    room.at(-0.001)
    looked = await room.ask_all(RoomAsk.LOOK, range(20))
    assert {place.ahead for place in looked} == {0}
    assert {eta_seconds(place) for place in looked} == {None}


async def what_is_told_in_passing_says_nothing_of_the_start(room: Room) -> None:
    room.at(-1)
    asked = [
        RoomRequest(RoomAsk.BOUGHT, 7, 0, digest("b")),
        RoomRequest(RoomAsk.JOIN, 7, START_MS, digest("a")),
    ]
    assert [place.is_early for place in await room.cells.ask(asked)] == [False, True]


async def those_before_the_start_come_before_those_after(room: Room) -> None:
    room.at(-1)
    await room.join_all(range(20))
    room.at(0)
    late = await room.join("late")
    assert late.ahead == 20
    drawn = await room.ask_all(RoomAsk.LOOK, range(20))
    assert sorted(place.ahead for place in drawn) == list(range(20))


async def nobody_draws_twice(room: Room) -> None:
    room.at(-60)
    await room.join_all(range(30))
    for name in range(0, 30, 3):
        for _ in range(4):
            await room.ask(RoomAsk.LEAVE, name)
            await room.join(name)
    room.at(0)
    drawn = [place.ahead for place in await room.ask_all(RoomAsk.LOOK, range(30))]
    other = Room(room.clock._server, 8, room.clock._bugs)
    seed = await room.clock.do("HGET", "sluice:room:7", "seed")
    await room.clock.do("HSET", "sluice:room:8", "seed", seed)
    other.at(-60)
    await other.join_all(range(30))
    other.at(0)
    once = [place.ahead for place in await other.ask_all(RoomAsk.LOOK, range(30))]
    assert drawn == once


async def the_draw_is_fair(room: Room) -> None:
    """Six orders of three people in 300 rooms: each about 50 times (five sigmas are 32)."""
    seen: Counter[tuple[int, ...]] = Counter()
    for sale_id in range(100, 400):
        each = Room(room.clock._server, sale_id, room.clock._bugs)
        each.at(-1)
        await each.join_all("abc")
        each.at(0)
        seen[tuple(place.ahead for place in await each.ask_all(RoomAsk.LOOK, "abc"))] += 1
    assert set(seen) == set(permutations(range(3)))
    assert all(18 <= count <= 82 for count in seen.values()), seen


async def a_priority_comes_before_all_without(room: Room) -> None:
    room.at(-1)
    await room.join_all(range(5))
    room.at(1)
    late = await room.join("guest", priority=3)
    later = await room.join("friend", priority=9)
    assert (late.ahead, later.ahead) == (0, 0)
    assert (await room.look("guest")).ahead == 1
    assert (await room.look("guest")).number == 6


async def a_priority_that_comes_later_keeps_lot_and_number(room: Room) -> None:
    room.at(-1)
    await room.join_all(range(9))
    before = await room.look(4)
    upgraded = await room.join(4, priority=2)
    assert (upgraded.number, upgraded.is_early, upgraded.is_new) == (before.number, True, False)
    assert (await room.join(4, priority=0)).priority == 2
    room.at(0)
    assert (await room.look(4)).ahead == 0


async def who_leaves_is_gone_and_comes_back_at_the_end(room: Room) -> None:
    room.at(1)
    await room.join_all("abc")
    await room.ask(RoomAsk.LEAVE, "a")
    await room.ask(RoomAsk.LEAVE, "a")
    assert (await room.look("a")).status is RoomStatus.NONE
    assert (await room.look("b")).ahead == 0
    assert (await room.join("a")).ahead == 2


async def a_room_that_has_given_out_its_numbers_is_full(room: Room) -> None:
    room.at(1)
    await room.join("a")
    await room.clock.do("HSET", "sluice:room:7", "last", (1 << 24) - 2)
    assert (await room.join("b")).number == (1 << 24) - 1
    assert (await room.join("c")).status is RoomStatus.FULL
    assert (await room.join("b")).status is RoomStatus.WAITING


# --- turns ----------------------------------------------------------------------------------------


async def a_turn_begins_when_its_buyer_is_told(room: Room) -> None:
    room.at(1)
    await room.join("a")
    assert await room.let_in(1) == [digest("a")]
    room.later(CALL_MS / 1000 - 1)
    told = await room.look("a")
    assert (told.status, told.left_ms) == (RoomStatus.ADMITTED, TURN_MS)
    room.later(5)
    again = await room.join("a")
    assert (again.status, again.left_ms) == (RoomStatus.ADMITTED, TURN_MS - 5000)


async def a_turn_that_was_not_used_is_over(room: Room) -> None:
    room.at(1)
    await room.join_all("abc")
    await room.let_in(1)
    await room.look("a")
    room.later(TURN_MS / 1000)
    assert (await room.look("a")).status is RoomStatus.NONE
    assert (await room.join("a")).ahead == 2


async def who_missed_the_call_keeps_a_place_at_the_head(room: Room) -> None:
    room.at(1)
    await room.join_all("abcd")
    await room.let_in(1)
    room.later(CALL_MS / 1000 + 1)
    await room.admit(0.001)
    assert (await room.cells.numbers(7)).active == 0
    room.later(GRACE_MS / 1000 - 2)
    back = await room.look("a")
    assert (back.status, back.ahead, back.number) == (RoomStatus.WAITING, 0, 1)
    assert (await room.let_in(1)) == [digest("a")]


async def who_stays_away_loses_the_place(room: Room) -> None:
    room.at(1)
    await room.join_all("abcd")
    await room.let_in(1)
    room.later((CALL_MS + GRACE_MS) / 1000)
    assert (await room.look("a")).status is RoomStatus.NONE


async def nobody_is_called_for_ever(room: Room) -> None:
    room.at(1)
    await room.join("a")
    for _ in range(3):
        assert await room.let_in(1) == [digest("a")]
        room.later(CALL_MS / 1000 + 1)
        await room.admit(0.001)
        back = await room.look("a")
    assert back.status is RoomStatus.NONE


async def who_got_a_pass_counts_as_in_until_it_ends(room: Room) -> None:
    room.at(1)
    await room.join_all("ab")
    await room.let_in(1)
    await room.look("a")
    room.later(TURN_MS / 1000 - 1)
    await room.ask(RoomAsk.ENTER, "a", pass_ms=30_000)
    room.later(29)
    assert (await room.admit(active_max=1)).blocked is Blocked.ACTIVE
    room.later(2)
    assert (await room.admit(active_max=1)).digests == [digest("b")]


async def who_has_bought_makes_room_and_may_buy_on(room: Room) -> None:
    room.at(1)
    await room.join_all("ab")
    await room.let_in(1)
    await room.look("a")
    await room.ask(RoomAsk.BOUGHT, "a")
    await room.ask(RoomAsk.ENTER, "a", pass_ms=30_000)
    room.later(1)
    assert (await room.admit(active_max=1)).digests == [digest("b")]
    assert (await room.look("a")).status is RoomStatus.ADMITTED
    room.later(TURN_MS / 1000)
    await room.admit(0.001)
    assert (await room.look("a")).status is RoomStatus.NONE


async def a_room_that_is_full_takes_nobody_else(room: Room) -> None:
    room.cells = RoomCells(room.clock, waiting_max=2)  # type: ignore[arg-type]
    room.at(1)
    places = await room.join_all("abca")
    full = RoomStatus.FULL
    assert [place.status is full for place in places] == [False, False, True, False]
    assert (await room.join("c")).status is full
    await room.ask(RoomAsk.LEAVE, "a")
    assert (await room.join("c")).ahead == 1


async def who_leaves_in_their_turn_makes_room(room: Room) -> None:
    room.at(1)
    await room.join_all("ab")
    await room.let_in(1)
    await room.ask(RoomAsk.LEAVE, "a")
    room.later(1)
    assert (await room.admit(active_max=1)).digests == [digest("b")]


# --- the pace -------------------------------------------------------------------------------------


async def nobody_comes_in_before_the_sale_is_open(room: Room) -> None:
    room.at(-30)
    await room.join_all(range(100))
    for _ in range(60):
        room.later(0.5)
        shut = await room.admit(50, is_open=False)
        assert (shut.digests, shut.blocked) == ([], Blocked.CLOSED)
    room.later(0.02)
    assert len((await room.admit(50)).digests) <= 2


async def the_pace_is_kept_to_the_person(room: Room) -> None:
    room.at(0)
    await room.join_all(range(1000))
    total = len((await room.admit(7.3)).digests)
    for step in range(1, 241):
        room.later((0.05, 0.2, 0.41, 0.999)[step % 4])
        total += len((await room.admit(7.3)).digests)
        passed_s = (room.clock.ms - START_MS) / 1000
        assert total == floor(1 + 7.3 * passed_s + 1e-4), (step, total, passed_s)


async def a_stall_is_not_made_good_by_a_burst(room: Room) -> None:
    room.at(0)
    await room.join_all(range(1000))
    await room.admit(20)
    room.later(60)
    assert len((await room.admit(20)).digests) == 21
    room.later(0.5)
    assert len((await room.admit(20)).digests) == 10


async def no_more_are_in_than_may_be(room: Room) -> None:
    room.at(1)
    await room.join_all(range(100))
    await room.admit(active_max=8)
    for _ in range(10):
        room.later(0.5)
        assert (await room.admit(active_max=8)).active == 8
    await room.ask_all(RoomAsk.LOOK, range(3))
    await room.ask_all(RoomAsk.BOUGHT, range(3))
    room.later(1)
    admitted = await room.admit(active_max=8)
    assert (len(admitted.digests), admitted.active) == (3, 8)
    assert (await room.admit(active_max=8)).blocked is Blocked.ACTIVE


async def no_more_are_in_than_the_stock_can_serve(room: Room) -> None:
    room.at(1)
    await room.join_all(range(100))
    await room.admit(stock_max=6, active_max=50)
    room.later(1)
    assert (await room.admit(stock_max=6, active_max=50)).active == 6
    room.later(1)
    fewer = await room.admit(stock_max=2, active_max=50)
    assert (fewer.digests, fewer.blocked) == ([], Blocked.STOCK)
    room.later(1)
    assert (await room.admit(stock_max=0)).digests == []


async def who_has_lost_the_lease_lets_nobody_in(room: Room) -> None:
    room.at(1)
    await room.join_all("abc")
    assert await room.cells.lead("another")
    assert not await room.cells.lead(OWNER)
    let = Let(1000.0, None, None, True, "fixed")
    assert await room.cells.admit(7, OWNER, let) is None
    assert (await room.cells.numbers(7)).active == 0
    await room.cells.resign("another")
    assert await room.cells.lead(OWNER)


Check = Callable[[Room], Awaitable[None]]
CHECKS: list[Check] = [
    a_place_is_given_once,
    those_after_the_start_stand_in_order_of_coming,
    nothing_is_told_of_a_draw_before_the_start,
    what_is_told_in_passing_says_nothing_of_the_start,
    those_before_the_start_come_before_those_after,
    nobody_draws_twice,
    the_draw_is_fair,
    a_priority_comes_before_all_without,
    a_priority_that_comes_later_keeps_lot_and_number,
    who_leaves_is_gone_and_comes_back_at_the_end,
    a_room_that_has_given_out_its_numbers_is_full,
    a_turn_begins_when_its_buyer_is_told,
    a_turn_that_was_not_used_is_over,
    who_missed_the_call_keeps_a_place_at_the_head,
    who_stays_away_loses_the_place,
    nobody_is_called_for_ever,
    who_got_a_pass_counts_as_in_until_it_ends,
    who_has_bought_makes_room_and_may_buy_on,
    who_leaves_in_their_turn_makes_room,
    a_room_that_is_full_takes_nobody_else,
    nobody_comes_in_before_the_sale_is_open,
    the_pace_is_kept_to_the_person,
    a_stall_is_not_made_good_by_a_burst,
    no_more_are_in_than_may_be,
    no_more_are_in_than_the_stock_can_serve,
    who_has_lost_the_lease_lets_nobody_in,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_in_a_waiting_room(check: Check, room: Room) -> None:
    await check(room)


PLANTED: list[tuple[str, str, Check]] = [
    ("if place then\n    place = tonumber(place)", "if false then", a_place_is_given_once),
    ("room.last, room.grown = room.last + 1,", "room.grown =", a_place_is_given_once),
    (
        "room.begun and redis.call('ZRANK', room.line, digest) or 0",
        "redis.call('ZRANK', room.line, digest)",
        nothing_is_told_of_a_draw_before_the_start,
    ),
    ("class = class - 1", "class = class", those_before_the_start_come_before_those_after),
    (
        "redis.sha1hex(room.seed .. digest)",
        "redis.sha1hex(room.last .. digest)",
        nobody_draws_twice,
    ),
    ("lot * NUMBERS + number", "number", the_draw_is_fair),
    ("(PRIORITY_MAX - priority) * 2 + 1, 0", "1, 0", a_priority_comes_before_all_without),
    (
        "if ask == JOIN and priority > had",
        "if false",
        a_priority_that_comes_later_keeps_lot_and_number,
    ),
    (
        "if ask == JOIN and priority > had",
        "if ask == JOIN",
        a_priority_that_comes_later_keeps_lot_and_number,
    ),
    (
        "room.last + 1 >= NUMBERS or",
        "",
        a_room_that_has_given_out_its_numbers_is_full,
    ),
    (
        "redis.call('ZCARD', room.line) >= tonumber(ARGV[5])",
        "false",
        a_room_that_is_full_takes_nobody_else,
    ),
    ("till, come = now + turn_ms, 1", "come = 1", a_turn_begins_when_its_buyer_is_told),
    ("if come == 0 and till > 0 and", "if", a_turn_that_was_not_used_is_over),
    (
        "if come == 0 and till > 0 and",
        "if false and",
        who_missed_the_call_keeps_a_place_at_the_head,
    ),
    ("now < till + grace_ms", "true", who_stays_away_loses_the_place),
    ("or calls >= tonumber(ARGV[8])", "", nobody_is_called_for_ever),
    (
        "redis.call('ZADD', room.active, 'XX', 'GT', now + pass_ms, digest)",
        "",
        who_got_a_pass_counts_as_in_until_it_ends,
    ),
    ("elseif ask == BOUGHT and", "elseif false and", who_has_bought_makes_room_and_may_buy_on),
    ("'XX', 'GT', now + pass_ms", "now + pass_ms", who_has_bought_makes_room_and_may_buy_on),
    (
        "redis.call('ZREM', room.active, digest)\n  redis",
        "redis",
        who_leaves_in_their_turn_makes_room,
    ),
    (
        "if not is_open then room, blocked = 0, CLOSED end",
        "",
        nobody_comes_in_before_the_sale_is_open,
    ),
    (
        "if not is_open then credit = math.min(credit, 1) end",
        "",
        nobody_comes_in_before_the_sale_is_open,
    ),
    ("string.format('%.6f', credit)", "math.floor(credit)", the_pace_is_kept_to_the_person),
    (
        "rate * BURST_MS / 1000 + 1)",
        "1e9)",
        a_stall_is_not_made_good_by_a_burst,
    ),
    ("bound(tonumber(ARGV[3]), ACTIVE)", "", no_more_are_in_than_may_be),
    ("bound(tonumber(ARGV[4]), STOCK)", "", no_more_are_in_than_the_stock_can_serve),
    ("~= ARGV[1] then return {} end", "~= ARGV[1] then end", who_has_lost_the_lease_lets_nobody_in),
]


@pytest.mark.parametrize(("guard", "bug", "check"), PLANTED)
async def test_a_guard_that_is_taken_out_is_missed(
    guard: str, bug: str, check: Check, server: CacheServer
) -> None:
    broken = Room(server, bugs=[(guard, bug)])
    with pytest.raises((AssertionError, CacheUnavailable)):
        await check(broken)


def test_every_planted_bug_is_planted() -> None:
    from sluice.cache.scripts import script

    text = script("room").text + script("admit").text
    assert [guard for guard, _, _ in PLANTED if guard not in text] == []


# --- whatever happens -----------------------------------------------------------------------------

_NAMES = st.integers(0, 11)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(RoomAsk)), _NAMES, st.sampled_from([0, 0, 0, 2])),
        st.tuples(st.just("admit"), st.integers(0, 6), st.integers(0, 6)),
        st.tuples(st.just("later"), st.integers(0, 25_000), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=_STEPS)
def test_whatever_happens_the_books_of_a_room_are_in_order(valkey: Valkey, steps: list) -> None:  # type: ignore[type-arg]
    asyncio.run(_in_order(valkey, steps))


async def _in_order(valkey: Valkey, steps: list) -> None:  # type: ignore[type-arg]
    server = CacheServer.from_url(valkey.url)
    try:
        await server.do("FLUSHALL")
        room = Room(server)
        room.at(-20)
        for what, one, two in steps:
            if what == "later":
                room.later(one / 1000)
            elif what == "admit":
                is_open = room.clock.ms >= START_MS
                before = (await room.cells.numbers(7)).active
                admitted = await room.admit(3.0, active_max=one, stock_max=two, is_open=is_open)
                assert len(admitted.digests) <= 4
                assert not admitted.digests or admitted.active <= min(one, two)
                assert admitted.active <= max(before, min(one, two))
            else:
                place = await room.ask(what, one, two, 5_000)
                assert not (what is RoomAsk.JOIN and place.status is RoomStatus.NONE)
                assert not (what is RoomAsk.LEAVE and place.status is not RoomStatus.NONE)
            await _books(room, server)
    finally:
        await server.close()


async def _books(room: Room, server: CacheServer) -> None:
    """Whom the line holds has no turn, whoever is in has one, and everybody stands at one place."""
    line = await server.do("ZRANGE", "sluice:room:7:line", 0, -1)
    active = set(await server.do("ZRANGE", "sluice:room:7:active", 0, -1))
    away = set(await server.do("ZRANGE", "sluice:room:7:away", 0, -1))
    turns = set(await server.do("HKEYS", "sluice:room:7:turn"))
    assert not active & away
    assert away <= turns
    assert not away & set(line)
    places = [place for place in await room.ask_all(RoomAsk.LEAVE, []) if place]
    assert places == []
    if room.clock.ms >= START_MS:
        for at, each in enumerate(line):
            [place] = await room.cells.ask([RoomRequest(RoomAsk.LOOK, 7, START_MS, each)])
            assert (place.status, place.ahead) == (RoomStatus.WAITING, at)


# --- many processes -------------------------------------------------------------------------------

_RACER = """
import asyncio, json, sys, time
from tests.contract.rooms import digest
from sluice.cache.server import CacheServer
from sluice.cache.waiting_room import RoomCells
from sluice.domain.errors import CacheUnavailable
from sluice.domain.waiting_room import RoomAsk, RoomRequest

async def race(url, seed):
    server = CacheServer.from_url(url)
    cells, numbers = RoomCells(server), {}
    names = [(n * 7 + seed * 31) % 200 for n in range(200)]
    await server.do("INCR", "racers")
    while int(await server.do("GET", "racers")) < 4:
        await asyncio.sleep(0.005)
    async def part(names):
        while True:
            try:
                asked = [RoomRequest(RoomAsk.JOIN, 7, 0, digest(n)) for n in names]
                places = await cells.ask(asked)
                break
            except CacheUnavailable:  # a busy machine
                continue
        numbers.update({n: (p.number, p.is_new) for n, p in zip(names, places)})
    await asyncio.gather(*(part(names[at:at + 5]) for at in range(0, 200, 5)))
    await server.close()
    print(json.dumps(numbers))

asyncio.run(race(sys.argv[1], int(sys.argv[2])))
"""


async def test_processes_that_race_give_every_buyer_one_place(
    valkey: Valkey, server: CacheServer
) -> None:
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RACER, valkey.url, str(seed)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": patience.START},
        )
        for seed in range(4)
    ]
    async with asyncio.timeout(60):
        found = [json.loads((await racer.communicate())[0]) for racer in racers]
    numbers = {name: number for name, (number, _) in found[0].items()}
    assert sorted(numbers.values()) == list(range(1, 201))
    assert all({n: number for n, (number, _) in each.items()} == numbers for each in found)
    assert sum(is_new for each in found for _, is_new in each.values()) <= 200
    assert await server.do("ZCARD", "sluice:room:7:line") == 200


async def test_another_pacer_takes_over_within_seconds(server: CacheServer) -> None:
    cells = RoomCells(server)
    assert await cells.lead("first")
    assert await cells.lead("first")
    await until_it_is(lambda: cells.lead("second"))
    assert not await cells.lead("first")


# --- what is told ---------------------------------------------------------------------------------


async def test_the_time_told_holds_at_a_steady_pace(room: Room) -> None:
    """Each is let in within the range that they were told, from the first second on."""
    room.at(0)
    await room.join_all(range(600))
    told: dict[bytes, list[tuple[float, tuple[int, int]]]] = {}
    let_in: dict[bytes, float] = {}
    for step in range(240):
        for each in (await room.admit(10.0)).digests:
            let_in[each] = (room.clock.ms - START_MS) / 1000
        if step % 20 == 0:
            for name, place in enumerate(await room.ask_all(RoomAsk.LOOK, range(600))):
                eta = eta_seconds(place)
                if place.status is RoomStatus.WAITING and eta is not None:
                    now_s = (room.clock.ms - START_MS) / 1000
                    told.setdefault(digest(name), []).append((now_s, eta))
        room.later(0.2)
    checked = 0
    for each, at in let_in.items():
        for when, (low, high) in told.get(each, []):
            assert low - 1 <= at - when <= high
            checked += 1
    assert checked > 2000


async def test_nobody_is_told_a_time_while_nobody_is_let_in(room: Room) -> None:
    room.at(0)
    await room.join_all(range(10))
    assert eta_seconds(await room.look(3)) is None
    await room.admit(10.0, stock_max=0)
    assert eta_seconds(await room.look(3)) is None


async def test_whoever_asks_when_they_are_told_to_is_never_late(room: Room) -> None:
    room.at(-50)
    early = await room.join("a")
    assert 1000 <= poll_after_ms(early, None, 50_000, 0.0) <= 30_000
    assert poll_after_ms(early, None, 4_000, 0.5) >= 4_000
    room.at(0)
    await room.join_all(range(5000))
    await room.admit(10.0)
    last = await room.look(4999)
    assert poll_after_ms(last, eta_seconds(last), 0, 1.0) <= 30_000
    first = await room.look(1)
    assert poll_after_ms(first, eta_seconds(first), 0, 0.0) < 2_000


async def test_a_room_without_a_server_says_so() -> None:
    server = CacheServer.from_url("unix:///nobody/there")
    cells = RoomCells(server)
    with pytest.raises(CacheUnavailable):
        await cells.ask([RoomRequest(RoomAsk.LOOK, 7, 0, digest("a"))])
    await server.close()


async def test_a_room_ends_an_hour_after_its_sale(room: Room, server: CacheServer) -> None:
    room.at(0)
    await room.join("a")
    assert await room.cells.rooms() == [7]
    assert await server.do("TTL", "sluice:room:7:line") == -1
    await room.cells.end(7)
    assert await room.cells.rooms() == []
    assert 0 < await server.do("TTL", "sluice:room:7:line") <= 3600


async def test_what_the_load_asks_for_is_known_for_a_while(room: Room, server: CacheServer) -> None:
    await room.cells.engage([7, 9])
    assert await room.cells.engaged() == {7, 9}
    assert 0 < await server.do("TTL", "sluice:rooms:engaged") <= 10
    await room.cells.engage([])
    assert await room.cells.engaged() == frozenset()
