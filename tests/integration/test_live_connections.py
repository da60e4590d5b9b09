"""Live connections behind a real Granian: both ways to carry one; bad, slow and dead clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from tests.polling import until
from tests.support.live import BINARY, CLOSE, PING, PONG, TEXT, Closed, LiveClient, Refused
from tests.support.live_shop import LiveShop, live_shop

from sluice.accounts.identity import buyer_digest
from sluice.accounts.tokens import token_digest
from sluice.domain.order import OrderState
from sluice.web.live import hub as hub_module
from sluice.web.live import link as link_module
from sluice.web.live.descriptors import Descriptors, Endpoint, endpoint
from sluice.web.live.frames import MESSAGE_MAX
from sluice.web.live.wires import BorrowedWire, GranianWire

NOT_SAID = 0
"""Granian's own WebSocket ends without a code."""
SESSION, OTHER_SESSION = "st_" + "A" * 43, "st_" + "B" * 43


@pytest.fixture
async def shop() -> AsyncIterator[LiveShop]:
    async with live_shop() as opened:
        yield opened


@pytest.fixture(params=["borrowed", "granian"])
async def either(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveShop]:
    """A shop whose connections are carried in one way or the other."""
    if request.param == "granian":
        monkeypatch.setattr(Descriptors, "borrow", _nothing)
    async with live_shop() as opened:
        yield opened
        wires = {type(link.wire) for link in opened.hub._links}
        carried = BorrowedWire if request.param == "borrowed" else GranianWire
        assert wires <= {carried}


async def _nothing(_self: Descriptors, _scope: Any) -> None:
    return None


def dropped(shop: LiveShop) -> int:
    return shop.counts.events.get("live_dropped", 0)


async def ending_of(client: LiveClient) -> int | None:
    return (await client.ending()).code


# --- whoever carries it ---------------------------------------------------------------------------


async def test_a_buyer_hears_of_their_orders_as_they_are_on_connecting(either: LiveShop) -> None:
    either.books.order(1, "mei", OrderState.PAID)
    either.books.order(2, "li", OrderState.PAID)
    client = await either.enter("mei")
    heard = await client.hear()
    assert (heard["type"], heard["data"]["id"]) == ("order.paid", "1")
    assert len(either.hub) == 1
    await client.close()
    await until(lambda: len(either.hub) == 0)


async def test_a_subscription_is_answered_with_the_present_state_and_then_with_changes(
    either: LiveShop,
) -> None:
    either.books.sale(7, "live", (1, "available", 9), (2, "low", 1))
    client = await either.enter("mei", "sale:7")
    assert [(await client.hear())["type"] for _ in range(3)] == [
        "sale.state",
        "item.state",
        "item.state",
    ]
    either.books.sale(7, "live", (1, "available", 9), (2, "held", 0))
    heard = await client.hear()
    assert heard["data"] == {
        "sale_id": "7",
        "id": "2",
        "state": "held",
        "stock": 50,
        "remaining_hint": 0,
    }
    client.say({"unsubscribe": "sale:7"})
    await until(lambda: not either.hub.sales)


async def test_a_sale_that_is_not_there_is_said_and_the_connection_goes_on(
    either: LiveShop,
) -> None:
    client = await either.enter("mei", "sale:404", "shop:1")
    told = [(await client.hear())["data"] for _ in range(2)]
    assert {each["topic"] for each in told} == {"sale:404", "shop:1"}
    assert {each["code"] for each in told} == {"not_found"}
    either.books.sale(7, "live")
    client.say({"subscribe": "sale:7"})
    assert (await client.hear())["type"] == "sale.state"


async def test_a_message_in_parts_is_one_message(either: LiveShop) -> None:
    client = await either.knock()
    client.send(TEXT, b'{"tok', final=False)
    client.send(PING, b"still there?")
    client.send(0, b'en": "m', final=False)
    client.send(0, b'ei"}')
    op, data = await client.frame()
    while op != TEXT:
        assert (op, data) == (PONG, b"still there?")
        op, data = await client.frame()
    assert b'"ready"' in data


