"""The delivery log: what was sent, what failed, what is sent again, and what is cleared away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.webhook import Delivery, DeliveryState, EndpointState, WebhookFacts
from sluice.ledger.deliveries import (
    BATCH_DEADLINE_FACTOR,
    SWITCHED_OFF,
    Deliveries,
    chunks,
    delivery_of,
)
from sluice.ledger.endpoints import locked_endpoint
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Transaction
from sluice.ledger.webhook_tables import webhook_deliveries as deliveries
from sluice.ledger.webhook_tables import webhook_endpoints as endpoints

DAY_MS = 86_400_000
KEPT_MS = {DeliveryState.DELIVERED: 7 * DAY_MS, DeliveryState.FAILED: 30 * DAY_MS}
"""How long a delivery that is over can be looked at and replayed."""
REPLAY_CHUNK = 1000
"""Deliveries that one transaction makes pending again."""
COUNTED_MAX = 100_000
"""A scrape counts no further: whoever has that many pending need not know how many more."""
NOBODY_CAME = "given up: the endpoint was not reached, or was switched off, for three days"

_S = DeliveryState


class DeliveryLog(Deliveries):
    async def deliveries(
        self,
        limit: int,
        *,
        endpoint_id: int | None = None,
        state: DeliveryState | None = None,
        subject: str | None = None,
        before_id: int | None = None,
    ) -> list[Delivery]:
        """Newest first; `before_id` is the last one of the page before."""
        wanted = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
        if endpoint_id is not None:
            wanted = wanted.where(deliveries.c.endpoint_id == endpoint_id)
        if state is not None:
            wanted = wanted.where(deliveries.c.state == state)
        if subject is not None:
            wanted = wanted.where(deliveries.c.subject == subject)
        if before_id is not None:
            wanted = wanted.where(deliveries.c.id < before_id)

        async def query(connection: AsyncConnection) -> list[Delivery]:
            return [delivery_of(row) for row in await connection.execute(wanted)]

        return await self._read(query)

    async def replay_delivery(
        self, delivery_id: int, keep_ms: int, once: Once[Delivery] | None = None
    ) -> Delivery | Answered:
        """Sent again as soon as those before it are, whatever became of it; one that is being sent
        at this moment stays as it is. `keep_ms` is for how long it is tried.

        Raises `NotFound`, and `Conflict` where its endpoint is switched off.
        """

        async def replay(tx: Transaction) -> Delivery:
            one = select(deliveries).where(deliveries.c.id == delivery_id)
            row = (await tx.run(one.with_for_update())).one_or_none()
            if row is None:
                raise NotFound()
            await _check_active(tx, row.endpoint_id)
            await tx.run(_again((deliveries.c.id == delivery_id), tx.now_ms, keep_ms))
            return delivery_of((await tx.run(one)).one())

        return await self._write_once(replay, once)

    async def replay_failed(self, endpoint_id: int, since_ms: int, keep_ms: int) -> int:
        """Every failed delivery of the endpoint whose event was at `since_ms` or later is sent
        again; how many there are. Raises `NotFound`, and `Conflict` where it is switched off."""
        failed = (
            (deliveries.c.endpoint_id == endpoint_id)
            & (deliveries.c.state == _S.FAILED)
            & (deliveries.c.occurred_at_ms >= since_ms)
        )

        async def some(tx: Transaction) -> int:
            await _check_active(tx, endpoint_id)
            found = select(deliveries.c.id).where(failed).order_by(deliveries.c.id)
            ids = list((await tx.run(found.limit(REPLAY_CHUNK))).scalars())
            if ids:
                await tx.run(_again(failed & deliveries.c.id.in_(ids), tx.now_ms, keep_ms))
            return len(ids)

        replayed = 0
        while True:
            met = await self._write(some)
            replayed += met
            if met < REPLAY_CHUNK:
                return replayed

    async def webhook_facts(self) -> WebhookFacts:
        """What a scrape tells."""
        return await self._read(_facts)

    # --- what is done every minute ---------------------------------------------------------

    async def give_up_deliveries(self, grace_ms: int, limit: int) -> int:
        """Ends those whose time was over `grace_ms` ago: nobody has come to try them."""

        async def give_up(tx: Transaction) -> int:
            oldest = await _oldest(tx, _S.PENDING, limit)
            ids = [row.id for row in oldest if row.give_up_at_ms <= tx.now_ms - grace_ms]
            still = deliveries.c.give_up_at_ms <= tx.now_ms - grace_ms
            over = update(deliveries).values(
                state=_S.FAILED, due_at_ms=None, claim=0, error=NOBODY_CAME
            )
            for chunk in chunks(ids):
                pending = (deliveries.c.state == _S.PENDING) & deliveries.c.id.in_(chunk)
                await tx.run(over.where(pending & still))
            return len(ids)

        return await self._write(give_up, deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR)

    async def clear_deliveries(self, limit: int) -> int:
        """Forgets up to `limit` of each kind that are over for long, or of deleted endpoints; how
        many there were."""

        async def clear(tx: Transaction) -> int:
            ids: set[int] = set()
            for state, kept_ms in KEPT_MS.items():
                oldest = await _oldest(tx, state, limit)
                ids |= {row.id for row in oldest if row.touched_at_ms < tx.now_ms - kept_ms}
            gone = select(endpoints.c.id).where(endpoints.c.deleted_at_ms.is_not(None))
            deleted = list((await tx.run(gone)).scalars())
            theirs = select(deliveries.c.id).where(deliveries.c.endpoint_id.in_(deleted))
            left = set((await tx.run(theirs.limit(limit))).scalars()) if deleted else set()
            for chunk in chunks(sorted(ids | left)):
                await tx.run(delete(deliveries).where(deliveries.c.id.in_(chunk)))
            if deleted and len(left) < limit:
                await tx.run(delete(endpoints).where(endpoints.c.id.in_(deleted)))
            return len(ids | left)

        return await self._write(clear, deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR)


def _again(which: Any, now_ms: int, keep_ms: int) -> Any:
    """Pending from the beginning, and due. Nobody is robbed of what they are sending."""
    return (
        update(deliveries)
        .where(which, (deliveries.c.claim == 0) | (deliveries.c.due_at_ms <= now_ms))
        .values(
            state=_S.PENDING,
            due_at_ms=now_ms,
            give_up_at_ms=now_ms + keep_ms,
            attempts=0,
            claim=0,
        )
    )


async def _check_active(tx: Transaction, endpoint_id: int) -> None:
    endpoint = await locked_endpoint(tx, endpoint_id)
    if endpoint.state is not EndpointState.ACTIVE:
        raise Conflict(SWITCHED_OFF)


async def _oldest(tx: Transaction, state: DeliveryState, limit: int) -> Sequence[Any]:
    """Which are looked at, and no others: of a million that have to stay not one is read."""
    touched = func.coalesce(deliveries.c.attempted_at_ms, deliveries.c.created_at_ms)
    found = (
        select(deliveries.c.id, touched.label("touched_at_ms"), deliveries.c.give_up_at_ms)
        .where(deliveries.c.state == state)
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return list(await tx.run(found))


async def _facts(connection: AsyncConnection) -> WebhookFacts:
    rows = await connection.execute(
        select(
            endpoints.c.id,
            endpoints.c.delivered,
            endpoints.c.failed,
            endpoints.c.state,
        )
        .where(endpoints.c.deleted_at_ms.is_(None))
        .order_by(endpoints.c.id)
    )
    shown = tuple((row.id, row.delivered, row.failed, row.state) for row in rows)
    oldest = (
        select(deliveries.c.created_at_ms)
        .where(deliveries.c.state == _S.PENDING)
        .order_by(deliveries.c.id)
        .limit(1)
    )
    return WebhookFacts(
        endpoints=shown,
        pending=await _count(connection, _S.PENDING),
        failed=await _count(connection, _S.FAILED),
        oldest_pending_ms=(await connection.execute(oldest)).scalar_one_or_none(),
    )


async def _count(connection: AsyncConnection, state: DeliveryState) -> int:
    some = select(deliveries.c.id).where(deliveries.c.state == state).limit(COUNTED_MAX)
    counted = await connection.execute(select(func.count()).select_from(some.subquery()))
    return int(counted.scalar_one())
