"""Guest lists and codes in SQL: a code's uses are counted by a conditional update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, tuple_, update

from sluice.domain.errors import NotFound
from sluice.domain.guest import Code, CodeBatch, Guest, NewCodes
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.guest_tables import code_batches, sale_codes, sale_guests
from sluice.ledger.store import Store, T, Transaction, Work
from sluice.ledger.tables import sales

_b, _c, _g = code_batches, sale_codes, sale_guests

BULK_DEADLINE_MS = 20_000
ROWS_MAX = 1000
"""In one statement."""
_CLASHES_MAX = 3


class Guests(Store):
    # --- who may ---------------------------------------------------------------------------

    async def guest_priorities(self, asked: Sequence[tuple[int, str]]) -> list[int | None]:
        """For each (sale, buyer) the priority; None: not on the list."""

        async def read(connection: Any) -> list[int | None]:
            wanted = tuple_(_g.c.sale_id, _g.c.buyer).in_(asked)
            rows = await connection.execute(
                select(_g.c.sale_id, _g.c.buyer, _g.c.priority).where(wanted)
            )
            found = {(row.sale_id, row.buyer): int(row.priority) for row in rows}
            return [found.get(each) for each in asked]

        return await self._read(read)

    async def has_priorities(self, sale_id: int) -> bool:
        """Whether any guest of the sale comes before others, or a code may make one who does."""

        async def read(connection: Any) -> bool:
            for table in (_b, _g):
                mine = (table.c.sale_id == sale_id) & (table.c.priority > 0)
                rows = await connection.execute(select(table.c.priority).where(mine).limit(1))
                if rows.first() is not None:
                    return True
            return False

        return await self._read(read)

    async def guests(self, sale_id: int, *, limit: int, offset: int) -> list[Guest]:
        """In order of their keys."""

        async def read(connection: Any) -> list[Guest]:
            query = select(_g.c.buyer, _g.c.priority, _g.c.added_at_ms).where(
                _g.c.sale_id == sale_id
            )
            rows = await connection.execute(query.order_by(_g.c.buyer).limit(limit).offset(offset))
            return [Guest(*row) for row in rows]

        return await self._read(read)

    async def add_guests(self, sale_id: int, buyers: Iterable[str], priority: int) -> int:
        """How many were not yet on the list; those who were get this priority."""
        wanted = list(dict.fromkeys(buyers))

        async def work(tx: Transaction) -> int:
            await _sale_exists(tx, sale_id)
            added = 0
            for part in _parts(wanted):
                mine = (_g.c.sale_id == sale_id) & _g.c.buyer.in_(part)
                there = {row.buyer for row in await tx.run(select(_g.c.buyer).where(mine))}
                await tx.run(update(_g).where(mine).values(priority=priority))
                new = [
                    {
                        "sale_id": sale_id,
                        "buyer": buyer,
                        "priority": priority,
                        "code_hash": None,
                        "added_at_ms": tx.now_ms,
                    }
                    for buyer in part
                    if buyer not in there
                ]
                if new:
                    await tx.run(insert(_g), new)
                added += len(new)
            return added

        return await self._again_after_clashes(work)

    async def remove_guests(self, sale_id: int, buyers: Iterable[str]) -> int:
        """How many were on the list."""
        wanted = list(dict.fromkeys(buyers))

        async def work(tx: Transaction) -> int:
            await _sale_exists(tx, sale_id)
            return sum(
                [
                    await tx.changed(
                        delete(_g).where(_g.c.sale_id == sale_id, _g.c.buyer.in_(part))
                    )
                    for part in _parts(wanted)
                ]
            )

        return await self._write(work, deadline_ms=BULK_DEADLINE_MS)

    # --- codes -----------------------------------------------------------------------------

    async def make_codes(self, sale_id: int, new: NewCodes) -> CodeBatch:
        """The same request again finds what it made. Raises `NotFound` without such a sale."""

        async def work(tx: Transaction) -> int:
            await _sale_exists(tx, sale_id)
            mine = (_b.c.sale_id == sale_id) & (_b.c.seed == new.seed)
            there = (await tx.run(select(_b.c.id).where(mine))).scalar_one_or_none()
            if there is not None:
                return int(there)
            made = await tx.run(
                insert(_b).values(
                    sale_id=sale_id,
                    seed=new.seed,
                    count=len(new.hashes),
                    uses_max=new.uses_max,
                    priority=new.priority,
                    chosen=new.chosen,
                    revoked=False,
                    created_at_ms=tx.now_ms,
                )
            )
            batch_id = int(made.inserted_primary_key[0])
            rows = [
                {
                    "sale_id": sale_id,
                    "hash": each,
                    "batch_id": batch_id,
                    "place": place,
                    "uses_max": new.uses_max,
                    "used": 0,
                }
                for place, each in enumerate(new.hashes)
            ]
            for part in _parts(rows):
                await tx.run(insert(_c), part)
            return batch_id

        batch_id = await self._again_after_clashes(work)
        [batch] = await self.code_batches(sale_id, batch_id=batch_id)
        return batch

    async def code_batches(
        self,
        sale_id: int,
        *,
        batch_id: int | None = None,
        limit: int = 1,
        before_id: int | None = None,
    ) -> list[CodeBatch]:
        """Newest first."""

        async def read(connection: Any) -> list[CodeBatch]:
            used = (
                select(func.coalesce(func.sum(_c.c.used), 0))
                .where(_c.c.batch_id == _b.c.id)
                .scalar_subquery()
            )
            query = select(_b, used.label("used")).where(_b.c.sale_id == sale_id)
            if batch_id is not None:
                query = query.where(_b.c.id == batch_id)
            if before_id is not None:
                query = query.where(_b.c.id < before_id)
            rows = await connection.execute(query.order_by(_b.c.id.desc()).limit(limit))
            return [_batch(row._mapping) for row in rows]

        return await self._read(read)

    async def codes(self, batch_id: int, *, limit: int, from_place: int = 0) -> list[Code]:
        async def read(connection: Any) -> list[Code]:
            query = select(_c.c.place, _c.c.used, _c.c.hash).where(
                _c.c.batch_id == batch_id, _c.c.place >= from_place
            )
            rows = await connection.execute(query.order_by(_c.c.place).limit(limit))
            return [Code(row.place, row.used, bytes(row.hash)) for row in rows]

        return await self._read(read)

    async def revoke_codes(self, sale_id: int, batch_id: int) -> None:
        """Nobody can redeem them any more; who did stays on the list. Raises `NotFound`."""

        async def work(tx: Transaction) -> None:
            mine = (_b.c.sale_id == sale_id) & (_b.c.id == batch_id)
            if (await tx.run(select(_b.c.id).where(mine))).scalar_one_or_none() is None:
                raise NotFound
            await tx.run(update(_b).where(mine).values(revoked=True))

        await self._write(work)

    async def redeem(self, sale_id: int, buyer: str, code_hash: bytes) -> int | None:
        """Put a buyer on the list by a code: their priority; None where the code is none, used up
        or revoked. Who is on the list already uses nothing up but for a higher priority.
        """

        async def work(tx: Transaction) -> int | None:
            code = await _code(tx, sale_id, code_hash)
            mine = (_g.c.sale_id == sale_id) & (_g.c.buyer == buyer)
            held = (await tx.run(select(_g.c.priority, _g.c.code_hash).where(mine))).one_or_none()
            if held is not None and held.code_hash == code_hash:
                return int(held.priority)
            if code is None:
                return None
            priority = int(code.priority)
            if held is not None and held.priority >= priority:
                return int(held.priority)
            same = (_c.c.sale_id == sale_id) & (_c.c.hash == code_hash)
            take = update(_c).where(same, _c.c.used < _c.c.uses_max)
            if await tx.changed(take.values(used=_c.c.used + 1)) != 1:
                return None
            values = {"priority": priority, "code_hash": code_hash}
            if held is None:
                await tx.run(
                    insert(_g).values(sale_id=sale_id, buyer=buyer, added_at_ms=tx.now_ms, **values)
                )
            else:
                await tx.run(update(_g).where(mine).values(**values))
            return priority

        return await self._again_after_clashes(work)

    async def _again_after_clashes(self, work: Work[T]) -> T:
        """Two at once insert the same row: one of them looks again and finds it."""
        for clash in range(_CLASHES_MAX):
            try:
                return await self._write(work, deadline_ms=BULK_DEADLINE_MS)
            except Exception as error:
                if fault_of(error) is not Fault.BROKEN_ROW or clash == _CLASHES_MAX - 1:
                    raise
        raise AssertionError


async def _sale_exists(tx: Transaction, sale_id: int) -> None:
    if (await tx.run(select(sales.c.id).where(sales.c.id == sale_id))).one_or_none() is None:
        raise NotFound


async def _code(tx: Transaction, sale_id: int, code_hash: bytes) -> Any:
    return (
        await tx.run(
            select(_b.c.priority)
            .join(_c, _c.c.batch_id == _b.c.id)
            .where(_c.c.sale_id == sale_id, _c.c.hash == code_hash, _b.c.revoked.is_(False))
        )
    ).one_or_none()


def _batch(row: Any) -> CodeBatch:
    return CodeBatch(
        id=row["id"],
        sale_id=row["sale_id"],
        seed=bytes(row["seed"]),
        count=row["count"],
        uses_max=row["uses_max"],
        priority=row["priority"],
        chosen=bool(row["chosen"]),
        revoked=bool(row["revoked"]),
        created_at_ms=row["created_at_ms"],
        used=int(row["used"]),
    )


def _parts(rows: list[Any]) -> list[list[Any]]:
    return [rows[at : at + ROWS_MAX] for at in range(0, len(rows), ROWS_MAX)]
