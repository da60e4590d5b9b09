"""One shard's worker: owns the shard by a lease, arms the gate, records its log, hands back units.

The story of a turn: claim → check the gate against the ledger → arm → record, release, trim, mark
→ and give the shard up in an orderly way. A fault of a store ends the turn; the next one begins
with claiming again. What must not go on by itself (a gap in the log, a gate more generous than the
ledger, a gate without its memory) leaves the gate shut and says so until an operator has looked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from sluice import flow
from sluice.domain.errors import FenceLost, StreamGap, Unavailable
from sluice.domain.number import EPOCH_S
from sluice.gate.gate import Gate, GateStatus
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Lease, Recorded
from sluice.pipe.stream import Pipe
from sluice.telemetry import get_logger

CLAIM_EVERY_S = 0.25
RETRY_EVERY_S = 0.25
RELEASE_EVERY_S = 0.2
"""How often decisions of other processes are looked for; ours wake us."""
RELEASE_MAX = 2000
RELEASE_AGAIN_S = 5.0
"""A hold that was handed back and not yet read in the log is handed back again after this long."""
MARK_EVERY_S = 5.0
MARK_MAX = 500
"""Items in one audit mark."""
TRIM_EVERY_S = 5.0
IN_DOUBT = "Gate and ledger disagree about what is left; `sluice audit` says about which items."
GATHER_BELOW = 2000
GATHER_S = 0.1
"""After fewer orders than this the recorder waits a moment: a transaction and its fsync for every
few orders would take the processor from the buyers. Whoever comes alone is recorded at once."""
MANY = 500
"""So many orders in one transaction are a rush, in which other work gives way."""
BLOCK_MS = 200
"""How long one read of the log waits; also how soon a stop is noticed."""

log = get_logger("worker")


class GateShut(Exception):  # noqa: N818 - a state that is told, not a programming error
    """The gate of this shard must stay shut; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The worker's limits, from the settings."""

    lease_ms: int
    record_max: int
    backlog_max: int
    trim_after_s: int


