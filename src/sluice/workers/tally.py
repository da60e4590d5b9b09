"""Brings the tally of sales into the ledger, and audits the sales that somebody is watching.

Any number of these run at once: what one has stored the others may store again, and it is the same
afterwards. A worker that dies between storing and noting it leaves that to be done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from sluice.audit import Auditor
from sluice.cache.tally import DRAIN_MAX, TallyBoard
from sluice.domain.errors import Unavailable
from sluice.ledger.ledger import Ledger
from sluice.ledger.ticks import NewTick
from sluice.telemetry import get_logger

DRAIN_EVERY_S = 2.0
SETTLED_S = 3
"""Seconds that are younger are still being counted."""
COARSEN_EVERY_S = 60.0
LOOK_EVERY_S = 2.0
AUDIT_REST_S = 10.0
"""Between two audits of one sale, at least; and at least `AUDIT_SHARE` times what the last took."""
UNKNOWN_REST_S = 3.0
"""The same where not everything could be seen, as before the first comparison of the two stores."""
AUDIT_SHARE = 20
AUDIT_MS_MAX = 10_000
"""A sale whose audit takes longer is `unknown` in the monitor; `sluice audit` has more patience."""
PAUSE_S = 2.0
"""After a fault."""
GIVE_WAY_S = 0.3
GIVE_WAY_MAX_S = 10.0
"""The recorder goes first; after so long there is a step of ours all the same."""

log = get_logger("watchman")

Count = Callable[[str, int], None]


class Watchman:
    """Runs until stopped. `count` is told of the ticks that were stored, for the metrics."""

    def __init__(
        self,
        ledger: Ledger,
        board: TallyBoard,
        auditor: Auditor,
        count: Count = lambda _name, _n: None,
    ) -> None:
        self._ledger = ledger
        self._board = board
        self._auditor = auditor
        self._count = count
        self._stop = asyncio.Event()
        self._quiet_from = 0.0

    def stop(self) -> None:
        self._stop.set()

    def give_way(self) -> None:
        """The recorder wrote a large batch: in the crowd's minute the disk is its."""
        self._quiet_from = monotonic() + GIVE_WAY_S

    async def run(self) -> None:
        await asyncio.gather(
            self._repeat(self._drain_step, DRAIN_EVERY_S),
            self._repeat(self._coarsen_step, COARSEN_EVERY_S),
            self._repeat(self.audit_watched, LOOK_EVERY_S),
        )

    # --- the tally -------------------------------------------------------------------------

    async def drain(self, older_than_s: int = SETTLED_S) -> int:
        """Store what is settled; how many cells. Raises `Unavailable`."""
        stored = 0
        while True:
            cells = await self._board.to_store(older_than_s)
            if cells:
                await self._ledger.store_ticks([NewTick(*cell) for cell in cells])
                await self._board.stored(cells)
                self._count("ticks", len(cells))
                stored += len(cells)
            if len(cells) < DRAIN_MAX or self._stop.is_set():
                return stored

    async def _drain_step(self) -> None:
        await self._until_quiet()
        await self.drain()

    async def _coarsen_step(self) -> None:
        await self._until_quiet()
        while await self._ledger.coarsen_ticks(await self._ledger.now_ms() // 1000):
            if self._stop.is_set():
                return
            await self._until_quiet()

    # --- the light -------------------------------------------------------------------------

    async def audit_watched(self) -> None:
        """Look at each watched sale whose last audit has rested. Raises `Unavailable`."""
        for sale_id in await self._board.watched():
            if self._stop.is_set():
                return
            before = await self._board.last_audit(sale_id)
            if before is not None and not _is_due(before, await self._ledger.now_ms()):
                continue
            sale = (await self._ledger.sales([sale_id])).get(sale_id)
            if sale is not None:
                report = await self._auditor.of_sale(sale, AUDIT_MS_MAX)
                await self._board.keep_audit(sale_id, report)

    # --- small parts -----------------------------------------------------------------------

    async def _repeat(self, step: Callable[[], Awaitable[None]], seconds: float) -> None:
        """No fault here ends the process: it records orders."""
        while not self._stop.is_set():
            pause = seconds
            try:
                await step()
            except Unavailable as error:
                pause = max(seconds, PAUSE_S)
                log.warning("store away", action="retry", error=str(error))
            except Exception as error:
                pause = max(seconds, PAUSE_S)
                log.error("a step failed", action="retry", exc_info=error)
            await self._pause(pause)

    async def _until_quiet(self) -> None:
        deadline = monotonic() + GIVE_WAY_MAX_S
        while monotonic() < min(self._quiet_from, deadline) and not self._stop.is_set():
            await self._pause(GIVE_WAY_S)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _is_due(before: dict[str, object], now_ms: int) -> bool:
    at_ms, took_ms = before.get("at_ms"), before.get("took_ms")
    if not isinstance(at_ms, int) or not isinstance(took_ms, int):
        return True
    rest_s = UNKNOWN_REST_S if before.get("state") == "unknown" else AUDIT_REST_S
    return now_ms - at_ms >= max(rest_s * 1000, AUDIT_SHARE * took_ms)
