"""How every part of the ledger reads and writes: with a deadline, and again where it collided."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.breaker import Breaker, Breakers
from sluice.domain.errors import LedgerAway, LedgerContended, LedgerUnavailable, SluiceError
from sluice.ledger.engine import Engines
from sluice.ledger.faults import Fault, fault_of

T = TypeVar("T")
Clock = Callable[[], Awaitable[int]]

ATTEMPTS_MAX = 8
"""Of one transaction that deadlocks. SQLite's lock is tried until the deadline instead."""
BACKOFF_MS_MAX = 20
SQLITE_BACKOFF_MS_MAX = 2
BATCH_DEADLINE_FACTOR = 10
"""A worker's batch may take this many times longer than a request may wait."""

_NOW = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    "mariadb": "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
}


@dataclass(frozen=True, slots=True)
class Transaction:
    connection: AsyncConnection
    dialect: str
    now_ms: int
    """The clock that decides: the database's, or on SQLite the gate's."""

    async def run(self, statement: Any, parameters: Any = None) -> Any:
        return await self.connection.execute(statement, parameters)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undoes what was done in it where a row broke a rule, or the caller gave up.

        Not after other faults: a deadlock or a full disk has undone the whole transaction, and to
        go back to a savepoint that is gone would hide why.
        """
        point = await self.connection.begin_nested()
        try:
            yield
        except Exception as error:
            if fault_of(error) not in (Fault.CONTENDED, Fault.AWAY):
                await point.rollback()
            raise
        await point.commit()

    async def changed(self, statement: Any, parameters: Any = None) -> int:
        """Runs a conditional statement and says how many rows met its condition."""
        result = await self.connection.execute(statement, parameters)
        return int(result.rowcount)


Work = Callable[[Transaction], Awaitable[T]]
Query = Callable[[AsyncConnection], Awaitable[T]]


class Store:
    def __init__(self, engines: Engines, *, deadline_ms: int, clock: Clock | None) -> None:
        self._engines = engines
        self._deadline_ms = deadline_ms
        self._clock = clock if engines.dialect == "sqlite" else None
        self._writer = asyncio.Lock()
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._reads: Breaker | None = None
        self._writes: Breaker | None = None

    def guard(self, breakers: Breakers) -> None:
        """From now on calls end at once while the database does not answer. A full disk answers
        those who read."""
        self._reads = breakers.of("ledger:reading", LedgerAway, self._is_fault)
        self._writes = breakers.of("ledger:writing", LedgerAway, self._is_fault)

    def _is_fault(self, error: Exception) -> bool:
        """SQLite is a file: it is late where others are in the way."""
        if self._engines.dialect == "sqlite" and error.__cause__ is None:
            return False
        return isinstance(error, LedgerUnavailable) and not isinstance(error, LedgerContended)

    async def close(self) -> None:
        if not self._ends_by_itself:
            for task in self._abandoned:
                task.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self._engines.dispose()

    async def now_ms(self) -> int:
        """Unix milliseconds of the clock that decides deadlines."""
        if self._clock is not None:
            return await self._clock()

        async def ask(connection: AsyncConnection) -> int:
            return int((await connection.execute(self._now)).scalar_one())

        return await self._read(ask)

    @property
    def _now(self) -> TextClause:
        return text(_NOW[self._engines.dialect])

    async def _read(self, query: Query[T]) -> T:
        """Runs `query` outside of a transaction: each of its statements sees its own moment."""

        async def attempt() -> T:
            async with self._engines.reading.connect() as connection:
                return await query(connection)

        async def in_time() -> T:
            return await self._within(self._deadline_ms, self._repeat(attempt))

        return await _guarded(self._reads, in_time())

    async def _write(self, work: Work[T], *, deadline_ms: int | None = None) -> T:
        """Runs `work` in one transaction, all of it again where another one was in the way.

        Raises `LedgerUnavailable` where the outcome is not known by the deadline.
        """
        return await _guarded(self._writes, self._written(work, deadline_ms))

    async def _written(self, work: Work[T], deadline_ms: int | None) -> T:
        now_ms = await self._clock() if self._clock is not None else None

        async def attempt() -> T:
            async with self._engines.writing.begin() as connection:
                now = now_ms
                if now is None:
                    now = int((await connection.execute(self._now)).scalar_one())
                return await work(Transaction(connection, self._engines.dialect, now))

        within_ms = deadline_ms or self._deadline_ms
        deadline_s = monotonic() + within_ms / 1000
        repeated = self._repeat(attempt, deadline_s)
        if self._engines.dialect == "sqlite":
            repeated = self._in_turn(repeated)
        return await self._within(within_ms, repeated)

    @property
    def _ends_by_itself(self) -> bool:
        """SQLite's statements do: it is a file, and waits for its lock are short. Its driver may
        hang for ever where one is cancelled, so none is."""
        return self._engines.dialect == "sqlite"

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        """SQLite has one writer at a time; within this process they queue in order."""
        async with self._writer:
            return await work

    async def _repeat(
        self, attempt: Callable[[], Awaitable[T]], deadline_s: float | None = None
    ) -> T:
        """`deadline_s` is of the monotonic clock; without one it is that of a request."""
        deadline_s = deadline_s or monotonic() + self._deadline_ms / 1000
        tries = 0
        sqlite = self._engines.dialect == "sqlite"
        backoff_ms = SQLITE_BACKOFF_MS_MAX if sqlite else BACKOFF_MS_MAX
        while True:
            if monotonic() > deadline_s:
                raise LedgerUnavailable("The ledger did not answer in time.")
            try:
                return await attempt()
            except SluiceError:
                raise
            except Exception as error:
                tries += 1
                if not self._may_repeat(fault_of(error), tries, error):
                    raise
            await asyncio.sleep(random.random() * backoff_ms / 1000)

    def _may_repeat(self, fault: Fault, tries: int, error: Exception) -> bool:
        if fault is Fault.AWAY:
            raise LedgerUnavailable(f"The ledger is away: {error}") from error
        if fault is not Fault.CONTENDED:
            return False
        if self._engines.dialect != "sqlite" and tries >= ATTEMPTS_MAX:
            raise LedgerContended("The ledger is too contended.") from error
        return True

    async def _within(self, deadline_ms: int, work: Coroutine[Any, Any, T]) -> T:
        """`work`'s result by the deadline. What is late is left to end on its own: leaving a
        connection that hangs can take longer than the caller has."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=deadline_ms / 1000)
            if task.done():
                return task.result()
            raise LedgerUnavailable(f"The ledger did not answer in {deadline_ms} ms.")
        finally:
            if not task.done():
                if not self._ends_by_itself:
                    task.cancel()
                self._abandoned.add(task)
                task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


async def _guarded(breaker: Breaker | None, call: Coroutine[Any, Any, T]) -> T:
    return await (call if breaker is None else breaker.run(call))
