"""One endpoint's deliveries on their way: some at a time, and fewer where nothing gets through."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sluice.delivery.schedule import retry_in_ms
from sluice.delivery.sender import Outcome, Sender
from sluice.domain.signature import Message, key_of
from sluice.domain.webhook import Attempted, Delivery, Endpoint
from sluice.telemetry import get_logger

AT_ONCE = 16
"""Requests to one endpoint at the same time, by one process."""
HELD_MAX = 128
"""Deliveries that one process holds for one endpoint."""
DOUBT_AFTER = 8
"""After so many failures in a row the endpoint is tried with one request at a time: it is down or
overrun, and the deliveries that wait for it lose nothing by not being tried."""

log = get_logger("deliverer")


class Parcel(NamedTuple):
    """A delivery that is ours until `ours_until_ms`, and its message; None where the ledger does
    not have what it is about."""

    delivery: Delivery
    claim: int
    ours_until_ms: int
    body: bytes | None


class Courier:
    """`done` is given every attempt; `hungry` is called when more could be taken."""

    def __init__(
        self,
        endpoint: Endpoint,
        sender: Sender,
        *,
        now_ms: Callable[[], int],
        done: Callable[[Attempted], None],
        hungry: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self._sender = sender
        self._now_ms = now_ms
        self._done = done
        self._hungry = hungry
        self._waiting: deque[Parcel] = deque()
        self._running: dict[asyncio.Task[None], Parcel] = {}
        self._unsettled = 0
        self._failures = 0

    @property
    def in_doubt(self) -> bool:
        return self._failures >= DOUBT_AFTER

    @property
    def held(self) -> int:
        """Waiting, being sent, or sent and not yet in the ledger."""
        return len(self._waiting) + self._unsettled

    def room(self) -> int:
        """How many more to take now: a good many at once, or none."""
        if self.in_doubt:
            return 0 if self.held else 1
        return HELD_MAX - self.held if self.held <= HELD_MAX // 2 else 0

    def take(self, parcels: Sequence[Parcel]) -> None:
        self._waiting.extend(parcels)
        self._start_some()

    def give_back(self) -> list[Parcel]:
        """Those that are not being sent yet; they are somebody else's now."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def settled(self, count: int) -> None:
        """So many of the attempts are in the ledger."""
        self._unsettled -= count
        if self.room():
            self._hungry()

    async def close(self, within_s: float) -> list[Parcel]:
        """Lets what is being sent end in time, and cuts off the rest: it must be sent again."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)
        cut = dict(self._running)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        return list(cut.values())

    def _start_some(self) -> None:
        at_once = 1 if self.in_doubt else AT_ONCE
        while self._waiting and len(self._running) < at_once:
            parcel = self._waiting.popleft()
            # What could end after somebody else may have taken it is theirs.
            if parcel.ours_until_ms < self._now_ms() + self._sender.attempt_ms_max:
                continue
            self._unsettled += 1
            task = asyncio.ensure_future(self._send(parcel))
            self._running[task] = parcel
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._start_some()
        if self.room():
            self._hungry()

    async def _send(self, parcel: Parcel) -> None:
        endpoint, delivery = self.endpoint, parcel.delivery
        if parcel.body is None:
            why = "the ledger does not have what it is about"
            self._done(Attempted(delivery, parcel.claim, endpoint.version, False, None, why, None))
            return
        now_ms = self._now_ms()
        try:
            keys = [key_of(secret) for secret in endpoint.secrets_at(now_ms)]
            message = Message(delivery.uid, now_ms // 1000, parcel.body)
            outcome = await self._sender.send(endpoint.url, keys, message)
        except Exception as error:
            log.error("a delivery could not be tried", action="deliver", exc_info=error)
            outcome = Outcome(None, f"our fault: {type(error).__name__}")
        self._failures = 0 if outcome.delivered else self._failures + 1
        self._done(attempted(endpoint, parcel, outcome, self._now_ms()))


def attempted(endpoint: Endpoint, parcel: Parcel, outcome: Outcome, now_ms: int) -> Attempted:
    """What the ledger is told of an attempt. 410 ends the delivery and switches the endpoint off:
    whoever says so wants no more of them."""
    delivery = parcel.delivery
    retry_ms = None
    if not outcome.delivered and not outcome.gone:
        retry_ms = retry_in_ms(
            delivery.attempts + 1,
            delivery.give_up_at_ms - now_ms,
            asked_s=outcome.retry_after_s,
        )
    return Attempted(
        delivery=delivery,
        claim=parcel.claim,
        endpoint_version=endpoint.version,
        delivered=outcome.delivered,
        status=outcome.status,
        error=outcome.error,
        retry_in_ms=retry_ms,
        gone=outcome.gone,
    )
