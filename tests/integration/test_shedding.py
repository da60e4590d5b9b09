"""Who is turned away at the door, in what order, and with what answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from litestar.routes import HTTPRoute
from tests.polling import until
from tests.support.api import framework
from tests.support.granian import connection, serving

from sluice.admission.overload import BOUND_MIN, STANDING_S, STEP_S, Work
from sluice.web.api.app import works_of
from sluice.web.lane import Lane
from sluice.web.metrics import Counts
from sluice.web.overload import DONE, SHEDS, Door, Letters, WorkTable, sheds
from sluice.web.room_lane import RoomLane
from sluice.web.server import IN_HAND_MAX, HttpWorker

TABLE = WorkTable(
    [
        ("GET", "/v1/orders", Work.OWN),
        ("POST", "/v1/orders/{order:str}/cancel", Work.OWN),
        ("GET", "/v1/sales", Work.BROWSE),
        ("POST", "/v1/login", Work.ENTER),
        ("GET", "/livez", Work.ALWAYS),
    ]
)


TARGET_S = 0.025


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def a_door(clock: Clock | None = None, letters: Letters | None = None) -> Door:
    more = {} if clock is None else {"clock": clock}
    return Door(
        Counts(),
        works=TABLE,
        gate_wait_s=lambda: 0.0,
        target_s=TARGET_S,
        letters=letters,
        **more,
    )


class Socket:
    def __init__(self) -> None:
        self.closed_with = 0

    def close(self, status: int) -> None:
        self.closed_with = status


async def test_a_live_connection_that_is_turned_away_is_counted() -> None:
    counts, socket = Counts(), Socket()
    door = Door(counts, works=TABLE, gate_wait_s=lambda: 0.0, target_s=TARGET_S)
    await door.hang_up(socket, Work.BROWSE)
    assert (socket.closed_with, counts.shed[Work.BROWSE]) == (503, 1)


# --- what is declared -----------------------------------------------------------------------------


def test_every_route_of_the_api_says_what_kind_of_work_it_is(tmp_path: Path) -> None:
    for route in framework(tmp_path).routes:
        if isinstance(route, HTTPRoute) and route.path.startswith("/v1"):
            for handler in route.route_handlers:
                if handler.http_methods != {"OPTIONS"}:
                    assert isinstance(handler.opt.get(SHEDS), Work), route.path
    for name in ("buy", "issue_pass", "challenge", "order", "sale", "callback"):
        assert isinstance(getattr(Lane, name).work, Work), name
    for name in ("join", "show", "leave"):
        assert isinstance(getattr(RoomLane, name).work, Work), name


def test_orders_go_last_and_operators_never(tmp_path: Path) -> None:
    works = works_of(framework(tmp_path))
    assert works.of("POST", "/v1/orders/7/payment") is Work.OWN
    assert works.of("POST", "/v1/orders/7/cancel") is Work.OWN
    assert works.of("GET", "/v1/orders") is Work.OWN
    assert works.of("POST", "/v1/sales/1/items/2/waitlist") is Work.BUY
    assert works.of("POST", "/v1/login") is Work.ENTER
    assert works.of("HEAD", "/v1/sales") is Work.BROWSE
    assert works.of("GET", "/no/such/page") is Work.BROWSE
    for path in ("/livez", "/readyz", "/metrics", "/v1/admin/audit", "/v1/admin/sales/7/live"):
        assert works.of("GET", path) is Work.ALWAYS, path
    assert works.of("POST", "/v1/admin/sales/7/pause") is Work.ALWAYS
    assert Lane.order.work is Lane.callback.work is Work.OWN  # type: ignore[attr-defined]


# --- when -----------------------------------------------------------------------------------------


def test_while_all_is_well_nobody_is_turned_away() -> None:
    clock = Clock()
    door = a_door(clock)
    assert not door.shedding
    assert clock() <= door.late_s, "who comes in time does not even ask"
    assert not any(door.turns_away(work) for work in Work for _ in range(1000))


def test_where_the_event_loop_is_stuck_the_requests_themselves_find_out() -> None:
    clock = Clock()
    door = a_door(clock)
    turned_away = dict.fromkeys(Work, 0)
    for _ in range(100_000):  # everything that came runs in one turn of the loop, 100 µs each
        clock.now += 0.0001
        for work in Work:
            if clock() > door.late_s or door.shedding:
                turned_away[work] += door.turns_away(work)
        if door.shedding:
            break
    assert clock() < 10.0 + STEP_S + TARGET_S + STANDING_S + 2 * STEP_S, "while it is stuck"
    for _ in range(20_000):
        clock.now += 0.0001
        for work in Work:
            turned_away[work] += door.turns_away(work)
    browse, enter, buy, own, always = (turned_away[work] for work in Work)
    assert browse >= enter >= buy >= own > 0, "after two seconds of it even orders"
    assert always == 0


def test_a_part_is_shed_evenly() -> None:
    door = a_door(Clock())
    door._shares = (0.25,) * 5
    shed = [door.turns_away(Work.BROWSE) for _ in range(100)]
    assert sum(shed) == 25
    assert shed.index(True) <= 4


async def test_purchases_that_wait_for_the_gate_are_bounded_and_counted_until_they_end() -> None:
    """Also those that break. Whoever looks or pays is let in meanwhile."""
    clock = Clock()
    door = Door(
        Counts(), works=TABLE, gate_wait_s=lambda: TARGET_S * 9, target_s=TARGET_S, clock=clock
    )
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def buys() -> None:
        await gate

    async def breaks() -> None:
        await gate
        raise ValueError

    while not door.shedding:
        clock.now += STEP_S
        door._look(clock.now, 0.0)
    under_way = []
    for number in range(1000):
        if not door.turns_away(Work.BUY):
            answer = door.let_in(Work.BUY, buys() if number % 2 else breaks())
            under_way.append(asyncio.ensure_future(answer))
            await asyncio.sleep(0)
    assert len(under_way) == BOUND_MIN
    door._look(clock.now, 0.0)
    assert [door.turns_away(work) for work in Work] == [False, True, True, False, False]
    gate.set_result(None)
    await asyncio.gather(*under_way, return_exceptions=True)
    door._look(clock.now, 0.0)
    assert not door.turns_away(Work.BUY)


async def test_a_loop_that_is_kept_from_its_work_sheds_and_recovers() -> None:
    door = a_door()
    running = asyncio.ensure_future(door.run())
    loop = asyncio.get_running_loop()

    def hog() -> None:
        """Whatever keeps the loop busy for longer than requests may wait, for many."""
        door._counts.answers["/ 200"] = door._counts.answers.get("/ 200", 0) + 100
        until_s = loop.time() + TARGET_S * 4
        while loop.time() < until_s:
            pass
        if not door.shedding:
            loop.call_soon(hog)

    loop.call_soon(hog)
    await until(lambda: door.shedding)
    await until(lambda: not door.shedding)
    running.cancel()


def test_few_requests_on_a_busy_machine_are_no_crowd() -> None:
    clock = Clock()
    door = a_door(clock)
    for _ in range(200):  # one at a time, and each waits for 80 ms
        clock.now += 0.08
        door._look(clock.now, 0.08)
        door._counts.answers["/ 200"] = door._counts.answers.get("/ 200", 0) + 1
        assert not door.shedding


def test_without_a_target_nobody_is_ever_turned_away() -> None:
    clock = Clock()
    door = Door(
        Counts(),
        works=TABLE,
        gate_wait_s=lambda: 9.0,
        target_s=float("inf"),
        clock=clock,
    )
    for _ in range(1000):
        clock.now += 0.02
        door._counts.answers["/ 200"] = door._counts.answers.get("/ 200", 0) + 100
        door._look(clock.now, 5.0)
        assert not door.shedding
        assert clock() <= door.late_s


# --- what is said ---------------------------------------------------------------------------------


class OneLane:
    @sheds(Work.BUY)
    async def buy(self, _scope: Any, proto: Any) -> None:
        body = await proto()
        proto.response_bytes(202, [("content-type", "application/json")], body)

    def find(self, method: str, path: str) -> Any:
        return self.buy if method == "POST" and path.startswith("/v1/buy/") else None


class OneAdapter:
    in_hand = 0

    async def __call__(self, _scope: Any, proto: Any) -> None:
        proto.response_bytes(200, [], b"{}")


class NoPages:
    def find(self, _path: str) -> bool:
        return False


async def nothing() -> None: ...


def a_worker(door: Door) -> HttpWorker:
    lane: Any = OneLane()
    adapter: Any = OneAdapter()
    serving: Any = NoPages()
    stub: Any = None
    return HttpWorker(
        lane=lane,
        adapter=adapter,
        serving=serving,
        board=stub,
        live=stub,
        door=door,
        prepare=nothing,
        loops=[],
        close=nothing,
    )


def shed(door: Door, *works: Work) -> None:
    """As if the queue had been standing for long; nobody looks at it in this test."""
    door.late_s = float("inf")
    door.shedding = bool(works)
    door._shares = tuple(1.0 if work in works else 0.0 for work in Work)


async def ask(
    reader: Any, writer: Any, head: str, body: bytes = b"", request_id: str = "any-of-ours"
) -> tuple[int, Any, Any]:
    more = f"X-Request-Id: {request_id}\r\n"
    more += f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{head} HTTP/1.1\r\nHost: sluice.test\r\n{more}\r\n".encode() + body)
    raw = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    first, *lines = raw.strip().split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    said = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 10)
    return int(first.split()[1]), headers, said


@pytest.mark.parametrize("size", [14, 60_000])
async def test_whoever_is_turned_away_keeps_their_connection(size: int) -> None:
    door = a_door()
    async with serving(a_worker(door)) as url, connection(url) as (reader, writer):
        body = b"x" * size
        shed(door)
        assert (await ask(reader, writer, "POST /v1/buy/secret", body))[2] == body
        for _ in range(3):
            shed(door, Work.BUY)
            status, headers, said = await ask(reader, writer, "POST /v1/buy/secret", body)
            assert (status, headers["content-type"]) == (503, "application/problem+json")
            assert 1 <= int(headers["retry-after"]) <= 2
            assert headers["cache-control"] == "no-store"
            problem = json.loads(said)
            assert (problem["code"], problem["status"]) == ("overloaded", 503)
            assert problem["request_id"] == headers["x-request-id"]
            assert b"secret" not in said
            shed(door)
            assert (await ask(reader, writer, "POST /v1/buy/secret", body))[2] == body
        assert door._counts.shed[Work.BUY] == 3


async def test_whoever_sends_the_body_after_the_head_is_answered_all_the_same() -> None:
    door = a_door()
    async with serving(a_worker(door)) as url, connection(url) as (reader, writer):
        shed(door, Work.BUY)
        writer.write(b"POST /v1/buy/secret HTTP/1.1\r\nHost: s\r\nContent-Length: 14\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")
        await reader.readuntil(b"}")
        writer.write(b'{"quantity":1}')
        shed(door)
        assert (await ask(reader, writer, "POST /v1/buy/secret", b"x"))[2] == b"x"


async def test_operators_and_probes_are_let_in_whatever_happens() -> None:
    door = a_door()
    async with serving(a_worker(door)) as url, connection(url) as (reader, writer):
        shed(door, Work.BROWSE, Work.ENTER, Work.BUY, Work.OWN)
        assert (await ask(reader, writer, "GET /livez"))[0] == 200
        assert (await ask(reader, writer, "GET /v1/sales"))[0] == 503
        assert (await ask(reader, writer, "GET /v1/orders"))[0] == 503
        status, headers, said = await ask(
            reader, writer, "GET /v1/orders", request_id="my-own-name"
        )
        assert (status, headers["x-request-id"]) == (503, "my-own-name")
        assert json.loads(said)["instance"] == "/v1/orders"


async def test_what_is_never_shed_is_bounded_all_the_same() -> None:
    door = a_door()
    worker = a_worker(door)
    shed(door)
    async with serving(worker) as url, connection(url) as (reader, writer):
        crowd: Any = worker._adapter
        crowd.in_hand = IN_HAND_MAX
        assert (await ask(reader, writer, "GET /livez"))[0] == 503
        crowd.in_hand = IN_HAND_MAX - 1
        assert (await ask(reader, writer, "GET /livez"))[0] == 200


async def test_a_process_writes_to_itself_to_learn_how_long_one_waits() -> None:
    door = a_door()

    def target(scope: Any, proto: Any) -> Any:
        return worker(scope, proto)

    async with serving(target) as url:
        letters = door.letters = Letters(url)
        worker = a_worker(door)
        shed(door)
        running = asyncio.ensure_future(letters.run())
        await until(lambda: letters._took_s > 0)
        assert letters.wait_s(letters._clock()) > 0
        async with connection(url) as (reader, writer):
            shed(door, Work.BROWSE)
            assert (await ask(reader, writer, "GET /.queue/guessed"))[0] == 503, "as any page"
        running.cancel()


def test_a_letter_on_its_way_tells_how_long_it_has_taken_so_far() -> None:
    clock = Clock()
    letters = Letters("http://127.0.0.1:1", clock)
    assert letters.wait_s(clock()) == 0.0
    letters._sent_s = clock()
    clock.now += 0.3
    assert letters.wait_s(clock()) == pytest.approx(0.3)
    letters.arrived()
    clock.now += 5
    assert letters.wait_s(clock()) == pytest.approx(0.3), "until the next one"


def test_what_was_answered_at_once_has_ended() -> None:
    async def awaited() -> None:
        await DONE
        await DONE

    asyncio.run(awaited())
