"""What a merchant changes of a sale: the body of `PATCH /v1/admin/sales/{id}`."""

from __future__ import annotations

from sluice.catalog.draft import check_window, read_price
from sluice.catalog.form import Faults, Form, finish
from sluice.catalog.policy import read_policy
from sluice.domain import number
from sluice.domain.sale import (
    ITEMS_MAX,
    PER_BUYER_MAX,
    TITLE_MAX,
    Item,
    ItemChange,
    Policy,
    Sale,
    SaleChange,
)


def parse_change(body: object, sale: Sale) -> SaleChange:
    """The change that `body` asks of `sale`, checked together with all that it leaves as it is.

    Whether the sale's state allows it is the ledger's to say. Raises `InvalidFields`.
    """
    form = Form(body, "", [])
    title = form.text("title", TITLE_MAX, required=False)
    starts = form.time("starts_at") if form.has("starts_at") else None
    ends = form.time("ends_at") if form.has("ends_at") else None
    if not form.faults:
        check_window(
            form,
            sale.starts_at_ms if starts is None else starts,
            sale.ends_at_ms if ends is None else ends,
        )
    change = SaleChange(
        title=title,
        starts_at_ms=starts,
        ends_at_ms=ends,
        policy=_policy(form, sale, starts),
        policy_was=sale.policy,
        items=_items(form, sale),
    )
    finish(form)
    return change


def _policy(form: Form, sale: Sale, starts: int | None) -> Policy | None:
    if not form.has("policy"):
        return None
    start = sale.starts_at_ms if starts is None else starts
    return read_policy(form.form("policy"), sale.policy, start)


def _items(form: Form, sale: Sale) -> tuple[ItemChange, ...]:
    if not form.has("items"):
        return ()
    value = form.raw("items")
    if not isinstance(value, list) or not 1 <= len(value) <= ITEMS_MAX:
        form.fault("items", f"must be a list of 1 to {ITEMS_MAX} items")
        return ()
    known = {item.id: item for item in sale.items}
    changes = [
        _item(Form(part, f"items[{index}]", form.faults), known) for index, part in enumerate(value)
    ]
    found = [change for change in changes if change is not None]
    if len({change.item_id for change in found}) < len(found):
        form.fault("items", "must name each item once")
    if len(found) == len(changes):
        _check_groups(found, sale, form.faults)
    return tuple(found)


def _item(form: Form, known: dict[int, Item]) -> ItemChange | None:
    text = form.raw("id")
    item_id = number.parse(text) if isinstance(text, str) else None
    if item_id not in known:
        form.fault("id", "must be the id of an item of this sale")
    title = form.text("title", TITLE_MAX, required=False)
    price = read_price(form) if form.has("price") else None
    per_buyer = form.whole("per_buyer", 1, PER_BUYER_MAX) if form.has("per_buyer") else None
    form.done()
    if item_id is None or item_id not in known:
        return None
    return ItemChange(item_id=item_id, title=title, price=price, per_buyer=per_buyer)


def _check_groups(changes: list[ItemChange], sale: Sale, faults: Faults) -> None:
    """A limit holds for its whole limit group, whichever item it was named with."""
    group_of = {item.id: item.limit_group for item in sale.items}
    limits: dict[int, int] = {}
    for index, change in enumerate(changes):
        if change.per_buyer is None:
            continue
        limit = limits.setdefault(group_of[change.item_id], change.per_buyer)
        if limit != change.per_buyer:
            message = f"must be {limit}, as in the other items of limit_group"
            faults.append((f"items[{index}].per_buyer", message))
