"""The waiting room in the hot lane: join, ask, leave, and what somebody is told who wants a pass.

Everybody of a crowd asks every few seconds, so these answers are joined from prepared parts too.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from sluice.accounts.identity import Identity
from sluice.admission.guests import GuestLists
from sluice.admission.overload import Work
from sluice.admission.sale_limits import KNOCK, PLACE, ROOM, Route
from sluice.admission.waiting_room import WaitingRooms
from sluice.catalog.snapshots import ItemRoute, Snapshots
from sluice.domain.errors import CacheUnavailable, NotFound, Overloaded
from sluice.domain.sale import SaleState
from sluice.domain.times import render_time
from sluice.domain.waiting_room import Place, RoomStatus, eta_seconds, poll_after_ms
from sluice.web.entrance import Entrance
from sluice.web.limiting import Headers, Limiting, answer_refused, marks
from sluice.web.metrics import Counts
from sluice.web.overload import sheds
from sluice.web.problems import Problem, instance_of, request_id_of

PATH_END = "/waiting-room"
STARTS_MAX = 1000
OVER_POLL_MS = 30_000
"""Nothing is expected to change; units that the merchant adds are the exception."""
KNOCK_MS = 72_000
"""In which everybody may ask as often as they may in a minute, and is not refused for it."""
AWAY = "The waiting room cannot be asked now; places are kept, and nobody is let in meanwhile."


class Asked(NamedTuple):
    """What the lane does for every route of its: see `Lane`."""

    known_buyer: Callable[[Any], Identity | None]
    buyer: Callable[[Any], Awaitable[Identity]]
    address: Callable[[Any], str]
    answer: Callable[[Any, Any], Awaitable[Any]]
    """A challenge's answer from the body."""
    id: Callable[[str], int | None]
    headers: Callable[[str, Headers], list[tuple[str, str]]]
    fault: Callable[..., None]


