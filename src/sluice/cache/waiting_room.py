"""Waiting rooms on the cache server: one call for a batch of buyers, one for a pacer's step."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Collection, Sequence
from typing import Any

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer
from sluice.domain.waiting_room import (
    CALL_S,
    CALLS_MAX,
    GRACE_S,
    TURN_S,
    WAITING_MAX,
    Admitted,
    Blocked,
    Let,
    Place,
    RoomNumbers,
    RoomPace,
    RoomRequest,
    RoomStatus,
)

ADMIT_MAX = 5000
"""People let in by one step."""
_ROOM = script("room")
_ADMIT = script("admit")
_REQUEST = struct.Struct(">IBBI16s")
_PLACE = struct.Struct(">BBBBIII")
_PACE = struct.Struct(">IddBB")
_STATUS = tuple(RoomStatus)
_MS = struct.Struct(">III")


class RoomCells:
    """Every call raises `CacheUnavailable`; then it is unknown whether it was done.

    How long a turn lasts can be set by tests alone: buyers are told the figures of the domain.
    """

    def __init__(
        self,
        server: CacheServer,
        *,
        call_ms: int = CALL_S * 1000,
        turn_ms: int = TURN_S * 1000,
        grace_ms: int = GRACE_S * 1000,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._server = server
        self._waiting_max = waiting_max
        self._ms = _MS.pack(call_ms, turn_ms, grace_ms)

    # --- what buyers ask -------------------------------------------------------------------

    async def ask(self, requests: Sequence[RoomRequest]) -> list[Place]:
        """In the order asked; each sees what those before it did."""
        if not requests:
            return []
        places: dict[int, int] = {}
        starts: list[float] = []
        names: list[str] = []
        packed = []
        for ask, sale_id, starts_at_ms, digest, priority, pass_ms in requests:
            index = places.get(sale_id)
            if index is None:
                index = places[sale_id] = len(places)
                starts.append(starts_at_ms)
                names += keys.room(sale_id)
            elif starts_at_ms > starts[index]:  # what is told in passing does not say it
                starts[index] = starts_at_ms
            packed.append(_REQUEST.pack(index, ask, priority, pass_ms, digest))
        answer: bytes = await self._server.run(
            _ROOM,
            [*names, keys.ROOMS],
            [
                secrets.token_bytes(16),
                self._ms,
                struct.pack(f">{len(starts)}d", *starts),
                b"".join(packed),
                self._waiting_max,
            ],
        )
        told = len(requests) * _PLACE.size
        status_of = _STATUS
        paces = [
            RoomPace(waiting, wanted, measured, Blocked(blocked), bool(begun))
            for waiting, wanted, measured, blocked, begun in _PACE.iter_unpack(answer[told:])
        ]
        return [
            Place(status_of[status], number, ahead, bool(early), priority, bool(new), left_ms, pace)
            for (status, early, priority, new, number, ahead, left_ms), pace in zip(
                _PLACE.iter_unpack(answer[:told]),
                (paces[places[request.sale_id]] for request in requests),
                strict=True,
            )
        ]

    # --- what the pacer does ---------------------------------------------------------------

    async def lead(self, owner: str) -> bool:
        """Whether `owner` is the pacer for the next `keys.PACER_LEASE_MS`."""
        is_new, holder = await self._server.do_all(
            [
                ("SET", keys.PACER, owner, "NX", "PX", keys.PACER_LEASE_MS),
                ("GET", keys.PACER),
            ]
        )
        if holder == owner.encode() and not is_new:
            await self._server.do("PEXPIRE", keys.PACER, keys.PACER_LEASE_MS)
        return bool(holder == owner.encode())

    async def resign(self, owner: str) -> None:
        """Let another pacer begin at once."""
        if await self._server.do("GET", keys.PACER) == owner.encode():
            await self._server.delete(keys.PACER)

    async def admit(self, sale_id: int, owner: str, let: Let) -> Admitted | None:
        """One step in one room; None where the lease is another's: nothing was done."""
        answer: list[Any] = await self._server.run(
            _ADMIT,
            [*keys.room(sale_id), keys.PACER],
            [
                owner,
                f"{let.rate:.6f}",
                -1 if let.active_max is None else let.active_max,
                -1 if let.stock_max is None else let.stock_max,
                int(let.is_open),
                let.mode,
                self._ms,
                CALLS_MAX,
                ADMIT_MAX,
            ],
        )
        if not answer:
            return None
        waiting, active, total, measured, blocked, *digests = answer
        return Admitted(digests, waiting, active, total, float(measured), Blocked(blocked))

    async def rooms(self) -> list[int]:
        """Sales that have a room here."""
        return [int(member) for member in await self._server.do("SMEMBERS", keys.ROOMS)]

    async def end(self, sale_id: int) -> None:
        """The sale is over: its room goes, some time from now."""
        await self._server.do_all(
            [
                ("SREM", keys.ROOMS, sale_id),
                *(("EXPIRE", name, keys.ROOM_KEPT_S) for name in keys.room(sale_id)),
            ]
        )

    async def engage(self, sale_ids: Collection[int]) -> None:
        """The load asks for rooms in these sales too, for the next `keys.ENGAGED_EXPIRE_S`; with
        none it asks for no rooms at all any more."""
        if not sale_ids:
            await self._server.delete(keys.ENGAGED)
            return
        await self._server.do_all(
            [
                ("SADD", keys.ENGAGED, *sale_ids),
                ("EXPIRE", keys.ENGAGED, keys.ENGAGED_EXPIRE_S),
            ]
        )

    # --- what others look at ---------------------------------------------------------------

    async def engaged(self) -> frozenset[int]:
        return frozenset(int(member) for member in await self._server.do("SMEMBERS", keys.ENGAGED))

    async def numbers(self, sale_id: int) -> RoomNumbers:
        state, line, _, active, _ = keys.room(sale_id)
        told, waiting, inside = await self._server.do_all(
            [
                ("HMGET", state, "admitted", "pace", "measured", "mode"),
                ("ZCARD", line),
                ("ZCARD", active),
            ]
        )
        total, wanted, measured, mode = told
        return RoomNumbers(
            waiting,
            int(total or 0),
            inside,
            float(wanted or 0),
            float(measured or 0),
            (mode or b"off").decode(),
        )

    async def pace_of(self, sale_id: int) -> float | None:
        """The pace that a pacer before this one had come to."""
        told = await self._server.do("HGET", keys.room(sale_id)[0], "pace")
        return None if told is None else float(told)
