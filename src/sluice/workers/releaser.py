"""What happens by itself as time passes: reminders, ends of payment windows, money on its way back.

Any number of these run at once, in as many processes: the ledger sees to it that nothing is done
twice. The clock is the ledger's. Two loops, because a provider that takes its time must not hold up
the orders of those who never went to pay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from sluice.domain.errors import SluiceError, Unavailable
from sluice.ledger.ledger import Ledger
from sluice.settlement import Settlement
from sluice.telemetry import get_logger

LOOK_EVERY_S = 0.25
"""Between two looks where the one before found less than a full batch."""
PAUSE_S = 1.0
"""After a fault of a store."""
BATCH_MAX = 2000
"""Orders or callbacks in one transaction."""
ASK_MAX = 64
"""Payments or refunds that are taken to their providers in one go."""

log = get_logger("releaser")

Step = Callable[[], Awaitable[bool]]
"""One bounded batch; True where there may be more to do at once."""
Count = Callable[[str, int], None]


class Releaser:
    """Runs until stopped. `decided` is called when there is something for the gate to take back,
    `count` with what was done, for the metrics."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        settlement: Settlement,
        decided: Callable[[], None],
        count: Count = lambda _name, _n: None,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._decided = decided
        self._count = count
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """The batch under way is finished first."""
        self._stop.set()

    async def run(self) -> None:
        await asyncio.gather(
            self._repeat([self.remind, self.expire, self.apply_callbacks]),
            self._repeat([self.close_payments, self.send_refunds]),
        )

    # --- time ------------------------------------------------------------------------------

    async def remind(self) -> bool:
        reminded = await self._ledger.remind_due(BATCH_MAX)
        self._count("reminded", len(reminded))
        return len(reminded) >= BATCH_MAX

    async def expire(self) -> bool:
        expired = await self._ledger.expire_due(BATCH_MAX)
        if expired:
            self._decided()
            self._count("expired", len(expired))
            log.info("payment windows ended", action="expire", orders=len(expired))
        return len(expired) >= BATCH_MAX

    async def apply_callbacks(self) -> bool:
        """Those whose effect failed when they came."""
        applied = await self._ledger.apply_inbox(BATCH_MAX)
        self._count("callbacks_applied_late", applied)
        return applied >= BATCH_MAX

    # --- money -----------------------------------------------------------------------------

    async def close_payments(self) -> bool:
        """Ask the provider before an order ends that somebody may be paying."""
        closed = await self._settlement.void_due(ASK_MAX)
        self._count("payments_closed", closed)
        return closed >= ASK_MAX

    async def send_refunds(self) -> bool:
        sent = await self._settlement.send_refunds(ASK_MAX)
        self._count("refunds_sent", sent)
        return sent >= ASK_MAX

    # --- small parts -----------------------------------------------------------------------

    async def _repeat(self, steps: Sequence[Step]) -> None:
        """All steps, again and again, while there is something due."""
        while not self._stop.is_set():
            told = [await self._tried(self._is_due)]
            if told == [True]:
                told = [await self._tried(step) for step in steps]
            if None in told:
                await self._pause(PAUSE_S)
            elif not any(told):
                await self._pause(LOOK_EVERY_S)

    async def _is_due(self) -> bool:
        """By a look that keeps nobody from writing: on SQLite the recorder would wait for us."""
        at_ms = await self._ledger.next_deadline_ms()
        return at_ms is not None and at_ms <= await self._ledger.now_ms()

    async def _tried(self, step: Step) -> bool | None:
        """None where it failed: that must not keep the other steps from their turn."""
        try:
            return await step()
        except Unavailable as error:
            log.warning("store away", action="retry", error=str(error))
        except SluiceError as error:
            log.error("a step failed", action="retry", error=str(error))
        except Exception as error:
            log.error("a step broke", action="retry", exc_info=error)
        return None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
