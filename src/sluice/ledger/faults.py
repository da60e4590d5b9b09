"""What a driver's exception means: try again, the ledger is away, or a row broke a rule."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto

from sqlalchemy import exc

_PG_CONTENDED = frozenset({"40001", "40P01", "55P03"})
"""serialization_failure, deadlock_detected, lock_not_available."""
_PG_BROKEN_ROW_CLASSES = frozenset({"22", "23"})
"""Data exception, integrity constraint violation."""
_PG_NO_SUCH_TABLE = "42P01"
_PG_AWAY_CLASSES = frozenset({"08", "53", "57", "58", "25", "28", "3D"})
"""Connection, resources, operator intervention, system, read-only, log-in, no such database."""

_MYSQL_CONTENDED = frozenset({1020, 1205, 1213})
"""Record changed, lock wait timeout (which rolls back the statement only), deadlock."""
_MYSQL_BROKEN_ROW = frozenset(
    {1022, 1048, 1062, 1216, 1217, 1264, 1265, 1364, 1366, 1406, 1451, 1452, 3819, 4025}
)
"""Duplicate, null, foreign key, out of range, truncated, too long, CHECK."""
_MYSQL_NO_SUCH_TABLE = 1146
_MYSQL_BROKEN_STATEMENT = frozenset({1054, 1064, _MYSQL_NO_SUCH_TABLE, 1644})
"""Unknown column, syntax, no such table, SIGNAL: our fault, not the server's absence."""

_SQLITE_BROKEN_STATEMENT = ("no such", "syntax error", "has no column", "append-only")


class Fault(Enum):
    CONTENDED = auto()
    """Another transaction was in the way; the whole transaction may run again."""
    BROKEN_ROW = auto()
    """A row breaks a constraint; the same row will again."""
    AWAY = auto()
    """The database cannot be reached or cannot write now."""
    OTHER = auto()
    """A mistake of ours."""


def fault_of(error: BaseException) -> Fault:
    """What an exception of SQLAlchemy or of a driver under it means."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return Fault.AWAY
    if isinstance(error, (exc.TimeoutError, exc.InterfaceError)):
        return Fault.AWAY
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(driver, sqlite3.Error):
        return _of_sqlite(driver)
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    if isinstance(state, str):
        return _of_postgresql(state)
    code = driver.args[0] if driver is not None and driver.args else None
    if type(driver).__module__.startswith("asyncmy") and isinstance(code, int):
        return _of_mysql(code)
    if isinstance(driver, (OSError, EOFError, TimeoutError)) or _is_lost_connection(driver):
        return Fault.AWAY
    if isinstance(error, (exc.IntegrityError, exc.DataError)):
        return Fault.BROKEN_ROW
    return Fault.OTHER


def is_missing_table(error: BaseException) -> bool:
    """Whether a statement named a table that is not there: no migration has run yet."""
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(driver, sqlite3.Error):
        return "no such table" in str(driver)
    if getattr(driver, "sqlstate", None) == _PG_NO_SUCH_TABLE:
        return True
    return driver is not None and driver.args[:1] == (_MYSQL_NO_SUCH_TABLE,)


def _of_sqlite(error: sqlite3.Error) -> Fault:
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return Fault.OTHER if "append-only" in text else Fault.BROKEN_ROW
    if "locked" in text or "busy" in text:
        return Fault.CONTENDED
    if isinstance(error, sqlite3.DataError) or isinstance(error.__cause__, OverflowError):
        return Fault.BROKEN_ROW
    if any(part in text for part in _SQLITE_BROKEN_STATEMENT):
        return Fault.OTHER
    return Fault.AWAY if isinstance(error, sqlite3.OperationalError) else Fault.OTHER


def _of_postgresql(state: str) -> Fault:
    if state in _PG_CONTENDED:
        return Fault.CONTENDED
    if state[:2] in _PG_BROKEN_ROW_CLASSES:
        return Fault.BROKEN_ROW
    return Fault.AWAY if state[:2] in _PG_AWAY_CLASSES else Fault.OTHER


def _of_mysql(code: int) -> Fault:
    if code in _MYSQL_CONTENDED:
        return Fault.CONTENDED
    if code in _MYSQL_BROKEN_ROW:
        return Fault.BROKEN_ROW
    return Fault.OTHER if code in _MYSQL_BROKEN_STATEMENT else Fault.AWAY


def _is_lost_connection(error: BaseException | None) -> bool:
    """asyncpg raises its own InterfaceError, without a code, on a connection that has closed."""
    return type(error).__name__ in {"InterfaceError", "ConnectionDoesNotExistError"}