class RoomLane:
    """Routes of the hot lane. Each answers a place, as `docs/waiting-room.md` describes it."""

    def __init__(
        self,
        *,
        asked: Asked,
        rooms: WaitingRooms,
        guests: GuestLists,
        snapshots: Snapshots,
        limiting: Limiting,
        entrance: Entrance,
        now_ms: Callable[[], int],
        counts: Counts,
        began_to_wait: Callable[[int, bytes], None],
    ) -> None:
        self._asked = asked
        self._rooms = rooms
        self._guests = guests
        self._snapshots = snapshots
        self._limiting = limiting
        self._entrance = entrance
        self._now_ms = now_ms
        self._counts = counts
        self._began_to_wait = began_to_wait
        self._starts: dict[int, str] = {}
        """Starts of sales as they are told."""

    def guards(self, route: ItemRoute) -> bool:
        return self._rooms.guards(route.sale_id, route.policy.waiting_room)

    def is_in(self, buyer: Identity, route: ItemRoute) -> bool:
        """Whether it is known here that it is this buyer's turn."""
        return self._rooms.is_in(route.sale_id, buyer.digest)

    def may_be_joined(self, route: ItemRoute) -> bool:
        """Whether places are given, though the sale may not have started."""
        return (
            self.guards(route)
            and self._now_ms() >= route.room_opens_at_ms
            and self.over(route) is None
        )

    # --- POST, GET and DELETE /v1/sales/{sale}/waiting-room ----------------------------------

    @sheds(Work.ENTER)
    async def join(self, scope: Any, proto: Any) -> None:
        """A place, or the one that the buyer has."""
        await self._answer(scope, proto, ROOM, self._join)

    @sheds(Work.BROWSE)
    async def show(self, scope: Any, proto: Any) -> None:
        """The buyer's place as it is now."""
        await self._answer(scope, proto, PLACE, self._show)

    @sheds(Work.ENTER)
    async def leave(self, scope: Any, proto: Any) -> None:
        """Done again it changes nothing."""
        await self._answer(scope, proto, ROOM, self._leave)

    async def _answer(
        self,
        scope: Any,
        proto: Any,
        limited: Route,
        do: Callable[[Any, Any, Identity, ItemRoute], Awaitable[tuple[int, bytes]]],
    ) -> None:
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        told: Headers = ()
        try:
            buyer = self._asked.known_buyer(scope) or await self._asked.buyer(scope)
            sale_id = self._asked.id(scope.path[10 : -len(PATH_END)])
            if sale_id is None:
                raise NotFound()
            route = self._snapshots.sale_route_now(sale_id)
            if route is None:
                route = await self._snapshots.sale_route(sale_id)
                if route is None:
                    raise NotFound()
            limits = self._limiting.of_sale(limited, route.sale_id, route.policy.limits)
            address = self._asked.address(scope)
            verdict = self._limiting.give(limits, buyer, address)
            if verdict is None:
                verdict = await self._limiting.take(limits, buyer, address)
            told = marks(verdict, limits)
            if verdict.refused is not None:
                answer_refused(proto, verdict, told, request_id, instance_of(scope.path))
                status = 429
            else:
                status, body = await do(scope, proto, buyer, route)
                headers = self._asked.headers(request_id, told)
                if body:
                    proto.response_bytes(status, headers, body)
                else:
                    proto.response_empty(status, headers[1:])
            self._counts.answered(limited.name, status, perf_counter() - began)
        except CacheUnavailable:
            self._asked.fault(proto, _away(), request_id, scope.path, told)
        except Exception as error:
            self._asked.fault(proto, error, request_id, scope.path, told)

    async def _join(
        self, scope: Any, proto: Any, buyer: Identity, route: ItemRoute
    ) -> tuple[int, bytes]:
        body = await self._asked.answer(scope, proto)
        known = self._without_asking(route)
        if known is not None:
            return 200, known
        if self._now_ms() < route.room_opens_at_ms:
            raise Problem(
                "not_started",
                "The waiting room is not open yet.",
                extra={
                    "starts_at": render_time(route.starts_at_ms),
                    "opens_at": render_time(route.room_opens_at_ms),
                },
            )
        place = await self._place(buyer, route, body)
        return 201 if place.is_new else 200, self.render(place, route)

    async def _show(
        self, _scope: Any, _proto: Any, buyer: Identity, route: ItemRoute
    ) -> tuple[int, bytes]:
        known = self._without_asking(route)
        if known is not None:
            return 200, known
        place = await self._rooms.look(route.sale_id, route.starts_at_ms, buyer.digest)
        if place.status is RoomStatus.NONE:
            raise NotFound()
        return 200, self.render(place, route)

    async def _leave(
        self, _scope: Any, _proto: Any, buyer: Identity, route: ItemRoute
    ) -> tuple[int, bytes]:
        await self._rooms.leave(route.sale_id, route.starts_at_ms, buyer.digest)
        return 204, b""

    async def _place(self, buyer: Identity, route: ItemRoute, body: Any) -> Place:
        """A place of this buyer's. What the sale asks of buyers it asks of each place once."""
        if not self._entrance.is_open(route.policy):
            place = await self._rooms.look(route.sale_id, route.starts_at_ms, buyer.digest)
            if place.status is RoomStatus.NONE:
                await self._entrance.check(buyer, route, body.challenge_id, body.answer)
            else:
                await self._entrance.check_guest(buyer, route)
        priority = 0
        if not self._guests.is_plain(route.sale_id):
            priority = await self._guests.rank(route.sale_id, buyer.buyer)
        place = await self._rooms.join(route.sale_id, route.starts_at_ms, buyer.digest, priority)
        if place.status is RoomStatus.FULL:
            raise Overloaded()
        if place.is_new:
            self._counts.happened("room_joined")
            self._began_to_wait(route.sale_id, buyer.digest)
        return place

    # --- somebody wants a pass ---------------------------------------------------------------

    async def wait(self, buyer: Identity, route: ItemRoute, body: Any) -> bytes | None:
        """None where it is the buyer's turn; else what they are told, with a place for those who
        had none. Costs those who are in nothing, and others one call with everybody's.
        """
        if not self._rooms.is_in(route.sale_id, buyer.digest):
            try:
                place = await self._place(buyer, route, body)
            except CacheUnavailable:
                raise _away() from None
            if place.status is not RoomStatus.ADMITTED:
                # So often as `KNOCK` allows: 24 s at most, well below the life of a call.
                quota = route.policy.limits.per_buyer_per_minute
                at_least_ms = 0 if quota is None else KNOCK_MS // (quota * KNOCK.times)
                return self.render(place, route, at_least_ms)
        elif route.policy.invite_only:
            await self._entrance.check_guest(buyer, route)
        self._rooms.gave_pass(route.sale_id, buyer.digest, route.pass_ttl_s * 1000)
        return None

    def bought(self, buyer: Identity, route: ItemRoute) -> None:
        """The buyer's attempt came to an end, so that somebody else can come in."""
        self._rooms.bought(route.sale_id, buyer.digest)

    # --- what is said ------------------------------------------------------------------------

    def _without_asking(self, route: ItemRoute) -> bytes | None:
        """What everybody is told alike, who has a place and who has none."""
        why = self.over(route)
        if why is not None:
            return self.over_body(why, route)
        if not self.guards(route):
            return (
                b'{"status":"not_needed","number":null,"position":null,"ahead":null,'
                b'"eta_seconds":null,"starts_at":"%b","poll_after_ms":%d,"shuffled":null}'
                % (render_time(route.starts_at_ms).encode(), OVER_POLL_MS)
            )
        return None

    def over(self, route: ItemRoute) -> str | None:
        """Why nobody waits for anything any more: `ended`, or `sold_out` and nothing may return."""
        if route.state_at(self._now_ms()) is SaleState.ENDED:
            return "ended"
        return "sold_out" if route.known.is_gone else None

    def _start(self, route: ItemRoute) -> str:
        told = self._starts.get(route.starts_at_ms)
        if told is None:
            if len(self._starts) >= STARTS_MAX:
                self._starts.clear()
            told = self._starts[route.starts_at_ms] = render_time(route.starts_at_ms)
        return told

    @staticmethod
    def over_body(why: str, route: ItemRoute) -> bytes:
        return (
            f'{{"status":"over","number":null,"position":null,"ahead":null,"eta_seconds":null,'
            f'"starts_at":"{render_time(route.starts_at_ms)}","poll_after_ms":{OVER_POLL_MS},'
            f'"shuffled":null,"reason":"{why}"}}'
        ).encode()

    def render(self, place: Place, route: ItemRoute, poll_ms_min: int = 0) -> bytes:
        """A place as it is told, the same here and on a live connection."""
        now_ms = self._now_ms()
        eta, shown, ahead, position = None, "null", "null", "null"
        if place.status is RoomStatus.ADMITTED:
            status, more = "admitted", f',"admitted_until":"{render_time(now_ms + place.left_ms)}"'
        else:
            status, more = "waiting", ""
            if place.is_drawn:
                ahead, position = str(place.ahead), str(place.ahead + 1)
                eta = eta_seconds(place)
                if eta is not None:
                    shown = f"[{eta[0]},{eta[1]}]"
        poll_ms = poll_after_ms(place, eta, route.starts_at_ms - now_ms, random.random())
        if route.state_at(now_ms) is SaleState.PAUSED:
            more += f',"reason":"paused","detail":{_text(route.pause_reason)}'
        return (
            f'{{"status":"{status}","number":{place.number},"position":{position},'
            f'"ahead":{ahead},"eta_seconds":{shown},"starts_at":"{self._start(route)}",'
            f'"poll_after_ms":{max(poll_ms, poll_ms_min)},'
            f'"shuffled":{"true" if place.is_early else "false"}{more}}}'
        ).encode()


def _text(text: str | None) -> str:
    return msgspec.json.encode(text).decode()


def _away() -> Problem:
    return Problem("unavailable", AWAY)
