"""What became of a sale, from what the ledger keeps for good: orders, history, journal, payments.

Every query is of one sale's rows, reads alone, and has a deadline of its own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.ledger.store import Store

_OF_SALE = "SELECT id FROM items WHERE sale_id = :sale"
"""What `OF_SALE` stands for below."""

_STATES = """
    SELECT item_id, state, COUNT(*) AS orders, SUM(quantity) AS units
    FROM orders WHERE item_id IN (OF_SALE) GROUP BY item_id, state"""
_DEAD = """
    SELECT item_id, COUNT(*) AS orders FROM dead_letters WHERE item_id IN (OF_SALE)
    GROUP BY item_id"""
_OPENED = """
    SELECT COUNT(DISTINCT payments.order_number) AS orders
    FROM orders JOIN payments ON payments.order_number = orders.number
    WHERE orders.item_id IN (OF_SALE)"""
_RETURNING = """
    SELECT item_id, SUM(quantity) AS units FROM releases
    WHERE item_id IN (OF_SALE) AND applied_at_ms IS NULL GROUP BY item_id"""
_SOLD_OUT = """
    SELECT item_id, MIN(at_ms) AS at_ms FROM (
        SELECT item_id, at_ms,
            SUM(delta_available) OVER (PARTITION BY item_id ORDER BY id) AS still
        FROM stock_journal WHERE item_id IN (OF_SALE)
    ) moved WHERE still = 0 GROUP BY item_id"""
_FIRST = """
    SELECT item_id, MIN(placed_at_ms) AS first_ms, MAX(placed_at_ms) AS last_ms
    FROM orders WHERE item_id IN (OF_SALE) GROUP BY item_id"""
_RETURNS = """
    SELECT item_id, reason, COUNT(*) AS orders, SUM(quantity) AS units
    FROM releases WHERE item_id IN (OF_SALE) GROUP BY item_id, reason"""
_LINES = """
    SELECT item_id, state, COUNT(*) AS entries, AVG(ended_at_ms - joined_at_ms) AS mean_ms,
        MAX(ended_at_ms - joined_at_ms) AS longest_ms
    FROM waitlist WHERE item_id IN (OF_SALE) GROUP BY item_id, state"""
_CAPTURED = """
    SELECT payments.provider, payments.captured_currency AS currency, COUNT(*) AS payments,
        SUM(payments.captured_minor) AS captured, SUM(payments.refunded_minor) AS refunded
    FROM orders JOIN payments ON payments.order_number = orders.number
    WHERE orders.item_id IN (OF_SALE) AND payments.captured_minor IS NOT NULL
    GROUP BY payments.provider, payments.captured_currency"""
_OWED = """
    SELECT payments.provider, refunds.currency, refunds.state, COUNT(*) AS refunds,
        SUM(refunds.amount_minor) AS amount
    FROM orders JOIN refunds ON refunds.order_number = orders.number
    JOIN payments ON payments.id = refunds.payment_id
    WHERE orders.item_id IN (OF_SALE) AND refunds.closed_at_ms IS NULL
    GROUP BY payments.provider, refunds.currency, refunds.state"""
_DECILES = """
    SELECT tenth, COUNT(*) AS orders, MIN(placed_at_ms) AS first_ms, MAX(placed_at_ms) AS last_ms,
        AVG(recorded_at_ms - placed_at_ms) AS mean_ms, MAX(recorded_at_ms - placed_at_ms) AS max_ms,
        SUM(CASE WHEN state IN ('paid', 'refunding', 'refunded') THEN 1 ELSE 0 END) AS paid,
        SUM(overtaken) AS overtaken
    FROM (
        SELECT placed_at_ms, recorded_at_ms, state,
            NTILE(10) OVER (ORDER BY number) AS tenth,
            CASE WHEN recorded_at_ms < LAG(recorded_at_ms) OVER (
                PARTITION BY item_id ORDER BY number) THEN 1 ELSE 0 END AS overtaken
        FROM orders WHERE item_id IN (OF_SALE) AND NOT EXISTS (
            SELECT 1 FROM waitlist WHERE waitlist.order_number = orders.number)
    ) placed GROUP BY tenth ORDER BY tenth"""
_PACE = """
    SELECT placed_at_ms - placed_at_ms % :step AS at_ms, COUNT(*) AS orders, SUM(quantity) AS units
    FROM orders WHERE item_id IN (OF_SALE)
    GROUP BY 1 ORDER BY 1 LIMIT :most"""
_EVENTS = """
    SELECT order_history.state, order_history.at_ms - order_history.at_ms % :step AS at_ms,
        COUNT(*) AS orders
    FROM orders JOIN order_history ON order_history.order_number = orders.number
    WHERE orders.item_id IN (OF_SALE)
    GROUP BY 1, 2 ORDER BY 2 LIMIT :most"""

_COUNTS = {"states": _STATES, "dead": _DEAD, "opened": _OPENED, "returning": _RETURNING}
_WHOLE = {
    **_COUNTS,
    "first": _FIRST,
    "sold_out": _SOLD_OUT,
    "returns": _RETURNS,
    "lines": _LINES,
    "captured": _CAPTURED,
    "owed": _OWED,
    "deciles": _DECILES,
}

Rows = dict[str, list[dict[str, Any]]]
"""Question → rows, each by column; numbers are ints (AVG: floats)."""


class SaleFacts(Store):
    async def sale_counts(self, sale_id: int, deadline_ms: int) -> Rows:
        """`states`, `dead`, `opened`, `returning`: the funnel. Raises `LedgerUnavailable`."""
        return await self._ask_all(_COUNTS, {"sale": sale_id}, deadline_ms)

    async def sale_facts(self, sale_id: int, deadline_ms: int) -> Rows:
        """Everything that a report tells, but for the pace. Raises `LedgerUnavailable`."""
        return await self._ask_all(_WHOLE, {"sale": sale_id}, deadline_ms)

    async def sale_pace(self, sale_id: int, step_ms: int, most: int, deadline_ms: int) -> Rows:
        """`placed` and `moved`: orders and steps of orders in each `step_ms`, the first `most` of
        them. Raises `LedgerUnavailable`."""
        values = {"sale": sale_id, "step": step_ms, "most": most}
        return await self._ask_all({"placed": _PACE, "moved": _EVENTS}, values, deadline_ms)

    async def _ask_all(
        self, questions: dict[str, str], values: dict[str, int], deadline_ms: int
    ) -> Rows:
        async def ask() -> Rows:
            found: Rows = {}
            async with self._engines.reading.connect() as connection:
                for name, question in questions.items():
                    found[name] = await _rows(connection, question, values)
            return found

        return await self._within(deadline_ms, self._repeat(ask))


async def _rows(
    connection: AsyncConnection, question: str, values: dict[str, int]
) -> list[dict[str, Any]]:
    wanted = {
        name: value for name, value in values.items() if name == "sale" or f":{name}" in question
    }
    statement = text(question.replace("OF_SALE", _OF_SALE))
    found = await connection.execute(statement, wanted)
    return [{name: _plain(value) for name, value in row.items()} for row in found.mappings()]


def _plain(value: Any) -> Any:
    """Sums come as decimals from PostgreSQL and MariaDB."""
    if value is None or isinstance(value, int | str):
        return value
    whole = int(value)
    return whole if whole == value else float(value)
