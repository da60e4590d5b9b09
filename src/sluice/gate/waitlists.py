"""Joining, leaving and asking for one's place in line: gathered, and decided in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sluice.batching import Batcher
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.outcome import WaitOutcome
from sluice.gate.epochs import Epochs
from sluice.gate.gate import Gate
from sluice.gate.wire import DIGEST_BYTES, Place, Waiter

A = TypeVar("A")

GATHER_S = 0.002
"""As for attempts: in a rush it makes few large calls of many small ones."""


class Waitlists:
    """One for each HTTP process. Each method's future raises what `Batcher` says."""

    def __init__(self, gate: Gate, *, batch_max: int, queue_max: int, deadline_s: float) -> None:
        epochs = Epochs(gate)

        def batched(decide: Callable[[int, list[Waiter]], Awaitable[list[A]]]) -> _Batched[A]:
            return _Batched(decide, batch_max=batch_max, queue_max=queue_max, deadline_s=deadline_s)

        async def join(shard: int, waiters: list[Waiter]) -> list[Place]:
            return await epochs.decide(
                shard, lambda epoch: gate.join_waitlist(shard, epoch, waiters), _not_armed
            )

        async def leave(shard: int, waiters: list[Waiter]) -> list[bool]:
            return await epochs.decide(
                shard, lambda epoch: gate.leave_waitlist(shard, epoch, waiters), _never
            )

        self._join = batched(join)
        self._leave = batched(leave)
        self._place = batched(gate.waitlist_places)

    def join(self, shard: int, waiter: Waiter) -> asyncio.Future[Place]:
        """A place at the end of the line, the one that the buyer has already, or why none."""
        _check(waiter)
        return self._join.submit(shard, waiter)

    def leave(self, shard: int, waiter: Waiter) -> asyncio.Future[bool]:
        """Whether the buyer was in line until now."""
        _check(waiter)
        return self._leave.submit(shard, waiter)

    def place(self, shard: int, waiter: Waiter) -> asyncio.Future[Place]:
        _check(waiter)
        return self._place.submit(shard, waiter)

    async def close(self) -> None:
        await asyncio.gather(self._join.close(), self._leave.close(), self._place.close())


class _Batched(Generic[A]):
    """One queue a shard."""

    def __init__(
        self,
        decide: Callable[[int, list[Waiter]], Awaitable[list[A]]],
        *,
        batch_max: int,
        queue_max: int,
        deadline_s: float,
    ) -> None:
        self._decide = decide
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._deadline_s = deadline_s
        self._queues: dict[int, Batcher[Waiter, A]] = {}

    def submit(self, shard: int, waiter: Waiter) -> asyncio.Future[A]:
        queue = self._queues.get(shard)
        if queue is None:
            queue = self._queues[shard] = self._queue(shard)
        return queue.submit(waiter)

    def _queue(self, shard: int) -> Batcher[Waiter, A]:
        async def ask(waiters: list[Waiter]) -> list[A]:
            return await self._decide(shard, waiters)

        return Batcher(
            ask,
            batch_max=self._batch_max,
            queue_max=self._queue_max,
            deadline_s=self._deadline_s,
            gather_s=GATHER_S,
        )

    async def close(self) -> None:
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))


def _check(waiter: Waiter) -> None:
    """Raises ValueError where the gate's records could not hold it: its whole batch would fail."""
    if len(waiter.digest) != DIGEST_BYTES or not 0 < len(waiter.buyer) <= BUYER_BYTES_MAX:
        raise ValueError("a waiter that the gate cannot keep")


def _not_armed(place: Place) -> bool:
    return place.outcome is WaitOutcome.NOT_ARMED


def _never(_left: bool) -> bool:
    return False
