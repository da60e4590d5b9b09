"""The payment simulator's books, kept where every process and every restart finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.money import Money
from sluice.domain.simulation import (
    PlannedCall,
    SimulatedCall,
    SimulatedCheckout,
    SimulatedRefund,
)
from sluice.ledger.simulator_tables import simulator_calls, simulator_checkouts, simulator_refunds
from sluice.ledger.store import Store, Transaction
from sluice.ledger.upsert import insert_ignore

CHUNK = 500
_checkouts, _calls, _refunds = simulator_checkouts, simulator_calls, simulator_refunds


class SimulatorBooks(Store):
    async def simulator_open(self, wanted: SimulatedCheckout) -> SimulatedCheckout:
        """The checkout of this payment: the wanted one, or the one that was opened before."""
        mine = select(_checkouts).where(_checkouts.c.payment_id == wanted.payment_id)

        async def work(tx: Transaction) -> SimulatedCheckout:
            found = (await tx.run(mine)).one_or_none()
            if found is not None:
                return _checkout(found)
            await insert_ignore(tx, _checkouts, [_row(wanted, tx.now_ms)])
            return _checkout((await tx.run(mine)).one())

        return await self._write(work)

    async def simulator_checkout(self, reference: str) -> SimulatedCheckout | None:
        return await self._one_checkout(_checkouts.c.reference == reference)

    async def simulator_checkout_of(self, payment_id: int) -> SimulatedCheckout | None:
        return await self._one_checkout(_checkouts.c.payment_id == payment_id)

    async def _one_checkout(self, wanted: Any) -> SimulatedCheckout | None:
        async def query(connection: AsyncConnection) -> SimulatedCheckout | None:
            found = (await connection.execute(select(_checkouts).where(wanted))).one_or_none()
            return None if found is None else _checkout(found)

        return await self._read(query)

    async def simulator_settle(
        self,
        reference: str,
        state: str,
        captured_minor: int,
        calls: Sequence[PlannedCall],
        before: Sequence[str] = ("open",),
    ) -> bool:
        """Ends a checkout whose state is one of `before`, and plans what is told of it."""

        async def work(tx: Transaction) -> bool:
            met = await tx.changed(
                update(_checkouts)
                .where(_checkouts.c.reference == reference, _checkouts.c.state.in_(before))
                .values(state=state, captured_minor=captured_minor)
            )
            if met:
                await _plan(tx, calls)
            return bool(met)

        return await self._write(work)

    async def simulator_close(self, payment_ids: Sequence[int]) -> list[SimulatedCheckout | None]:
        """Ends those that are open, and tells how each stands then; nobody need be called."""
        theirs = _checkouts.c.payment_id.in_(sorted(set(payment_ids)))
        over = update(_checkouts).where(theirs, _checkouts.c.state == "open").values(state="void")

        async def work(tx: Transaction) -> list[SimulatedCheckout | None]:
            await tx.run(over)
            rows = await tx.run(select(_checkouts).where(theirs))
            found = {row.payment_id: _checkout(row) for row in rows}
            return [found.get(payment_id) for payment_id in payment_ids]

        return await self._write(work)

    async def simulator_turn(self, reference: str, knobs: bytes) -> bool:
        """Sets the knobs of one checkout; whether there is such a one."""
        turned = update(_checkouts).where(_checkouts.c.reference == reference).values(knobs=knobs)
        known = select(_checkouts.c.reference).where(_checkouts.c.reference == reference)

        async def work(tx: Transaction) -> bool:
            await tx.run(turned)
            return (await tx.run(known)).one_or_none() is not None

        return await self._write(work)

    async def simulator_refund(
        self, wanted: SimulatedRefund, captured_minor: int, calls: Sequence[PlannedCall]
    ) -> tuple[SimulatedRefund, bool]:
        """The refund of this id, and whether it is new. No more goes back than was captured."""
        mine = select(_refunds).where(_refunds.c.refund_id == wanted.refund_id)

        async def work(tx: Transaction) -> tuple[SimulatedRefund, bool]:
            found = (await tx.run(mine)).one_or_none()
            if found is not None:
                return _refund(found), False
            back = int((await tx.run(_total(wanted.reference))).scalar_one())
            if back + wanted.amount.minor > captured_minor:
                return wanted._replace(state="failed"), False
            await insert_ignore(tx, _refunds, [_refund_row(wanted, tx.now_ms)])
            await _plan(tx, calls)
            return wanted, True

        return await self._write(work)

    async def simulator_refunded(self, reference: str) -> int:
        """What was given back of a checkout, in minor units."""

        async def query(connection: AsyncConnection) -> int:
            return int((await connection.execute(_total(reference))).scalar_one())

        return await self._read(query)

    async def simulator_call_due_ms(self) -> int | None:
        """When the next callback is to be made, in milliseconds from now; None: there is none."""
        next_one = select(func.min(_calls.c.due_at_ms))

        async def query(connection: AsyncConnection) -> int | None:
            due: int | None = (await connection.execute(next_one)).scalar_one()
            return due

        due_at_ms = await self._read(query)
        return None if due_at_ms is None else max(0, due_at_ms - await self.now_ms())

    async def simulator_calls(self, limit: int, claim_ms: int) -> list[SimulatedCall]:
        """Callbacks whose time has come, for this process alone during `claim_ms`."""

        async def work(tx: Transaction) -> list[SimulatedCall]:
            due = (
                select(_calls)
                .where(_calls.c.due_at_ms <= tx.now_ms)
                .order_by(_calls.c.due_at_ms, _calls.c.id)
                .limit(min(limit, CHUNK))
                .with_for_update(skip_locked=True)
            )
            found = [_call(row) for row in await tx.run(due)]
            claimed = update(_calls).where(_calls.c.id.in_([call.id for call in found]))
            if found:
                until_ms = tx.now_ms + claim_ms
                await tx.run(claimed.values(due_at_ms=until_ms, attempts=_calls.c.attempts + 1))
            return found

        return await self._write(work)

    async def simulator_called(self, done: Sequence[int], again: Sequence[tuple[int, int]]) -> None:
        """Forgets the calls that are `done`, and puts off others: (id, milliseconds from now)."""

        async def work(tx: Transaction) -> None:
            for start in range(0, len(done), CHUNK):
                chunk = done[start : start + CHUNK]
                await tx.run(delete(_calls).where(_calls.c.id.in_(chunk)))
            for call_id, in_ms in again:
                later = update(_calls).where(_calls.c.id == call_id)
                await tx.run(later.values(due_at_ms=tx.now_ms + in_ms))

        if done or again:
            await self._write(work)


def _total(reference: str) -> Any:
    return select(func.coalesce(func.sum(_refunds.c.amount_minor), 0)).where(
        _refunds.c.reference == reference, _refunds.c.state == "completed"
    )


async def _plan(tx: Transaction, calls: Sequence[PlannedCall]) -> None:
    rows = [
        {
            "event_id": call.event_id,
            "body": call.body,
            "due_at_ms": tx.now_ms + call.after_ms,
            "forged": int(call.forged),
            "attempts": 0,
        }
        for call in calls
    ]
    if rows:
        await tx.run(insert(_calls), rows)


def _row(checkout: SimulatedCheckout, now_ms: int) -> dict[str, Any]:
    return {
        "reference": checkout.reference,
        "payment_id": checkout.payment_id,
        "order_number": checkout.order_number,
        "amount_minor": checkout.amount.minor,
        "currency": checkout.amount.currency,
        "state": checkout.state,
        "captured_minor": checkout.captured_minor,
        "return_url": checkout.return_url,
        "knobs": checkout.knobs,
        "created_at_ms": now_ms,
        "expires_at_ms": checkout.expires_at_ms,
    }


def _checkout(row: Any) -> SimulatedCheckout:
    return SimulatedCheckout(
        reference=row.reference,
        payment_id=row.payment_id,
        order_number=row.order_number,
        amount=Money(row.amount_minor, row.currency),
        state=row.state,
        captured_minor=row.captured_minor,
        return_url=row.return_url,
        knobs=bytes(row.knobs),
        expires_at_ms=row.expires_at_ms,
    )


def _refund_row(refund: SimulatedRefund, now_ms: int) -> dict[str, Any]:
    return {
        "refund_id": refund.refund_id,
        "reference": refund.reference,
        "amount_minor": refund.amount.minor,
        "currency": refund.amount.currency,
        "state": refund.state,
        "at_ms": now_ms,
    }


def _refund(row: Any) -> SimulatedRefund:
    return SimulatedRefund(
        row.refund_id, row.reference, Money(row.amount_minor, row.currency), row.state
    )


def _call(row: Any) -> SimulatedCall:
    return SimulatedCall(row.id, row.event_id, bytes(row.body), bool(row.forged), row.attempts)