async def test_a_message_that_is_too_long_ends_the_connection(either: LiveShop) -> None:
    client = await either.knock()
    client.send(TEXT, b'{"token": "' + b"x" * MESSAGE_MAX + b'"}')
    await client.ending()
    await until(lambda: len(either.hub) == 0)


async def test_whoever_says_nothing_is_sent_away(either: LiveShop) -> None:
    client = await either.knock()
    await until(lambda: all(link.wire is not None for link in either.hub._links))
    either.hub.look_after(monotonic() + hub_module.GREETING_S)
    await client.ending()
    await until(lambda: len(either.hub) == 0)


async def test_a_slow_reader_is_cut_off_and_holds_no_more_than_is_newest(
    either: LiveShop,
) -> None:
    client = await either.enter("mei")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    [link] = either.hub.known()
    await _fill(either, b"x" * 4096)
    assert link._waiting is not None
    assert len(link._waiting) <= link_module.WAITING_MAX
    assert link.wire is not None
    await until(lambda: link.wire is not None and link.wire.stuck_since is not None)
    _look_at_everybody(either, monotonic() + hub_module.STUCK_S + 1)
    assert dropped(either) == 1
    await until(lambda: len(either.hub) == 0)


async def _fill(shop: LiveShop, data: bytes) -> None:
    """Push one fact again and again until it has to wait."""
    [link] = shop.hub.known()
    frame = b"\x82\x7e" + len(data).to_bytes(2, "big") + data
    async with asyncio.timeout(20):
        stuck = 0
        while stuck < 20:  # the kernels on both sides take their time to be full
            stuck = stuck + 1 if link._waiting else 0
            link.push(("fact", 1), frame)
            await asyncio.sleep(0.005 if stuck else 0)
    for _ in range(1000):
        link.push(("fact", 1), frame)


def _look_at_everybody(shop: LiveShop, now: float) -> None:
    for link in shop.hub.known():
        shop.hub._look_at(link, now)


async def test_the_end_of_the_server_is_said(shop: LiveShop) -> None:
    known, unknown = await shop.enter("mei"), await shop.knock()
    ends = asyncio.gather(ending_of(known), ending_of(unknown))
    await shop.live.close()
    assert list(await ends) == [1001, 1001]
    with pytest.raises(Refused) as refused:
        await shop.knock()
    assert refused.value.status == 503


async def test_a_cookie_lets_in_without_a_word_and_only_from_our_own_page() -> None:
    async with live_shop() as shop:
        own = f"http://127.0.0.1:{shop.port}"
        told = {"Cookie": "sluice=mei", "Host": f"127.0.0.1:{shop.port}"}
        client = await shop.knock(**told, Origin=own)
        assert (await client.hear())["type"] == "ready"
        assert shop.hub.has(_digest("mei"))
        foreign = await shop.knock(**told, Origin="https://evil.example")
        foreign.say({"subscribe": "sale:1"})
        assert await ending_of(foreign) == 4401
        stale = await shop.knock(**{**told, "Cookie": "sluice=slow-bad"}, Origin=own)
        stale.say({"token": "li"})
        assert (await stale.hear())["type"] == "ready"
        shop.doors.away = True
        with pytest.raises(Refused) as refused:
            await shop.knock(**{**told, "Cookie": f"sluice={SESSION}"}, Origin=own)
        assert refused.value.status == 503


# --- sessions of ours -----------------------------------------------------------------------------


async def test_the_end_of_a_session_is_the_end_of_its_connections(either: LiveShop) -> None:
    mine, another = await either.enter(SESSION), await either.enter(OTHER_SESSION)
    either.live.sessions.revoked(token_digest(SESSION))
    assert await ending_of(mine) in (4401, NOT_SAID)
    another.say({"subscribe": "sale:1"})
    assert (await another.hear())["type"] == "error"  # it goes on
    assert list(either.live.sessions._links) == [token_digest(OTHER_SESSION)]


