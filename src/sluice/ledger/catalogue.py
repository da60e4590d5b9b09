"""Sales and their items: created as drafts, published, paused, resumed, closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.money import Money
from sluice.domain.sale import (
    Item,
    ItemChange,
    NewItem,
    NewSale,
    Policy,
    Sale,
    SaleState,
    SaleStatus,
    rebased,
)
from sluice.ledger import policies
from sluice.ledger.changes import check_changes, write_item_changes
from sluice.ledger.idempotency import Idempotency
from sluice.ledger.journal import announce, journal_row
from sluice.ledger.records import Answered, Once
from sluice.ledger.store import Transaction
from sluice.ledger.tables import items, sales, stock_journal, waitlist

OPEN_GRACE_MS = 3_600_000
"""How long after its end a sale is still listed as open, so that the gate is told of its end."""
WAITED_FOR_MS = 31 * 86_400_000
"""How long after its end a sale may still have a waitlist that moves."""

_S = SaleStatus


class Catalogue(Idempotency):
    async def create_sale(
        self, new: NewSale, *, shards: int, once: Once[Sale] | None = None
    ) -> Sale | Answered:
        """A draft. With `once`, the first answer to that key; see `Idempotency`."""

        async def create(tx: Transaction) -> Sale:
            sale_id = await _insert_sale(tx, new)
            await _insert_items(tx, sale_id, new, shards)
            return await _sale(tx.connection, sale_id)

        return await self._write_once(create, once)

    async def sales(self, ids: Sequence[int]) -> dict[int, Sale]:
        """With their items; drafts included. What is not there is left out."""
        if not ids:
            return {}
        return await self._read(lambda c: _sales(c, sales.c.id.in_(ids)))

    async def sales_of_items(self, item_ids: Sequence[int]) -> dict[int, Sale]:
        """Keyed by item id."""
        if not item_ids:
            return {}
        theirs = select(items.c.sale_id).where(items.c.id.in_(item_ids))
        found = await self._read(lambda c: _sales(c, sales.c.id.in_(theirs)))
        wanted = frozenset(item_ids)
        return {i.id: sale for sale in found.values() for i in sale.items if i.id in wanted}

    async def list_sales(
        self, *, drafts: bool, limit: int, after_id: int | None = None
    ) -> list[Sale]:
        """Newest first; `after_id` is the last id of the page before."""
        chosen = select(sales.c.id).order_by(sales.c.id.desc()).limit(limit)
        if not drafts:
            chosen = chosen.where(sales.c.status != _S.DRAFT)
        if after_id is not None:
            chosen = chosen.where(sales.c.id < after_id)

        async def query(connection: AsyncConnection) -> dict[int, Sale]:
            ids = (await connection.execute(chosen)).scalars().all()
            return await _sales(connection, sales.c.id.in_(ids)) if ids else {}

        found = await self._read(query)
        return sorted(found.values(), key=lambda sale: -sale.id)

    async def open_sales(self, grace_ms: int = OPEN_GRACE_MS) -> list[Sale]:
        """Published or paused, and not over for longer than `grace_ms`; those closed by hand whose
        end is still to come; and those in whose lines somebody still stands: what the gate is kept
        in step with."""
        now_ms = await self.now_ms()
        theirs = items.alias()
        waited_for = exists().where(
            theirs.c.sale_id == sales.c.id,
            waitlist.c.item_id == theirs.c.id,
            waitlist.c.ended_as == 0,
        )
        wanted = (sales.c.status != _S.DRAFT) & (
            (sales.c.ends_at_ms > now_ms - grace_ms)
            | ((sales.c.ends_at_ms > now_ms - WAITED_FOR_MS) & waited_for)
        )
        found = await self._read(lambda c: _sales(c, wanted))
        return sorted(found.values(), key=lambda sale: sale.id)

    async def update_sale(
        self,
        sale_id: int,
        *,
        title: str | None = None,
        starts_at_ms: int | None = None,
        ends_at_ms: int | None = None,
        policy: Policy | None = None,
        policy_was: Policy | None = None,
        item_changes: Sequence[ItemChange] = (),
    ) -> Sale:
        """None leaves a value as it is, and so does what is in `policy` as in `policy_was`. Raises
        `Conflict` where the sale's state forbids it.

        A change of start, price or limit of a published sale that has not started counts as a new
        publication, and the gate has to load its items again.
        """
        values: dict[str, Any] = {}
        if title is not None:
            values["title"] = title
        if starts_at_ms is not None:
            values["starts_at_ms"] = starts_at_ms
        if ends_at_ms is not None:
            values["ends_at_ms"] = ends_at_ms

        async def change(tx: Transaction) -> Sale:
            sale = await _locked(tx, sale_id)
            if policy is not None:
                seen = sale.policy if policy_was is None else policy_was
                values["policy"] = policies.dump(rebased(seen, policy, sale.policy))
            fixed = check_changes(sale, starts_at_ms, ends_at_ms, item_changes, tx.now_ms)
            if fixed and sale.status is not _S.DRAFT:
                values["publication"] = sale.publication + 1
                await tx.run(
                    update(items).where(items.c.sale_id == sale_id).values(loaded_epoch=None)
                )
            if values:
                await tx.run(update(sales).where(sales.c.id == sale_id).values(values))
            await write_item_changes(tx, sale, item_changes)
            if sale.status is not _S.DRAFT:
                await announce(tx, "sale.changed", {"sale_id": sale_id})
            return await _sale(tx.connection, sale_id)

        return await self._write(change)

    async def publish(self, sale_id: int) -> Sale:
        return await self._become(sale_id, {_S.DRAFT}, _S.PUBLISHED)

    async def pause(self, sale_id: int, reason: str) -> Sale:
        return await self._become(sale_id, {_S.PUBLISHED}, _S.PAUSED, reason)

    async def resume(self, sale_id: int) -> Sale:
        return await self._become(sale_id, {_S.PAUSED}, _S.PUBLISHED)

    async def close_sale(self, sale_id: int) -> Sale:
        return await self._become(sale_id, {_S.PUBLISHED, _S.PAUSED}, _S.CLOSED)

    async def _become(
        self, sale_id: int, before: set[SaleStatus], after: SaleStatus, reason: str | None = None
    ) -> Sale:
        """Compare and set; a sale that is there already answers the same again."""

        async def change(tx: Transaction) -> Sale:
            sale = await _locked(tx, sale_id)
            if sale.status is after and sale.pause_reason == reason:
                return sale
            over = sale.state_at(tx.now_ms) is SaleState.ENDED and sale.status is not _S.DRAFT
            if sale.status not in before or (after is not _S.CLOSED and over):
                was = "over" if over else sale.status
                raise Conflict(f"A sale that is {was} cannot become {after}.")
            if after is _S.PUBLISHED and sale.ends_at_ms <= tx.now_ms:
                raise Conflict("The sale would be over already: its end has passed.")
            met = await tx.changed(
                update(sales)
                .where(sales.c.id == sale_id, sales.c.status == sale.status)
                .values(
                    status=after,
                    pause_reason=reason,
                    publication=sale.publication + (sale.status is _S.DRAFT),
                )
            )
            if met != 1:
                raise Conflict("The sale was changed by somebody else just now.")
            await announce(tx, _step_of(sale.status, after), {"sale_id": sale_id})
            return await _sale(tx.connection, sale_id)

        return await self._write(change)

    async def mark_loaded(self, item_id: int, epoch: int, edit: int) -> bool:
        """The gate of `epoch` holds the item as it was after `edit`. False where a stock edit came
        in between: the gate has to be given the item again."""
        same_epoch = items.c.loaded_epoch == epoch
        statement = (
            update(items)
            .where(items.c.id == item_id, same_epoch | (items.c.edit == edit))
            .values(loaded_epoch=epoch)
        )
        return await self._write(lambda tx: tx.changed(statement)) == 1


def _step_of(before: SaleStatus, after: SaleStatus) -> str:
    """What the outbox calls this step of a sale's life."""
    return "sale.resumed" if before is _S.PAUSED and after is _S.PUBLISHED else f"sale.{after}"


