"""Writing down what was decided about payments, in a few statements for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, update

from sluice.domain.money import Money as Amount
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import RefundState
from sluice.ledger.among import among
from sluice.ledger.books import Books, Changes, PaymentRow
from sluice.ledger.deadlines import add_deadlines, deadline_row
from sluice.ledger.giveback import Held, Overtaken, give_back, lock_items, move_orders, move_units
from sluice.ledger.journal import announce_all
from sluice.ledger.returned_units import Returned, return_units
from sluice.ledger.store import Transaction
from sluice.ledger.tables import REASON_CHARS, orders, payments, refunds

_O = OrderState
_P = PaymentState


class Settling:
    """One transaction's changes of `books`."""

    def __init__(self, tx: Transaction, books: Books, changes: Changes) -> None:
        self._tx = tx
        self._books = books
        self._do = changes

    async def write(self) -> None:
        do = self._do
        touched = (
            set(do.paid)
            | do.ended
            | {self._books.payments[r.payment_id].number for r in do.returned}
        )
        items = {self._books.orders[number].item_id for number in touched}
        await lock_items(self._tx, sorted(items))
        await self._write_payments()
        await self._write_extra()
        await self._write_refunds()
        await self._owe_all()
        await self._pay_orders()
        await self._end_orders()
        await self._show_payments()
        await self._return_units()
        await self._announce()

    async def _write_payments(self) -> None:
        """Those that change alike in one statement, each on the condition that it is as it was."""
        alike: dict[tuple[Any, ...], list[PaymentRow]] = {}
        for payment in self._do.payments.values():
            exact = payment.captured == payment.amount
            key = (
                payment.before,
                payment.state,
                payment.pays,
                payment.reason,
                "exact" if exact else payment.captured,
                payment.refunded_minor,
                payment.capture,
            )
            alike.setdefault(key, []).append(payment)
        for group in alike.values():
            await self._write_alike(group)

    async def _write_alike(self, group: Sequence[PaymentRow]) -> None:
        first = group[0]
        ids = [payment.id for payment in group]
        values: dict[str, Any] = {
            "state": first.state.value,
            "reason": first.reason,
            "open_for": None,
            "ask_at_ms": None,
            "refunded_minor": first.refunded_minor,
            "capture_reference": first.capture,
        }
        if first.pays:
            values["pays_for"] = payments.c.order_number
        if first.captured == first.amount:
            values["captured_minor"] = payments.c.amount_minor
            values["captured_currency"] = payments.c.currency
        elif first.captured is not None:
            values["captured_minor"] = first.captured.minor
            values["captured_currency"] = first.captured.currency
        mine = among(self._tx, payments.c.id, ids) & (payments.c.state == first.before.value)
        if await self._tx.changed(update(payments).where(mine).values(values)) != len(ids):
            raise Overtaken(f"payments are no longer {first.before}")

    async def _write_extra(self) -> None:
        for payment in self._do.extra:
            assert payment.captured is not None
            made = await self._tx.run(
                insert(payments).values(
                    order_number=payment.number,
                    amount_minor=payment.amount.minor,
                    currency=payment.amount.currency,
                    captured_minor=payment.captured.minor,
                    captured_currency=payment.captured.currency,
                    refunded_minor=0,
                    created_at_ms=self._tx.now_ms,
                    provider=payment.provider,
                    reference=payment.reference,
                    state=payment.state.value,
                    reason=payment.reason,
                )
            )
            payment.id = made.inserted_primary_key[0]

    async def _write_refunds(self) -> None:
        for refund in self._do.refunds.values():
            mine = (refunds.c.id == refund.id) & (refunds.c.state == refund.before.value)
            values = {
                "state": refund.state.value,
                "reference": refund.reference,
                "error": refund.error and refund.error[:REASON_CHARS],
                "due_at_ms": None,
                "closed_at_ms": self._tx.now_ms if refund.closed else None,
            }
            if await self._tx.changed(update(refunds).where(mine).values(values)) != 1:
                raise Overtaken(f"refund {refund.id} is no longer {refund.before}")

    async def _owe_all(self) -> None:
        rows = [
            refund_row(
                payment.id,
                payment.number,
                payment.captured,
                now_ms=self._tx.now_ms,
                reason=payment.reason or "",
            )
            for payment in self._do.owed
            if payment.captured is not None
        ]
        if rows:
            await self._tx.run(insert(refunds), rows)

    async def _pay_orders(self) -> None:
        numbers = sorted(self._do.paid)
        if not numbers:
            return
        captured = _P.CAPTURED.value
        await move_orders(self._tx, numbers, _O.AWAITING_PAYMENT, _O.PAID, payment_state=captured)
        for number in numbers:
            self._books.orders[number].payment_state = captured
        await move_units(self._tx, [self._held(n) for n in numbers], None, "paid")
        others = [p.id for n in numbers for p in self._books.of_order[n] if p.state is _P.PENDING]
        if others:  # nobody should pay a second time: they are closed at once
            mine = among(self._tx, payments.c.id, others)
            at_once = update(payments).where(mine).values(ask_at_ms=self._tx.now_ms)
            await self._tx.run(at_once)

    async def _end_orders(self) -> None:
        """Orders that nobody is paying any more: over where their time is, else given a deadline of
        their own, since the one of their batch may have passed them by."""
        over: dict[str, list[Held]] = {}
        later: list[dict[str, Any]] = []
        for number in sorted(self._do.ended - self._do.paid):
            order = self._books.orders[number]
            still_open = any(p.state is _P.PENDING for p in self._books.of_order[number])
            if order.state is not _O.AWAITING_PAYMENT or still_open or order.pay_by_ms is None:
                continue
            if order.pay_by_ms <= self._tx.now_ms:
                order.state = _O.EXPIRED
                order.payment_state = self._shown(number)
                over.setdefault(order.payment_state, []).append(self._held(number))
            else:
                shard = number >> 24 & 0xFF
                row = deadline_row("expire", order.pay_by_ms, order.sale_id, shard, number, number)
                later.append(row)
        for shown, held in sorted(over.items()):
            before, after = _O.AWAITING_PAYMENT, _O.EXPIRED
            await give_back(self._tx, held, before, after, reason="expired", payment_state=shown)
        await add_deadlines(self._tx, later)

    async def _show_payments(self) -> None:
        """What each order's payment is said to be, where it changed."""
        changed = {p.number for p in (*self._do.payments.values(), *self._do.extra)}
        alike: dict[str, list[int]] = {}
        for number in sorted(changed):
            shown = self._shown(number)
            if shown != self._books.orders[number].payment_state:
                alike.setdefault(shown, []).append(number)
        for shown, numbers in sorted(alike.items()):
            mine = among(self._tx, orders.c.number, numbers)
            await self._tx.run(update(orders).where(mine).values(payment_state=shown))

    def _shown(self, number: int) -> str:
        """Of several payments: the one that pays the order, else the open one, else the last that
        has money, else the last."""
        ranked = [
            (p.pays, p.state is _P.PENDING, p.captured is not None, place, p.state.value)
            for place, p in enumerate(self._books.of_order[number])
        ]
        return max(ranked)[-1]

    async def _return_units(self) -> None:
        for refund in self._do.returned:
            order = self._books.orders[self._books.payments[refund.payment_id].number]
            returned = Returned(
                order.number,
                order.item_id,
                order.quantity,
                order.refunded_quantity,
                refund.quantity,
                refund.restock,
                refund.reason,
            )
            await return_units(self._tx, returned)
            order.refunded_quantity += refund.quantity

    async def _announce(self) -> None:
        """Of all that was written here, in one statement."""
        messages: list[tuple[str, dict[str, list[int]]]] = []
        if self._do.paid:
            messages.append(("order.paid", {"numbers": sorted(self._do.paid)}))
        told: dict[str, tuple[list[int], list[int]]] = {}
        for payment in (*self._do.payments.values(), *self._do.extra):
            ids, numbers = told.setdefault(f"payment.{payment.state.value}", ([], []))
            ids.append(payment.id)
            numbers.append(payment.number)
        for kind, (ids, numbers) in sorted(told.items()):
            messages.append((kind, {"payments": ids, "numbers": numbers}))
        if messages:
            await announce_all(self._tx, messages)

    def _held(self, number: int) -> Held:
        order = self._books.orders[number]
        return Held(number, order.item_id, order.quantity)


def refund_row(
    payment_id: int | None,
    number: int,
    amount: Amount,
    *,
    now_ms: int,
    reason: str,
    quantity: int = 0,
    restock: bool = False,
) -> dict[str, Any]:
    """A refund that is to be sent now."""
    return {
        "payment_id": payment_id,
        "order_number": number,
        "amount_minor": amount.minor,
        "currency": amount.currency,
        "created_at_ms": now_ms,
        "due_at_ms": now_ms,
        "closed_at_ms": None,
        "quantity": quantity,
        "restock": int(restock),
        "attempts": 0,
        "state": RefundState.PENDING.value,
        "reason": reason[:REASON_CHARS],
    }