async def test_what_was_revoked_while_no_news_came_is_found_out(shop: LiveShop) -> None:
    mine, another = await shop.enter(SESSION), await shop.enter(OTHER_SESSION)
    shop.live.sessions.listening(False)
    shop.ended.add(token_digest(SESSION))
    shop.live.sessions.listening(True)
    assert await ending_of(mine) == 4401
    another.say({"subscribe": "sale:1"})
    assert (await another.hear())["type"] == "error"


async def test_a_session_that_ends_while_it_is_looked_up_does_not_stay(shop: LiveShop) -> None:
    shop.doors.may_answer.clear()
    client = await shop.knock()
    client.say({"token": SESSION})
    await shop.doors.asked.wait()
    shop.ended.add(token_digest(SESSION))
    shop.live.sessions.revoked(token_digest(SESSION))
    shop.doors.may_answer.set()
    assert await ending_of(client) == 4401


async def test_sessions_that_cannot_be_looked_up_are_to_come_back_later(shop: LiveShop) -> None:
    shop.doors.away = True
    client = await shop.knock()
    client.say({"token": SESSION})
    assert await ending_of(client) == 1013


# --- the borrowed descriptor ----------------------------------------------------------------------


async def test_everybody_hears_what_is_for_them_alone(shop: LiveShop) -> None:
    assert await everybody_hears_their_own(shop)
    assert len(shop.live._descriptors._borrowed) == len(shop.hub) == 40


async def everybody_hears_their_own(shop: LiveShop) -> bool:
    names = [f"buyer-{n}" for n in range(40)]
    for number, name in enumerate(names, 1):
        shop.books.order(number, name, OrderState.PAID)
    clients = await asyncio.gather(*(shop.enter(name) for name in names))
    heard = await asyncio.gather(*(client.hear() for client in clients))
    return [each["data"]["id"] for each in heard] == [str(n) for n in range(1, 41)]


async def test_a_descriptor_of_somebody_else_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: any connection will do."""

    def careless(self: Descriptors) -> None:
        wanted, self._wanted = self._wanted, {}
        assert self._peer_of is not None
        for number in range(3, 4000):
            if wanted and number not in self._borrowed and self._peer_of(number) is not None:
                _, found = wanted.pop(next(iter(wanted)))
                self._lend(number, found)
        for _, found in wanted.values():
            found.set_result(None)

    monkeypatch.setattr(Descriptors, "_walk", careless)
    monkeypatch.setattr("tests.support.live.WITHIN_S", 3)
    async with live_shop() as shop:
        right = False
        with contextlib.suppress(Closed, Refused, TimeoutError, OSError, AssertionError):
            right = await everybody_hears_their_own(shop)
        assert not right


async def test_descriptors_are_given_back(shop: LiveShop) -> None:
    for _ in range(3):
        clients = await asyncio.gather(*(shop.enter(f"buyer-{n}") for n in range(20)))
        for client in clients:
            client.abort()
        await until(lambda: len(shop.hub) == 0)
    assert not shop.live._descriptors._borrowed


async def test_a_connection_of_ours_to_the_clients_address_is_not_the_clients() -> None:
    """Same peer, another port of ours: it must not be taken."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        address = theirs.getsockname()
        with socket.create_connection(address) as ours:
            scope = _Scope(f"127.0.0.1:{address[1]}", "127.0.0.1:1")
            assert await Descriptors().borrow(scope) is None
            scope = _Scope(f"127.0.0.1:{address[1]}", f"127.0.0.1:{ours.getsockname()[1]}")
            assert await Descriptors().borrow(scope) == ours.fileno()


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_what_granian_decrypts_is_left_to_it(scheme: str) -> None:
    theirs = socket.create_server(("127.0.0.1", 0))
    with theirs, socket.create_connection(theirs.getsockname()) as ours:
        there, here = theirs.getsockname()[1], ours.getsockname()[1]
        scope = _Scope(f"127.0.0.1:{there}", f"127.0.0.1:{here}", scheme)
        assert await Descriptors().borrow(scope) is None