async def _insert_sale(tx: Transaction, new: NewSale) -> int:
    result = await tx.run(
        insert(sales).values(
            title=new.title,
            status=_S.DRAFT,
            publication=0,
            starts_at_ms=new.starts_at_ms,
            ends_at_ms=new.ends_at_ms,
            policy=policies.dump(new.policy),
            created_at_ms=tx.now_ms,
        )
    )
    return int(result.inserted_primary_key[0])


async def _insert_items(tx: Transaction, sale_id: int, new: NewSale, shards: int) -> None:
    """Items of a limit group share a shard; groups are spread over the shards in turn."""
    first_of_group: dict[str, int] = {}
    shard_of_group: dict[int, int] = {}
    journal = []
    for position, item in enumerate(new.items):
        shard = (sale_id + len(shard_of_group)) % shards
        group = first_of_group.get(item.limit_group) if item.limit_group is not None else None
        if group is not None:
            shard = shard_of_group[group]
        result = await tx.run(
            insert(items).values(_item_values(sale_id, position, item, shard, group or 0))
        )
        item_id = int(result.inserted_primary_key[0])
        if group is None:
            await tx.run(update(items).where(items.c.id == item_id).values(limit_group=item_id))
            shard_of_group[item_id] = shard
            if item.limit_group is not None:
                first_of_group[item.limit_group] = item_id
        journal.append(
            journal_row(
                item_id,
                "created",
                shard=shard,
                delta_stock=item.stock,
                delta_available=item.stock,
                at_ms=tx.now_ms,
            )
        )
    await tx.run(insert(stock_journal), journal)


