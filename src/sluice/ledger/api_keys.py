"""Keys of the merchant's systems in SQL: the digest of each, never the key."""

from __future__ import annotations

import hmac
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.api_key import KEYS_MAX, ApiKey, Scope
from sluice.domain.errors import Conflict, NotFound
from sluice.ledger.console_tables import api_keys
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.idempotency import Idempotency
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Transaction

_k = api_keys
USED_EVERY_MS = 60_000
"""How often the last use is written down: a busy key must not write for every request."""


class ApiKeys(Idempotency):
    async def add_api_key(
        self,
        *,
        name: str,
        scope: Scope,
        digest: bytes,
        tail: str,
        created_by: str,
        expires_at_ms: int | None,
        once: Once[ApiKey] | None = None,
    ) -> ApiKey | Answered:
        """Raises `Conflict` where `KEYS_MAX` keys count already."""

        async def add(tx: Transaction) -> ApiKey:
            over = (_k.c.expires_at_ms.is_not(None)) & (_k.c.expires_at_ms <= tx.now_ms)
            counting = select(func.count()).where(_k.c.revoked_at_ms.is_(None), ~over)
            if (await tx.run(counting)).scalar_one() >= KEYS_MAX:
                raise Conflict(f"There are {KEYS_MAX} keys already; revoke one first.")
            row = {
                "created_at_ms": tx.now_ms,
                "expires_at_ms": expires_at_ms,
                "digest": digest,
                "scope": scope.value,
                "tail": tail,
                "name": name,
                "created_by": created_by,
            }
            made = await tx.run(insert(_k).values(row))
            mine = select(_k).where(_k.c.id == int(made.inserted_primary_key[0]))
            return _key((await tx.run(mine)).one())

        try:
            return await self._write_once(add, once)
        except Exception as error:
            if fault_of(error) is not Fault.BROKEN_ROW:
                raise
        # The same command, sent twice at once or again after its answer was forgotten.
        first = None if once is None else await self.first_answer(once.key, once.body_hash)
        if first is None:
            raise Conflict("This command made a key before; send a new one.")
        return first

    async def api_keys(self, *, limit: int, before_id: int | None = None) -> list[ApiKey]:
        """Newest first, those that no longer count too."""
        query = select(_k).order_by(_k.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(_k.c.id < before_id)
        return await self._read(lambda c: _keys(c, query))

    async def api_key_of(self, digest: bytes) -> ApiKey | None:
        """Asked for every request of a key, so that one that was revoked opens nothing more."""

        async def ask(connection: AsyncConnection) -> ApiKey | None:
            row = (await connection.execute(select(_k).where(_k.c.digest == digest))).one_or_none()
            if row is None or not hmac.compare_digest(bytes(row.digest), digest):
                return None
            return _key(row)

        return await self._read(ask)

    async def revoke_api_key(self, key_id: int) -> None:
        """From the next request on; again it changes nothing. Raises `NotFound`."""

        async def revoke(tx: Transaction) -> None:
            mine = _k.c.id == key_id
            if (await tx.run(select(_k.c.id).where(mine))).one_or_none() is None:
                raise NotFound
            still = mine & _k.c.revoked_at_ms.is_(None)
            await tx.run(update(_k).where(still).values(revoked_at_ms=tx.now_ms))

        await self._write(revoke)

    async def api_key_used(self, key_id: int) -> None:
        """Now, give or take `USED_EVERY_MS`."""

        async def touch(tx: Transaction) -> None:
            last = _k.c.used_at_ms
            long_ago = last.is_(None) | (last <= tx.now_ms - USED_EVERY_MS)
            mine = (_k.c.id == key_id) & long_ago
            await tx.run(update(_k).where(mine).values(used_at_ms=tx.now_ms))

        await self._write(touch)


async def _keys(connection: AsyncConnection, query: Any) -> list[ApiKey]:
    return [_key(row) for row in await connection.execute(query)]


def _key(row: Any) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey._fields}
    return ApiKey(**{**values, "scope": Scope(row.scope)})
