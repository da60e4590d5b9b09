"""What happens to a sale because its time has come: announced once, by whoever looks first."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, exists, insert, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.sale import SaleStatus
from sluice.ledger.journal import announce
from sluice.ledger.moment_tables import ENDED, STARTED, sale_moments
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import sales

NEWS_MS: Final = 3 * 86_400_000
"""What happened longer ago is announced to nobody: endpoints are not told of it any more either."""
MOMENTS_MAX: Final = 100
"""Announced in one transaction."""

_RUNS = sales.c.status.in_([SaleStatus.PUBLISHED.value, SaleStatus.PAUSED.value])


class Moments(Store):
    async def announce_moments(self) -> int:
        """Puts `sale.started` and `sale.ended` of sales whose time has come into the outbox, each
        once; how many. A sale that was closed by hand was announced as closed."""
        now_ms = await self.now_ms()

        async def query(connection: AsyncConnection) -> list[tuple[int, str]]:
            rows = await connection.execute(_due(now_ms).limit(MOMENTS_MAX))
            return [(row.id, row.moment) for row in rows]

        due = await self._read(query)
        if not due:
            return 0
        return await self._write(lambda tx: _announce(tx, sorted(due)))


async def _announce(tx: Transaction, due: list[tuple[int, str]]) -> int:
    """Those that nobody else has announced meanwhile: the sales' rows are held until the end."""
    ids = sorted({sale_id for sale_id, _ in due})
    await tx.run(
        select(sales.c.id).where(sales.c.id.in_(ids)).order_by(sales.c.id).with_for_update()
    )
    still = {(row.id, row.moment) for row in await tx.run(_due(tx.now_ms, ids))}
    announced = [each for each in due if each in still]
    # A sale that began and ended unseen is told in this order.
    for sale_id, moment in sorted(announced, key=lambda each: (each[1] == ENDED, each[0])):
        await tx.run(insert(sale_moments).values(sale_id=sale_id, moment=moment, at_ms=tx.now_ms))
        await announce(tx, f"sale.{moment}", {"sale_id": sale_id})
    return len(announced)


def _due(now_ms: int, ids: list[int] | None = None) -> Any:
    """(id, moment) of what has come and is not announced."""
    found = []
    for moment, at in ((STARTED, sales.c.starts_at_ms), (ENDED, sales.c.ends_at_ms)):
        told = exists().where(sale_moments.c.sale_id == sales.c.id, sale_moments.c.moment == moment)
        wanted: Select[Any] = select(sales.c.id, literal(moment).label("moment")).where(
            _RUNS, sales.c.ends_at_ms > now_ms - NEWS_MS, at <= now_ms, ~told
        )
        found.append(wanted if ids is None else wanted.where(sales.c.id.in_(ids)))
    return union_all(*found)
