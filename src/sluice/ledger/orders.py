"""Reading orders. A dead letter reads as an order in the state `rejected`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain import number as numbers_
from sluice.domain.money import Money
from sluice.domain.order import HistoryEntry, Order, OrderState, PaymentState
from sluice.ledger.store import Store
from sluice.ledger.tables import (
    dead_letters,
    items,
    order_history,
    order_slots,
    orders,
    payments,
)

CHUNK = 500
"""Keys in one query."""


class Orders(Store):
    async def orders(self, numbers: Sequence[int]) -> dict[int, Order]:
        """With their history. What the ledger does not have is left out."""

        async def query(connection: AsyncConnection) -> dict[int, Order]:
            found: dict[int, Order] = {}
            for chunk in _chunks(numbers):
                found.update(await numbered(connection, chunk))
                await _add_rejected(connection, found, chunk)
            return found

        return await self._read(query) if numbers else {}

    async def order_by_nonces(self, nonces: Sequence[bytes]) -> dict[bytes, Order]:
        """What became of the attempts with these nonces, as far as the ledger knows them."""

        async def query(connection: AsyncConnection) -> dict[bytes, Order]:
            found: dict[bytes, Order] = {}
            for chunk in _chunks(nonces):
                found.update(await _rejected(connection, dead_letters.c.nonce.in_(chunk)))
                found.update(await _recorded(connection, orders.c.nonce.in_(chunk)))
            return found

        return await self._read(query) if nonces else {}

    async def orders_of(
        self, buyer: str, limit: int, before_number: int | None = None
    ) -> list[Order]:
        """The buyer's own, newest first; `before_number` is the last one of the page before."""

        async def query(connection: AsyncConnection) -> list[Order]:
            mine = order_slots.c.buyer == buyer
            recorded = _newest(order_slots.c.order_number, mine, limit, before_number).distinct()
            chosen = list((await connection.execute(recorded)).scalars())
            found = await numbered(connection, chosen)
            rejected = _newest(
                dead_letters.c.number, dead_letters.c.buyer == buyer, limit, before_number
            )
            dead = list((await connection.execute(rejected)).scalars())
            await _add_rejected(connection, found, dead)
            return _latest(found.values(), limit)

        return await self._read(query)

    async def list_orders(
        self,
        *,
        sale_id: int | None = None,
        state: OrderState | None = None,
        buyer: str | None = None,
        limit: int,
        before_number: int | None = None,
    ) -> list[Order]:
        """Newest first, for the merchant; at most `CHUNK`."""

        async def query(connection: AsyncConnection) -> list[Order]:
            found: dict[int, Order] = {}
            if state is not OrderState.REJECTED:
                if buyer is None:
                    chosen = await _chosen(connection, sale_id, state, limit, before_number)
                else:
                    theirs = _of_buyer(buyer, sale_id, state, limit, before_number)
                    chosen = list((await connection.execute(theirs)).scalars())
                found = await numbered(connection, chosen)
            if state in (None, OrderState.REJECTED):
                fits = _dead_of(sale_id)
                if buyer is not None:
                    fits &= dead_letters.c.buyer == buyer
                dead = _newest(dead_letters.c.number, fits, limit, before_number)
                numbers = list((await connection.execute(dead)).scalars())
                await _add_rejected(connection, found, numbers)
            return _latest(found.values(), limit)

        return await self._read(query)


async def numbered(connection: AsyncConnection, numbers: Sequence[int]) -> dict[int, Order]:
    """Recorded orders, without those that were rejected; at most `CHUNK`."""
    if not numbers:
        return {}
    found = await _recorded(connection, orders.c.number.in_(numbers))
    return {order.number: order for order in found.values()}


async def _add_rejected(
    connection: AsyncConnection, found: dict[int, Order], numbers: Sequence[int]
) -> None:
    """The dead letters among `numbers`, but for those whose number is an order's after all."""
    missing = [number for number in numbers if number not in found]
    if missing:
        rejected = await _rejected(connection, dead_letters.c.number.in_(missing))
        found.update({order.number: order for order in rejected.values()})


