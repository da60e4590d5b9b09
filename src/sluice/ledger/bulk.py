"""The rows that every order costs, written as fast as each database takes them.

Column names here are in the order of the tuples; SQLAlchemy's own executemany would spend more
time on dictionaries than SQLite spends on the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.ledger.store import Transaction

Row = tuple[Any, ...]

ORDER_COLUMNS = (
    "number",
    "sale_id",
    "item_id",
    "slots",
    "amount_minor",
    "placed_at_ms",
    "recorded_at_ms",
    "pay_by_ms",
    "quantity",
    "refunded_quantity",
    "nonce",
    "currency",
    "state",
    "payment_state",
    "buyer",
)
SLOT_COLUMNS = ("buyer", "limit_group", "slot", "order_number")
HISTORY_COLUMNS = ("order_number", "ordinal", "state", "at_ms")


async def write_rows(
    tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """All of `rows`, or the driver's exception for the first that breaks a rule."""
    if tx.dialect == "postgresql":
        await _copy(tx, table, columns, rows)
    else:
        mark = "?" if tx.dialect == "sqlite" else "%s"
        marks = ", ".join([mark] * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        await tx.connection.exec_driver_sql(statement, list(rows))


async def _copy(tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    raw = await tx.connection.get_raw_connection()
    driver: Any = raw.driver_connection
    await driver.copy_records_to_table(table, records=rows, columns=columns)
