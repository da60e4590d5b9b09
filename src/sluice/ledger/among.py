"""One of a few thousand numbers, as a condition that each database takes in one statement."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    any_,
    column,
    func,
    literal,
    select,
)

from sluice.ledger.store import Transaction


def among(
    tx: Transaction, wanted: ColumnElement[int], numbers: Sequence[int]
) -> ColumnElement[bool]:
    """`wanted IN (numbers)` with one parameter instead of thousands: SQLite takes a limited number
    of them, and PostgreSQL would plan each length anew."""
    if tx.dialect == "sqlite":
        each = func.json_each(msgspec.json.encode(list(numbers)).decode()).table_valued("value")
        return wanted.in_(select(column("value")).select_from(each))
    if tx.dialect == "postgresql":
        return wanted == any_(literal(list(numbers), ARRAY(BigInteger)))
    return wanted.in_(list(numbers))
