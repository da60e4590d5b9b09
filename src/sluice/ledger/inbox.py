"""The inbox of the payment providers: each event is kept, and done, once.

The row and its effect are of one transaction: what is answered with 200 is committed. An event
whose effect is not possible is kept with the reason and tried again; its neighbours go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Invalid
from sluice.domain.money import Money as Amount
from sluice.domain.payment import REFERENCE_BYTES_MAX, PaymentEvent, PaymentEventKind
from sluice.ledger.books import Refused
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.giveback import Overtaken
from sluice.ledger.intake import NeedsCare
from sluice.ledger.money import Money
from sluice.ledger.records import Taken
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import REASON_CHARS, inbox

BATCH_MAX = 1000
"""Events in one transaction."""
CHUNK = 500
"""Keys in one query."""
RETRY_MS_MAX = 3_600_000
_REFUND_KINDS = (PaymentEventKind.REFUND_COMPLETED, PaymentEventKind.REFUND_FAILED)
_INT64_MAX = 2**63 - 1

Key = tuple[str, str]


class Inbox(Store):
    async def take_callbacks(self, events: Sequence[PaymentEvent]) -> list[Taken]:
        """Keeps and applies each event; what became of it, in the order given.

        Raises `Invalid` on a name that is too long to keep, before anything is written.
        """
        for event in events:
            _check(event)
        taken: list[Taken] = []
        for start in range(0, len(events), BATCH_MAX):
            taken += await self._take(events[start : start + BATCH_MAX])
        return taken

    async def apply_inbox(self, limit: int) -> int:
        """Tries again what could not be applied before and is due; how many went through."""
        now_ms = await self.now_ms()
        wanted = (
            select(inbox)
            .where(inbox.c.retry_at_ms <= now_ms)
            .order_by(inbox.c.retry_at_ms)
            .limit(min(limit, BATCH_MAX))
        )

        async def query(connection: AsyncConnection) -> list[PaymentEvent]:
            return [_event(row) for row in await connection.execute(wanted)]

        pending = await self._read(query)
        if not pending:
            return 0
        return (await self._take(pending)).count(Taken.NEW)

    async def _take(self, events: Sequence[PaymentEvent]) -> list[Taken]:
        try:
            return await self._write(lambda tx: _Taking(tx, events).plainly())
        except NeedsCare:
            return await self._write(lambda tx: _Taking(tx, events).one_by_one())


class _Taking:
    """Events in one transaction."""

    def __init__(self, tx: Transaction, events: Sequence[PaymentEvent]) -> None:
        self._tx = tx
        self._events = events
        self._refused: dict[Key, str] = {}
        self._attempts: dict[Key, int] = {}
        """Of events that were kept before and wait to be applied."""

    async def plainly(self) -> list[Taken]:
        """All of them in a few statements. Raises `NeedsCare` where a row breaks a rule."""
        try:
            return await self._plainly()
        except Exception as error:
            if isinstance(error, Overtaken) or fault_of(error) is Fault.BROKEN_ROW:
                raise NeedsCare from error
            raise

    async def _plainly(self) -> list[Taken]:
        money = await self._money(self._events)
        fresh = await self._fresh()
        for event in fresh:
            try:
                money.apply(event)
            except Refused as refused:
                self._refused[_key(event)] = str(refused)
        await money.flush()
        await self._keep(fresh)
        return self._told(fresh)

    async def one_by_one(self) -> list[Taken]:
        """Each in a savepoint, so that the one at fault costs its neighbours nothing."""
        await self._money(self._events)  # all the locks, in their order
        fresh = await self._fresh()
        for event in fresh:
            try:
                async with self._tx.savepoint():
                    money = await self._money([event])
                    money.apply(event)
                    await money.flush()
            except Exception as error:
                known = isinstance(error, (Refused, Overtaken))
                if not known and fault_of(error) is not Fault.BROKEN_ROW:
                    raise
                self._refused[_key(event)] = str(error)
        await self._keep(fresh)
        return self._told(fresh)

    async def _money(self, events: Sequence[PaymentEvent]) -> Money:
        money = Money(self._tx)
        with_refunds = any(event.kind in _REFUND_KINDS for event in events)
        await money.load((event.payment_id for event in events), with_refunds=with_refunds)
        return money

    async def _fresh(self) -> list[PaymentEvent]:
        """Those that are not applied yet, each once. Looked up after the orders are locked: whoever
        applied one of them before has committed by now."""
        fresh = {_key(event): event for event in reversed(self._events)}
        keys = list(fresh)
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            for row in await self._tx.run(_known(chunk)):
                key = (row.provider, row.event_id)
                if row.applied_at_ms is None:
                    self._attempts[key] = row.attempts
                else:
                    del fresh[key]
        return [fresh[key] for key in reversed(keys) if key in fresh]

    async def _keep(self, fresh: Sequence[PaymentEvent]) -> None:
        new = [self._row(event) for event in fresh if _key(event) not in self._attempts]
        if new:
            await self._tx.run(insert(inbox), new)
        for event in fresh:
            key = _key(event)
            if key in self._attempts:
                mine = (inbox.c.provider == key[0]) & (inbox.c.event_id == key[1])
                await self._tx.run(update(inbox).where(mine).values(self._fate(key)))

    def _row(self, event: PaymentEvent) -> dict[str, Any]:
        return {
            "provider": event.provider,
            "event_id": event.event_id,
            "payment_id": event.payment_id,
            "amount_minor": None if event.amount is None else event.amount.minor,
            "currency": None if event.amount is None else event.amount.currency,
            "refund_id": event.refund_id,
            "received_at_ms": self._tx.now_ms,
            "kind": event.kind.value,
            "reference": event.reference,
            "body": event.body,
        } | self._fate(_key(event))

    def _fate(self, key: Key) -> dict[str, Any]:
        """Applied now, or to be tried again after a pause that doubles."""
        attempts = min(self._attempts.get(key, 0) + 1, 1000)
        refused = self._refused.get(key)
        if refused is None:
            done: dict[str, Any] = {"applied_at_ms": self._tx.now_ms, "retry_at_ms": None}
        else:
            pause_ms = min(1000 << min(attempts, 12), RETRY_MS_MAX)
            done = {"applied_at_ms": None, "retry_at_ms": self._tx.now_ms + pause_ms}
        return done | {"attempts": attempts, "error": refused and refused[:REASON_CHARS]}

    def _told(self, fresh: Iterable[PaymentEvent]) -> list[Taken]:
        left = {_key(event) for event in fresh}
        taken: list[Taken] = []
        for event in self._events:
            key = _key(event)
            if key in self._refused:
                taken.append(Taken.PENDING)
            elif key in left:
                taken.append(Taken.NEW)
                left.remove(key)
            else:
                taken.append(Taken.REPEATED)
        return taken


def _key(event: PaymentEvent) -> Key:
    return event.provider, event.event_id


def _known(keys: Sequence[Key]) -> Any:
    columns = (inbox.c.provider, inbox.c.event_id, inbox.c.applied_at_ms, inbox.c.attempts)
    providers = {provider for provider, _event_id in keys}
    if len(providers) > 1:
        return select(*columns).where(tuple_(inbox.c.provider, inbox.c.event_id).in_(keys))
    [provider] = providers
    names = [event_id for _provider, event_id in keys]
    return select(*columns).where(inbox.c.provider == provider, inbox.c.event_id.in_(names))


def _check(event: PaymentEvent) -> None:
    for name, text in (("event_id", event.event_id), ("reference", event.reference or "")):
        if len(text.encode(errors="replace")) > REFERENCE_BYTES_MAX or "\0" in text:
            raise Invalid(name, f"must be at most {REFERENCE_BYTES_MAX} bytes of text")
    if not event.event_id:
        raise Invalid("event_id", "must not be empty")
    for name, number in (("payment_id", event.payment_id), ("refund_id", event.refund_id or 0)):
        if not 0 <= number <= _INT64_MAX:
            raise Invalid(name, "is no id of ours")
    if event.amount is not None and not 0 <= event.amount.minor <= _INT64_MAX:
        raise Invalid("amount", "is out of range")


def _event(row: Any) -> PaymentEvent:
    amount = None if row.amount_minor is None else Amount(row.amount_minor, row.currency)
    return PaymentEvent(
        provider=row.provider,
        event_id=row.event_id,
        kind=PaymentEventKind(row.kind),
        payment_id=row.payment_id,
        reference=row.reference,
        amount=amount,
        refund_id=row.refund_id,
        body=bytes(row.body),
    )
