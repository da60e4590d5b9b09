"""The merchant's endpoints: where webhooks go, and with which secrets they are signed."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.webhook import ENDPOINTS_MAX, Endpoint, EndpointChange, EndpointState
from sluice.ledger.idempotency import Idempotency
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Transaction
from sluice.ledger.upsert import insert_ignore
from sluice.ledger.webhook_tables import webhook_cursor as cursor
from sluice.ledger.webhook_tables import webhook_endpoints as endpoints

BY_MERCHANT = "switched off by the merchant"
_THERE = endpoints.c.deleted_at_ms.is_(None)


class Endpoints(Idempotency):
    async def add_endpoint(
        self,
        *,
        url: str,
        description: str,
        events: tuple[str, ...],
        secret: str,
        once: Once[Endpoint] | None = None,
    ) -> Endpoint | Answered:
        """An active one, told of what happens from now on. Raises `Conflict` where there are
        `ENDPOINTS_MAX`."""

        async def add(tx: Transaction) -> Endpoint:
            await lock_cursor(tx)  # one at a time, so that there are not one too many
            there = (await tx.run(select(func.count()).where(_THERE))).scalar_one()
            if there >= ENDPOINTS_MAX:
                raise Conflict(f"There are {ENDPOINTS_MAX} endpoints already; delete one first.")
            values = {
                "version": 1,
                "active_since_ms": tx.now_ms,
                "created_at_ms": tx.now_ms,
                "delivered": 0,
                "failed": 0,
                "state": EndpointState.ACTIVE,
                "description": description,
                "secret": secret,
                "url": url,
                "events": _json(events),
            }
            result = await tx.run(insert(endpoints).values(values))
            return await _one(tx, int(result.inserted_primary_key[0]))

        return await self._write_once(add, once)

    async def endpoints(self) -> list[Endpoint]:
        """All that are not deleted, the oldest first: at most `ENDPOINTS_MAX`."""
        return await self._read(lambda c: endpoints_of(c, _wanted()))

    async def endpoint(self, endpoint_id: int) -> Endpoint:
        """Raises `NotFound`."""
        found = await self._read(lambda c: endpoints_of(c, _wanted(endpoint_id)))
        if not found:
            raise NotFound()
        return found[0]

    async def change_endpoint(self, endpoint_id: int, change: EndpointChange) -> Endpoint:
        """Raises `NotFound`. One that is switched on is told of what happens from then on."""

        async def write(tx: Transaction) -> Endpoint:
            before = await locked_endpoint(tx, endpoint_id)
            values = _changes(before, change, tx.now_ms)
            if values:
                values["version"] = before.version + 1
                await tx.run(_update(endpoint_id).values(values))
            return await _one(tx, endpoint_id)

        return await self._write(write)

    async def delete_endpoint(self, endpoint_id: int) -> None:
        """Nothing more is sent to it. Raises `NotFound`."""

        async def write(tx: Transaction) -> None:
            before = await locked_endpoint(tx, endpoint_id)
            gone = _update(endpoint_id).values(
                deleted_at_ms=tx.now_ms,
                version=before.version + 1,
                secret="",
                old_secret=None,
                old_secret_until_ms=None,
            )
            await tx.run(gone)

        await self._write(write)

    async def rotate_secret(
        self,
        endpoint_id: int,
        secret: str,
        keep_old_ms: int,
        once: Once[Endpoint] | None = None,
    ) -> Endpoint | Answered:
        """From now on `secret` signs, and for `keep_old_ms` the one before it as well.

        Raises `NotFound`.
        """

        async def write(tx: Transaction) -> Endpoint:
            before = await locked_endpoint(tx, endpoint_id)
            values: dict[str, Any] = {"secret": secret, "version": before.version + 1}
            values["old_secret"] = before.secret if keep_old_ms else None
            values["old_secret_until_ms"] = tx.now_ms + keep_old_ms if keep_old_ms else None
            await tx.run(_update(endpoint_id).values(values))
            return await _one(tx, endpoint_id)

        return await self._write_once(write, once)


async def lock_cursor(tx: Transaction) -> tuple[int, int]:
    """Position and subjects done, which nobody else changes before this transaction ends."""
    await insert_ignore(tx, cursor, [{"id": 1, "position": 0, "done": 0}])
    row = (await tx.run(select(cursor).where(cursor.c.id == 1).with_for_update())).one()
    return row.position, row.done


def active() -> Select[Any]:
    """The endpoints that are told of something now."""
    return _wanted().where(endpoints.c.state == EndpointState.ACTIVE)


def _changes(before: Endpoint, change: EndpointChange, now_ms: int) -> dict[str, Any]:
    """The columns that get another value."""
    values: dict[str, Any] = {}
    if change.url is not None and change.url != before.url:
        values |= {"url": change.url, "failing_since_ms": None}
    if change.description is not None and change.description != before.description:
        values["description"] = change.description
    if change.events is not None and change.events != before.events:
        values["events"] = _json(change.events)
    if change.state is not None and change.state is not before.state:
        values["state"] = change.state
        if change.state is EndpointState.ACTIVE:
            values |= {"off_reason": None, "active_since_ms": now_ms, "failing_since_ms": None}
        else:
            values["off_reason"] = BY_MERCHANT
    return values


def _json(events: tuple[str, ...]) -> str:
    return msgspec.json.encode(events).decode()


def _update(endpoint_id: int) -> Any:
    return update(endpoints).where(endpoints.c.id == endpoint_id)


def _wanted(endpoint_id: int | None = None) -> Select[Any]:
    wanted = select(endpoints).where(_THERE).order_by(endpoints.c.id).limit(ENDPOINTS_MAX)
    return wanted if endpoint_id is None else wanted.where(endpoints.c.id == endpoint_id)


async def locked_endpoint(tx: Transaction, endpoint_id: int) -> Endpoint:
    """Which nobody else changes before this transaction ends. Raises `NotFound`."""
    await tx.run(select(endpoints.c.id).where(endpoints.c.id == endpoint_id).with_for_update())
    return await _one(tx, endpoint_id)


async def _one(tx: Transaction, endpoint_id: int) -> Endpoint:
    found = await endpoints_of(tx.connection, _wanted(endpoint_id))
    if not found:
        raise NotFound()
    return found[0]


async def endpoints_of(connection: AsyncConnection, wanted: Select[Any]) -> list[Endpoint]:
    return [endpoint_of(row) for row in await connection.execute(wanted)]


def endpoint_of(row: Any) -> Endpoint:
    return Endpoint(
        id=row.id,
        url=row.url,
        description=row.description,
        events=tuple(msgspec.json.decode(row.events, type=list[str])),
        state=EndpointState(row.state),
        off_reason=row.off_reason,
        secret=row.secret,
        old_secret=row.old_secret,
        old_secret_until_ms=row.old_secret_until_ms,
        version=row.version,
        active_since_ms=row.active_since_ms,
        failing_since_ms=row.failing_since_ms,
        delivered=row.delivered,
        failed=row.failed,
        created_at_ms=row.created_at_ms,
    )
