"""Incidents, read from the rows that other parts keep for their own work: so none is forgotten
because somebody forgot to report it. What is kept here is only who has seen which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import NotFound
from sluice.domain.incident import Incident, IncidentKind, Seen
from sluice.domain.payment import RefundState
from sluice.domain.webhook import EndpointState
from sluice.ledger.console_tables import incident_marks
from sluice.ledger.dead_letters import letters_of, newest_letters
from sluice.ledger.endpoints import BY_MERCHANT
from sluice.ledger.records import LetterState
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import (
    REASON_CHARS,
    audit_marks,
    closed_epochs,
    inbox,
    incidents,
    refunds,
)
from sluice.ledger.upsert import insert_ignore
from sluice.ledger.webhook_tables import webhook_endpoints as endpoints

EACH_MAX = 100
"""The newest of each kind; who has more has one cause, and the pages of that kind list them all."""
_K = IncidentKind


class Incidents(Store):
    async def told_incidents(self) -> list[Incident]:
        """The newest first, at most `EACH_MAX` of each kind."""

        async def query(connection: AsyncConnection) -> list[Incident]:
            found = await _all(connection)
            seen = await _seen(connection, [each.key for each in found])
            marked = [each._replace(seen=seen.get(each.key)) for each in found]
            return sorted(marked, key=lambda each: (-each.since_ms, each.key))

        return await self._read(query)

    async def see_incident(self, key: str, by: str, note: str) -> Incident:
        """Somebody has taken note of it; the first word counts. Raises `NotFound`."""

        async def see(tx: Transaction) -> Incident:
            found = next((each for each in await _all(tx.connection) if each.key == key), None)
            if found is None:
                raise NotFound
            row = {
                "incident": key,
                "seen_at_ms": tx.now_ms,
                "seen_by": by,
                "note": note[:REASON_CHARS],
            }
            await insert_ignore(tx, incident_marks, [row])
            return found._replace(seen=(await _seen(tx.connection, [key]))[key])

        return await self._write(see)


async def _seen(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Seen]:
    wanted = select(incident_marks).where(incident_marks.c.incident.in_(keys))
    rows = await connection.execute(wanted)
    return {row.incident: Seen(row.seen_by, row.seen_at_ms, row.note) for row in rows}


async def _all(connection: AsyncConnection) -> list[Incident]:
    found = [
        _of_letter(letter) for letter in await letters_of(connection, newest_letters(EACH_MAX))
    ]
    for source in _SOURCES:
        found += source.told(await connection.execute(source.wanted.limit(EACH_MAX)))
    return found


def _of_letter(letter: Any) -> Incident:
    over = letter.state in (LetterState.RETURNED, LetterState.KEPT)
    return Incident(
        key=f"dead_letter-{letter.id}",
        kind=_K.DEAD_LETTER,
        subject=f"order:{letter.number}",
        detail=f"{letter.reason}: {letter.detail}" if letter.detail else letter.reason,
        since_ms=letter.at_ms,
        until_ms=(letter.returned_at_ms or letter.at_ms) if over else None,
    )


@dataclass(frozen=True)
class _Source:
    """Rows of one table that are incidents."""

    wanted: Any
    tell: Any

    def told(self, rows: Any) -> Iterator[Incident]:
        return map(self.tell, rows)


def _reported(row: Any) -> Incident:
    detail = f"{row.kind}: {row.detail}"[:REASON_CHARS]
    key = f"reported-{row.id}"
    return Incident(key, _K.REPORTED, "", detail, row.at_ms, row.at_ms)


def _off(row: Any) -> Incident:
    return Incident(
        key=f"webhook_off-{row.id}-{row.version}",
        kind=_K.WEBHOOK_OFF,
        subject=f"endpoint:{row.id}",
        detail=f"{row.url}: {row.off_reason}",
        since_ms=row.failing_since_ms or row.active_since_ms,
        until_ms=None,
    )


def _failing(row: Any) -> Incident:
    return Incident(
        key=f"webhook_failing-{row.id}-{row.failing_since_ms}",
        kind=_K.WEBHOOK_FAILING,
        subject=f"endpoint:{row.id}",
        detail=row.url,
        since_ms=row.failing_since_ms,
        until_ms=None,
    )


def _refund(row: Any) -> Incident:
    return Incident(
        key=f"refund_failed-{row.id}",
        kind=_K.REFUND_FAILED,
        subject=f"order:{row.order_number}",
        detail=row.error or row.reason,
        since_ms=row.created_at_ms,
        until_ms=None,
    )


def _callback(row: Any) -> Incident:
    # The provider's names may be longer than ours.
    named = blake2b(f"{row.provider}\0{row.event_id}".encode(), digest_size=12).hexdigest()
    return Incident(
        key=f"callback_stuck-{named}",
        kind=_K.CALLBACK_STUCK,
        subject=f"payment:{row.payment_id}",
        detail=f"{row.provider}, {row.kind}: {row.error}",
        since_ms=row.received_at_ms,
        until_ms=None,
    )


def _epoch(row: Any) -> Incident:
    return Incident(
        key=f"epoch_begun-{row.shard}-{row.epoch}",
        kind=_K.EPOCH_BEGUN,
        subject=f"shard:{row.shard}",
        detail=f"epoch {row.epoch} ended at log entry {row.counter}",
        since_ms=row.closed_at_ms,
        until_ms=row.closed_at_ms,
    )


def _disagreed(row: Any) -> Incident:
    return Incident(
        key=f"stores_disagree-{row.item_id}-{row.differs_since_ms}",
        kind=_K.STORES_DISAGREE,
        subject=f"item:{row.item_id}",
        detail=(
            f"gate: {row.gate_available} available of {row.gate_stock}; ledger: "
            f"{row.ledger_available} available, {row.decided_not_applied} on their way back"
        ),
        since_ms=row.differs_since_ms,
        until_ms=None,
    )


_there = endpoints.c.deleted_at_ms.is_(None)
_by_us = endpoints.c.off_reason != BY_MERCHANT
_failed = (refunds.c.state == RefundState.FAILED.value) & refunds.c.closed_at_ms.is_(None)
_SOURCES = (
    _Source(select(incidents).order_by(incidents.c.id.desc()), _reported),
    _Source(
        select(endpoints)
        .where(_there, _by_us, endpoints.c.state == EndpointState.OFF)
        .order_by(endpoints.c.id.desc()),
        _off,
    ),
    _Source(
        select(endpoints)
        .where(
            _there,
            endpoints.c.state == EndpointState.ACTIVE,
            endpoints.c.failing_since_ms.is_not(None),
        )
        .order_by(endpoints.c.failing_since_ms.desc(), endpoints.c.id),
        _failing,
    ),
    _Source(select(refunds).where(_failed).order_by(refunds.c.id.desc()), _refund),
    _Source(
        select(inbox)
        .where(inbox.c.retry_at_ms.is_not(None), inbox.c.attempts > 0)
        .order_by(inbox.c.received_at_ms.desc()),
        _callback,
    ),
    _Source(select(closed_epochs).order_by(closed_epochs.c.closed_at_ms.desc()), _epoch),
    _Source(
        select(audit_marks)
        .where(audit_marks.c.differs_since_ms.is_not(None))
        .order_by(audit_marks.c.differs_since_ms.desc(), audit_marks.c.item_id),
        _disagreed,
    ),
)
