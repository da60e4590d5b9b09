"""What the database server is set to, and whether it is fit to hold promises."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import SettingsError
from sluice.ledger.faults import is_missing_table
from sluice.ledger.schema import CURRENT, HEAD
from sluice.ledger.store import Store

_SQLITE = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint", "page_size")
_SQLITE_SYNCHRONOUS = {"0": "off", "1": "normal", "2": "full", "3": "extra"}
_POSTGRESQL = ("server_version", "synchronous_commit", "fsync", "full_page_writes", "autovacuum")
_UNCOUNTED = """
SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
AND reltuples < 0 AND pg_relation_size(oid) > 1048576
"""
"""Tables that nobody has counted although they are no small ones (PostgreSQL 14 and later)."""
_MYSQL = ("version", "innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin")


class Facts(Store):
    async def check_ready(self) -> None:
        """Raises `LedgerUnavailable` where the database is away, `SettingsError` where its schema
        is not this version's."""
        revision = await self._read(_revision)
        if revision is None:
            raise SettingsError("The ledger's database is empty: run `sluice migrate`.")
        if revision != HEAD:
            raise SettingsError(
                f"The ledger's schema is at {revision} and this version needs {HEAD}: "
                "run `sluice migrate` with the newest version that is in use."
            )

    async def facts(self) -> dict[str, str]:
        """The server's version and what decides how durable a commit is, as it is in use."""
        dialect = self._engines.dialect
        asked = {"sqlite": _sqlite, "postgresql": _postgresql}.get(dialect, _mysql)

        async def ask() -> dict[str, str]:
            # A writing connection: some of these are set per connection.
            async with self._engines.writing.connect() as connection:
                return {"database": dialect, **await asked(connection)}

        return await self._within(self._deadline_ms, self._repeat(ask))


async def _revision(connection: AsyncConnection) -> str | None:
    try:
        row = (await connection.execute(text(CURRENT))).first()
    except Exception as error:
        if is_missing_table(error):
            return None
        raise
    return str(row[0]) if row else None


async def _sqlite(connection: AsyncConnection) -> dict[str, str]:
    found = {"version": await _one(connection, "SELECT sqlite_version()")}
    for name in _SQLITE:
        found[name] = await _one(connection, f"PRAGMA {name}")
    found["synchronous"] = _SQLITE_SYNCHRONOUS.get(found["synchronous"], found["synchronous"])
    return found


async def _postgresql(connection: AsyncConnection) -> dict[str, str]:
    found = {name: await _one(connection, f"SHOW {name}") for name in _POSTGRESQL}
    found["version"] = found.pop("server_version")
    found["without_statistics"] = await _one(connection, _UNCOUNTED)
    return found


async def _mysql(connection: AsyncConnection) -> dict[str, str]:
    found = {name: await _one(connection, f"SELECT @@{name}") for name in _MYSQL}
    isolation = "tx_isolation" if "MariaDB" in found["version"] else "transaction_isolation"
    found["isolation"] = await _one(connection, f"SELECT @@{isolation}")
    return found


async def _one(connection: AsyncConnection, statement: str) -> str:
    value: Any = (await connection.exec_driver_sql(statement)).scalar_one_or_none()
    return "" if value is None else str(value)
