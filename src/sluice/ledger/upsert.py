"""INSERTs that every database spells in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite

from sluice.ledger.store import Transaction


async def insert_ignore(tx: Transaction, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose primary key is not there yet."""
    statement: Insert
    if tx.dialect == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_nothing()
    elif tx.dialect == "postgresql":
        statement = postgresql.insert(table).on_conflict_do_nothing()
    else:  # not INSERT IGNORE, which would ignore rows that break other rules as well
        key = next(iter(table.primary_key))
        statement = mysql.insert(table).on_duplicate_key_update({key.name: key})
    await tx.run(statement, list(rows))


async def upsert(tx: Transaction, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows, or overwrites those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.c if column.name not in keys]
    statement: Insert
    if tx.dialect in ("sqlite", "postgresql"):
        insert = sqlite.insert if tx.dialect == "sqlite" else postgresql.insert
        base = insert(table)
        statement = base.on_conflict_do_update(
            index_elements=keys, set_={name: base.excluded[name] for name in others}
        )
    else:
        into = mysql.insert(table)
        statement = into.on_duplicate_key_update({name: into.inserted[name] for name in others})
    await tx.run(statement, list(rows))
