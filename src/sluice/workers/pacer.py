"""The pacer: lets people out of waiting rooms and into their sales.

One at a time, by a lease on the cache server; another takes over within seconds. What it does to a
room is one step of a script there, by that server's clock: whoever has lost the lease changes
nothing, and the pace is exact whoever keeps it. While the gate, the ledger or the cache server is
away nobody is let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import floor
from typing import Final, Protocol

from sluice.admission.pace import Engaged, Governor, Strain
from sluice.cache.news import About, News
from sluice.domain.errors import Unavailable
from sluice.domain.sale import Sale, SaleState
from sluice.domain.waiting_room import Admitted, Blocked, Let
from sluice.telemetry import get_logger

STEP_S: Final = 0.2
"""Between two steps in rooms where somebody may wait."""
LOOK_S: Final = 1.0
"""Between two looks at sales, load and backlog; and between two while there is no room."""
STANDBY_S: Final = 1.0
RETRY_S: Final = 0.5
USED: Final = 0.7
"""A pace at which fewer than so much of it came in was not tried."""
MODE_FIXED, MODE_AUTOMATIC, MODE_LOAD = "fixed", "automatic", "load"

log = get_logger("pacer")


class Rooms(Protocol):
    async def lead(self, owner: str, /) -> bool: ...

    async def resign(self, owner: str, /) -> None: ...

    async def admit(self, sale_id: int, owner: str, let: Let, /) -> Admitted | None: ...

    async def rooms(self) -> list[int]: ...

    async def end(self, sale_id: int, /) -> None: ...

    async def engage(self, sale_ids: Collection[int], /) -> None: ...

    async def engaged(self) -> Collection[int]: ...

    async def pace_of(self, sale_id: int, /) -> float | None: ...


class Pacer:
    """Runs until stopped.

    `sales` gives those that are published and not long over, `available` the units of a sale that
    can be bought now, by item; `strain` how the service bears what it does, `accepted` how many
    purchases it accepts a second by now; `tell` tells those who are connected.
    """

    def __init__(
        self,
        owner: str,
        rooms: Rooms,
        *,
        sales: Callable[[], Awaitable[Sequence[Sale]]],
        now_ms: Callable[[], Awaitable[int]],
        available: Callable[[Sale], Awaitable[Mapping[int, int]]],
        strain: Callable[[], Awaitable[Strain]],
        accepted: Callable[[], Awaitable[float]],
        tell: Callable[[Sequence[News]], Awaitable[object]],
        engage_after_s: int,
    ) -> None:
        self._owner = owner
        self._rooms = rooms
        self._read_sales = sales
        self._now_ms = now_ms
        self._available = available
        self._strain = strain
        self._accepted = accepted
        self._tell = tell
        self._governor = Governor()
        self._engaged = Engaged(engage_after_s)
        self._leads = False
        self._sales: list[Sale] = []
        """Those with a room, by their policy or by the load."""
        self._last: dict[int, Admitted] = {}
        self._left: dict[int, int] = {}
        """Units of a sale that could be bought at its last step."""
        self._next_look = 0.0
        self._stop = asyncio.Event()
        self._away = False

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                pause_s = await self.turn()
                self._settled(None)
            except Unavailable as error:
                self._settled(error)
                pause_s = RETRY_S
            await self._pause(pause_s)
        with suppress(Unavailable):
            await self._rooms.resign(self._owner)

    async def turn(self) -> float:
        """One step in every room; how long to wait before the next. Raises `Unavailable`."""
        if not await self._rooms.lead(self._owner):
            self._leads = False
            return STANDBY_S
        now = asyncio.get_running_loop().time()
        if not self._leads or now >= self._next_look:
            await self._look()  # where that fails nobody is let in by what was seen before
            self._next_look = now + LOOK_S
        if not self._sales:
            return LOOK_S
        now_ms = await self._now_ms()
        automatic = self._automatic()
        for sale in self._sales:
            await self._step(sale, now_ms, self._governor.rate / max(1, len(automatic)))
        return STEP_S

    # --- once a second ---------------------------------------------------------------------

    async def _look(self) -> None:
        """Which sales have a room, and what pace the service can keep."""
        sales = await self._read_sales()
        now_ms = await self._now_ms()
        strain = await self._strain()
        live = [sale for sale in sales if sale.state_at(now_ms) is SaleState.LIVE]
        if not self._leads:
            await self._begin(live)
            self._leads = True
            log.info("paces the waiting rooms", action="lead", pace=round(self._governor.rate, 1))
        by_policy = [sale for sale in sales if sale.policy.waiting_room.enabled]
        by_load = await self._by_load([s for s in live if s not in by_policy], strain)
        self._sales = [*by_policy, *by_load]
        self._govern(strain)
        await self._end_rooms({sale.id for sale in sales})

    async def _begin(self, live: Sequence[Sale]) -> None:
        """As the pacer before this one left it, where there was one a moment ago."""
        self._engaged.now = bool(await self._rooms.engaged())
        known = [await self._rooms.pace_of(sale.id) for sale in live if _is_automatic(sale)]
        if any(known):
            self._governor.begin(sum(rate or 0.0 for rate in known))

    async def _by_load(self, sales: Sequence[Sale], strain: Strain) -> Sequence[Sale]:
        # Where nothing is left they wait for what may come back; that is no load on anything.
        waiting = sum(
            last.waiting
            for sale in sales
            if (last := self._last.get(sale.id)) is not None and self._left.get(sale.id, 1)
        )
        was = self._engaged.now
        if self._engaged.look(strain, waiting=waiting):
            if not was:
                # What it could do until now it can do; from there the pace finds its way.
                self._governor.begin(max(self._governor.rate, await self._accepted()))
                log.warning("the load asks for waiting rooms", action="room.engage")
            await self._rooms.engage([sale.id for sale in sales])
            return sales
        if was:
            log.info("the load asks for no waiting rooms any more", action="room.release")
            await self._rooms.engage([])
        return []

    def _govern(self, strain: Strain) -> None:
        moving = [
            last
            for sale in self._sales
            if (last := self._last.get(sale.id)) is not None
            and not _fixed(sale)
            and last.waiting
            and last.blocked is Blocked.NO
        ]
        came_in = sum(last.measured for last in moving)
        self._governor.look(strain, used=bool(moving) and came_in >= USED * self._governor.rate)

    async def _end_rooms(self, known: Collection[int]) -> None:
        for sale_id in await self._rooms.rooms():
            if sale_id not in known:
                await self._rooms.end(sale_id)
                self._last.pop(sale_id, None)
                self._left.pop(sale_id, None)

    def _automatic(self) -> list[Sale]:
        """Rooms that share the pace which the service can keep."""
        return [
            sale
            for sale in self._sales
            if not _fixed(sale)
            and ((last := self._last.get(sale.id)) is None or last.waiting or last.active)
        ]

    # --- one room --------------------------------------------------------------------------

    async def _step(self, sale: Sale, now_ms: int, share: float) -> None:
        policy = sale.policy.waiting_room
        is_open = sale.state_at(now_ms) is SaleState.LIVE
        stock_max = None
        if is_open:
            units = sum(max(0, n) for n in (await self._available(sale)).values())
            stock_max = floor(units * policy.factor)
            self._left[sale.id] = units
        fixed = policy.admit_per_second if policy.enabled else None
        let = Let(
            rate=share if fixed is None else fixed,
            active_max=policy.active_max if policy.enabled else None,
            stock_max=stock_max,
            is_open=is_open,
            mode=_mode(sale),
        )
        admitted = await self._rooms.admit(sale.id, self._owner, let)
        if admitted is None:
            self._leads = False
            return
        self._last[sale.id] = admitted
        if admitted.digests:
            await self._tell([News(About.ROOM, sale.id, digest) for digest in admitted.digests])

    def _settled(self, error: Unavailable | None) -> None:
        if error is not None and not self._away:
            log.warning("Waiting rooms wait for a store.", action="room.away", error=str(error))
        elif error is None and self._away:
            log.info("Waiting rooms move again.", action="room.back")
        self._away = error is not None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _fixed(sale: Sale) -> bool:
    room = sale.policy.waiting_room
    return room.enabled and room.admit_per_second is not None


def _is_automatic(sale: Sale) -> bool:
    return sale.policy.waiting_room.enabled and not _fixed(sale)


def _mode(sale: Sale) -> str:
    if not sale.policy.waiting_room.enabled:
        return MODE_LOAD
    return MODE_FIXED if _fixed(sale) else MODE_AUTOMATIC
