"""The waiting rooms as one HTTP process sees them: what it remembers, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sluice.admission import waiting_room
from sluice.admission.guests import GuestLists
from sluice.admission.waiting_room import WaitingRooms
from sluice.domain.errors import CacheUnavailable, LedgerUnavailable
from sluice.domain.sale import WaitingRoom
from sluice.domain.waiting_room import Blocked, Place, RoomAsk, RoomPace, RoomRequest, RoomStatus

ANN = b"a" * 16
PACE = RoomPace(10, 5.0, 5.0, Blocked.NO, True)


def place(status: RoomStatus, left_ms: int = 0) -> Place:
    return Place(status, 1, 0, False, 0, False, left_ms, PACE)


class Cells:
    def __init__(self) -> None:
        self.status = RoomStatus.WAITING
        self.left_ms = 60_000
        self.asked: list[RoomRequest] = []
        self.away = False
        self.load: frozenset[int] = frozenset()

    async def ask(self, requests: Sequence[RoomRequest], /) -> list[Place]:
        self.asked += requests
        if self.away:
            raise CacheUnavailable
        return [place(self.status, self.left_ms) for _ in requests]

    async def engaged(self) -> frozenset[int]:
        if self.away:
            raise CacheUnavailable
        return self.load


def rooms_of(cells: Cells) -> WaitingRooms:
    return WaitingRooms(cells, queue_max=100, deadline_s=5.0)


async def test_a_turn_that_was_seen_counts_until_its_end() -> None:
    cells = Cells()
    rooms = rooms_of(cells)
    await rooms.look(7, 0, ANN)
    assert not rooms.is_in(7, ANN)
    cells.status = RoomStatus.ADMITTED
    await rooms.join(7, 0, ANN, 0)
    assert rooms.is_in(7, ANN)
    assert not rooms.is_in(8, ANN)
    cells.away = True
    with pytest.raises(CacheUnavailable):
        await rooms.look(7, 0, b"b" * 16)
    assert rooms.is_in(7, ANN)
    await rooms.close()


async def test_a_turn_that_is_over_does_not_count() -> None:
    cells = Cells()
    cells.status, cells.left_ms = RoomStatus.ADMITTED, 0
    rooms = rooms_of(cells)
    await rooms.look(7, 0, ANN)
    assert not rooms.is_in(7, ANN)
    await rooms.close()


async def test_who_leaves_here_is_out_here_at_once() -> None:
    cells = Cells()
    cells.status = RoomStatus.ADMITTED
    rooms = rooms_of(cells)
    await rooms.look(7, 0, ANN)
    await rooms.leave(7, 0, ANN)
    assert not rooms.is_in(7, ANN)
    await rooms.close()


async def test_only_so_many_turns_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "TURNS_MAX", 3)
    cells = Cells()
    cells.status = RoomStatus.ADMITTED
    rooms = rooms_of(cells)
    digests = [bytes([n]) * 16 for n in range(5)]
    for digest in digests:
        await rooms.look(7, 0, digest)
    assert [rooms.is_in(7, digest) for digest in digests] == [False, False, True, True, True]
    await rooms.close()


async def test_what_is_told_in_passing_keeps_nobody_waiting() -> None:
    cells = Cells()
    cells.away = True
    rooms = rooms_of(cells)
    rooms.bought(7, ANN)
    rooms.gave_pass(7, ANN, 60_000)
    await rooms.close()
    assert [request.ask for request in cells.asked] == [RoomAsk.BOUGHT, RoomAsk.ENTER]


async def test_a_room_is_there_by_the_policy_or_by_the_load() -> None:
    cells = Cells()
    rooms = rooms_of(cells)
    assert rooms.guards(7, WaitingRoom(enabled=True))
    assert not rooms.guards(7, WaitingRoom())
    cells.load = frozenset({7})
    await rooms.hear()
    assert rooms.guards(7, WaitingRoom())
    assert not rooms.guards(8, WaitingRoom())
    await rooms.close()


async def test_what_the_load_asked_for_is_not_believed_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = Cells()
    cells.load = frozenset({7})
    rooms = rooms_of(cells)
    await rooms.hear()
    cells.away = True
    await rooms.hear()
    assert rooms.engaged == {7}
    monkeypatch.setattr(waiting_room, "ENGAGED_STALE_S", -1.0)
    await rooms.hear()
    assert rooms.engaged == frozenset()
    await rooms.close()


async def test_buyers_of_one_moment_ask_together() -> None:
    cells = Cells()
    calls: list[int] = []
    ask = cells.ask

    async def counted(requests: Sequence[RoomRequest], /) -> list[Place]:
        calls.append(len(requests))
        return await ask(requests)

    cells.ask = counted  # type: ignore[method-assign]
    rooms = rooms_of(cells)
    await asyncio.gather(*(rooms.look(7, 0, bytes([n]) * 16) for n in range(50)))
    assert calls == [50]
    await rooms.close()


# --- priorities -----------------------------------------------------------------------------------


class Lists:
    def __init__(self, priority: int | None) -> None:
        self.priority = priority
        self.away = False
        self.reads = 0

    async def read(self, asked: Sequence[tuple[int, str]], /) -> list[int | None]:
        self.reads += 1
        if self.away:
            raise LedgerUnavailable
        return [self.priority for _ in asked]

    async def has(self, _sale_id: int, /) -> bool:
        if self.away:
            raise LedgerUnavailable
        return self.priority is not None


def guests_of(lists: Lists) -> GuestLists:
    return GuestLists(lists.read, lists.has, queue_max=100, deadline_s=5.0)


async def test_where_nobody_has_a_priority_nobody_is_asked_about() -> None:
    lists = Lists(None)
    guests = guests_of(lists)
    assert not guests.is_plain(7)
    assert [await guests.rank(7, f"jwt::{n}") for n in range(9)] == [0] * 9
    assert guests.is_plain(7)
    assert lists.reads == 0
    await guests.close()


async def test_a_guest_comes_in_by_their_priority() -> None:
    guests = guests_of(Lists(4))
    assert await guests.rank(7, "jwt::ann") == 4
    assert not guests.is_plain(7)
    await guests.close()


async def test_while_the_ledger_is_away_everybody_is_like_everybody() -> None:
    lists = Lists(4)
    lists.away = True
    guests = guests_of(lists)
    assert await guests.rank(7, "jwt::ann") == 0
    lists.away = False
    assert await guests.rank(7, "jwt::ann") == 4
    await guests.close()
