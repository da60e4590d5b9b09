"""Which changes a sale allows, by its state: price, limit and start are fixed once it is live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import update

from sluice.domain.errors import Conflict, Invalid, NotFound
from sluice.domain.sale import ItemChange, Sale, SaleState, SaleStatus
from sluice.ledger.store import Transaction
from sluice.ledger.tables import items

RELOAD_MARGIN_MS = 10_000
"""A published sale's terms are fixed this long before its start already: the gate, which starts it
by its own clock, has to be given the new ones first."""


def check_changes(
    sale: Sale,
    starts_at_ms: int | None,
    ends_at_ms: int | None,
    item_changes: Sequence[ItemChange],
    now_ms: int,
) -> bool:
    """Whether terms that are fixed in a live sale change. Raises where that is not allowed."""
    state = sale.state_at(now_ms)
    if state is SaleState.ENDED:
        raise Conflict("The sale is over and cannot be changed.")
    start = sale.starts_at_ms if starts_at_ms is None else starts_at_ms
    end = sale.ends_at_ms if ends_at_ms is None else ends_at_ms
    if start >= end:
        field = "ends_at" if starts_at_ms is None else "starts_at"
        raise Invalid(field, "must leave the sale's start before its end")
    known = {item.id for item in sale.items}
    if any(change.item_id not in known for change in item_changes):
        raise NotFound("The sale has no such item.")
    terms = start != sale.starts_at_ms or any(
        change.price is not None or change.per_buyer is not None for change in item_changes
    )
    if terms and sale.status is not SaleStatus.DRAFT:
        if now_ms >= sale.starts_at_ms - RELOAD_MARGIN_MS:
            raise Conflict("Price, limit and start of a live sale are fixed.")
        if start < now_ms + RELOAD_MARGIN_MS:
            raise Conflict("A published sale cannot be made to start within 10 seconds.")
    return terms


async def write_item_changes(
    tx: Transaction, sale: Sale, item_changes: Sequence[ItemChange]
) -> None:
    for change in item_changes:
        values: dict[str, Any] = {}
        if change.title is not None:
            values["title"] = change.title
        if change.price is not None:
            values["price_minor"] = change.price.minor
            values["currency"] = change.price.currency
        if values:
            await tx.run(update(items).where(items.c.id == change.item_id).values(values))
        if change.per_buyer is not None:
            group = next(i.limit_group for i in sale.items if i.id == change.item_id)
            await tx.run(
                update(items).where(items.c.limit_group == group).values(per_buyer=change.per_buyer)
            )
