"""Audit marks: the gate's totals and the ledger's, compared at one place of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select

from sluice.domain.log import ItemTotals, LogBatch, Marked
from sluice.ledger.journal import report
from sluice.ledger.store import Transaction
from sluice.ledger.tables import audit_marks, items, releases, stock_edits
from sluice.ledger.upsert import upsert


async def compare_mark(tx: Transaction, batch: LogBatch, mark: Marked) -> list[int]:
    """Writes the comparison per item; the items where gate and ledger do not agree. What begins to
    differ is reported, once for as long as it lasts.

    Everything before the mark is recorded, so F = 0 and the gate must have A = L - X.
    """
    item_ids = [totals.item_id for totals in mark.totals]
    ours = await _ledger_totals(tx, item_ids)
    rows = [_row(tx, batch, totals, ours.get(totals.item_id)) for totals in mark.totals]
    failed = [row for row in rows if not row["ok"]]
    if failed:
        since = await _differ_since(tx, batch.shard, [row["item_id"] for row in failed])
        for row in failed:
            row["differs_since_ms"] = since.get(row["item_id"], tx.now_ms)
        begun = [row for row in failed if row["item_id"] not in since]
        if begun:
            await report(tx, "gate_and_ledger_differ", {"items": begun})
    if rows:
        await upsert(tx, audit_marks, rows)
    return [row["item_id"] for row in failed]


async def _differ_since(tx: Transaction, shard: int, item_ids: Sequence[int]) -> dict[int, int]:
    """Those of which the comparison before this one failed, and since when."""
    rows = await tx.run(
        select(audit_marks.c.item_id, audit_marks.c.differs_since_ms).where(
            audit_marks.c.shard == shard,
            audit_marks.c.item_id.in_(list(item_ids)),
            audit_marks.c.differs_since_ms.is_not(None),
        )
    )
    return {row[0]: int(row[1]) for row in rows}


async def _ledger_totals(
    tx: Transaction, item_ids: Sequence[int]
) -> dict[int, tuple[int, int, int, int]]:
    """Item → available, stock, units of releases not applied, units of increases not applied.

    One statement: decisions that commit meanwhile are in all of these figures or in none.
    """
    unreleased = (
        select(_sum(releases.c.quantity))
        .where(releases.c.item_id == items.c.id, releases.c.applied_at_ms.is_(None))
        .scalar_subquery()
    )
    increases = (
        select(_sum(stock_edits.c.delta))
        .where(
            stock_edits.c.item_id == items.c.id,
            stock_edits.c.state == "pending",
            stock_edits.c.delta > 0,
        )
        .scalar_subquery()
    )
    rows = await tx.run(
        select(items.c.id, items.c.available, items.c.stock, unreleased, increases).where(
            items.c.id.in_(list(item_ids))
        )
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3]), int(row[4])) for row in rows}


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


def _row(
    tx: Transaction,
    batch: LogBatch,
    gate: ItemTotals,
    ours: tuple[int, int, int, int] | None,
) -> dict[str, Any]:
    available, stock, unreleased, increases = ours or (0, 0, 0, 0)
    pending = unreleased + increases
    same = gate.available == available - pending and gate.stock == stock - increases
    whole = gate.available + gate.held == gate.stock
    return {
        "shard": batch.shard,
        "item_id": gate.item_id,
        "epoch": batch.epoch,
        "counter": batch.last,
        "gate_available": gate.available,
        "gate_held": gate.held,
        "gate_stock": gate.stock,
        "ledger_available": available,
        "decided_not_applied": pending,
        "ok": int(ours is not None and same and whole),
        "at_ms": tx.now_ms,
        "differs_since_ms": None,
    }
