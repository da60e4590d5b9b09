"""Collects what arrives while a call is in flight and sends it as the next one.

Everything here is bounded: how many wait, how many go in a call, how long a call may take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from sluice.domain.errors import Overloaded, SluiceError, Unavailable
from sluice.telemetry import get_logger

log = get_logger("batching")

RUSH = 16
"""So many in the last call are a rush: whoever comes now does not come alone."""
RUSH_ENDS_S = 0.05

Q = TypeVar("Q")
A = TypeVar("A")
Q_co = TypeVar("Q_co", covariant=True)


class Draft(Protocol[Q_co]):
    """A request that is not complete yet, such as one whose body is still on its way."""

    def request(self) -> Q_co | None:
        """The request as it is to be sent; None as long as it is not complete."""


class Batcher(Generic[Q, A]):
    """Turns single requests into batched calls of `ask`, one answer a request, in order.

    `submit` raises `Overloaded` where the queue is full. Its future is done within `deadline_s`:
    it raises `Overloaded` where the request waited for half of that without being sent (nothing
    happened), and `Unavailable` where the call broke or took too long (the outcome is unknown).
    A `SluiceError` of `ask` is passed on to the whole batch. One batcher serves one event loop.

    `gather_s` is the least time between the beginnings of two calls, unless a batch is full: a
    call costs the same for one request as for many. Whoever comes alone does not wait.

    In a rush, `submit_soon` takes a request before it is complete, and looks when the next call
    begins: what its coroutine would have been woken up for costs nothing then.
    """

    def __init__(
        self,
        ask: Callable[[list[Q]], Awaitable[list[A]]],
        *,
        batch_max: int,
        queue_max: int,
        deadline_s: float,
        calls_max: int = 2,
        gather_s: float = 0.0,
    ) -> None:
        self._ask = ask
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._deadline_s = deadline_s
        self._calls_max = calls_max
        self._gather_s = gather_s
        self._next_s = 0.0
        self._last, self._last_s = 0, 0.0
        """How many the last call took along, and when it began."""
        self._gathering: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[Q, asyncio.Future[A], float]] = deque()
        self._drafts: list[_Drafted[Q, A]] = []
        self._looked_at: list[_Drafted[Q, A]] = []
        """Drafts that were not complete when they were looked at: it is done once more."""
        self._calls: set[asyncio.Task[None]] = set()
        self._starting = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._drafts) + len(self._looked_at)

    def longest_wait_s(self) -> float:
        """For how long the request that came first has been waiting to be sent."""
        first = [each[0][2] for each in (self._waiting, self._drafts, self._looked_at) if each]
        return monotonic() - min(first) if first else 0.0

    def submit_soon(self, draft: Draft[Q]) -> asyncio.Future[A | None] | None:
        """None where there is no rush: wait until the request is complete, and `submit` it.

        So where the future says None; else it is as that of `submit`. Raises `Overloaded`.
        """
        waiting = self.waiting
        if waiting >= self._queue_max or self._closed:
            raise Overloaded()
        now, calls = monotonic(), len(self._calls)
        idle = calls < self._calls_max and not self._starting
        if idle and (self._last < RUSH or now - self._last_s > RUSH_ENDS_S):
            return None
        assert self._loop is not None
        future: asyncio.Future[A | None] = self._loop.create_future()
        self._drafts.append((draft, future, now))
        if idle:
            self._starting = True
            wait_s = max(self._next_s - now, self._gather_s)
            self._gathering = self._loop.call_later(wait_s, self._start)
        elif self._gathering is not None and waiting >= self._batch_max:
            self._gathering.cancel()
            self._start_soon(self._loop)
        return future

    def submit(self, request: Q) -> asyncio.Future[A]:
        if self.waiting >= self._queue_max or self._closed:
            raise Overloaded()
        loop = self._loop
        if loop is None:  # asked for once: before Python 3.12 it costs a system call each time
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((request, future, monotonic()))
        if len(self._calls) < self._calls_max and not self._starting:
            self._start_soon(loop)
        elif self._gathering is not None and self.waiting >= self._batch_max:
            self._gathering.cancel()
            self._start_soon(loop)
        return future

    async def close(self) -> None:
        """Answer everything that waits, then take no more."""
        self._closed = True
        while self._calls or self.waiting:
            self._start()
            if self._calls:
                await asyncio.wait(self._calls)

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """One turn of the loop later at least, so that what arrived together travels together."""
        self._starting = True
        wait_s = self._next_s - monotonic() if self._gather_s else 0.0
        if wait_s > 0 and self.waiting < self._batch_max:
            self._gathering = loop.call_later(wait_s, self._start)
        else:
            self._gathering = None
            loop.call_soon(self._start)

    def _start(self) -> None:
        self._starting, self._gathering = False, None
        if self._drafts or self._looked_at:
            self._look()
        while self._waiting and len(self._calls) < self._calls_max:
            batch, waited_s = self._take()
            if batch:
                self._last, self._last_s = len(batch), monotonic()
                self._next_s = self._last_s + self._gather_s
                # Those who waited longest set the time: nobody waits for more than the deadline.
                call = asyncio.ensure_future(self._call(batch, self._deadline_s - waited_s))
                self._calls.add(call)
                call.add_done_callback(self._ended)
        if self._looked_at and len(self._calls) < self._calls_max and self._loop is not None:
            self._start_soon(self._loop)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self.waiting and not self._starting:
            self._start_soon(call.get_loop())

    def _look(self) -> None:
        """Drafts that are complete become requests. Who is not at the second look has to wait for
        what is missing, and is told so."""
        looked_at, drafts = self._looked_at, self._drafts
        self._looked_at, self._drafts = [], []
        for drafted in looked_at:
            if not self._take_up(*drafted) and not drafted[1].done():
                drafted[1].set_result(None)
        for drafted in drafts:
            if not self._take_up(*drafted):
                self._looked_at.append(drafted)

    def _take_up(self, draft: Draft[Q], future: asyncio.Future[Any], since: float) -> bool:
        request = draft.request()
        if request is None:
            return False
        self._waiting.append((request, future, since))
        return True

    def _take(self) -> tuple[list[tuple[Q, asyncio.Future[A]]], float]:
        """The next batch, and for how long its first request waited, in seconds.

        What waited for half its deadline is told so instead of being sent with too little left.
        """
        now = monotonic()
        oldest, waited_s = now - self._deadline_s / 2, 0.0
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        waiting, batch_max = self._waiting, self._batch_max
        while waiting and len(batch) < batch_max:
            request, future, since = waiting.popleft()
            if future.done():
                continue
            if since < oldest:
                future.set_exception(Overloaded())
                continue
            if now - since > waited_s:
                waited_s = now - since
            batch.append((request, future))
        return batch, waited_s

    async def _call(self, batch: list[tuple[Q, asyncio.Future[A]]], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                answers = await self._ask([request for request, _ in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} requests")
        except BaseException as error:
            fault = _fault_of(error)
            for _, future in batch:
                if not future.done():
                    future.set_exception(fault)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


_Drafted = tuple[Draft[Q], "asyncio.Future[A | None]", float]


def _fault_of(error: BaseException) -> SluiceError:
    """What the requests of a broken call are told."""
    if isinstance(error, SluiceError):
        return error
    if isinstance(error, Exception) and not isinstance(error, OSError):  # such as TimeoutError
        log.error("a call broke", action="fail", exc_info=error)
    return Unavailable()
