"""What becomes of the units of an order whose money went back.

All of them at once, to be sold again: the gate takes the whole hold back, as for an order that was
cancelled. In any other case the gate's hold stays, and its units are written off; what is to be
sold again then comes as new stock, since the gate gives back a hold as a whole or not at all. The
balance is the same, and nobody's unit is counted twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, update

from sluice.domain.errors import Conflict
from sluice.domain.order import OrderState
from sluice.ledger.giveback import Held, Overtaken, free_slots, give_back, move_orders, move_units
from sluice.ledger.journal import announce, journal_row, report
from sluice.ledger.stock import EditRequest
from sluice.ledger.store import Transaction
from sluice.ledger.tables import items, order_slots, orders, stock_journal


class Returned(NamedTuple):
    """`units` of an order whose row is locked; `refunded` were given up before."""

    number: int
    item_id: int
    quantity: int
    refunded: int
    units: int
    restock: bool
    reason: str


async def return_units(tx: Transaction, returned: Returned, **values: Any) -> None:
    """`values` are further columns of the order."""
    held = Held(returned.number, returned.item_id, returned.units)
    refunded = returned.refunded + returned.units
    if returned.restock and returned.units == returned.quantity:
        await give_back(
            tx,
            [held],
            OrderState.REFUNDING,
            OrderState.REFUNDED,
            reason="refunded",
            note=returned.reason,
            refunded_quantity=refunded,
            **values,
        )
        return
    await move_units(tx, [held], "paid", "written_off")
    numbers = [returned.number]
    if refunded == returned.quantity:
        before, after = OrderState.REFUNDING, OrderState.REFUNDED
        await move_orders(tx, numbers, before, after, refunded_quantity=refunded, **values)
        await free_slots(tx, numbers)
        await announce(tx, "order.refunded", {"numbers": numbers})
    else:
        await _keep_the_rest(tx, returned, refunded, values)
    await _write_off(tx, returned)
    if returned.restock:
        await _restock(tx, returned)


async def _keep_the_rest(
    tx: Transaction, returned: Returned, refunded: int, values: dict[str, Any]
) -> None:
    mine = (orders.c.number == returned.number) & (orders.c.refunded_quantity == returned.refunded)
    met = await tx.changed(update(orders).where(mine).values(refunded_quantity=refunded, **values))
    if met != 1:
        raise Overtaken("units of the order were refunded meanwhile")
    theirs = (
        select(order_slots.c.buyer, order_slots.c.limit_group, order_slots.c.slot)
        .select_from(
            orders.join(items, items.c.id == orders.c.item_id).join(
                order_slots,
                (order_slots.c.buyer == orders.c.buyer)
                & (order_slots.c.limit_group == items.c.limit_group)
                & (order_slots.c.order_number == orders.c.number),
            )
        )
        .where(orders.c.number == returned.number, order_slots.c.slot > 0)
        .order_by(order_slots.c.slot.desc())
        .limit(returned.units)
    )
    for buyer, group, slot in (await tx.run(theirs)).all():
        await tx.run(
            delete(order_slots).where(
                order_slots.c.buyer == buyer,
                order_slots.c.limit_group == group,
                order_slots.c.slot == slot,
            )
        )


async def _write_off(tx: Transaction, returned: Returned) -> None:
    shard = select(items.c.shard).where(items.c.id == returned.item_id)
    row = journal_row(
        returned.item_id,
        "written_off",
        shard=(await tx.run(shard)).scalar_one(),
        quantity=returned.units,
        reason=returned.reason,
        at_ms=tx.now_ms,
    )
    await tx.run(insert(stock_journal).values(row))


async def _restock(tx: Transaction, returned: Returned) -> None:
    reason = f"refund of order {returned.number}"
    edit = EditRequest(returned.item_id, returned.units, reason, of_closed_sale=True)
    try:
        await edit.carry_out(tx)
    except Conflict as error:
        # The item is at the highest stock there is: the unit stays written off, and somebody knows.
        detail = {"number": returned.number, "units": returned.units, "why": str(error)}
        await report(tx, "restock_refused", detail)
