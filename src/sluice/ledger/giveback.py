"""Giving back what orders held: state, units, slots, release and word of it, in one transaction.

The ledger decides first; the gate follows when the shard's worker hands it the releases. Whoever
calls this holds the orders' rows, so that of cancel, expiry and capture one alone comes first; the
conditions in the statements say so again. Items are locked after orders and in the order of their
ids, as everywhere in the ledger: no two transactions wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from sluice.domain.order import OrderState
from sluice.ledger.among import among
from sluice.ledger.journal import announce, journal_row
from sluice.ledger.store import Transaction
from sluice.ledger.tables import (
    Int64,
    items,
    order_history,
    order_slots,
    orders,
    releases,
    stock_journal,
)


class Held(NamedTuple):
    """An order that holds units, as its locked row has it."""

    number: int
    item_id: int
    quantity: int
    """Units that it still holds."""


class Overtaken(RuntimeError):  # noqa: N818 - it undoes the transaction
    """An order was not in the state in which its row was locked: a mistake of ours, and a reason to
    undo the transaction."""


async def give_back(
    tx: Transaction,
    given: Sequence[Held],
    before: OrderState,
    after: OrderState,
    *,
    reason: str,
    note: str = "",
    **values: Any,
) -> None:
    """`given` go from `before` to `after`, their units are available, and the gate is to follow.

    `reason` is a word of the program's own, for the releases; `note` what somebody gave as one.
    `values` are further columns of the orders.
    """
    if not given:
        return
    numbers = [order.number for order in given]
    await move_orders(tx, numbers, before, after, **values)
    await move_units(tx, given, "paid" if before is not OrderState.AWAITING_PAYMENT else None)
    await free_slots(tx, numbers)
    await tx.run(_releases(tx, numbers, reason))
    await _write_journal(tx, given, note or reason)
    await announce(tx, f"order.{after.value}", {"numbers": numbers})


async def move_orders(
    tx: Transaction,
    numbers: Sequence[int],
    before: OrderState,
    after: OrderState,
    **values: Any,
) -> None:
    """State and history of all of them, or `Overtaken`."""
    mine = among(tx, orders.c.number, numbers)
    moved = update(orders).where(mine, still(before))
    met = await tx.changed(moved.values(state=after.value, **values))
    if met != len(numbers):
        raise Overtaken(f"{len(numbers) - met} of {len(numbers)} orders are no longer {before}")
    await tx.run(_steps(tx, numbers, after))


def still(state: OrderState) -> ColumnElement[bool]:
    """The condition on which an order moves on: nobody else has moved it."""
    return orders.c.state == state.value


def _steps(tx: Transaction, numbers: Sequence[int], after: OrderState) -> Any:
    """The next entry of each one's history."""
    earlier = order_history.alias()
    last = (
        select(func.coalesce(func.max(earlier.c.ordinal), 0))
        .where(earlier.c.order_number == orders.c.number)
        .correlate(orders)
        .scalar_subquery()
    )
    rows = select(
        orders.c.number, last + 1, literal(after.value), cast(literal(tx.now_ms), Int64)
    ).where(among(tx, orders.c.number, numbers))
    return insert(order_history).from_select(["order_number", "ordinal", "state", "at_ms"], rows)


async def free_slots(tx: Transaction, numbers: Sequence[int]) -> None:
    """The buyers may have as many again; each order keeps the row that lists it as its buyer's.

    After the units have moved: MariaDB locks every row that this reads, the item's for sharing, and
    two transactions that share it could both wait for it to themselves.
    """
    mine = (
        (order_slots.c.buyer == orders.c.buyer)
        & (order_slots.c.limit_group == items.c.limit_group)
        & (order_slots.c.order_number == orders.c.number)
        & (order_slots.c.slot > 0)
        & (items.c.id == orders.c.item_id)
        & among(tx, orders.c.number, numbers)
    )
    if tx.dialect == "sqlite":  # it would go through all slots to delete by a join
        key = (order_slots.c.buyer, order_slots.c.limit_group, order_slots.c.slot)
        held = [tuple(row) for row in await tx.run(select(*key).where(mine))]
        one = "DELETE FROM order_slots WHERE buyer = ? AND limit_group = ? AND slot = ?"
        await tx.connection.exec_driver_sql(one, held)
    else:
        await tx.run(delete(order_slots).where(mine))
    rows = (
        select(orders.c.buyer, items.c.limit_group, -orders.c.number, orders.c.number)
        .join(items, items.c.id == orders.c.item_id)
        .where(among(tx, orders.c.number, numbers))
    )
    columns = ["buyer", "limit_group", "slot", "order_number"]
    await tx.run(insert(order_slots).from_select(columns, rows))


async def move_units(
    tx: Transaction, given: Sequence[Held], source: str | None, target: str = "available"
) -> None:
    """Units of each item from one column to another; None is `awaiting_payment`."""
    units = units_of(given)
    await lock_items(tx, list(units))
    moved = case(units, value=items.c.id)
    out = items.c[source or "awaiting_payment"]
    met = await tx.changed(
        update(items)
        .where(items.c.id.in_(sorted(units)), out >= moved)
        .values({out.name: out - moved, target: items.c[target] + moved})
    )
    if met != len(units):
        raise Overtaken("an item holds fewer units than its orders")


async def lock_items(tx: Transaction, item_ids: Sequence[int]) -> None:
    """In the order of their ids: an UPDATE of several rows takes them in any."""
    if len(item_ids) > 1 and tx.dialect != "sqlite":
        wanted = select(items.c.id).where(items.c.id.in_(sorted(item_ids))).order_by(items.c.id)
        await tx.run(wanted.with_for_update())


def units_of(given: Sequence[Held]) -> dict[int, int]:
    units: Counter[int] = Counter()
    for order in given:
        units[order.item_id] += order.quantity
    return units


def _releases(tx: Transaction, numbers: Sequence[int], reason: str) -> Any:
    """What the gate has to take back: the primary key says at most once."""
    rows = (
        select(
            orders.c.number,
            items.c.shard,
            orders.c.item_id,
            items.c.limit_group,
            cast(orders.c.quantity, BigInteger),
            cast(literal(tx.now_ms), Int64),
            null(),
            orders.c.buyer,
            literal(reason),
        )
        .join(items, items.c.id == orders.c.item_id)
        .where(among(tx, orders.c.number, numbers))
    )
    columns = [
        "number",
        "shard",
        "item_id",
        "limit_group",
        "quantity",
        "decided_at_ms",
        "applied_at_ms",
        "buyer",
        "reason",
    ]
    return insert(releases).from_select(columns, rows)


async def _write_journal(tx: Transaction, given: Sequence[Held], reason: str) -> None:
    units = units_of(given)
    shards = await tx.run(select(items.c.id, items.c.shard).where(items.c.id.in_(sorted(units))))
    rows = [
        journal_row(
            item_id,
            "returned",
            shard=shard,
            delta_available=units[item_id],
            quantity=units[item_id],
            reason=reason,
            at_ms=tx.now_ms,
        )
        for item_id, shard in sorted(tuple(row) for row in shards)
    ]
    await tx.run(insert(stock_journal), rows)