def _item_values(
    sale_id: int, position: int, item: NewItem, shard: int, group: int
) -> dict[str, Any]:
    return {
        "sale_id": sale_id,
        "position": position,
        "title": item.title,
        "price_minor": item.price.minor,
        "currency": item.price.currency,
        "per_buyer": item.per_buyer,
        "limit_group": group,
        "limit_group_label": item.limit_group,
        "shard": shard,
        "stock": item.stock,
        "available": item.stock,
        "awaiting_payment": 0,
        "paid": 0,
        "written_off": 0,
        "edit": 0,
    }


async def _locked(tx: Transaction, sale_id: int) -> Sale:
    """The sale, which nobody else changes before this transaction ends."""
    await tx.run(select(sales.c.id).where(sales.c.id == sale_id).with_for_update())
    return await _sale(tx.connection, sale_id)


async def _sale(connection: AsyncConnection, sale_id: int) -> Sale:
    found = await _sales(connection, sales.c.id == sale_id)
    if not found:
        raise NotFound("There is no such sale.")
    return found[sale_id]


async def _sales(connection: AsyncConnection, wanted: Any) -> dict[int, Sale]:
    """One statement, so that a sale and its items are of one moment."""
    rows = await connection.execute(
        select(sales, *(column.label(f"item_{column.name}") for column in items.c))
        .select_from(sales.outerjoin(items, items.c.sale_id == sales.c.id))
        .where(wanted)
        .order_by(sales.c.id, items.c.position)
    )
    by_sale: dict[int, list[RowMapping]] = {}
    for row in rows.mappings():
        by_sale.setdefault(row["id"], []).append(row)
    return {sale_id: _sale_of(joined) for sale_id, joined in by_sale.items()}


def _sale_of(joined: Sequence[RowMapping]) -> Sale:
    row = joined[0]
    return Sale(
        id=row["id"],
        title=row["title"],
        status=SaleStatus(row["status"]),
        publication=row["publication"],
        pause_reason=row["pause_reason"],
        starts_at_ms=row["starts_at_ms"],
        ends_at_ms=row["ends_at_ms"],
        policy=policies.load(row["policy"]),
        items=tuple(_item_of(each) for each in joined if each["item_id"] is not None),
        created_at_ms=row["created_at_ms"],
    )


def _item_of(row: RowMapping) -> Item:
    return Item(
        id=row["item_id"],
        sale_id=row["id"],
        title=row["item_title"],
        price=Money(row["item_price_minor"], row["item_currency"]),
        stock=row["item_stock"],
        available=row["item_available"],
        awaiting_payment=row["item_awaiting_payment"],
        paid=row["item_paid"],
        per_buyer=row["item_per_buyer"],
        limit_group=row["item_limit_group"],
        limit_group_label=row["item_limit_group_label"],
        shard=row["item_shard"],
        written_off=row["item_written_off"],
        edit=row["item_edit"],
        loaded_epoch=row["item_loaded_epoch"],
    )