class _Scope:
    def __init__(self, client: str, server: str, scheme: str = "http") -> None:
        self.client = client
        self.server = server
        self.scheme = scheme


def test_addresses_are_read_in_every_spelling() -> None:
    assert endpoint("127.0.0.1:80") == Endpoint(b"\x7f\0\0\1", 80)
    assert endpoint("[::ffff:127.0.0.1]:80") == Endpoint(b"\x7f\0\0\1", 80)
    assert endpoint("[::1]:80") == Endpoint(bytes(15) + b"\1", 80)
    assert endpoint("unix:/run/x.sock") is None
    assert endpoint("") is None


# --- clients that misbehave -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"hello", 4400),
        (b"[]", 4400),
        (b"{}", 4400),
        (b'{"token": 1}', 4400),
        (b'{"token": "mei", "more": 1}', 4400),
        (b"\xff", 4400),
        (b'{"subscribe": "sale:1"}', 4401),
        (b'{"token": "bad"}', 4401),
        (b'{"token": "slow-bad"}', 4401),
    ],
)
async def test_a_bad_first_message_is_answered_by_why(
    shop: LiveShop, said: bytes, code: int
) -> None:
    client = await shop.knock()
    client.send(TEXT, said)
    assert await ending_of(client) == code
    await until(lambda: len(shop.hub) == 0)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xc1\x80\0\0\0\0", 1002),  # an extension
        (b"\x83\x80\0\0\0\0", 1002),  # no such kind
        (b"\x89\xfe\x01\x00", 1002),  # a ping of 256 bytes
        (b"\x09\x80\0\0\0\0", 1002),  # a ping in parts
        (b"\x80\x80\0\0\0\0", 1002),  # goes on with nothing
        (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),  # a message within a message
        (b"\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00", 1009),  # 4 GiB, it says
        (b"\x82\x80\0\0\0\0", 1003),
    ],
)
async def test_broken_frames_end_the_connection(shop: LiveShop, raw: bytes, code: int) -> None:
    client = await shop.enter("mei")
    client.writer.write(raw + bytes(4))
    assert await ending_of(client) == code


@pytest.mark.parametrize(
    ("said", "answered"),
    [(b"\x03\xe8bye", 1000), (b"", 1000), (b"\x0f\xa0", 4000), (b"\x03\xed", 1002), (b"x", 1002)],
)
async def test_a_client_that_says_goodbye_is_answered(
    shop: LiveShop, said: bytes, answered: int
) -> None:
    client = await shop.enter("mei")
    client.send(CLOSE, said)
    assert await ending_of(client) == answered
    await until(lambda: len(shop.hub) == 0)


async def test_a_client_that_talks_all_the_time_is_sent_away(shop: LiveShop) -> None:
    client = await shop.enter("mei")
    for _ in range(link_module.SAID_MAX + 1):
        client.say({"token": "mei"})
    assert await ending_of(client) == 1008


async def test_a_connection_is_one_buyers(shop: LiveShop) -> None:
    client = await shop.enter("mei")
    client.say({"token": "li"})
    assert await ending_of(client) == 1008


async def test_a_buyer_has_so_many_connections(shop: LiveShop) -> None:
    held = [await shop.enter("mei") for _ in range(hub_module.PER_BUYER_MAX)]
    more = await shop.knock()
    more.say({"token": "mei"})
    assert await ending_of(more) == 4429
    await held[0].close()
    await until(lambda: len(shop.hub) == hub_module.PER_BUYER_MAX - 1)
    await shop.enter("mei")


