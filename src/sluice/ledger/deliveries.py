"""Deliveries: written from the outbox, taken by whoever sends them, and what became of each.

Of a subject (an order, a sale) an endpoint is sent one message at a time, in the order of their
events: only the *head* of a subject, the first that is not over, can be taken. Those behind it are
never due before it, so that a search for what is due does not wade through what has to wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.webhook import (
    TEST_TYPE,
    Attempted,
    Claim,
    Cursor,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
    News,
    wants,
)
from sluice.ledger.bulk import write_rows
from sluice.ledger.endpoints import (
    Endpoints,
    active,
    endpoint_of,
    endpoints_of,
    lock_cursor,
    locked_endpoint,
)
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Transaction
from sluice.ledger.webhook_tables import webhook_cursor, webhook_endpoints
from sluice.ledger.webhook_tables import webhook_deliveries as deliveries

CHUNK = 500
"""Subjects or ids in one statement."""
BATCH_DEADLINE_FACTOR = 5
"""Times the deadline, for transactions that nobody waits for: a slow disk must not keep a batch
from ever ending."""
SWITCHED_OFF = "The endpoint is switched off; switch it on first."
COLUMNS = (
    "endpoint_id",
    "event_id",
    "occurred_at_ms",
    "created_at_ms",
    "give_up_at_ms",
    "due_at_ms",
    "claim",
    "attempts",
    "type",
    "state",
    "uid",
    "subject",
)
_S = DeliveryState
_PENDING = deliveries.c.due_at_ms.is_not(None)
_FREE = deliveries.c.claim == 0


class Deliveries(Endpoints):
    # --- from the outbox ------------------------------------------------------------------

    async def active_endpoints(self) -> list[Endpoint]:
        return await self._read(lambda c: endpoints_of(c, active()))

    async def webhook_cursor(self) -> Cursor:
        """How far the outbox has been fanned out."""
        wanted = select(webhook_cursor.c.position, webhook_cursor.c.done)

        async def query(connection: AsyncConnection) -> Cursor:
            row = (await connection.execute(wanted)).one_or_none()
            return Cursor(0, 0) if row is None else Cursor(row.position, row.done)

        return await self._read(query)

    async def fan_out(
        self, before: Cursor, after: Cursor, news: Sequence[News], keep_ms: int
    ) -> int | None:
        """A delivery of each piece of news to each endpoint that wants it; how many there are.

        None, and nothing written, where the cursor is not at `before`: somebody else was first.
        `keep_ms` is for how long they are tried.
        """

        async def write(tx: Transaction) -> int | None:
            if await lock_cursor(tx) != before:
                return None
            moved = update(webhook_cursor).values(position=after.position, done=after.done)
            await tx.run(moved)
            if not news:
                return 0
            endpoints = await endpoints_of(tx.connection, active())
            rows = [
                _row(endpoint, each, tx.now_ms, keep_ms)
                for each in news
                for endpoint in endpoints
                if _is_for(each, endpoint)
            ]
            return await _insert(tx, rows)

        return await self._write(write, deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR)

    async def add_test(
        self, endpoint_id: int, keep_ms: int, once: Once[Delivery] | None = None
    ) -> Delivery | Answered:
        """A message without an event, to try an endpoint with. Raises `NotFound`, and `Conflict`
        where it is switched off."""

        async def write(tx: Transaction) -> Delivery:
            endpoint = await locked_endpoint(tx, endpoint_id)
            if endpoint.state is not EndpointState.ACTIVE:
                raise Conflict(SWITCHED_OFF)
            news = News(0, TEST_TYPE, f"test:{secrets.token_hex(8)}", tx.now_ms)
            row = dict(zip(COLUMNS, _row(endpoint, news, tx.now_ms, keep_ms), strict=True))
            result = await tx.run(insert(deliveries).values(row))
            this = deliveries.c.id == int(result.inserted_primary_key[0])
            return delivery_of((await tx.run(select(deliveries).where(this))).one())

        return await self._write_once(write, once)

    async def delivery(self, delivery_id: int) -> Delivery:
        """Raises `NotFound`."""
        wanted = select(deliveries).where(deliveries.c.id == delivery_id)

        async def query(connection: AsyncConnection) -> Delivery:
            row = (await connection.execute(wanted)).one_or_none()
            if row is None:
                raise NotFound()
            return delivery_of(row)

        return await self._read(query)

    # --- to the sender --------------------------------------------------------------------

    async def waiting_endpoints(self) -> tuple[list[Endpoint], set[int]]:
        """The active ones, and the ids of those for which something is due."""
        now_ms = await self.now_ms()
        due = (
            select(deliveries.c.id)
            .where(
                deliveries.c.endpoint_id == webhook_endpoints.c.id, deliveries.c.due_at_ms <= now_ms
            )
            .exists()
        )

        async def query(connection: AsyncConnection) -> tuple[list[Endpoint], set[int]]:
            rows = list(await connection.execute(active().add_columns(due.label("due"))))
            return [endpoint_of(row) for row in rows], {row.id for row in rows if row.due}

        return await self._read(query)

    async def claim_deliveries(self, endpoint_id: int, limit: int, claim_ms: int) -> Claim:
        """Up to `limit` heads that are due, and nobody else's for `claim_ms`; the longest due are
        the first."""
        token = secrets.randbits(62) | 1

        async def take(tx: Transaction) -> list[Delivery]:
            ids = list((await tx.run(_heads(endpoint_id, tx.now_ms, limit))).scalars())
            if not ids:
                return []
            still = deliveries.c.id.in_(ids) & (deliveries.c.due_at_ms <= tx.now_ms)
            taken = update(deliveries).where(still)
            await tx.run(taken.values(claim=token, due_at_ms=tx.now_ms + claim_ms))
            mine = deliveries.c.id.in_(ids) & (deliveries.c.claim == token)
            rows = await tx.run(select(deliveries).where(mine).order_by(deliveries.c.id))
            return [delivery_of(row) for row in rows]

        return Claim(token, tuple(await self._write(take)))

    async def unclaim_deliveries(self, claim: int, ids: Sequence[int]) -> None:
        """They were not sent after all; anybody may take them at once."""

        async def give_back(tx: Transaction) -> None:
            for chunk in chunks(ids):
                mine = deliveries.c.id.in_(chunk) & (deliveries.c.claim == claim) & _PENDING
                free = update(deliveries).where(mine)
                await tx.run(free.values(claim=0, due_at_ms=tx.now_ms))

        await self._write(give_back)

    async def settle_deliveries(self, attempts: Sequence[Attempted]) -> None:
        """What came of the attempts. One whose claim was lost meanwhile changes nothing."""
        if attempts:
            batch = sorted(attempts, key=lambda each: each.delivery.id)  # locked in one order
            await self._write(
                lambda tx: _settle(tx, batch), deadline_ms=self._deadline_ms * BATCH_DEADLINE_FACTOR
            )


# --- writing them ---------------------------------------------------------------------------------


def _is_for(news: News, endpoint: Endpoint) -> bool:
    return news.occurred_at_ms >= endpoint.active_since_ms and wants(endpoint.events, news.type)


def _row(endpoint: Endpoint, news: News, now_ms: int, keep_ms: int) -> tuple[Any, ...]:
    """In the order of `COLUMNS`."""
    uid = f"msg_{secrets.token_hex(12)}"
    times = (news.occurred_at_ms, now_ms, now_ms + keep_ms, now_ms)
    return (
        *(endpoint.id, news.event_id, *times, 0, 0),
        *(news.type, _S.PENDING.value, uid, news.subject),
    )


async def _insert(tx: Transaction, rows: list[tuple[Any, ...]]) -> int:
    if not rows:
        return 0
    behind = await _failing_heads(tx, {row[-1] for row in rows})
    if behind:
        due = COLUMNS.index("due_at_ms")
        rows = [
            (*row[:due], max(row[due], behind.get((row[0], row[-1]), 0)), *row[due + 1 :])
            for row in rows
        ]
    await write_rows(tx, deliveries.name, COLUMNS, rows)
    return len(rows)


async def _failing_heads(tx: Transaction, subjects: Iterable[str]) -> dict[tuple[int, str], int]:
    """When those that are being tried again are due. They are locked, so that what settles one
    meanwhile sees what is written behind it, and does not leave it waiting for nothing."""
    found: dict[tuple[int, str], int] = {}
    for chunk in chunks(sorted(subjects)):
        failing = deliveries.c.subject.in_(chunk) & _PENDING & (deliveries.c.attempts > 0)
        rows = await tx.run(select(deliveries).where(failing).with_for_update())
        for row in rows:
            key = (row.endpoint_id, row.subject)
            found[key] = max(found.get(key, 0), row.due_at_ms)
    return found


# --- taking them ----------------------------------------------------------------------------------


def _heads(endpoint_id: int, now_ms: int, limit: int) -> Any:
    before = deliveries.alias("before_it")
    in_the_way = (
        select(before.c.id)
        .where(
            before.c.subject == deliveries.c.subject,
            before.c.endpoint_id == deliveries.c.endpoint_id,
            before.c.event_id < deliveries.c.event_id,
            before.c.due_at_ms.is_not(None),
        )
        .exists()
    )
    return (
        select(deliveries.c.id)
        .where(
            deliveries.c.endpoint_id == endpoint_id,
            deliveries.c.due_at_ms <= now_ms,
            ~in_the_way,
        )
        .order_by(deliveries.c.due_at_ms, deliveries.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


# --- what came of them ----------------------------------------------------------------------------

_SETTLED = (
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("of_id"),
        deliveries.c.claim == bindparam("of_claim"),
        _PENDING,
    )
    .values(
        claim=0,
        attempts=deliveries.c.attempts + 1,
        state=bindparam("new_state"),
        due_at_ms=bindparam("new_due"),
        attempted_at_ms=bindparam("now"),
        status=bindparam("new_status"),
        error=bindparam("new_error"),
    )
)
_HELD_BACK = (
    update(deliveries)
    .where(
        deliveries.c.endpoint_id == bindparam("of_endpoint"),
        deliveries.c.subject == bindparam("of_subject"),
        deliveries.c.event_id > bindparam("of_event"),
        deliveries.c.due_at_ms < bindparam("until"),
        _FREE,
    )
    .values(due_at_ms=bindparam("until"))
)


async def _settle(tx: Transaction, attempts: Sequence[Attempted]) -> None:
    await tx.run(_SETTLED, [_settled(each, tx.now_ms) for each in attempts])
    again = [each for each in attempts if each.retry_in_ms is not None]
    if again:
        await tx.run(_HELD_BACK, [_held_back(each, tx.now_ms) for each in again])
    over: dict[int, list[Attempted]] = {}
    for each in attempts:
        over.setdefault(each.delivery.endpoint_id, []).append(each)
    for endpoint_id, theirs in sorted(over.items()):
        await _let_go(tx, endpoint_id, [a for a in theirs if a.retry_in_ms is None])
        await _note(tx, endpoint_id, theirs)


def _settled(attempt: Attempted, now_ms: int) -> dict[str, Any]:
    state = _S.FAILED
    if attempt.delivered:
        state = _S.DELIVERED
    elif attempt.retry_in_ms is not None:
        state = _S.PENDING
    return {
        "of_id": attempt.delivery.id,
        "of_claim": attempt.claim,
        "new_state": state.value,
        "new_due": None if attempt.retry_in_ms is None else now_ms + attempt.retry_in_ms,
        "now": now_ms,
        "new_status": attempt.status,
        "new_error": attempt.error,
    }


def _held_back(attempt: Attempted, now_ms: int) -> dict[str, Any]:
    assert attempt.retry_in_ms is not None
    return {
        "of_endpoint": attempt.delivery.endpoint_id,
        "of_subject": attempt.delivery.subject,
        "of_event": attempt.delivery.event_id,
        "until": now_ms + attempt.retry_in_ms,
    }


async def _let_go(tx: Transaction, endpoint_id: int, over: Sequence[Attempted]) -> None:
    """What waited behind those that are over may go."""
    for chunk in chunks(sorted({each.delivery.subject for each in over})):
        waiting = and_(
            deliveries.c.endpoint_id == endpoint_id,
            deliveries.c.subject.in_(chunk),
            deliveries.c.due_at_ms > tx.now_ms,
            deliveries.c.attempts == 0,
            _FREE,
        )
        await tx.run(update(deliveries).where(waiting).values(due_at_ms=tx.now_ms))


async def _note(tx: Transaction, endpoint_id: int, attempts: Sequence[Attempted]) -> None:
    """What the endpoint's list shows of its health; 410 switches it off, unless it was changed
    since: that was about another address."""
    delivered = sum(each.delivered for each in attempts)
    table = webhook_endpoints
    since: Any = None if delivered else func.coalesce(table.c.failing_since_ms, tx.now_ms)
    this = table.c.id == endpoint_id
    await tx.run(
        update(table)
        .where(this)
        .values(
            delivered=table.c.delivered + delivered,
            failed=table.c.failed + len(attempts) - delivered,
            failing_since_ms=since,
        )
    )
    versions = {each.endpoint_version for each in attempts if each.gone}
    if versions:
        same = this & table.c.version.in_(versions) & (table.c.state == EndpointState.ACTIVE)
        off = {
            "state": EndpointState.OFF,
            "off_reason": "it answered 410 Gone",
            "version": table.c.version + 1,
        }
        await tx.run(update(table).where(same).values(off))


# --- small parts ----------------------------------------------------------------------------------


def chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def delivery_of(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        endpoint_id=row.endpoint_id,
        uid=row.uid,
        event_id=row.event_id,
        type=row.type,
        subject=row.subject,
        occurred_at_ms=row.occurred_at_ms,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        created_at_ms=row.created_at_ms,
        give_up_at_ms=row.give_up_at_ms,
        due_at_ms=row.due_at_ms,
        attempted_at_ms=row.attempted_at_ms,
        status=row.status,
        error=row.error,
    )
