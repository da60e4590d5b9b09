"""The recorder: a batch of the gate's log becomes rows, and the position moves, in one transaction.

So a crash anywhere gives neither loss nor duplicates, and of two recorders only one can write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import FenceLost
from sluice.domain.log import (
    Accepted,
    Edited,
    Joined,
    Left,
    LogBatch,
    LogEntry,
    Marked,
    Promoted,
    Released,
)
from sluice.domain.number import NUMBER_MAX
from sluice.ledger import policies
from sluice.ledger.cancel import cancelled_while_queued, close_cancellations
from sluice.ledger.cancelled_intake import CancelledIntake
from sluice.ledger.giveback import lock_items
from sluice.ledger.intake import Intake, ItemFacts, NeedsCare, known_numbers
from sluice.ledger.line import LineEntry, record_line
from sluice.ledger.marks import compare_mark
from sluice.ledger.records import Lease, PendingRelease, Recorded
from sluice.ledger.rejects import Reason, Reject, dead_letter, fault_in
from sluice.ledger.settle import settle_edits, settle_releases
from sluice.ledger.store import BATCH_DEADLINE_FACTOR, Store, Transaction
from sluice.ledger.tables import items, releases, sales, shards
from sluice.ledger.takings import write_down

ID_MAX = 2**63 - 1


class Recorder(Store):
    async def record(self, lease: Lease, batch: LogBatch) -> Recorded:
        """Applies `batch` and moves the position from `batch.first - 1` to `batch.last`.

        Raises `FenceLost`, having written nothing, where the lease, the epoch or the position is
        not the ledger's, and `LedgerUnavailable` where it is not known whether it was written:
        ask `positions` then.
        """
        try:
            return await self._record(lease, batch, care=False)
        except NeedsCare:
            return await self._record(lease, batch, care=True)

    async def _record(self, lease: Lease, batch: LogBatch, *, care: bool) -> Recorded:
        return await self._write(
            lambda tx: _Recording(tx, lease, batch, care).run(),
            deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR,
        )

    async def pending_releases(
        self, shard: int, limit: int, after: int = 0
    ) -> list[PendingRelease]:
        """Decided and not yet seen in the gate's log, lowest number above `after` first."""
        open_ones = releases.c.applied_at_ms.is_(None) & (releases.c.number > after)
        wanted = (
            select(releases)
            .where(releases.c.shard == shard, open_ones)
            .order_by(releases.c.number)
            .limit(limit)
        )

        async def query(connection: AsyncConnection) -> list[PendingRelease]:
            return [_pending(row) for row in await connection.execute(wanted)]

        return await self._read(query)


def at_position(lease: Lease, batch: LogBatch) -> ColumnElement[bool]:
    """The condition on which everything is written: nobody took the shard, and nobody recorded
    this batch before."""
    return and_(
        shards.c.shard == lease.shard,
        shards.c.fence == lease.fence,
        shards.c.epoch == batch.epoch,
        shards.c.counter == batch.first - 1,
    )