async def test_a_full_process_takes_no_more() -> None:
    async with live_shop(connections_max=2) as shop:
        held = [await shop.enter(name) for name in ("mei", "li")]
        with pytest.raises(Refused) as refused:
            await shop.knock()
        assert refused.value.status == 503
        await held[0].close()
        await until(lambda: len(shop.hub) == 1)
        await shop.enter("wang")


async def test_only_one_path_is_live(shop: LiveShop) -> None:
    with pytest.raises(Refused) as refused:
        await shop.knock("/v1/other")
    assert refused.value.status == 404


# --- clients that are gone, or slow ---------------------------------------------------------------


async def test_who_answers_no_ping_is_dropped_and_who_does_is_not(shop: LiveShop) -> None:
    dead, alive = await shop.enter("dead"), await shop.enter("alive")
    dead.answers_pings = False
    hearing = [asyncio.ensure_future(ending_of(client)) for client in (dead, alive)]
    [there] = shop.hub.of_buyer(_digest("alive"))
    before = there.last_heard
    _look_at_everybody(shop, monotonic())
    await until(lambda: alive.pings == dead.pings == 1)
    await until(lambda: there.last_heard > before)
    there.last_heard += hub_module.DEAD_S
    _look_at_everybody(shop, monotonic() + hub_module.DEAD_S)
    assert await hearing[0] is None
    assert not hearing[1].done()
    assert dropped(shop) == len(shop.hub) == shop.counts.live_connections == 1
    hearing[1].cancel()


async def test_pings_are_spread_over_their_round(shop: LiveShop) -> None:
    clients = [await shop.enter(f"buyer-{n}") for n in range(50)]
    hearing = [asyncio.ensure_future(ending_of(client)) for client in clients]
    shop.hub.look_after(monotonic())
    await until(lambda: sum(client.pings for client in clients) >= 2)
    await asyncio.sleep(0.05)
    assert sum(client.pings for client in clients) < 10
    for task in hearing:
        task.cancel()


async def test_a_reader_that_was_slow_hears_what_is_newest(shop: LiveShop) -> None:
    client = await shop.enter("mei")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await _fill(shop, b'{"type":"filler"}'.ljust(4096))
    [link] = shop.hub.known()
    shop.books.order(1, "mei", OrderState.AWAITING_PAYMENT)
    shop.orders.joined(link)
    await until(lambda: bool(link._waiting) and ("order", 1) in (link._waiting or {}))
    shop.books.order(1, "mei", OrderState.PAID)
    shop.orders.joined(link)
    await until(lambda: link.seen is not None and shop.books.reads >= 2)
    await until(lambda: b"order.paid" in (link._waiting or {}).get(("order", 1), b""))
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        op, data = await client.frame()
        while b"order." not in data:
            assert op == BINARY
            op, data = await client.frame()
    assert b"order.paid" in data
    await until(lambda: link._waiting is None)


async def test_a_slow_reader_of_too_many_things_is_dropped_at_once(shop: LiveShop) -> None:
    client = await shop.enter("mei")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await _fill(shop, b"x" * 4096)
    [link] = shop.hub.known()
    for key in range(link_module.WAITING_MAX + 1):
        link.push(("another", key), b"\x81\x02{}")
    assert dropped(shop) == 1
    await until(lambda: len(shop.hub) == 0)


async def test_an_expired_token_ends_the_connection_unless_it_is_renewed(shop: LiveShop) -> None:
    now_s = shop.now_ms // 1000
    leaves = await shop.enter(f"leaves until {now_s + 60}")
    stays = await shop.enter(f"stays until {now_s + 60}")
    stays.say({"token": "stays"})
    [staying] = shop.hub.of_buyer(_digest("stays"))
    await until(lambda: staying.identity is not None and staying.identity.expires_at_s > now_s + 99)
    shop.now_ms += 60_000
    _look_at_everybody(shop, monotonic())
    assert await ending_of(leaves) == 4401
    assert staying in shop.hub.known()


def _digest(name: str) -> bytes:
    return buyer_digest(name.encode())
