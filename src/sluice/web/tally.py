"""What one HTTP worker counts of each sale, told to the cache server once a second.

Counting is adding to plain ints, in the hot lane too: every buyer of a sale's first second pays
for it. What the cache server does not take is lost, and that it was is told when it is back.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

from sluice.domain.outcome import Outcome
from sluice.domain.tally import (
    BOUNDS_MS,
    BUYS_ACCEPTED,
    BUYS_REPLAYED,
    FIRST_TIME,
    LOST,
    PASSES_GIVEN,
    PASSES_WAITING,
    PLACE,
    VIEWS,
    Cell,
    buy_place,
    named,
    new_cell,
    pass_place,
)

FLUSH_EVERY_S = 1.0
SALES_MAX = 500
"""Sales counted in one second; of more, those that came first."""
LOST_MAX = 500
"""Sales of which it is remembered how much was lost."""

Report = Callable[[Mapping[int, Mapping[str, int]]], Awaitable[bool]]
"""Takes named counts by sale; False where they could not be told."""

_REASON = {
    Outcome.SOLD_OUT: "sold_out",
    Outcome.LIMIT_REACHED: "limit_reached",
    Outcome.NOT_STARTED: "not_started",
    Outcome.ENDED: "ended",
    Outcome.PAUSED: "paused",
    Outcome.NOT_ARMED: "unavailable",
    Outcome.UNKNOWN_ITEM: "not_found",
    Outcome.OTHER_QUANTITY: "invalid",
    Outcome.BAD_PASS: "bad_pass",
}
_BUY = [
    PLACE[BUYS_ACCEPTED]
    if outcome is Outcome.ACCEPTED
    else PLACE[BUYS_REPLAYED]
    if outcome is Outcome.REPLAYED
    else buy_place(_REASON[outcome])
    for outcome in Outcome
]
_PASS = [
    PLACE[PASSES_GIVEN] if outcome is Outcome.ACCEPTED else pass_place(_REASON.get(outcome, ""))
    for outcome in Outcome
]
_BOUNDS_S = tuple(bound / 1000 for bound in BOUNDS_MS)
_VIEWS, _WAITING, _LOST = PLACE[VIEWS], PLACE[PASSES_WAITING], PLACE[LOST]


class Tally:
    """`run` must be running for anybody to hear of it. A sale without an id (0) is none."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._cells: dict[int, Cell] = {}
        self._lost: dict[int, int] = {}

    # --- counting --------------------------------------------------------------------------

    def viewed(self, sale_id: int) -> None:
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[_VIEWS] += 1

    def decided(self, sale_id: int, outcome: Outcome, began: float) -> None:
        """A purchase was decided; `began` is of `perf_counter`."""
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[_BUY[outcome]] += 1
        cell[FIRST_TIME + bisect_left(_BOUNDS_S, perf_counter() - began)] += 1

    def passed(self, sale_id: int, outcome: Outcome = Outcome.ACCEPTED) -> None:
        """A pass was given, or refused for this."""
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[_PASS[outcome]] += 1

    def told_to_wait(self, sale_id: int) -> None:
        """A pass was asked for, and the waiting room has the buyer wait."""
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[_WAITING] += 1

    def refused_pass(self, sale_id: int, code: str) -> None:
        """A pass was refused with this problem."""
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[pass_place(code)] += 1

    def refused_purchase(self, sale_id: int, code: str) -> None:
        """A purchase was refused with this problem, before or instead of the gate's decision."""
        cell = self._cells.get(sale_id) or self._new(sale_id)
        cell[buy_place(code)] += 1

    def _new(self, sale_id: int) -> Cell:
        """Seldom: once a sale and second."""
        cell = new_cell()
        if sale_id and len(self._cells) < SALES_MAX:
            self._cells[sale_id] = cell
        return cell

    # --- telling ---------------------------------------------------------------------------

    async def tell(self) -> None:
        """What was counted since the last time; what cannot be told counts as lost."""
        cells, self._cells = self._cells, {}
        for sale_id, lost in self._lost.items():
            cell = cells.setdefault(sale_id, new_cell())
            cell[_LOST] += lost
        if not cells:
            return
        if await self._report({sale_id: named(cell) for sale_id, cell in cells.items()}):
            self._lost.clear()
            return
        for sale_id, cell in cells.items():
            if sale_id in self._lost or len(self._lost) < LOST_MAX:
                self._lost[sale_id] = events_in(cell)

    async def run(self) -> None:
        """Once a second until it is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.tell()


def events_in(cell: Cell) -> int:
    """How many counts a cell stands for; times are of purchases that are counted already."""
    return sum(cell[:FIRST_TIME])
