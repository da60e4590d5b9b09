"""The ledger's own invariants, looked at with plain queries. Each check is one that could fail."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import GateUnavailable
from sluice.domain.order import OrderState, may_become
from sluice.ledger.audit_money import LINES, MONEY, OVERDUE, OVERDUE_MS
from sluice.ledger.records import Check, Incident, Mark
from sluice.ledger.store import Store
from sluice.ledger.tables import audit_marks, incidents, releases, stock_edits

SHOWN = 5
"""Of the rows that break a rule, so many are named."""

_BROKEN: dict[str, str] = {
    "ledger_balance": """
        SELECT id FROM items
        WHERE available < 0 OR awaiting_payment < 0 OR paid < 0 OR written_off < 0
           OR available + awaiting_payment + paid + written_off <> stock""",
    "never_oversold": """
        SELECT items.id FROM items JOIN (
            SELECT item_id, SUM(quantity - refunded_quantity) AS units FROM orders
            WHERE state IN ('awaiting_payment', 'paid', 'refunding') GROUP BY item_id
        ) sold ON sold.item_id = items.id
        WHERE sold.units + items.written_off > items.stock""",
    "units_are_those_of_orders": """
        SELECT items.id FROM items LEFT JOIN (
            SELECT item_id,
                SUM(CASE WHEN state = 'awaiting_payment' THEN quantity ELSE 0 END) AS awaiting,
                SUM(CASE WHEN state IN ('paid', 'refunding')
                    THEN quantity - refunded_quantity ELSE 0 END) AS paid
            FROM orders GROUP BY item_id
        ) sold ON sold.item_id = items.id
        WHERE COALESCE(sold.awaiting, 0) <> items.awaiting_payment
           OR COALESCE(sold.paid, 0) <> items.paid""",
    "units_are_those_of_the_journal": """
        SELECT items.id FROM items LEFT JOIN (
            SELECT item_id, SUM(delta_stock) AS stock, SUM(delta_available) AS available
            FROM stock_journal GROUP BY item_id
        ) journal ON journal.item_id = items.id
        WHERE COALESCE(journal.stock, 0) <> items.stock
           OR COALESCE(journal.available, 0) <> items.available""",
    "limit_per_buyer": """
        SELECT order_slots.order_number FROM order_slots
        JOIN orders ON orders.number = order_slots.order_number
        JOIN items ON items.id = orders.item_id
        WHERE order_slots.slot > items.per_buyer OR order_slots.limit_group <> items.limit_group
           OR order_slots.buyer <> orders.buyer""",
    "slots_are_those_of_orders": """
        SELECT orders.number FROM orders LEFT JOIN (
            SELECT order_number, COUNT(*) AS held FROM order_slots WHERE slot > 0
            GROUP BY order_number
        ) slots ON slots.order_number = orders.number
        WHERE COALESCE(slots.held, 0) <>
            CASE WHEN orders.state IN ('awaiting_payment', 'paid', 'refunding')
                THEN orders.quantity - orders.refunded_quantity ELSE 0 END""",
    "slots_have_their_order": """
        SELECT order_slots.order_number FROM order_slots
        LEFT JOIN orders ON orders.number = order_slots.order_number
        WHERE orders.number IS NULL""",
    "recorded_units_are_those_of_orders": """
        SELECT items.id FROM items LEFT JOIN (
            SELECT item_id, SUM(quantity) AS units FROM stock_journal
            WHERE kind = 'recorded' GROUP BY item_id
        ) journal ON journal.item_id = items.id
        LEFT JOIN (
            SELECT item_id, SUM(quantity) AS units FROM orders GROUP BY item_id
        ) sold ON sold.item_id = items.id
        WHERE COALESCE(journal.units, 0) <> COALESCE(sold.units, 0)""",
    "history_has_its_order": """
        SELECT order_history.order_number FROM order_history
        LEFT JOIN orders ON orders.number = order_history.order_number
        WHERE orders.number IS NULL AND order_history.ordinal = 1""",
    "one_attempt_one_end": """
        SELECT orders.number FROM orders JOIN dead_letters ON dead_letters.nonce = orders.nonce
        WHERE dead_letters.reason NOT IN ('nonce_taken', 'number_taken')""",
    "state_is_the_last_of_history": """
        SELECT orders.number FROM orders LEFT JOIN (
            SELECT order_number, MAX(ordinal) AS last, COUNT(*) AS steps
            FROM order_history GROUP BY order_number
        ) ends ON ends.order_number = orders.number
        LEFT JOIN order_history final
            ON final.order_number = ends.order_number AND final.ordinal = ends.last
        WHERE ends.last IS NULL OR ends.steps <> ends.last OR final.state <> orders.state""",
    "released_or_held": """
        SELECT orders.number FROM orders JOIN releases ON releases.number = orders.number
        WHERE orders.state IN ('awaiting_payment', 'paid', 'refunding')""",
    "rejected_are_released": """
        SELECT dead_letters.number FROM dead_letters
        LEFT JOIN releases ON releases.number = dead_letters.number
        WHERE releases.number IS NULL AND dead_letters.reason <> 'number_taken'""",
    "edits_in_order": """
        SELECT later.item_id FROM stock_edits later
        JOIN stock_edits earlier ON earlier.item_id = later.item_id AND earlier.edit < later.edit
        WHERE earlier.state = 'pending' AND later.state <> 'pending'""",
    "gate_and_ledger_agree": "SELECT item_id FROM audit_marks WHERE ok = 0",
    **MONEY,
    **LINES,
}

_STEPS = """
    SELECT COALESCE(prior.state, 'queued'), step.state, MIN(step.order_number)
    FROM order_history step LEFT JOIN order_history prior
        ON prior.order_number = step.order_number AND prior.ordinal = step.ordinal - 1
    GROUP BY prior.state, step.state"""


class Audit(Store):
    async def audit(self, deadline_ms: int = 60_000) -> list[Check]:
        """Every invariant of the ledger by itself; true at any moment, so each may be looked at
        while orders come in."""

        try:
            overdue_ms: int | None = await self.now_ms() - OVERDUE_MS
        except GateUnavailable:  # whose clock it is on SQLite; all else can be looked at
            overdue_ms = None

        async def ask() -> list[Check]:
            async with self._engines.reading.connect() as connection:
                checks = [await _check(connection, name, _BROKEN[name]) for name in _BROKEN]
                overdue = "overdue_orders_have_a_deadline"
                if overdue_ms is None:
                    checks.append(Check(overdue, False, "not known: there is no clock"))
                else:
                    checks.append(await _check(connection, overdue, OVERDUE, overdue=overdue_ms))
                return [*checks, await _legal_steps(connection)]

        return await self._within(deadline_ms, self._repeat(ask))

    async def failed_marks(self, limit: int = 100) -> list[Mark]:
        """Items of which gate and ledger did not agree when they were last compared."""
        return await self._marks((audit_marks.c.ok == 0), limit)

    async def marks(self, item_ids: Sequence[int]) -> dict[int, Mark]:
        """The last comparison of each of these items, where there was one."""
        if not item_ids:
            return {}
        found = await self._marks(audit_marks.c.item_id.in_(item_ids), len(item_ids))
        return {mark.item_id: mark for mark in found}

    async def _marks(self, wanted: ColumnElement[bool], limit: int) -> list[Mark]:
        columns = [audit_marks.c[name] for name in Mark._fields]
        statement = select(*columns).where(wanted).order_by(audit_marks.c.item_id).limit(limit)

        async def query(connection: AsyncConnection) -> list[Mark]:
            return [Mark(*row) for row in await connection.execute(statement)]

        return await self._read(query)

    async def waiting_since(self) -> dict[str, int]:
        """What the gate has not yet followed: `release` or `edit` → when the oldest was decided."""
        oldest = {
            "release": select(func.min(releases.c.decided_at_ms)).where(
                releases.c.applied_at_ms.is_(None)
            ),
            "edit": select(func.min(stock_edits.c.requested_at_ms)).where(
                stock_edits.c.state == "pending"
            ),
        }

        async def query(connection: AsyncConnection) -> dict[str, int]:
            found = {
                kind: (await connection.execute(statement)).scalar_one()
                for kind, statement in oldest.items()
            }
            return {kind: int(at_ms) for kind, at_ms in found.items() if at_ms is not None}

        return await self._read(query)

    async def incidents(self, limit: int, after_id: int = 0) -> list[Incident]:
        """Oldest first."""
        wanted = (
            select(incidents).where(incidents.c.id > after_id).order_by(incidents.c.id).limit(limit)
        )

        async def query(connection: AsyncConnection) -> list[Incident]:
            return [Incident(*row) for row in await connection.execute(wanted)]

        return await self._read(query)


async def _check(connection: AsyncConnection, name: str, wanted: str, **values: int) -> Check:
    statement = text(f"{wanted} LIMIT {SHOWN + 1}")
    rows = (await connection.execute(statement, values)).scalars().all()
    return Check(name, not rows, _named(rows))


async def _legal_steps(connection: AsyncConnection) -> Check:
    rows = await connection.execute(text(_STEPS))
    illegal = [
        f"{before} to {after} (order {number})"
        for before, after, number in rows
        if not may_become(OrderState(before), OrderState(after))
    ]
    return Check("history_is_legal", not illegal, ", ".join(illegal))


def _named(rows: Sequence[int]) -> str:
    more = " and more" if len(rows) > SHOWN else ""
    return ", ".join(str(row) for row in rows[:SHOWN]) + more
