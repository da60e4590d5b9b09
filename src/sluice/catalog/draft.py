"""A sale as a merchant writes it: strict, typed, every field error at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec

from sluice.catalog.form import Faults, Form, finish
from sluice.catalog.policy import read_policy
from sluice.domain.errors import Invalid, InvalidFields
from sluice.domain.money import Money
from sluice.domain.sale import (
    ITEMS_MAX,
    PER_BUYER_MAX,
    STOCK_MAX,
    TITLE_MAX,
    NewItem,
    NewSale,
    Policy,
)

LIMIT_GROUP_MAX = 64
"""Characters of a limit group's label."""
REASON_MAX = 500
FILE_BYTES_MAX = 1 << 20
DURATION_MS_MIN = 1000

_NOTHING = Money(0, "CNY")


class RefundForm(NamedTuple):
    """A refund as an operator wants it."""

    quantity: int | None
    """Units; None: all that are not refunded yet."""
    restock: bool
    """Whether they go back to the line or on sale; else they are written off."""
    reason: str


def parse_sale(body: object) -> NewSale:
    """The body of `POST /v1/admin/sales`, decoded. Raises `InvalidFields`."""
    form = Form(body, "", [])
    title = form.text("title", TITLE_MAX)
    starts, ends = form.time("starts_at"), form.time("ends_at")
    check_window(form, starts, ends)
    items = _items(form)
    policy = read_policy(form.form("policy"), Policy(), starts)
    finish(form)
    return NewSale(
        title=title or "",
        starts_at_ms=starts or 0,
        ends_at_ms=ends or 0,
        items=items,
        policy=policy,
    )


def sale_from_json(data: bytes) -> NewSale:
    """Raises `InvalidFields`, also where `data` is not JSON."""
    return parse_sale(decode_json(data))


def sale_from_file(path: Path) -> NewSale:
    """A `.toml` file, or JSON under any other name. Raises `InvalidFields` and `OSError`."""
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InvalidFields([("", f"must not be longer than {FILE_BYTES_MAX} bytes")])
    if path.suffix.lower() != ".toml":
        return sale_from_json(data)
    try:
        return parse_sale(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise InvalidFields([("", f"is not TOML: {error}")]) from None


def decode_json(data: bytes) -> object:
    """Raises `InvalidFields` where `data` is not JSON, or nested beyond reason."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidFields([("", f"is not JSON: {error}")]) from None


def parse_stock_edit(body: object) -> tuple[int, str]:
    """(delta, reason) of `POST /v1/admin/items/{id}/stock`. Raises `InvalidFields`."""
    form = Form(body, "", [])
    delta = form.whole("delta", -STOCK_MAX, STOCK_MAX)
    if delta == 0:
        form.fault("delta", "must not be 0")
    reason = form.text("reason", REASON_MAX)
    finish(form)
    return delta or 0, reason or ""


def parse_reason(body: object) -> str:
    """The body of a command that takes a reason alone. Raises `InvalidFields`."""
    form = Form(body, "", [])
    reason = form.text("reason", REASON_MAX)
    finish(form)
    return reason or ""


def parse_refund(body: object) -> RefundForm:
    """The body of `POST /v1/admin/orders/{id}/refund`. Raises `InvalidFields`."""
    form = Form(body, "", [])
    quantity = None
    if not form.null("quantity") and form.has("quantity"):
        quantity = form.whole("quantity", 1, PER_BUYER_MAX)
    restock = form.truth("restock", True)
    reason = form.text("reason", REASON_MAX)
    finish(form)
    return RefundForm(quantity, restock, reason or "")


def check_window(form: Form, starts: int | None, ends: int | None) -> None:
    if starts is not None and ends is not None and ends < starts + DURATION_MS_MIN:
        form.fault("ends_at", "must be at least a second after starts_at")


def read_price(form: Form) -> Money:
    """The price in the field `price`; free (0) where it is at fault."""
    price = form.form("price")
    # A null is there and wrong; what is not there at all is named by `raw`.
    has_amount, has_currency = price.has("amount"), price.has("currency")
    amount, currency = price.raw("amount"), price.raw("currency")
    price.done()
    if not isinstance(amount, str) or not isinstance(currency, str):
        if has_amount and not isinstance(amount, str):
            price.fault("amount", 'must be a decimal string, such as "9.90"')
        if has_currency and not isinstance(currency, str):
            price.fault("currency", "must be three capital letters, such as CNY")
        return _NOTHING
    try:
        return Money.parse(amount, currency, price.path)
    except Invalid as error:
        form.faults.append((error.field, error.message))
        return _NOTHING


def _items(form: Form) -> tuple[NewItem, ...]:
    there = form.has("items")
    value = form.raw("items")
    if not isinstance(value, list) or not 1 <= len(value) <= ITEMS_MAX:
        if there:
            form.fault("items", f"must be a list of 1 to {ITEMS_MAX} items")
        return ()
    items = tuple(
        _item(Form(part, f"items[{index}]", form.faults)) for index, part in enumerate(value)
    )
    _check_groups(items, form.faults)
    return items


def _item(form: Form) -> NewItem:
    title = form.text("title", TITLE_MAX)
    if not form.has("price"):
        form.fault("price", "is required")
        price = _NOTHING
    else:
        price = read_price(form)
    stock = form.whole("stock", 0, STOCK_MAX)
    per_buyer = form.whole("per_buyer", 1, PER_BUYER_MAX, default=1)
    group = None
    if not form.null("limit_group"):
        group = form.text("limit_group", LIMIT_GROUP_MAX, required=False)
    form.done()
    return NewItem(
        title=title or "",
        price=price,
        stock=stock or 0,
        per_buyer=per_buyer or 1,
        limit_group=group,
    )


def _check_groups(items: tuple[NewItem, ...], faults: Faults) -> None:
    limits: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.limit_group is None:
            continue
        limit = limits.setdefault(item.limit_group, item.per_buyer)
        if limit != item.per_buyer:
            message = f"must be {limit}, as in the other items of limit_group"
            faults.append((f"items[{index}].per_buyer", message))
