"""The three real databases for the ledger's contract, each test on one without any row.

A test that asks for `ledger_url`, `ledger` or `shop` runs on all three. A server that is not there
skips its tests, or fails them where SLUICE_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.contract.ledger_shop import Shop

from sluice.ledger import migrate
from sluice.ledger.account_tables import ACCOUNT_APPEND_ONLY
from sluice.ledger.engine import driver_url
from sluice.ledger.ledger import Ledger
from sluice.ledger.tables import APPEND_ONLY, metadata

DATABASES = ("sqlite", "postgresql", "mariadb")
URLS = {
    "postgresql": os.environ.get(
        "SLUICE_TEST_PG_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
    ),
    "mariadb": os.environ.get("SLUICE_TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/mysql"),
}
"""A database that is there already: ours are created from it."""
DEADLINE_MS = 5000
"""Generous: the cores may be doing other things. Tests of the deadline set their own."""

_serial = count()


class Databases:
    """One migrated database a server for the whole session: creating one takes a second, so each
    test is given it emptied instead."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._urls: dict[str, str] = {}
        self._away: dict[str, Exception] = {}

    def url(self, database: str) -> str:
        """Blocks while the database is made. Skips or fails where the server is not there."""
        if database not in self._urls and database not in self._away:
            try:
                self._urls[database] = self._make(database)
            except Exception as error:
                self._away[database] = error
        if database in self._away:
            _not_there(database, self._away[database])
        return self._urls[database]

    def _make(self, database: str) -> str:
        if database == "sqlite":
            url = f"sqlite:///{self._folder / 'template.db'}"
        else:
            name = _name()
            asyncio.run(_run(URLS[database], [_creation(database, name)]))
            url = _url(database, name)
        migrate.upgrade(url)
        if database != "sqlite":
            asyncio.run(_run(url, [_emptying(database)]))
        return url

    def drop(self) -> None:
        for database, url in self._urls.items():
            if database != "sqlite":
                asyncio.run(_run(URLS[database], [_removal(database, str(make_url(url).database))]))


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    made = Databases(tmp_path_factory.mktemp("ledger"))
    yield made
    made.drop()


@pytest.fixture
async def empty_url(database: str, tmp_path: Path) -> AsyncIterator[str]:
    """A database of its own, without any table."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    name = _name()
    try:
        await _run(URLS[database], [_creation(database, name)])
    except Exception as error:
        _not_there(database, error)
    yield _url(database, name)
    await _run(URLS[database], [_removal(database, name)])


@pytest.fixture
async def ledger_url(database: str, databases: Databases, tmp_path: Path) -> str:
    """A migrated database without any row."""
    url = await asyncio.to_thread(databases.url, database)
    if database == "sqlite":
        shutil.copy(str(make_url(url).database), tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    await _run(url, [_EMPTY[database]])
    return url


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    async with opened(ledger_url) as ledger:
        yield ledger


@pytest.fixture
async def shop(ledger: Ledger, ledger_url: str) -> AsyncIterator[Shop]:
    """A merchant and a gate around the ledger, with shard 0 claimed and in its first epoch."""
    shop = await Shop.open(ledger, ledger_url)
    yield shop
    await shop.close()


@asynccontextmanager
async def opened(url: str, deadline_ms: int = DEADLINE_MS) -> AsyncIterator[Ledger]:
    ledger = Ledger.from_url(url, deadline_ms=deadline_ms)
    try:
        yield ledger
    finally:
        await ledger.close()


def _emptying(database: str) -> str:
    """Makes what removes every row in one journey to the server, those of the append-only tables
    too, which takes a superuser's ways. Most tables are empty already."""
    append_only = [table.name for table in (*APPEND_ONLY, *ACCOUNT_APPEND_ONLY)]
    tables = [table.name for table in reversed(metadata.sorted_tables)]
    if database == "postgresql":
        deletions = " ".join(f"DELETE FROM {name};" for name in tables)
        return (
            "CREATE FUNCTION test_empty() RETURNS void LANGUAGE plpgsql "
            "SET session_replication_role = replica "
            f"AS $$ BEGIN SET LOCAL synchronous_commit = off; {deletions} END $$"
        )
    truncations = " ".join(
        f"IF EXISTS (SELECT 1 FROM {name}) THEN TRUNCATE {name}; END IF;" for name in append_only
    )
    deletions = " ".join(f"DELETE FROM {name};" for name in tables if name not in append_only)
    return (
        "CREATE PROCEDURE test_empty() BEGIN SET foreign_key_checks = 0; "
        f"{truncations} START TRANSACTION; {deletions} COMMIT; END"
    )


_EMPTY = {"postgresql": "SELECT test_empty()", "mariadb": "CALL test_empty()"}


def _creation(database: str, name: str) -> str:
    # A server's default may be a character set or collation that folds case: ours must not care.
    options = " CHARACTER SET latin1" if database == "mariadb" else ""
    return f"CREATE DATABASE {name}{options}"


def _removal(database: str, name: str) -> str:
    return f"DROP DATABASE IF EXISTS {name}" + (" WITH (FORCE)" if database == "postgresql" else "")


def _not_there(database: str, error: Exception) -> None:
    reason = f"no {database} at {URLS[database]}: {error}"
    if os.environ.get("SLUICE_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _name() -> str:
    return f"sluice_test_{os.getpid()}_{next(_serial)}"


def _url(database: str, name: str) -> str:
    return make_url(URLS[database]).set(database=name).render_as_string(hide_password=False)


async def _run(url: str, statements: Sequence[str]) -> None:
    engine = create_async_engine(driver_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()
