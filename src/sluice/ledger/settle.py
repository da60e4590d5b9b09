"""What the gate was heard to have done: releases applied, stock edits applied or refused."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update

from sluice.domain.log import Edited, LogBatch, Released
from sluice.ledger.journal import journal_row, report
from sluice.ledger.store import Transaction
from sluice.ledger.tables import items, releases, stock_edits, stock_journal

CHUNK = 500
"""Numbers in one statement."""
PENDING = "pending"


async def settle_releases(tx: Transaction, released: Sequence[Released]) -> int:
    """The units went back when the release was decided; here it is known to be applied."""
    met = 0
    for start in range(0, len(released), CHUNK):
        numbers = [entry.number for entry in released[start : start + CHUNK]]
        open_ones = releases.c.number.in_(numbers) & releases.c.applied_at_ms.is_(None)
        met += await tx.changed(update(releases).where(open_ones).values(applied_at_ms=tx.now_ms))
        known = select(releases.c.number).where(releases.c.number.in_(numbers))
        unknown = set(numbers) - set((await tx.run(known)).scalars())
        if unknown:
            await report(tx, "release_nobody_decided", {"numbers": sorted(unknown)})
    return met


async def settle_edits(tx: Transaction, batch: LogBatch, edited: Sequence[Edited]) -> int:
    """An increase is in S and L already; a decrease is taken from them now."""
    return sum([await _settle(tx, batch, entry) for entry in edited])


async def _settle(tx: Transaction, batch: LogBatch, entry: Edited) -> bool:
    edit = (stock_edits.c.item_id == entry.item_id) & (stock_edits.c.edit == entry.edit)
    row = (await tx.run(select(stock_edits).where(edit).with_for_update())).one_or_none()
    if row is None or row.delta != entry.delta:
        await report(tx, "edit_nobody_asked_for", entry._asdict())
        return False
    if row.state != PENDING:
        return False
    applied = entry.applied
    if applied and entry.delta < 0:
        applied = await _take_back(tx, batch, entry, row.reason)
    if not entry.applied and entry.delta > 0:
        await report(tx, "increase_refused", entry._asdict())
    stock = (await tx.run(select(items.c.stock).where(items.c.id == entry.item_id))).scalar_one()
    state = "applied" if applied else "refused"
    await tx.run(update(stock_edits).where(edit).values(state=state, stock_after=stock))
    return True


async def _take_back(tx: Transaction, batch: LogBatch, entry: Edited, reason: str) -> bool:
    """False where the ledger has not got the units that the gate gave up: the gate is then the
    stricter of the two, which is safe, and the next audit mark says so as well."""
    met = await tx.changed(
        update(items)
        .where(items.c.id == entry.item_id, items.c.available >= -entry.delta)
        .values(stock=items.c.stock + entry.delta, available=items.c.available + entry.delta)
    )
    if met != 1:
        await report(tx, "decrease_does_not_fit", entry._asdict())
        return False
    await tx.run(
        insert(stock_journal).values(
            journal_row(
                entry.item_id,
                "edit",
                shard=batch.shard,
                epoch=batch.epoch,
                counter=batch.last,
                edit=entry.edit,
                delta_stock=entry.delta,
                delta_available=entry.delta,
                quantity=-entry.delta,
                reason=reason,
                at_ms=tx.now_ms,
            )
        )
    )
    return True