async def _recorded(connection: AsyncConnection, wanted: Any) -> dict[bytes, Order]:
    """By nonce. Orders and history in one statement, so that both are of one moment."""
    rows = await connection.execute(
        select(
            orders,
            order_history.c.state.label("step"),
            order_history.c.at_ms.label("step_at"),
            payments.c.checkout_url,
        )
        .join(order_history, order_history.c.order_number == orders.c.number)
        .outerjoin(payments, payments.c.open_for == orders.c.number)
        .where(wanted)
        .order_by(orders.c.number, order_history.c.ordinal)
    )
    steps: dict[int, list[HistoryEntry]] = {}
    first: dict[int, Any] = {}
    for row in rows:
        first.setdefault(row.number, row)
        entry = HistoryEntry(state=OrderState(row.step), at_ms=row.step_at)
        steps.setdefault(row.number, []).append(entry)
    return {bytes(row.nonce): _order(row, steps[row.number]) for row in first.values()}


def _order(row: Any, steps: list[HistoryEntry]) -> Order:
    queued = HistoryEntry(state=OrderState.QUEUED, at_ms=row.placed_at_ms)
    return Order(
        number=row.number,
        sale_id=row.sale_id,
        item_id=row.item_id,
        buyer=row.buyer,
        quantity=row.quantity,
        refunded_quantity=row.refunded_quantity,
        amount=Money(row.amount_minor, row.currency),
        state=OrderState(row.state),
        payment_state=PaymentState(row.payment_state),
        checkout_url=row.checkout_url,
        placed_at_ms=row.placed_at_ms,
        pay_by_ms=row.pay_by_ms,
        history=[queued, *steps],
    )


async def _rejected(connection: AsyncConnection, wanted: Any) -> dict[bytes, Order]:
    """By nonce. The price is the item's: it is fixed while orders come in."""
    rows = await connection.execute(
        select(dead_letters, items.c.sale_id, items.c.price_minor, items.c.currency)
        .select_from(dead_letters.outerjoin(items, items.c.id == dead_letters.c.item_id))
        .where(wanted)
    )
    return {bytes(row.nonce): _rejected_order(row) for row in rows}


def _rejected_order(row: Any) -> Order:
    placed_at_ms = numbers_.split(row.number).minted_at_ms
    known = row.sale_id is not None
    return Order(
        number=row.number,
        sale_id=row.sale_id if known else 0,
        item_id=row.item_id,
        buyer=row.buyer,
        quantity=row.quantity,
        amount=Money(row.price_minor * row.quantity, row.currency) if known else None,
        state=OrderState.REJECTED,
        placed_at_ms=placed_at_ms,
        history=[
            HistoryEntry(state=OrderState.QUEUED, at_ms=placed_at_ms),
            HistoryEntry(state=OrderState.REJECTED, at_ms=row.at_ms),
        ],
    )


async def _chosen(
    connection: AsyncConnection,
    sale_id: int | None,
    state: OrderState | None,
    limit: int,
    before_number: int | None,
) -> list[int]:
    """Newest numbers. Of a sale, the newest of each item, which an index has in order."""
    fits: Any = literal(True) if state is None else orders.c.state == state
    if sale_id is None:
        one = _newest(orders.c.number, fits, limit, before_number)
        return list((await connection.execute(one)).scalars())
    theirs = select(items.c.id).where(items.c.sale_id == sale_id)
    ids = list((await connection.execute(theirs)).scalars())
    each = [
        _newest(orders.c.number, fits & (orders.c.item_id == item_id), limit, before_number)
        for item_id in ids
    ]
    if not each:
        return []
    newest = union_all(*(select(one.subquery().c.number) for one in each))
    found = (await connection.execute(newest)).scalars()
    return sorted(found, reverse=True)[:limit]


def _of_buyer(
    buyer: str,
    sale_id: int | None,
    state: OrderState | None,
    limit: int,
    before_number: int | None,
) -> Select[Any]:
    """Newest numbers. A buyer's slots are the index of their orders, and are few."""
    theirs = select(order_slots.c.order_number).where(order_slots.c.buyer == buyer)
    fits: Any = orders.c.number.in_(theirs)
    if sale_id is not None:
        fits &= orders.c.sale_id == sale_id
    if state is not None:
        fits &= orders.c.state == state
    return _newest(orders.c.number, fits, limit, before_number)


def _newest(number: Any, wanted: Any, limit: int, before_number: int | None) -> Select[Any]:
    chosen = select(number).where(wanted).order_by(number.desc()).limit(limit)
    return chosen if before_number is None else chosen.where(number < before_number)


def _dead_of(sale_id: int | None) -> Any:
    if sale_id is None:
        return literal(True)
    return dead_letters.c.item_id.in_(select(items.c.id).where(items.c.sale_id == sale_id))


def _latest(found: Iterable[Order], limit: int) -> list[Order]:
    return sorted(found, key=lambda order: -order.number)[:limit]


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
