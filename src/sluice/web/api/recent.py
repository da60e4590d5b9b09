"""Pages of the public list of sales, kept for a moment: a crowd that looks costs a query or two.

While the ledger is away they are shown as last known; each sale says since when (`as_of`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

from sluice.catalog.snapshots import Shown
from sluice.domain.errors import Unavailable

FRESH_S = 0.5
"""As long as a sale's own snapshot is kept; `Cache-Control` allows clients a second."""
PAGES_MAX = 256


class SalesPage(NamedTuple):
    sales: list[Shown]
    last_id: int | None
    """The id to go on after; None at the end."""


Read = Callable[[int, int | None], Awaitable[tuple[list[Shown], int | None]]]


class RecentPages:
    """Asks `read` for a page at most once at a time, and again when it is no longer fresh."""

    def __init__(self, read: Read, clock: Callable[[], float] = monotonic) -> None:
        self._read = read
        self._clock = clock
        self._kept: dict[tuple[int, int | None], tuple[float, asyncio.Future[SalesPage]]] = {}
        self._last: dict[tuple[int, int | None], SalesPage] = {}

    async def page(self, limit: int, after: int | None) -> SalesPage:
        """Raises what `read` raises where the page was never read; a fault is not kept."""
        asked = (limit, after)
        now = self._clock()
        until, reading = self._kept.get(asked, (0.0, None))
        if reading is None or (reading.done() and until <= now):
            if len(self._kept) >= PAGES_MAX:
                self._kept.clear()
            reading = asyncio.ensure_future(self._page(limit, after))
            reading.add_done_callback(lambda done: self._forget_fault(asked, done))
            self._kept[asked] = (now + FRESH_S, reading)
        # One caller that leaves must not take the page away from the others.
        return await asyncio.shield(reading)

    async def _page(self, limit: int, after: int | None) -> SalesPage:
        try:
            page = SalesPage(*await self._read(limit, after))
        except Unavailable:
            last = self._last.get((limit, after))
            if last is None:
                raise
            return last
        if len(self._last) >= PAGES_MAX:
            self._last.clear()
        self._last[(limit, after)] = page
        return page

    def _forget_fault(self, asked: tuple[int, int | None], done: asyncio.Future[SalesPage]) -> None:
        if not done.cancelled() and done.exception() is None:
            return
        _, kept = self._kept.get(asked, (0.0, None))
        if kept is done:
            del self._kept[asked]
