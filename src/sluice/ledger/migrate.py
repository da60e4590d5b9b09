"""Bringing the ledger's schema up to date.

`upgrade` and `at_head` block and start their own event loop: call them from a thread that has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sluice.domain.errors import LedgerUnavailable, SettingsError
from sluice.ledger.engine import SQLITE_PAGE_BYTES, connect_sqlite, driver_url, load_driver
from sluice.ledger.faults import Fault, fault_of, is_missing_table
from sluice.ledger.schema import CURRENT, HEAD

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_KEY = 0x51_0C_1E
"""Names the lock under which only one process migrates a database at a time."""
LOCK_WAIT_S = 60


def at_head(url: str) -> bool:
    """Whether the schema is the newest; without Alembic, a few milliseconds on SQLite."""
    parsed = driver_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_revision(Path(str(parsed.database))) == HEAD
    return asyncio.run(_revision(url)) == HEAD


def upgrade(url: str) -> None:
    """Runs every migration that is missing; does nothing where there is none.

    Raises `SettingsError` where the database is not there or not ours to change, and
    `LedgerUnavailable` where the server is away.
    """
    parsed = driver_url(url)
    if parsed.get_backend_name() == "sqlite":
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(_with_engine(url, _upgrade))


def _sqlite_revision(path: Path) -> str | None:
    if not path.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        try:
            row = db.execute(CURRENT).fetchone()
        except sqlite3.OperationalError as error:
            if is_missing_table(error):
                return None
            raise SettingsError(f"{path} cannot be read: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{path} is not a SQLite database: {error}.") from error
    return str(row[0]) if row else None


async def _revision(url: str) -> str | None:
    async def ask(engine: AsyncEngine) -> str | None:
        async with engine.connect() as connection:
            try:
                row = (await connection.execute(text(CURRENT))).first()
            except Exception as error:
                if is_missing_table(error):
                    return None
                raise
        return str(row[0]) if row else None

    return await _with_engine(url, ask)


async def _with_engine(url: str, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    parsed = driver_url(url)
    load_driver(parsed)
    sqlite = parsed.get_backend_name() == "sqlite"
    arguments = {"async_creator_fn": connect_sqlite} if sqlite else {}
    engine = create_async_engine(parsed, poolclass=NullPool, connect_args=arguments)
    try:
        return await work(engine)
    except Exception as error:
        if fault_of(error) is Fault.AWAY:
            raise LedgerUnavailable(f"The ledger is away: {error}") from error
        raise
    finally:
        await engine.dispose()


async def _upgrade(engine: AsyncEngine) -> None:
    if engine.dialect.name == "sqlite":
        _begin_exclusively(engine)
    async with engine.begin() as connection:
        await connection.run_sync(_run_migrations)


def _begin_exclusively(engine: AsyncEngine) -> None:
    """A migration in SQLite is one transaction as well: the driver would commit before DDL."""

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_S * 1000}")
        cursor.execute(f"PRAGMA page_size = {SQLITE_PAGE_BYTES}")  # before there is a first page
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _run_migrations(connection: Connection) -> None:
    # Here, because Alembic takes longer to import than a start on a migrated ledger takes.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with EnvironmentContext(
        config, script, fn=lambda revision, _: script._upgrade_revs("head", revision)
    ) as environment:
        environment.configure(connection=connection, target_metadata=None)
        _lock(connection)
        environment.run_migrations()


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
    elif connection.dialect.name != "sqlite":
        connection.execute(text(f"SELECT GET_LOCK('sluice_migrate', {LOCK_WAIT_S})"))
