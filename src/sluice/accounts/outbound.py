"""Sending codes beside the request: nobody waits for a text message, and a caller cannot tell from
the time it takes what became of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sluice.domain.account import NewCode, masked_phone
from sluice.domain.errors import Overloaded, SluiceError
from sluice.telemetry import get_logger

WAITING_MAX = 1000
AT_ONCE_MAX = 16
CLOSE_S_MAX = 3.0

log = get_logger("accounts")
Deliver = Callable[[NewCode], Awaitable[None]]
"""Raises `SluiceError` where the code could not be handed over."""


class Outbound:
    """Bounded on both sides: codes on their way, and codes that wait for their turn."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._turn = asyncio.Semaphore(AT_ONCE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures = 0

    def submit(self, code: NewCode) -> None:
        if len(self._tasks) >= WAITING_MAX:
            raise Overloaded
        task = asyncio.ensure_future(self._send(code))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Sends what waits, within `CLOSE_S_MAX`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S_MAX)
        for task in self._tasks:
            task.cancel()

    async def _send(self, code: NewCode) -> None:
        async with self._turn:
            try:
                await self._deliver(code)
            except SluiceError as error:
                self._lost(code, str(error))
                return
            except Exception as error:
                # A fault that nobody expected may quote what it was given: its kind is enough.
                self._lost(code, type(error).__name__)
                return
        log.info(
            "A code was sent.",
            action="accounts.code_sent",
            to=masked_phone(code.phone),
            message=code.message_id,
        )

    def _lost(self, code: NewCode, why: str) -> None:
        self.failures += 1
        log.warning(
            "A code could not be sent.",
            action="accounts.code_lost",
            to=masked_phone(code.phone),
            message=code.message_id,
            error=why,
        )
