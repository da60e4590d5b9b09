"""Two engines per ledger, one that reads and one that writes, and how each database is set up."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any

import aiosqlite
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sluice.domain.errors import SettingsError

POOL_SIZE = 4
"""Connections that one process keeps open for each of reading and writing."""
POOL_OVERFLOW = 8
SQLITE_BUSY_MS = 10
"""Each try for SQLite's write lock. It has no queue of writers: a short wait, tried again until
the deadline (`Store`), meets the gap between a busy recorder's transactions; its own long wait,
which looks every 100 ms, would miss it."""
SQLITE_PAGE_BYTES = 8192
"""Of a new ledger. Twice SQLite's own: a tenth less work for the recorder."""
SQLITE_CHECKPOINT_PAGES = 16_384
"""128 MiB of log between checkpoints: a page that many batches touch is written back once."""
SQLITE_CACHE_KIB = 65_536
"""Of the connection that writes, filled as pages are touched. Some of the recorder's indexes grow
in no order; with SQLite's own 2 MiB it would read their pages again for every batch."""
IDLE_IN_TRANSACTION_S = 15
"""A worker that vanished in mid-transaction must not keep its rows locked for hours."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mariadb": "mariadb+asyncmy",
    "mysql": "mysql+asyncmy",
}
_EXTRAS = {"postgresql": "pg", "mariadb": "mariadb", "mysql": "mariadb"}

_SQLITE_PRAGMAS = (
    f"busy_timeout = {SQLITE_BUSY_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    f"wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}",
    f"journal_size_limit = {SQLITE_CHECKPOINT_PAGES * SQLITE_PAGE_BYTES * 4}",
)

_MYSQL_SESSION = (
    "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 1, "
    "sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,"
    "NO_AUTO_VALUE_ON_ZERO'"
)


@dataclass(frozen=True, slots=True)
class Engines:
    reading: AsyncEngine
    """Every statement by itself, without a transaction around it."""
    writing: AsyncEngine

    @property
    def dialect(self) -> str:
        """sqlite, postgresql, mariadb or mysql."""
        return self.writing.dialect.name

    async def dispose(self) -> None:
        await self.reading.dispose()
        await self.writing.dispose()


def driver_url(url: str) -> URL:
    """`postgresql://…` with the driver that we use. Raises `SettingsError`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError("SLUICE_DATABASE_URL is not a URL.") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        expected = ", ".join(f"{name}://" for name in _DRIVERS)
        raise SettingsError(f"SLUICE_DATABASE_URL must start with one of {expected}.")
    if parsed.drivername == "sqlite" and not parsed.database:
        raise SettingsError("SLUICE_DATABASE_URL must name a file: sqlite:////path/to/sluice.db.")
    if parsed.drivername != "sqlite" and not parsed.database:
        raise SettingsError("SLUICE_DATABASE_URL must name a database after the host.")
    sslmode = parsed.query.get("sslmode")
    if sslmode is not None:  # libpq's spelling, which everybody copies from somewhere
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
    return parsed.set(drivername=driver)


def load_driver(url: URL) -> None:
    """Raises `SettingsError` where the driver is not installed."""
    try:
        url.get_dialect().import_dbapi()
        # It prints the server's remarks; what matters is an error in the strict mode that we set.
        logging.getLogger("asyncmy").setLevel(logging.ERROR)
    except (ModuleNotFoundError, NoSuchModuleError):
        name = url.get_backend_name()
        raise SettingsError(
            f"The driver for {name} is missing: install sluice[{_EXTRAS[name]}]."
        ) from None


def open_engines(url: str, deadline_ms: int) -> Engines:
    parsed = driver_url(url)
    load_driver(parsed)
    return Engines(_open(parsed, deadline_ms, True), _open(parsed, deadline_ms, False))


def _open(url: URL, deadline_ms: int, reading: bool) -> AsyncEngine:
    one_writer = url.get_backend_name() == "sqlite" and not reading
    options: dict[str, Any] = {
        "pool_size": 1 if one_writer else POOL_SIZE,
        "max_overflow": POOL_OVERFLOW,
        "pool_timeout": deadline_ms / 1000,
        "connect_args": _connect_args(url, deadline_ms),
    }
    if reading:
        options["isolation_level"] = "AUTOCOMMIT"
        options["skip_autocommit_rollback"] = True
    elif url.get_backend_name() != "sqlite":
        options["isolation_level"] = "READ COMMITTED"
    if url.get_backend_name() != "sqlite":
        options["pool_pre_ping"] = True
    engine = create_async_engine(url, **options)
    if url.get_backend_name() == "sqlite":
        _set_up_sqlite(engine, reading)
    elif url.get_backend_name() in ("mysql", "mariadb"):
        _set_up_mysql(engine)
    return engine


def _connect_args(url: URL, deadline_ms: int) -> dict[str, Any]:
    seconds = deadline_ms / 1000
    match url.get_backend_name():
        case "sqlite":
            # The driver's own transactions are off: ours begin in `_set_up_sqlite`.
            return {
                "isolation_level": None,
                "timeout": SQLITE_BUSY_MS / 1000,
                "async_creator_fn": connect_sqlite,
            }
        case "postgresql":
            settings = {
                "synchronous_commit": "on",
                "lock_timeout": str(deadline_ms),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_S * 1000),
                "application_name": "sluice",
            }
            return {"timeout": seconds, "server_settings": settings}
        case _:
            arguments: dict[str, Any] = {"connect_timeout": seconds, "charset": "utf8mb4"}
            if url.query.get("ssl") == "true":
                arguments["ssl"] = ssl.create_default_context()
            return arguments


async def connect_sqlite(*where: Any, **options: Any) -> Any:
    """A connection of the driver. One that fails ends its thread before it says so: left alone,
    the thread may find the event loop closed, and die with a traceback on the terminal."""
    connection = aiosqlite.connect(*where, **options)
    connection._thread.daemon = True  # as SQLAlchemy has it
    try:
        return await connection
    except BaseException:
        await asyncio.shield(asyncio.to_thread(connection._thread.join))
        raise


def _set_up_sqlite(engine: AsyncEngine, reading: bool) -> None:
    own = "query_only = ON" if reading else f"cache_size = -{SQLITE_CACHE_KIB}"
    pragmas = (*_SQLITE_PRAGMAS, own)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if not reading:

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Any) -> None:
            # Taking the write lock at once: a transaction that read first could not be given it
            # later without starting again.
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_up_mysql(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(_MYSQL_SESSION)
        cursor.close()
