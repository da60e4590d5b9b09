"""One HTTP worker: the hot lane first, live connections, the framework for everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final

from sluice.admission.overload import Work
from sluice.domain.errors import SluiceError
from sluice.lasting import Loop, lasting
from sluice.telemetry import get_logger
from sluice.web.adapter import Adapter
from sluice.web.lane import Lane
from sluice.web.live.endpoint import Live
from sluice.web.metrics import Board
from sluice.web.overload import DONE, Door
from sluice.web.serving import Serving

log = get_logger("http")

IN_HAND_MAX: Final = 1024
"""Requests of the framework's lane under way at once. It bounds what is never shed, too."""


class HttpWorker:
    """What Granian calls in each worker process (RSGI)."""

    def __init__(
        self,
        *,
        lane: Lane,
        adapter: Adapter,
        serving: Serving,
        board: Board,
        live: Live,
        door: Door,
        prepare: Callable[[], Awaitable[None]],
        loops: Sequence[Loop],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._lane = lane
        self._adapter = adapter
        self._serving = serving
        self._board = board
        self._live = live
        self._door = door
        self._prepare = prepare
        self._loops = loops
        self._close = close
        self._tasks: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        await self._prepare()
        await self._adapter.startup()
        for loop in (*self._loops, *self._live.loops, self._board.run, self._door.run):
            self._tasks.append(asyncio.ensure_future(lasting(loop)))

    async def stop(self) -> None:
        """Answers what is under way, then closes every connection."""
        await self._live.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._adapter.shutdown()
        await self._close()
        self._board.post()

    def __call__(self, scope: Any, proto: Any) -> Awaitable[None]:
        """The coroutine that answers; handed on as it is, since every layer costs each buyer."""
        if scope.proto != "http":
            return self._connect(scope, proto)
        route = self._lane.find(scope.method, scope.path)
        door = self._door
        if route is not None:
            if door.shedding or perf_counter() > door.late_s:
                work = getattr(route, "work", Work.BROWSE)
                if door.turns_away(work):
                    return door.answer(scope, proto, work)
                return door.let_in(work, route(scope, proto))
            return route(scope, proto)
        if self._serving.find(scope.path):
            return self._serving(scope, proto)
        return self._through_the_framework(scope, proto)

    def _through_the_framework(self, scope: Any, proto: Any) -> Awaitable[None]:
        door = self._door
        if door.letters is not None and scope.path == door.letters.path:
            door.letters.arrived()
            proto.response_empty(204, [])
            return DONE
        crowded = self._adapter.in_hand >= IN_HAND_MAX
        if crowded or door.shedding or perf_counter() > door.late_s:
            work = door.works.of(scope.method, scope.path)
            if crowded or door.turns_away(work):
                return door.answer(scope, proto, work)
        return self._adapter(scope, proto)

    def _connect(self, scope: Any, proto: Any) -> Awaitable[None]:
        """A live connection is there to look, and whoever is turned away still has the pages."""
        if self._door.shedding and self._door.turns_away(Work.BROWSE):
            return self._door.hang_up(proto, Work.BROWSE)
        return self._live.serve(scope, proto)


async def every(seconds: float, step: Callable[[], Awaitable[None]], action: str) -> None:
    """Repeats `step` for ever; a fault is logged when it begins and when it ends."""
    failing = False
    while True:
        try:
            await step()
            if failing:
                log.info("works again", action=action)
            failing = False
        except (SluiceError, OSError) as error:
            if not failing:
                log.warning("fails, and is tried again", action=action, error=str(error))
            failing = True
        await asyncio.sleep(seconds)
