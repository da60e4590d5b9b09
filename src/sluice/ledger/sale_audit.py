"""The ledger's invariants of one sale: the same questions as `audit`, asked of its rows alone.

Each statement is put behind a WITH that hides every table behind the sale's part of it, so a check
is written once. What costs time is the sale's own size, however large the ledger has grown.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.order import OrderState, may_become
from sluice.ledger.audit import _BROKEN, _STEPS, SHOWN, _named
from sluice.ledger.records import Check
from sluice.ledger.store import Store

_ORPHANS = frozenset(
    {"slots_have_their_order", "history_has_its_order", "callbacks_are_of_payments"}
)
"""Rows without an order belong to no sale: only the whole audit finds them."""

_OF_ITEMS = "SELECT mine.* FROM {table} mine WHERE mine.item_id IN (SELECT id FROM items)"
_OF_ORDERS = "SELECT mine.* FROM {table} mine JOIN orders ON orders.number = mine.order_number"
_PARTS: dict[str, str] = {
    "items": "SELECT * FROM {table} WHERE sale_id = :sale",
    **dict.fromkeys(
        (
            "orders",
            "stock_journal",
            "releases",
            "dead_letters",
            "stock_edits",
            "audit_marks",
            "waitlist",
            "cancellations",
        ),
        _OF_ITEMS,
    ),
    "order_slots": _OF_ORDERS,
    "order_history": _OF_ORDERS,
    "payments": _OF_ORDERS,
    "refunds": _OF_ORDERS,
}
"""Table → the sale's part of it; those behind others come after them."""


class SaleAudit(Store):
    async def audit_sale(self, sale_id: int, deadline_ms: int) -> list[Check]:
        """Every invariant that can be seen in one sale. Raises `LedgerUnavailable` where that takes
        longer than the deadline."""
        base = "main." if self._engines.dialect == "sqlite" else ""
        hiding = _hiding(base)

        async def ask() -> list[Check]:
            async with self._engines.reading.connect() as connection:
                checks = []
                for name, wanted in _BROKEN.items():
                    if name in _ORPHANS:
                        continue
                    statement = text(f"{hiding}{wanted} LIMIT {SHOWN + 1}")
                    found = await connection.execute(statement, {"sale": sale_id})
                    rows = found.scalars().all()
                    checks.append(Check(name, not rows, _named(rows)))
                return [*checks, await _legal_steps(connection, hiding, sale_id)]

        return await self._within(deadline_ms, self._repeat(ask))


def _hiding(base: str) -> str:
    """`base`: how the table behind its own name is reached (SQLite would see a circle)."""
    parts = [f"{name} AS ({part.format(table=base + name)})" for name, part in _PARTS.items()]
    return f"WITH {', '.join(parts)} "


async def _legal_steps(connection: AsyncConnection, hiding: str, sale_id: int) -> Check:
    rows = await connection.execute(text(hiding + _STEPS), {"sale": sale_id})
    illegal = [
        f"{before} to {after} (order {number})"
        for before, after, number in rows
        if not may_become(OrderState(before), OrderState(after))
    ]
    return Check("history_is_legal", not illegal, ", ".join(illegal))
