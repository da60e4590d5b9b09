"""What buyers have, many buyers at once: for those who are connected right now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.ledger.store import Store
from sluice.ledger.tables import dead_letters, order_slots

CHUNK = 500
"""Buyers in one query."""


class Presence(Store):
    async def newest_numbers(self, buyers: Sequence[str], each: int) -> dict[str, list[int]]:
        """The numbers of each buyer's newest orders and dead letters, at most `each` of both."""

        async def query(connection: AsyncConnection) -> dict[str, list[int]]:
            found: dict[str, set[int]] = {}
            for start in range(0, len(buyers), CHUNK):
                chunk = buyers[start : start + CHUNK]
                for buyer, number in (
                    (order_slots.c.buyer, order_slots.c.order_number),
                    (dead_letters.c.buyer, dead_letters.c.number),
                ):
                    for row in await connection.execute(_newest(buyer, number, chunk, each)):
                        found.setdefault(row.buyer, set()).add(row.number)
            return {buyer: sorted(numbers) for buyer, numbers in found.items()}

        return await self._read(query) if buyers else {}


def _newest(buyer: Any, number: Any, chunk: Sequence[str], each: int) -> Any:
    rank = func.dense_rank().over(partition_by=buyer, order_by=number.desc())
    ranked = (
        select(buyer.label("buyer"), number.label("number"), rank.label("newest"))
        .where(buyer.in_(chunk))
        .subquery()
    )
    chosen = select(ranked.c.buyer, ranked.c.number).where(ranked.c.newest <= each)
    return chosen.distinct()
