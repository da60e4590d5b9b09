"""Commands that are done once per key: the answer is stored with what it did."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import IdempotencyMismatch
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Store, Transaction, Work
from sluice.ledger.tables import idempotency_keys

T = TypeVar("T")


class _AnsweredMeanwhile(Exception):  # noqa: N818 - it is no error, it undoes a transaction
    """The same key was answered by a transaction that committed first."""


class Idempotency(Store):
    async def forget_answers(self, before_ms: int) -> int:
        """Removes answers older than `before_ms`; how many there were."""
        old = delete(idempotency_keys).where(idempotency_keys.c.at_ms < before_ms)
        return await self._write(lambda tx: tx.changed(old))

    async def first_answer(self, key: str, body_hash: bytes) -> Answered | None:
        """The answer that is kept under `key`, for commands that can be repeated by themselves.

        Raises `IdempotencyMismatch` where the key was used with another body.
        """
        wanted = select(idempotency_keys).where(idempotency_keys.c.key == key)
        found = await self._read(lambda c: _one(c, wanted))
        return None if found is None else _again(found, body_hash)

    async def keep_answer(self, done: T, once: Once[T]) -> T | Answered:
        """Keeps the answer to what was `done`, or gives the one that was kept meanwhile."""

        async def nothing_more(_tx: Transaction) -> T:
            return done

        return await self._write_once(nothing_more, once)

    async def _write_once(self, work: Work[T], once: Once[T] | None) -> T | Answered:
        """Runs `work` and keeps its answer under the key, or gives the answer that is kept.

        Raises `IdempotencyMismatch` where the key was used with another body.
        """
        if once is None:
            return await self._write(work)
        try:
            return await self._write(lambda tx: _first_or_again(tx, work, once))
        except _AnsweredMeanwhile:
            return await self._write(lambda tx: _first_or_again(tx, work, once))


async def _first_or_again(tx: Transaction, work: Work[T], once: Once[T]) -> T | Answered:
    found = (
        await tx.run(select(idempotency_keys).where(idempotency_keys.c.key == once.key))
    ).one_or_none()
    if found is not None:
        return _again(found, once.body_hash)
    done = await work(tx)
    await _keep(tx, once, once.render(done))
    return done


async def _keep(tx: Transaction, once: Once[Any], body: bytes) -> None:
    try:
        await tx.run(
            insert(idempotency_keys).values(
                key=once.key,
                body_hash=once.body_hash,
                status=once.status,
                response=body,
                at_ms=tx.now_ms,
            )
        )
    except Exception as error:
        if fault_of(error) is Fault.BROKEN_ROW:
            raise _AnsweredMeanwhile from error
        raise


async def _one(connection: AsyncConnection, wanted: Any) -> Any:
    return (await connection.execute(wanted)).one_or_none()


def _again(found: Any, body_hash: bytes) -> Answered:
    if bytes(found.body_hash) != body_hash:
        raise IdempotencyMismatch()
    return Answered(found.status, bytes(found.response))
