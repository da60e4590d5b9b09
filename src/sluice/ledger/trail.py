"""The trail of what admins did: who, what, when, from where, and what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.account import AdminAction, NewAction
from sluice.ledger.account_tables import admin_actions, admin_results
from sluice.ledger.store import Store, Transaction

_a, _r = admin_actions, admin_results


class Trail(Store):
    async def note_action(self, action: NewAction) -> int:
        """Writes down what is about to be done; its id. Raises `LedgerUnavailable`."""

        async def work(tx: Transaction) -> int:
            done = await tx.run(insert(_a).values(at_ms=tx.now_ms, **action._asdict()))
            return int(done.inserted_primary_key[0])

        return await self._write(work)

    async def note_result(self, action_id: int, status: int, detail: str | None) -> None:
        """What came of it; once."""

        async def work(tx: Transaction) -> None:
            row = {"action_id": action_id, "at_ms": tx.now_ms, "status": status, "detail": detail}
            await tx.run(insert(_r).values(row))

        await self._write(work)

    async def actions(
        self, *, limit: int, before_id: int | None = None, actor: str | None = None
    ) -> list[AdminAction]:
        """Newest first."""
        query = (
            select(_a, _r.c.status, _r.c.at_ms.label("answered_at_ms"), _r.c.detail)
            .select_from(_a.outerjoin(_r, _r.c.action_id == _a.c.id))
            .order_by(_a.c.id.desc())
            .limit(limit)
        )
        if before_id is not None:
            query = query.where(_a.c.id < before_id)
        if actor is not None:
            query = query.where(_a.c.actor == actor)

        async def ask(connection: AsyncConnection) -> list[AdminAction]:
            return [_action(row) for row in await connection.execute(query)]

        return await self._read(ask)


def _action(row: Any) -> AdminAction:
    return AdminAction(**{name: getattr(row, name) for name in AdminAction._fields})
