"""Ticks: what happened in a sale, stored once however often a worker tries, and kept in coarser
steps as it grows old.

A row is replaced only by one with a larger total, and counts of a cell only grow: so storing a cell
again, late or by two workers at once, ends with the fullest version of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import case, delete, insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.tally import named, summed
from sluice.ledger.store import BATCH_DEADLINE_FACTOR, Store, Transaction
from sluice.ledger.tick_tables import sale_ticks

COARSER = ((1, 60, 2 * 3600), (60, 3600, 14 * 86_400))
"""(from, to, after): seconds become minutes after two hours, minutes hours after two weeks."""
KEPT_S = 400 * 86_400
"""Hours are kept for so long."""
COARSEN_MAX = 600
"""Rows that one transaction makes coarser; at least one whole step of a sale."""

_t = sale_ticks


class Tick(NamedTuple):
    """What happened in the `span_s` seconds from `at_s` on, by name (`domain.tally.NAMES`)."""

    sale_id: int
    span_s: int
    at_s: int
    counts: dict[str, int]


class NewTick(NamedTuple):
    """One second of a sale, as far as it has been counted."""

    sale_id: int
    at_s: int
    counts: dict[str, int]
    total: int


class Ticks(Store):
    async def store_ticks(self, ticks: Sequence[NewTick]) -> None:
        """Each replaces what was stored of its second before, if it says more.

        Raises `LedgerUnavailable` where the outcome is not known: store them again.
        """
        if not ticks:
            return
        rows = [
            {
                "sale_id": tick.sale_id,
                "span_s": 1,
                "at_s": tick.at_s,
                "total": tick.total,
                "counts": _packed(tick.counts),
            }
            for tick in sorted(ticks)
        ]

        async def work(tx: Transaction) -> None:
            await tx.run(_upsert(tx.dialect), rows)

        await self._write(work, deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR)

    async def ticks(self, sale_id: int, *, since_s: int, limit: int) -> list[Tick]:
        """Those that begin at `since_s` (Unix seconds) or later, oldest first."""
        wanted = (
            select(_t.c.sale_id, _t.c.span_s, _t.c.at_s, _t.c.counts)
            .where(_t.c.sale_id == sale_id, _t.c.at_s >= since_s)
            .order_by(_t.c.at_s, _t.c.span_s)
            .limit(limit)
        )

        async def query(connection: AsyncConnection) -> list[Tick]:
            return [
                Tick(row.sale_id, row.span_s, row.at_s, _unpacked(row.counts))
                for row in await connection.execute(wanted)
            ]

        return await self._read(query)

    async def coarsen_ticks(self, now_s: int) -> bool:
        """Make what is old coarser, and forget what is very old; True where there may be more.

        In one transaction for each step of a sale, so whoever is cut off leaves it whole.
        """
        more = False
        for span_s, to_s, after_s in COARSER:
            before = (now_s - after_s) // to_s * to_s
            more = await self._coarsen(span_s, to_s, before) or more
        old = (_t.c.at_s < now_s - KEPT_S) & (_t.c.span_s == COARSER[-1][1])
        if await self._any(old):
            await self._write(lambda tx: tx.changed(delete(_t).where(old)))
        return more

    async def _any(self, condition: Any) -> bool:
        async def query(connection: AsyncConnection) -> bool:
            found = await connection.execute(select(_t.c.sale_id).where(condition).limit(1))
            return found.first() is not None

        return await self._read(query)

    async def _coarsen(self, span_s: int, to_s: int, before_s: int) -> bool:
        due = (_t.c.span_s == span_s) & (_t.c.at_s < before_s)
        if not await self._any(due):  # by a look that keeps nobody from writing
            return False

        async def work(tx: Transaction) -> bool:
            first = select(_t.c.sale_id, _t.c.at_s).where(due).order_by(_t.c.at_s).limit(1)
            start = (await tx.run(first)).first()
            if start is None:
                return False
            sale_id, at_s = start.sale_id, start.at_s // to_s * to_s
            until_s = min(before_s, at_s + max(1, COARSEN_MAX * span_s // to_s) * to_s)
            theirs = due & (_t.c.sale_id == sale_id) & (_t.c.at_s < until_s)
            rows = (await tx.run(select(_t).where(theirs).with_for_update())).all()
            steps: dict[int, list[dict[str, int]]] = {}
            for row in rows:
                steps.setdefault(row.at_s // to_s * to_s, []).append(_unpacked(row.counts))
            await tx.run(delete(_t).where(theirs))
            for step, cells in steps.items():
                await _merge(tx, sale_id, to_s, step, cells)
            return True

        return await self._write(work)


async def _merge(
    tx: Transaction, sale_id: int, span_s: int, at_s: int, cells: list[dict[str, int]]
) -> None:
    """Adds cells to a coarser row, which may be there already: what came late comes later."""
    key = (_t.c.sale_id == sale_id) & (_t.c.span_s == span_s) & (_t.c.at_s == at_s)
    before = (await tx.run(select(_t.c.counts).where(key).with_for_update())).first()
    if before is not None:
        cells = [*cells, _unpacked(before.counts)]
        await tx.run(delete(_t).where(key))
    counts = named(summed(cells))
    row = {
        "sale_id": sale_id,
        "span_s": span_s,
        "at_s": at_s,
        "total": sum(counts.values()),
        "counts": _packed(counts),
    }
    await tx.run(insert(_t).values(row))


def _upsert(dialect: str) -> Any:
    """Inserts, or replaces by what says more."""
    keys = ["sale_id", "span_s", "at_s"]
    if dialect in ("sqlite", "postgresql"):
        base = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(_t)
        return base.on_conflict_do_update(
            index_elements=keys,
            set_={"counts": base.excluded.counts, "total": base.excluded.total},
            where=base.excluded.total > _t.c.total,
        )
    into = mysql.insert(_t)
    is_more = into.inserted.total > _t.c.total
    # From left to right: `counts` must be looked at before `total` has changed.
    return into.on_duplicate_key_update(
        [
            ("counts", case((is_more, into.inserted.counts), else_=_t.c.counts)),
            ("total", case((is_more, into.inserted.total), else_=_t.c.total)),
        ]
    )


def _packed(counts: dict[str, int]) -> str:
    return msgspec.json.encode(counts).decode()


def _unpacked(text: str) -> dict[str, int]:
    return msgspec.json.decode(text, type=dict[str, int])
