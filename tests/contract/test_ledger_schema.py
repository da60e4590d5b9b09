"""The migrations lead exactly to the tables, on each database, and say where they are."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.contract.ledger_servers import opened

from sluice.domain.errors import LedgerUnavailable, SettingsError
from sluice.ledger import migrate
from sluice.ledger.engine import driver_url
from sluice.ledger.ledger import Ledger
from sluice.ledger.schema import HEAD
from sluice.ledger.tables import metadata

VERSION_TABLE = "alembic_version"


async def test_the_migrations_lead_exactly_to_the_tables(empty_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_url)
    migrated = await _in(empty_url, _described)
    differences = await _in(empty_url, _differences)
    await _in(empty_url, _rebuild_from_tables)

    assert migrated == await _in(empty_url, _described)
    assert differences == []


async def test_a_second_migration_has_nothing_to_do(empty_url: str) -> None:
    assert not await asyncio.to_thread(migrate.at_head, empty_url)
    await asyncio.to_thread(migrate.upgrade, empty_url)
    await asyncio.to_thread(migrate.upgrade, empty_url)
    assert await asyncio.to_thread(migrate.at_head, empty_url)


async def test_processes_that_migrate_at_once_do_it_once(empty_url: str) -> None:
    upgrade = f"from sluice.ledger import migrate; migrate.upgrade({empty_url!r})"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", upgrade) for _ in range(3)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert await asyncio.to_thread(migrate.at_head, empty_url)


async def test_large_tables_that_nobody_counted_are_named(empty_url: str, database: str) -> None:
    if database != "postgresql":
        pytest.skip("Only PostgreSQL says it.")
    said = []
    async with opened(empty_url) as ledger:
        for step in (
            "CREATE TABLE small AS SELECT 1 AS n",
            "CREATE TABLE large WITH (autovacuum_enabled = off) "
            "AS SELECT generate_series(1, 100000) AS n",
            "ANALYZE large",
        ):
            await _in(empty_url, lambda connection, step=step: connection.execute(text(step)))
            said.append((await ledger.facts())["without_statistics"])
    assert said == ["", "large", ""]


async def test_an_empty_database_asks_for_a_migration(empty_url: str, database: str) -> None:
    if database == "sqlite":
        sqlite3.connect(empty_url.removeprefix("sqlite:///")).close()
    async with opened(empty_url) as ledger:
        with pytest.raises(SettingsError, match="sluice migrate"):
            await ledger.check_ready()


async def test_another_versions_database_asks_for_a_migration(
    ledger: Ledger, ledger_url: str
) -> None:
    await ledger.check_ready()
    await _in(
        ledger_url, lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'x'"))
    )
    try:
        with pytest.raises(SettingsError, match="sluice migrate"):
            await ledger.check_ready()
        assert not await asyncio.to_thread(migrate.at_head, ledger_url)
    finally:
        await _in(
            ledger_url,
            lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{HEAD}'")),
        )


def test_the_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate.MIGRATIONS)).get_current_head() == HEAD


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("These are my notes, and not a database at all.")
    with pytest.raises(SettingsError, match="not a SQLite database"):
        migrate.at_head(f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@127.0.0.1:1/sluice",
        "mariadb://root@127.0.0.1:1/sluice",
        "mysql://root@127.0.0.1:1/sluice",
        "postgresql://postgres@host.invalid/sluice",
    ],
)
def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    with pytest.raises(LedgerUnavailable):
        migrate.upgrade(url)
    with pytest.raises(LedgerUnavailable):
        migrate.at_head(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("oracle://host/db", "must start with"),
        ("postgresql://host", "must name a database"),
        ("sqlite://", "must name a file"),
        ("nonsense", "not a URL"),
    ],
)
def test_a_url_that_cannot_work_says_what_to_change(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Ledger.from_url(url)
    with pytest.raises(SettingsError, match=says):
        migrate.upgrade(url)


async def test_the_facts_say_how_durable_a_commit_is(ledger: Ledger, database: str) -> None:
    expected = {
        "sqlite": {
            "journal_mode": "wal",
            "synchronous": "full",
            "foreign_keys": "1",
            "page_size": "8192",
        },
        "postgresql": {"synchronous_commit": "on"},
        "mariadb": {"isolation": "READ-COMMITTED"},
    }[database]
    facts = await ledger.facts()
    assert facts["database"] == database
    assert facts["version"]
    assert {name: facts[name] for name in expected} == expected
    assert database != "mariadb" or facts["innodb_flush_log_at_trx_commit"] in "012"


async def _in(url: str, work: Any) -> Any:
    engine = create_async_engine(driver_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _rebuild_from_tables(connection: Connection) -> None:
    metadata.drop_all(connection)
    metadata.create_all(connection)


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def _described(connection: Connection) -> dict[str, Any]:
    """What the database itself says of every table; Alembic's comparison knows nothing of CHECKs,
    collations and engines."""
    names = [name for name in inspect(connection).get_table_names() if name != VERSION_TABLE]
    match connection.dialect.name:
        case "sqlite":
            rows = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type <> 'trigger'")
            )
            found = {name: _plain(sql) for name, sql in rows}
            return {k: v for k, v in found.items() if VERSION_TABLE not in k and "sqlite_" not in k}
        case "postgresql":
            return {name: _described_by_postgresql(connection, name) for name in names}
        case _:
            return {
                name: _plain(connection.execute(text(f"SHOW CREATE TABLE {name}")).one()[1])
                for name in names
            }


def _described_by_postgresql(connection: Connection, table: str) -> list[str]:
    found = connection.execute(
        text(
            "SELECT concat(attname, ' ', format_type(atttypid, atttypmod), ' ', attnotnull, ' ', "
            "attcollation::regcollation) FROM pg_attribute "
            "WHERE attrelid = CAST(:t AS regclass) AND attnum > 0 "
            "UNION ALL SELECT concat(conname, ' ', pg_get_constraintdef(oid)) FROM pg_constraint "
            "WHERE conrelid = CAST(:t AS regclass) "
            "UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = CAST(:t AS regclass)"
        ),
        {"t": table},
    )
    return sorted(row[0] for row in found)


def _plain(sql: str | None) -> list[str]:
    """The parts of a CREATE TABLE, whatever their order: a migration may name a table's keys
    before its checks. SQLite appends a column that was added later to the text that it keeps, to
    the end or to the last column before the keys."""
    without_counter = re.sub(r" AUTO_INCREMENT=\d+", "", sql or "")
    without_counter = re.sub(r"\n, (\w+ \w+)\)$", r"\n\1\n)", without_counter)
    without_counter = re.sub(r", (\w+ \w+), *\n", r",\n\1,\n", without_counter)
    parts = re.split(r",\s*\n|\n", without_counter)
    return sorted(" ".join(part.split()).rstrip(",") for part in parts if part.strip(" \t)"))
