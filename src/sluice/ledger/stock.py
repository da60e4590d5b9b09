"""Stock edits: increases go from the ledger to the gate, decreases from the gate to the ledger.

So the gate is never more generous than the ledger while an edit is under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select, update

from sluice.domain.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from sluice.domain.sale import STOCK_MAX, SaleStatus
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.journal import journal_row
from sluice.ledger.records import StockEdit
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import items, sales, stock_edits, stock_journal


class _AskedMeanwhile(Exception):  # noqa: N818 - it undoes a transaction
    """The same key was used by a transaction that committed first."""


class Stock(Store):
    async def request_edit(
        self, item_id: int, delta: int, reason: str, once_key: str | None = None
    ) -> StockEdit:
        """Changes the stock by `delta` units: at once where no gate holds the item, else pending
        until the gate has followed.

        The same key answers with the same edit again; raises `IdempotencyMismatch` where it was
        another, `Conflict` where the units are held or sold or the sale is closed.
        """
        if delta == 0 or abs(delta) > STOCK_MAX:
            raise Invalid("delta", f"must be a whole number other than 0, at most {STOCK_MAX:,}")
        request = EditRequest(item_id, delta, reason, once_key)
        try:
            return await self._write(request.carry_out)
        except _AskedMeanwhile:
            return await self._write(request.carry_out)

    async def edit(self, item_id: int, edit: int) -> StockEdit | None:
        wanted = (stock_edits.c.item_id == item_id) & (stock_edits.c.edit == edit)
        found = await self._edits(select(stock_edits).where(wanted))
        return found[0] if found else None

    async def pending_edits(self, shard: int) -> list[StockEdit]:
        """In the order in which the gate must apply them."""
        return await self._edits(
            select(stock_edits)
            .join(items, items.c.id == stock_edits.c.item_id)
            .where(items.c.shard == shard, stock_edits.c.state == "pending")
            .order_by(stock_edits.c.item_id, stock_edits.c.edit)
        )

    async def _edits(self, statement: Any) -> list[StockEdit]:
        async def query(connection: Any) -> list[StockEdit]:
            return [_edit_of(row) for row in (await connection.execute(statement)).mappings()]

        return await self._read(query)


class EditRequest:
    """`of_closed_sale` lets units come back to a sale that is over."""

    def __init__(
        self,
        item_id: int,
        delta: int,
        reason: str,
        once_key: str | None = None,
        *,
        of_closed_sale: bool = False,
    ) -> None:
        self._of_closed_sale = of_closed_sale
        self._item_id = item_id
        self._delta = delta
        self._reason = reason
        self._once_key = once_key

    async def carry_out(self, tx: Transaction) -> StockEdit:
        before = await self._asked_before(tx)
        if before is not None:
            return before
        item = await self._locked_item(tx)
        loaded, edit = item["loaded_epoch"] is not None, item["edit"] + 1
        self._check(item)
        now = not loaded or self._delta > 0
        await self._count(tx, item, edit, self._delta if now else 0)
        row = {
            "item_id": self._item_id,
            "edit": edit,
            "delta": self._delta,
            "reason": self._reason,
            "state": "pending" if loaded else "applied",
            "stock_after": None if loaded else item["stock"] + self._delta,
            "requested_at_ms": tx.now_ms,
            "once_key": self._once_key,
        }
        await self._write_row(tx, row)
        return _edit_of(row)

    async def _asked_before(self, tx: Transaction) -> StockEdit | None:
        if self._once_key is None:
            return None
        same_key = select(stock_edits).where(stock_edits.c.once_key == self._once_key)
        row = (await tx.run(same_key)).mappings().one_or_none()
        if row is None:
            return None
        asked = (row["item_id"], row["delta"], row["reason"])
        if asked != (self._item_id, self._delta, self._reason):
            raise IdempotencyMismatch()
        return _edit_of(row)

    async def _locked_item(self, tx: Transaction) -> Mapping[str, Any]:
        wanted = select(items).where(items.c.id == self._item_id).with_for_update()
        item = (await tx.run(wanted)).mappings().one_or_none()
        if item is None:
            raise NotFound("There is no such item.")
        status = select(sales.c.status).where(sales.c.id == item["sale_id"])
        closed = (await tx.run(status)).scalar_one() == SaleStatus.CLOSED
        if closed and not self._of_closed_sale:
            raise Conflict("The sale is closed.")
        return dict(item)

    def _check(self, item: Mapping[str, Any]) -> None:
        if item["available"] + self._delta < 0:
            raise Conflict(f"Only {item['available']} units are neither held nor sold.")
        if item["stock"] + self._delta > STOCK_MAX:
            raise Conflict(f"An item has at most {STOCK_MAX:,} units.")

    async def _count(self, tx: Transaction, item: Mapping[str, Any], edit: int, delta: int) -> None:
        met = await tx.changed(
            update(items)
            .where(
                items.c.id == self._item_id,
                items.c.edit == edit - 1,
                items.c.available + delta >= 0,
            )
            .values(edit=edit, stock=items.c.stock + delta, available=items.c.available + delta)
        )
        if met != 1:
            raise Conflict("The item was changed by somebody else just now.")
        if delta:
            row = journal_row(
                self._item_id,
                "edit",
                shard=item["shard"],
                edit=edit,
                delta_stock=delta,
                delta_available=delta,
                quantity=abs(delta),
                reason=self._reason,
                at_ms=tx.now_ms,
            )
            await tx.run(insert(stock_journal).values(row))

    async def _write_row(self, tx: Transaction, row: dict[str, Any]) -> None:
        try:
            await tx.run(insert(stock_edits).values(row))
        except Exception as error:
            if self._once_key is not None and fault_of(error) is Fault.BROKEN_ROW:
                raise _AskedMeanwhile from error
            raise


def _edit_of(row: Mapping[str, Any]) -> StockEdit:
    return StockEdit(
        item_id=row["item_id"],
        edit=row["edit"],
        delta=row["delta"],
        reason=row["reason"],
        state=row["state"],
        stock_after=row["stock_after"],
        requested_at_ms=row["requested_at_ms"],
    )
