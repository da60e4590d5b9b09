"""Attempts on their way to the gate: one queue a shard, decided in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluice.batching import Batcher, Draft
from sluice.domain.outcome import Outcome
from sluice.gate.epochs import Epochs
from sluice.gate.gate import Gate
from sluice.gate.wire import Attempt, Decision, check

GATHER_S = 0.002
"""Least time between two calls: in a rush this makes few large calls of many small ones."""
ITEMS_MAX = 255
"""Different items in one call: the place of an item among the keys is one byte."""


class Reservations:
    """Submits attempts and learns by itself which epoch each shard is in."""

    def __init__(self, gate: Gate, *, batch_max: int, queue_max: int, deadline_s: float) -> None:
        self._gate = gate
        self._limits = {"batch_max": batch_max, "queue_max": queue_max}
        self._deadline_s = deadline_s
        self._batchers: dict[int, Batcher[Attempt, Decision]] = {}
        self._epochs = Epochs(gate)

    def submit(self, shard: int, attempt: Attempt) -> asyncio.Future[Decision]:
        """The future decision. Raises `Overloaded`, and ValueError for what cannot be decided;
        see `Batcher` for what the future may raise."""
        check(attempt)  # here, or its whole batch would fail with it
        batcher = self._batchers.get(shard)
        if batcher is None:
            batcher = self._batchers[shard] = self._batcher(shard)
        return batcher.submit(attempt)

    def submit_soon(
        self, shard: int, draft: Draft[Attempt]
    ) -> asyncio.Future[Decision | None] | None:
        """The same for an attempt that is not complete yet; see `Batcher.submit_soon`."""
        batcher = self._batchers.get(shard)
        return None if batcher is None else batcher.submit_soon(draft)

    @property
    def waiting(self) -> int:
        return sum(batcher.waiting for batcher in self._batchers.values())

    def longest_wait_s(self) -> float:
        """For how long the attempt that came first has been waiting to be sent."""
        return max((each.longest_wait_s() for each in self._batchers.values()), default=0.0)

    def epoch(self, shard: int) -> int:
        """The epoch in which this process last got a decision; 0 before the first."""
        return self._epochs.known(shard)

    async def close(self) -> None:
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))

    def _batcher(self, shard: int) -> Batcher[Attempt, Decision]:
        async def decide(attempts: list[Attempt]) -> list[Decision]:
            return await self._decide(shard, attempts)

        return Batcher(
            decide, deadline_s=self._deadline_s, calls_max=2, gather_s=GATHER_S, **self._limits
        )

    async def _decide(self, shard: int, attempts: list[Attempt]) -> list[Decision]:
        decisions: list[Decision] = []
        for part in _parts(attempts):
            decisions += await self._decide_part(shard, part)
        return decisions

    async def _decide_part(self, shard: int, attempts: Sequence[Attempt]) -> list[Decision]:
        return await self._epochs.decide(
            shard, lambda epoch: self._gate.reserve(shard, epoch, attempts), _not_armed
        )


def _not_armed(decision: Decision) -> bool:
    return decision.outcome is Outcome.NOT_ARMED


def _parts(attempts: list[Attempt]) -> list[list[Attempt]]:
    """Runs of attempts that name at most `ITEMS_MAX` items each; one part, nearly always."""
    if len(attempts) <= ITEMS_MAX:
        return [attempts]
    parts, items = [list[Attempt]()], set[int]()
    for attempt in attempts:
        items.add(attempt.item_id)
        if len(items) > ITEMS_MAX:
            parts.append([])
            items = {attempt.item_id}
        parts[-1].append(attempt)
    return parts
