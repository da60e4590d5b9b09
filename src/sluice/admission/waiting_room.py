"""The waiting rooms as one HTTP process sees them: asked in batches, remembered where that is safe.

Whose turn it is, the cache server knows. What this process has seen of a turn counts until its end,
so that a pass costs those who are in nothing more, and so that they are served while the cache
server is away; nobody else comes in then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from sluice.batching import Batcher
from sluice.domain.errors import Overloaded, SluiceError, Unavailable
from sluice.domain.sale import WaitingRoom
from sluice.domain.waiting_room import Place, RoomAsk, RoomRequest, RoomStatus

BATCH_MAX = 512
GATHER_S = 0.002
"""A call costs a process as much as 20 requests in it, and nobody here is in a hurry."""
TURNS_MAX = 100_000
"""Turns that one process remembers; whoever is forgotten is asked about again."""
ENGAGED_EVERY_S = 1.0
ENGAGED_STALE_S = 10.0
"""What the load asked for counts for so long without being said again."""


class Cells(Protocol):
    async def ask(self, requests: Sequence[RoomRequest], /) -> list[Place]: ...

    async def engaged(self) -> frozenset[int]: ...


class WaitingRooms:
    """One for each HTTP process. `run` must be running for what the load asks for to be known.

    Calls raise `CacheUnavailable`, and `Overloaded` where too many ask.
    """

    def __init__(self, cells: Cells, *, queue_max: int, deadline_s: float) -> None:
        self._cells = cells
        self._asks: Batcher[RoomRequest, Place] = Batcher(
            cells.ask,
            batch_max=BATCH_MAX,
            queue_max=queue_max,
            deadline_s=deadline_s,
            gather_s=GATHER_S,
        )
        self.engaged: frozenset[int] = frozenset()
        """Sales whose room the load asks for."""
        self._engaged_at = monotonic()
        self._turns: dict[tuple[int, bytes], float] = {}

    def guards(self, sale_id: int, policy: WaitingRoom) -> bool:
        """Whether buyers of this sale come in through a waiting room now."""
        return policy.enabled or sale_id in self.engaged

    def is_in(self, sale_id: int, digest: bytes) -> bool:
        """Whether it is known here that it is this buyer's turn."""
        until = self._turns.get((sale_id, digest))
        return until is not None and until > monotonic()

    async def look(self, sale_id: int, starts_at_ms: int, digest: bytes) -> Place:
        """Where this buyer is; status `NONE` for nobody's place."""
        request = RoomRequest(RoomAsk.LOOK, sale_id, starts_at_ms, digest)
        place = await self._asks.submit(request)
        if place.status is RoomStatus.ADMITTED:
            self._remember(request, place)
        return place

    async def look_all(self, asked: Sequence[RoomRequest]) -> list[Place]:
        """The same of many at once, in the order asked."""
        places = await self._cells.ask(asked)
        for request, place in zip(asked, places, strict=True):
            if place.status is RoomStatus.ADMITTED:
                self._remember(request, place)
        return places

    async def join(self, sale_id: int, starts_at_ms: int, digest: bytes, priority: int) -> Place:
        """A place; whoever has one keeps it, and comes further ahead by a higher priority alone."""
        request = RoomRequest(RoomAsk.JOIN, sale_id, starts_at_ms, digest, priority)
        place = await self._asks.submit(request)
        if place.status is RoomStatus.ADMITTED:
            self._remember(request, place)
        return place

    async def leave(self, sale_id: int, starts_at_ms: int, digest: bytes) -> None:
        """Done again it changes nothing."""
        await self._asks.submit(RoomRequest(RoomAsk.LEAVE, sale_id, starts_at_ms, digest))
        self._turns.pop((sale_id, digest), None)

    def gave_pass(self, sale_id: int, digest: bytes, pass_ms: int) -> None:
        """They count as in until their pass ends. Told in passing: nobody waits for it."""
        self._tell(RoomRequest(RoomAsk.ENTER, sale_id, 0, digest, pass_ms=pass_ms))

    def bought(self, sale_id: int, digest: bytes) -> None:
        """Their turn has led to something, so that somebody else can come in."""
        self._tell(RoomRequest(RoomAsk.BOUGHT, sale_id, 0, digest))

    async def run(self) -> None:
        """Hears what the load asks for, until cancelled."""
        while True:
            await self.hear()
            await asyncio.sleep(ENGAGED_EVERY_S)

    async def hear(self) -> None:
        now = monotonic()
        try:
            self.engaged, self._engaged_at = await self._cells.engaged(), now
        except Unavailable:
            if now > self._engaged_at + ENGAGED_STALE_S:
                self.engaged = frozenset()

    async def close(self) -> None:
        await self._asks.close()

    def _remember(self, request: RoomRequest, place: Place) -> None:
        if len(self._turns) >= TURNS_MAX:
            del self._turns[next(iter(self._turns))]
        self._turns[request.sale_id, request.digest] = monotonic() + place.left_ms / 1000

    def _tell(self, request: RoomRequest) -> None:
        with suppress(Overloaded):
            self._asks.submit(request).add_done_callback(_heard)


def _heard(answer: asyncio.Future[Place]) -> None:
    if not answer.cancelled() and isinstance(answer.exception(), SluiceError):
        return  # then they count as in for longer than they are
