"""Webhooks to the merchant: from the outbox to deliveries, and from there to their endpoints.

Any number of these run at once, in as many processes. The cursor in the outbox is moved by
compare-and-set, and a delivery is one sender's for a while; what a sender leaves behind when it
dies is sent by another, perhaps a second time. No fault here ends the process: it records orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain
from time import monotonic

from sluice.delivery.schedule import GIVE_UP_AFTER_MS
from sluice.delivery.sender import Sender
from sluice.domain.errors import Unavailable
from sluice.domain.webhook import Attempted, Claim, Cursor, Endpoint
from sluice.ledger.ledger import Ledger
from sluice.telemetry import get_logger
from sluice.workers.courier import Courier, Parcel
from sluice.workers.news import message_body, news_of, wanted_by

READ_MAX = 100
"""Events of the outbox in one look."""
ROWS_MAX = 4000
"""Deliveries that one transaction writes down: it must not keep the recorder waiting."""
LOOK_EVERY_S = 0.2
"""Between two looks into an outbox where there was nothing new."""
IDLE_LOOK_EVERY_S = 1.0
"""The same while there is no endpoint: then the cursor only keeps up."""
HAND_OUT_EVERY_S = 0.5
"""How late a retry may be, and what another process wrote down."""
CLAIM_MS = 60_000
"""How long a delivery is ours: as long as it waits for those before it, and its own attempt."""
SETTLE_MAX = 500
SETTLE_GATHER_S = 0.05
"""What ends within this time goes to the ledger in one transaction."""
TIDY_EVERY_S = 60.0
TIDY_MAX = 1000
GIVE_UP_GRACE_MS = 3_600_000
OUTBOX_KEPT = 10_000
"""Events behind the cursor that stay: those who push to browsers read them too."""
PAUSE_S = 1.0
"""After a fault."""
GIVE_WAY_S = 0.3
"""After the recorder beside us wrote a large batch: in the crowd's minute the disk is its."""
GIVE_WAY_MAX_S = 5.0
"""Then there is a step of ours all the same."""
STOP_S = 3.0
"""How long a stop waits for the answers of endpoints."""

log = get_logger("deliverer")

Count = Callable[[str, int], None]


