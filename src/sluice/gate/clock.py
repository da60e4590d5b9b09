"""The gate's clock, known to a process without asking each time.

Windows, passes and tokens go by the gate's TIME; the application's own clock decides nothing. Only
the monotonic clock is used in between, and the offset is taken anew every second or so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable


class GateClock:
    """`now_ms()` is the gate's time, to a few milliseconds."""

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        # Until the gate has answered once there is nothing better; nothing is sold then either.
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000
        self.synced = False

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000 + self._offset_ms)

    async def sync(self) -> None:
        """Take the offset anew. Raises `GateUnavailable`; the last offset stays in use."""
        before = time.monotonic() * 1000
        answer = await self._ask()
        after = time.monotonic() * 1000
        self._offset_ms = answer - (before + after) / 2
        self.synced = True