class _Recording:
    """One batch in one transaction."""

    def __init__(self, tx: Transaction, lease: Lease, batch: LogBatch, care: bool) -> None:
        self._tx = tx
        self._lease = lease
        self._batch = batch
        self._care = care
        self._facts: dict[int, ItemFacts] = {}
        self._highest = 0
        self._orders = self._repeated = self._released = self._settled = 0
        self._cancelled = self._joined = self._promoted = 0
        self._dead: list[int] = []
        self._failed: list[int] = []

    async def run(self) -> Recorded:
        await self._move_position()
        await self._load_facts()
        for accepted, line, released, edited, mark in _stretches(self._batch):
            await self._take(accepted)
            await self._record_line(line)
            self._released += await settle_releases(self._tx, released)
            self._settled += await settle_edits(self._tx, self._batch, edited)
            if mark is not None:
                self._failed += await compare_mark(self._tx, self._batch, mark)
        return Recorded(
            orders=self._orders,
            repeated=self._repeated,
            dead=tuple(self._dead),
            released=self._released,
            settled=self._settled,
            marks_failed=tuple(self._failed),
            cancelled=self._cancelled,
            joined=self._joined,
            promoted=self._promoted,
        )

    async def _move_position(self) -> None:
        """First, so that another recorder waits here and then finds the position moved."""
        batch = self._batch
        if batch.shard != self._lease.shard or batch.last < batch.first:
            raise ValueError("the batch is not of this lease's shard, or runs backwards")
        numbers = [number for number in _minted(batch.entries) if number <= NUMBER_MAX]
        held = select(shards.c.highest_number).where(shards.c.shard == batch.shard)
        self._highest = int((await self._tx.run(held.with_for_update())).scalar_one_or_none() or 0)
        met = await self._tx.changed(
            update(shards)
            .where(at_position(self._lease, batch))
            .values(counter=batch.last, highest_number=max([self._highest, *numbers]))
        )
        if met != 1:
            raise FenceLost()

    async def _load_facts(self) -> None:
        named = {e.item_id for e in self._batch.entries if not isinstance(e, Marked)}
        wanted = {item_id for item_id in named if 0 < item_id <= ID_MAX}
        if not wanted:
            return
        # All at once and in the order of their ids: releasers and payments take them so as well.
        await lock_items(self._tx, list(wanted))
        rows = await self._tx.run(
            select(
                items.c.id,
                items.c.sale_id,
                items.c.price_minor,
                items.c.currency,
                items.c.per_buyer,
                items.c.limit_group,
                sales.c.policy,
            )
            .join(sales, sales.c.id == items.c.sale_id)
            .where(items.c.id.in_(sorted(wanted)), items.c.shard == self._batch.shard)
        )
        for row in rows:
            policy = policies.load(row.policy)
            window_ms = policy.payment_window_seconds * 1000
            reminder_ms = policy.payment_reminder_seconds * 1000
            *terms, _policy = row
            self._facts[row.id] = ItemFacts._make([*terms, window_ms, reminder_ms])

    async def _take(self, accepted: Sequence[Accepted]) -> None:
        if not accepted:
            return
        known = await self._known(accepted)
        good, rejects = self._sort_out(accepted, known)
        cancelled = await self._cancelled_ones(good)
        intake = Intake(self._tx, self._facts, care=self._care)
        given_up = CancelledIntake(self._tx, self._facts, care=self._care)
        if cancelled:
            await given_up.take([order for order in good if order.number in cancelled])
            good = [order for order in good if order.number not in cancelled]
        await intake.take(good)
        rejects += intake.rejects + given_up.rejects
        stored = {number for number, nonce in known.items() if nonce is not None}
        dead = await dead_letter(self._tx, self._batch.shard, rejects, stored)
        self._orders += len(intake.written) + len(given_up.written)
        self._cancelled += len(given_up.written)
        self._dead += dead
        facts, written, passed = self._facts, intake.written, given_up.written
        await write_down(self._tx, self._batch, facts, written, passed, dead)

    async def _cancelled_ones(self, good: Sequence[Accepted]) -> set[int]:
        noted = await cancelled_while_queued(self._tx, [order.number for order in good])
        if not noted:
            return set()
        theirs = {o.number for o in good if noted.get(o.number) == o.buyer}
        await close_cancellations(self._tx, sorted(theirs))
        return theirs

    async def _record_line(self, line: Sequence[LineEntry]) -> None:
        if not line:
            return
        told = await record_line(self._tx, self._facts, line, care=self._care)
        self._joined += told.joined
        self._promoted += told.promoted

    async def _known(self, accepted: Sequence[Accepted]) -> dict[int, bytes | None]:
        """Numbers only grow, so only one at or below the highest can be known: mostly none is."""
        old = [order.number for order in accepted if 0 < order.number <= self._highest]
        return await known_numbers(self._tx, old) if old else {}

    def _sort_out(
        self, accepted: Sequence[Accepted], known: dict[int, bytes | None]
    ) -> tuple[list[Accepted], list[Reject]]:
        good: list[Accepted] = []
        rejects: list[Reject] = []
        known = dict(known)
        for order in accepted:
            number, facts = order.number, self._facts.get(order.item_id)
            if number in known:
                nonce = known[number]
                if nonce is None or nonce == order.nonce:
                    self._repeated += 1
                else:
                    rejects.append(Reject(order, Reason.NUMBER_TAKEN, "", 0))
                continue
            fault = fault_in(order, facts)
            if fault is None:
                good.append(order)
                known[number] = order.nonce
            else:
                rejects.append(Reject(order, *fault, facts.limit_group if facts else 0))
        return good, rejects


def _minted(entries: Sequence[LogEntry]) -> list[int]:
    """Every number that the gate gave out: an entry of a waitlist is one as well."""
    ordered = [e.number for e in entries if type(e) is Accepted or type(e) is Promoted]
    return ordered + [e.entry for e in entries if type(e) is Joined]


Stretch = tuple[list[Accepted], list[LineEntry], list[Released], list[Edited], Marked | None]


def _stretches(batch: LogBatch) -> Iterable[Stretch]:
    """The log up to each mark: within a stretch the kinds do not depend on each other's order."""
    accepted: list[Accepted] = []
    line: list[LineEntry] = []
    released: list[Released] = []
    edited: list[Edited] = []
    for entry in batch.entries:
        if type(entry) is Accepted:
            accepted.append(entry)
        elif type(entry) is Released:
            released.append(entry)
        elif type(entry) is Edited:
            edited.append(entry)
        elif type(entry) is Joined or type(entry) is Left:
            line.append(entry)
        elif type(entry) is Promoted:
            accepted.append(promoted_order(entry))
            line.append(entry)
        elif type(entry) is Marked:
            yield accepted, line, released, edited, entry
            accepted, line, released, edited = [], [], [], []
        else:
            raise TypeError(f"the log has no {type(entry).__name__}")
    yield accepted, line, released, edited, None


def promoted_order(entry: Promoted) -> Accepted:
    """One unit, in the name of the waitlist entry: an order like any other from here on."""
    return Accepted(entry.number, entry.item_id, 1, entry.slots, entry.nonce, entry.buyer)


def _pending(row: Any) -> PendingRelease:
    return PendingRelease(
        number=row.number,
        shard=row.shard,
        item_id=row.item_id,
        limit_group=row.limit_group,
        buyer=row.buyer,
        quantity=row.quantity,
        reason=row.reason,
        decided_at_ms=row.decided_at_ms,
    )