class ShardWorker:
    """Runs one shard until stopped."""

    def __init__(
        self,
        shard: int,
        owner: str,
        *,
        gate: Gate,
        ledger: Ledger,
        open_pipe: Callable[[int, int, int], Pipe],
        digest: Callable[[str], bytes],
        pace: Pace,
        released: Callable[[Collection[int]], Awaitable[object]] | None = None,
        recorded: Callable[[Recorded], object] | None = None,
    ) -> None:
        """`released` is told of which items units went back, `recorded` what came of the log."""
        self._shard = shard
        self._owner = owner
        self._gate = gate
        self._ledger = ledger
        self._open_pipe = open_pipe
        self._digest = digest
        self._pace = pace
        self._tell_released = released
        self._tell_recorded = recorded
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        """The turn is over: its loops end after the step they are at. None is cut off in the
        middle, where nobody could say what it had done."""
        self._failed = False
        self._in_doubt = False
        """Gate and ledger disagreed at their last comparison: nothing is sold until they agree."""
        self._lease: Lease | None = None
        self._position = 0
        self._marked = 0
        self._recorded: deque[tuple[float, int]] = deque()
        self._decided = asyncio.Event()
        """There may be something to hand back."""
        self._handed: dict[int, float] = {}
        """Numbers that were handed back, until the log has been read: when."""
        self._shut: str | None = None

    @property
    def shut(self) -> str | None:
        """Why the gate stays shut, or None."""
        return self._shut

    def stop(self) -> None:
        self._stop.set()
        self._end_turn()

    def wake(self) -> None:
        """The ledger has decided to release something: hand it back now."""
        self._decided.set()

    def _end_turn(self) -> None:
        self._over.set()
        self._decided.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                if await self._claim():
                    await self._turn()
            except Unavailable as error:
                log.warning("store away", action="retry", shard=self._shard, error=str(error))
            except FenceLost:
                log.warning("another worker owns the shard", action="yield", shard=self._shard)
            except (StreamGap, GateShut) as error:
                self._shut = str(error)
                log.error("the gate stays shut", action="shut", shard=self._shard, why=self._shut)
                await self._keep_shut()
            await self._pause(RETRY_EVERY_S)
        await self._give_up()

    # --- claim and check -------------------------------------------------------------------

    async def _claim(self) -> bool:
        self._lease = await self._ledger.claim_shard(self._shard, self._owner, self._pace.lease_ms)
        if self._lease is None:
            await self._pause(CLAIM_EVERY_S)
        return self._lease is not None

    async def _check(self, lease: Lease) -> Lease:
        """The gate's memory against the ledger's position, before anything may be sold.

        Raises `GateShut` where they do not fit together.
        """
        await self._gate.load_library()
        status = await self._gate.status(self._shard)
        if status.epoch is None or status.epoch < lease.epoch or lease.epoch == 0:
            return await self._begin(lease, status)
        if status.epoch > lease.epoch:
            raise GateShut(
                f"The gate is in epoch {status.epoch}, the ledger in {lease.epoch}: "
                "is this the right database? Restore the ledger that belongs to this gate."
            )
        position = (await self._ledger.positions())[self._shard].counter
        if status.counter < position:
            raise GateShut(
                f"The gate's log ends at entry {status.counter}, but the ledger has recorded "
                f"{position}: the gate lost its last writes and must be rebuilt."
            )
        self._position = position
        self._in_doubt = bool(await self._disputed())
        return lease

    async def _begin(self, lease: Lease, status: GateStatus) -> Lease:
        """A gate that never held this shard starts its first epoch; one that lost it stays shut."""
        if status.epoch is not None or await self._ledger.loaded_items(self._shard):
            raise GateShut(
                f"The gate has lost its memory of shard {self._shard} (ledger: epoch "
                f"{lease.epoch}); it sells nothing until it is rebuilt from the ledger."
            )
        lease = await self._ledger.begin_epoch(lease)
        highest = (await self._ledger.positions())[self._shard].highest_number
        floor = max(highest >> 32, status.now_ms // 1000 - EPOCH_S)
        await self._gate.begin_epoch(self._shard, lease.epoch, floor)
        self._position = 0
        return lease

    # --- a turn ----------------------------------------------------------------------------

    async def _turn(self) -> None:
        assert self._lease is not None
        self._lease = await self._check(self._lease)
        self._shut = None if not self._in_doubt else IN_DOUBT
        self._failed = False
        self._recorded.clear()
        self._handed.clear()
        if not self._stop.is_set():
            self._over.clear()
        pipe = self._open_pipe(self._shard, self._lease.epoch, self._position)
        log.info("owns the shard", action="own", shard=self._shard, epoch=self._lease.epoch)
        # Once before anything is sold: a gap in the log must not be found out afterwards.
        await self._record_next(pipe)
        # And armed before anything is handed back: a gate that is not leaves units with nobody.
        await self._renew()
        loops = [
            asyncio.ensure_future(loop)
            for loop in (
                self._record_all(pipe),
                self._every(self._pace.lease_ms / 5000, self._renew),
                self._release_all(),
                self._every(TRIM_EVERY_S, partial(self._trim_log, pipe)),
                self._every(MARK_EVERY_S, self._mark),
            )
        ]
        await asyncio.wait(loops, return_when=asyncio.FIRST_EXCEPTION)
        self._failed = any(loop.done() and loop.exception() for loop in loops)
        self._end_turn()
        await asyncio.wait(loops)
        for loop in loops:
            loop.result()

    async def _renew(self) -> None:
        """Keep the shard, and let the gate sell for another while if nothing speaks against it."""
        lease = self._owned()
        self._lease = await self._ledger.renew(lease, self._pace.lease_ms)
        status = await self._gate.status(self._shard)
        if status.epoch != lease.epoch:
            raise GateShut(f"The gate has lost its memory of shard {self._shard}.")
        if self._in_doubt:
            return
        backlog = status.counter - self._position
        if backlog > self._pace.backlog_max:
            log.error("the recorder is behind", action="refuse", shard=self._shard, backlog=backlog)
            return
        await self._gate.arm(self._shard, lease.epoch, self._pace.lease_ms)

    async def _record_all(self, pipe: Pipe) -> None:
        """Until stopped, and then until the log is read to its end."""
        while not self._failed:
            facts = await self._record_next(pipe)
            if not facts and self._stop.is_set():
                return
            if 0 < facts < GATHER_BELOW:
                await self._pause(GATHER_S)

    async def _record_next(self, pipe: Pipe) -> int:
        """Records the next stretch of the log; how many facts it held, at least 1 if any."""
        done = await flow.record(
            pipe,
            self._ledger,
            self._owned(),
            facts_max=self._pace.record_max,
            block_ms=0 if self._stop.is_set() else BLOCK_MS,
        )
        if done is None:
            return 0
        self._position, recorded = done
        self._recorded.append((monotonic(), self._position))
        if recorded.dead:
            log.error("orders rejected", action="reject", numbers=list(recorded.dead)[:20])
        if recorded.dead or recorded.cancelled:
            self.wake()
        if recorded.marks_failed:
            await self._shut_in_doubt(recorded.marks_failed)
        if self._tell_recorded is not None:
            self._tell_recorded(recorded)
        return max(recorded.orders, 1)

    async def _release_all(self) -> None:
        """Until the turn is over: at once when something was decided here, soon when elsewhere."""
        while not self._over.is_set():
            self._decided.clear()
            await self._release()
            await _wait(self._decided, RELEASE_EVERY_S)

    async def _release(self) -> None:
        """Everything that is decided now, batch after batch."""
        now = monotonic()
        handed = {n: at for n, at in self._handed.items() if at > now - RELEASE_AGAIN_S}
        self._handed = {}
        items: set[int] = set()
        orders, after, full = 0, 0, True
        while full and not self._over.is_set():
            done = await flow.release(
                *(self._gate, self._ledger, self._owned(), self._digest),
                limit=RELEASE_MAX,
                after=after,
                skip=handed,
            )
            self._handed.update(
                (each.number, handed.get(each.number, now)) for each in done.pending
            )
            full = len(done.pending) == RELEASE_MAX
            after = done.pending[-1].number if full else after
            items |= done.units_of
            orders += done.orders
        if orders:
            log.info("units went back", action="release", shard=self._shard, orders=orders)
        if items and self._tell_released is not None:
            await self._tell_released(items)

    async def _trim_log(self, pipe: Pipe) -> None:
        """Forget log entries some time after they were recorded, and never one that was not."""
        before = monotonic() - self._pace.trim_after_s
        below = 0
        while self._recorded and self._recorded[0][0] <= before:
            below = self._recorded.popleft()[1]
        if below:
            await pipe.trim(below)

    async def _mark(self) -> None:
        """An audit mark after every stretch of business; a quiet shard stays quiet.

        In doubt it asks again each time, and the gate sells again when the answer is good.
        """
        lease = self._owned()
        if self._in_doubt and not await self._disputed():
            self._in_doubt, self._shut = False, None
            log.info("gate and ledger agree again", action="trust", shard=self._shard)
        status = await self._gate.status(self._shard)
        if status.counter == self._marked and not self._in_doubt:
            return
        items = [
            item.id
            for sale in await self._ledger.open_sales()
            for item in sale.items
            if item.shard == self._shard and item.loaded_epoch is not None
        ]
        for start in range(0, len(items), MARK_MAX):
            part = items[start : start + MARK_MAX]
            self._marked = await self._gate.mark(self._shard, lease.epoch, part)

    async def _shut_in_doubt(self, items: Iterable[int]) -> None:
        """A gate that may be more generous than the ledger must not sell; recording goes on."""
        self._in_doubt, self._shut = True, IN_DOUBT
        log.error(IN_DOUBT, action="doubt", shard=self._shard, items=sorted(items))
        await self._gate.disarm(self._shard)

    async def _disputed(self) -> list[int]:
        """Items of this shard about which the last comparison failed."""
        marks = await self._ledger.failed_marks()
        return [mark.item_id for mark in marks if mark.shard == self._shard]

    # --- endings ---------------------------------------------------------------------------

    async def _keep_shut(self) -> None:
        """Disarm at once if the gate can be reached; its lease ends by itself if not."""
        try:
            await self._gate.disarm(self._shard)
        except Unavailable as error:
            log.warning("cannot disarm; the lease will end", action="disarm", error=str(error))
        await self._pause(self._pace.lease_ms / 1000)

    async def _give_up(self) -> None:
        """Let another worker take the shard at once instead of after the lease."""
        if self._lease is None:
            return
        try:
            await self._ledger.yield_shard(self._lease)
        except (Unavailable, FenceLost) as error:
            log.warning("the lease will end by itself", action="yield", error=str(error))

    # --- small parts -----------------------------------------------------------------------

    def _owned(self) -> Lease:
        assert self._lease is not None
        return self._lease

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            await step()
            await _wait(self._over, seconds)

    async def _pause(self, seconds: float) -> None:
        await _wait(self._stop, seconds)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or the time is up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
