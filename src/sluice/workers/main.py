"""The process behind `sluice work`: a worker a shard, and what keeps the gate in step."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from sluice.domain.errors import SluiceError, Unavailable
from sluice.lasting import lasting
from sluice.telemetry import get_logger
from sluice.workers.shard import ShardWorker

STEP_EVERY_S = 1.0
DRAIN_MAX_S = 8.0
"""How long a stop may take until everything accepted is in the ledger."""

log = get_logger("worker")


def owner_name() -> str:
    """Names this process among those that may own a shard."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Runs(Protocol):
    """Something that works until it is told to stop, and then finishes the step it is at."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


async def run(
    workers: Sequence[ShardWorker],
    keep_in_step: Callable[[], Awaitable[None]],
    beside: Sequence[Runs] = (),
) -> None:
    """Until SIGTERM or SIGINT; then drain what the gate has accepted, within `DRAIN_MAX_S`.

    `beside` are those that no shard depends on: releaser, herald, deliverer. What breaks in one of
    them is begun again; what breaks in a worker of a shard ends the process, which must not go on
    with what it does not understand.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    stopping = asyncio.Event()
    running = [
        *(asyncio.ensure_future(each.run()) for each in workers),
        *(asyncio.ensure_future(lasting(each.run, stopped=stopping)) for each in beside),
    ]
    step = asyncio.ensure_future(_in_step(keep_in_step))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([stopped, step, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        step.cancel()
        stopped.cancel()
        stopping.set()
        for each in (*workers, *beside):
            each.stop()
    _, late = await asyncio.wait(running, timeout=DRAIN_MAX_S)
    for task in late:
        # Nothing is lost: the rest stays in the gate's log, or in the ledger, for the next worker.
        log.error("not everything was done in time", action="stop")
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for ended in (*running, step):
        if ended.done() and not ended.cancelled() and (error := ended.exception()):
            raise error


async def _in_step(keep_in_step: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await keep_in_step()
        except Unavailable as error:
            log.warning("store away", action="retry", error=str(error))
        except SluiceError as error:
            log.error("the gate is not in step", action="retry", error=str(error))
        await asyncio.sleep(STEP_EVERY_S)