class Deliverer:
    """Runs until stopped. `count` is called with what was done, for the metrics."""

    def __init__(
        self, ledger: Ledger, sender: Sender, count: Count = lambda _name, _n: None
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._count = count
        self._couriers: dict[int, Courier] = {}
        self._ended: list[Attempted] = []
        self._results = asyncio.Event()
        self._work = asyncio.Event()
        self._stop = asyncio.Event()
        self._ahead_ms = 0.0
        """The ledger's clock less this process's monotonic one."""
        self._quiet_from = 0.0

    def stop(self) -> None:
        self._stop.set()
        self._work.set()
        self._results.set()

    def give_way(self) -> None:
        """Somebody who matters more is busy now. What is being sent goes on."""
        self._quiet_from = monotonic() + GIVE_WAY_S

    async def run(self) -> None:
        try:
            await asyncio.gather(
                self._repeat(self._tell_step),
                self._repeat(self._hand_out_step),
                self._repeat(self._settle_step),
                self._repeat(self._tidy_step),
            )
            await self._put_down()
        finally:
            await self._sender.close()

    # --- from the outbox to deliveries -----------------------------------------------------

    async def tell(self) -> bool:
        """Write down what is new for the endpoints; True where there may be more."""
        before = await self._ledger.webhook_cursor()
        endpoints = await self._ledger.active_endpoints()
        if not endpoints:
            last = await self._ledger.last_event()
            if last > before.position:
                await self._ledger.fan_out(before, Cursor(last, 0), [], GIVE_UP_AFTER_MS)
            return False
        events = await self._ledger.events_after(before.position, READ_MAX)
        since_ms = min(endpoint.active_since_ms for endpoint in endpoints)
        news_max = max(1, ROWS_MAX // len(endpoints))
        news, after = news_of(events, before, news_max, since_ms)
        if after == before:
            return False
        if await self._ledger.fan_out(before, after, news, GIVE_UP_AFTER_MS):
            self._work.set()
        return True

    async def _tell_step(self) -> None:
        await self._until_quiet()
        if not await self.tell():
            await self._wait(LOOK_EVERY_S if self._couriers else IDLE_LOOK_EVERY_S)

    # --- from deliveries to their endpoints ------------------------------------------------

    async def hand_out(self) -> None:
        """Give each courier what is due at its endpoint and fits in its hands."""
        await self._set_clock()
        endpoints, due = await self._ledger.waiting_endpoints()
        await self._know(endpoints)
        for endpoint in endpoints:
            courier = self._couriers[endpoint.id]
            if courier.in_doubt:
                await self._give_back(courier.give_back())
            if endpoint.id in due and (room := courier.room()):
                claim = await self._ledger.claim_deliveries(endpoint.id, room, CLAIM_MS)
                courier.take(await self._packed(claim))

    async def _hand_out_step(self) -> None:
        await self._until_quiet()
        self._work.clear()
        await self.hand_out()
        await _within(self._work, HAND_OUT_EVERY_S)

    async def _know(self, endpoints: Sequence[Endpoint]) -> None:
        """Couriers for these endpoints as they are now, and for no others."""
        for endpoint in endpoints:
            courier = self._couriers.get(endpoint.id)
            if courier is None:
                self._couriers[endpoint.id] = self._courier(endpoint)
            else:
                courier.endpoint = endpoint
        for gone in self._couriers.keys() - {endpoint.id for endpoint in endpoints}:
            courier = self._couriers[gone]
            await self._give_back(courier.give_back())
            if not courier.held:
                del self._couriers[gone]

    def _courier(self, endpoint: Endpoint) -> Courier:
        return Courier(
            endpoint, self._sender, now_ms=self._now_ms, done=self._done, hungry=self._work.set
        )

    async def _packed(self, claim: Claim) -> list[Parcel]:
        try:
            return await self._parcels(claim)
        except Exception:
            with suppress(Unavailable):
                ids = [delivery.id for delivery in claim.deliveries]
                await self._ledger.unclaim_deliveries(claim.token, ids)
            raise

    async def _parcels(self, claim: Claim) -> list[Parcel]:
        """With their messages, as their subjects are now."""
        numbers, sale_ids = wanted_by(claim.deliveries)
        orders = await self._ledger.orders(numbers)
        sales = await self._ledger.sales(sale_ids)
        now_ms = self._now_ms()
        return [
            Parcel(
                delivery,
                claim.token,
                now_ms + CLAIM_MS,
                message_body(delivery, orders, sales, now_ms),
            )
            for delivery in claim.deliveries
        ]

    async def _give_back(self, parcels: Sequence[Parcel]) -> None:
        by_claim: dict[int, list[int]] = {}
        for parcel in parcels:
            by_claim.setdefault(parcel.claim, []).append(parcel.delivery.id)
        for claim, ids in by_claim.items():
            await self._ledger.unclaim_deliveries(claim, ids)

    # --- what came of them -----------------------------------------------------------------

    def _done(self, attempt: Attempted) -> None:
        self._ended.append(attempt)
        self._results.set()

    async def settle(self) -> None:
        """Bring what ended into the ledger; what it does not take stays for the next try."""
        batch = self._ended[:SETTLE_MAX]
        if not batch:
            return
        await self._ledger.settle_deliveries(batch)
        del self._ended[: len(batch)]
        for endpoint_id in {each.delivery.endpoint_id for each in batch}:
            courier = self._couriers.get(endpoint_id)
            if courier is not None:
                courier.settled(sum(e.delivery.endpoint_id == endpoint_id for e in batch))
        self._say(batch)
        self._work.set()  # those that waited behind them can go

    async def _settle_step(self) -> None:
        await self._results.wait()
        await self._wait(SETTLE_GATHER_S)
        self._results.clear()
        try:
            while self._ended:
                await self.settle()
        except BaseException:
            self._results.set()
            raise

    def _say(self, batch: Sequence[Attempted]) -> None:
        delivered = sum(each.delivered for each in batch)
        self._count("webhooks_delivered", delivered)
        self._count("webhooks_failed", len(batch) - delivered)
        for each in batch:
            if each.gone:
                log.warning(
                    "an endpoint wants no more", action="off", endpoint=each.delivery.endpoint_id
                )
            elif not each.delivered and each.retry_in_ms is None:
                log.error(
                    "a delivery was given up",
                    action="give_up",
                    delivery=each.delivery.id,
                    status=each.status,
                    error=each.error,
                )

    # --- what is done every minute ---------------------------------------------------------

    async def tidy(self) -> None:
        """End what nobody could try, forget what is old."""
        while await self._ledger.give_up_deliveries(GIVE_UP_GRACE_MS, TIDY_MAX) >= TIDY_MAX:
            continue
        while await self._ledger.clear_deliveries(TIDY_MAX) >= TIDY_MAX:
            continue
        cursor = await self._ledger.webhook_cursor()
        while await self._ledger.trim_outbox(cursor.position - OUTBOX_KEPT):
            continue

    async def _tidy_step(self) -> None:
        await self._wait(TIDY_EVERY_S)
        if not self._stop.is_set():
            await self.tidy()

    # --- the end, and small parts ----------------------------------------------------------

    async def _put_down(self) -> None:
        """What was not sent is anybody's at once; what is being sent may end."""
        couriers = list(self._couriers.values())
        left = [parcel for courier in couriers for parcel in courier.give_back()]
        cut = await asyncio.gather(*(courier.close(STOP_S) for courier in couriers))
        try:
            while self._ended:
                await self.settle()
            await self._give_back([*left, *chain.from_iterable(cut)])
        except Unavailable as error:
            log.warning("deliveries wait until their claim ends", action="stop", error=str(error))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            try:
                await step()
            except Unavailable as error:
                log.warning("store away", action="retry", error=str(error))
                await self._wait(PAUSE_S)
            except Exception as error:
                log.error("a step of the deliverer failed", action="retry", exc_info=error)
                await self._wait(PAUSE_S)

    async def _until_quiet(self) -> None:
        latest = monotonic() + GIVE_WAY_MAX_S
        while monotonic() < min(self._quiet_from, latest) and not self._stop.is_set():
            await self._wait(GIVE_WAY_S / 3)

    async def _wait(self, seconds: float) -> None:
        await _within(self._stop, seconds)

    async def _set_clock(self) -> None:
        """Signatures carry the ledger's time, whatever this machine's clock says."""
        self._ahead_ms = await self._ledger.now_ms() - monotonic() * 1000

    def _now_ms(self) -> int:
        return round(monotonic() * 1000 + self._ahead_ms)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or the time is up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
