"""What runs beside the work for as long as a process does, and must not end with a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sluice.telemetry import get_logger

log = get_logger("loops")

BROKEN_S = 1.0
"""Until a loop that broke is begun again."""

Loop = Callable[[], Awaitable[None]]


async def lasting(
    loop: Loop, pause_s: float = BROKEN_S, stopped: asyncio.Event | None = None
) -> None:
    """Runs what is meant to run until it is `stopped`. A mistake of ours in it is logged, and it is
    begun again: what it does would else be missing until somebody restarts the process."""
    stopped = stopped or asyncio.Event()
    while True:
        try:
            await loop()
            return
        except Exception as error:
            log.error("a loop broke", action="loop.broke", loop=_name(loop), exc_info=error)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stopped.wait()
        if stopped.is_set():
            return


def _name(loop: Loop) -> str:
    return getattr(loop, "__qualname__", type(loop).__name__)
