"""Waiting for something to hold, with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from sluice.domain.errors import Unavailable

DEADLINE_S = 60.0
"""Only where something is broken is it ever waited for; a loaded machine takes its time."""


async def until(holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Returns as soon as `holds()`; raises TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110 - what is watched cannot set an event
            await asyncio.sleep(0.01)


async def until_it_is(holds: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
    """The same for what has to be asked; a store that is away is asked again."""
    async with asyncio.timeout(deadline_s):
        while True:
            with contextlib.suppress(Unavailable):
                if await holds():
                    return
            await asyncio.sleep(0.01)
