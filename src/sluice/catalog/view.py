"""Sales and orders as JSON (api.md): plain dicts, which msgspec encodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sluice.domain.money import Money
from sluice.domain.order import Order
from sluice.domain.sale import Item, ItemState, Policy, Sale, SaleState, item_state
from sluice.domain.times import render_time

Json = dict[str, Any]


class Stock(NamedTuple):
    """What is known of an item's units at some moment."""

    available: int
    """Units that can be bought: the gate's A where it is known, else the ledger's L."""
    may_return: bool
    """Units are held and not yet paid for, so they may come back."""


def stock_of(item: Item, gate_available: int | None) -> Stock:
    """`gate_available` is None where the gate does not hold the item, or is away."""
    available = item.available if gate_available is None else max(gate_available, 0)
    unpaid = item.available - available + item.awaiting_payment
    return Stock(available, unpaid > 0)


def render_money(money: Money) -> Json:
    return {"amount": money.amount, "currency": money.currency}


def render_policy(policy: Policy) -> Json:
    until = policy.waitlist_until_ms
    return {
        "challenge": policy.challenge.value,
        "pass_ttl_seconds": policy.pass_ttl_seconds,
        "payment_window_seconds": policy.payment_window_seconds,
        "payment_reminder_seconds": policy.payment_reminder_seconds,
        "waitlist": policy.waitlist,
        "waitlist_until": None if until is None else render_time(until),
        "invite_only": policy.invite_only,
        "limits": {
            "per_buyer_per_minute": policy.limits.per_buyer_per_minute,
            "per_address_per_minute": policy.limits.per_address_per_minute,
            "per_sale_per_second": policy.limits.per_sale_per_second,
        },
        "waiting_room": {
            "enabled": policy.waiting_room.enabled,
            "admit_per_second": policy.waiting_room.admit_per_second,
            "active_max": policy.waiting_room.active_max,
            "opens_before_seconds": policy.waiting_room.opens_before_seconds,
            "factor": policy.waiting_room.factor,
        },
    }


def render_sale(sale: Sale, state: SaleState, stocks: Mapping[int, Stock]) -> Json:
    """The public snapshot, but for `server_time`, which changes with every answer."""
    shown: Json = {
        "id": str(sale.id),
        "title": sale.title,
        "state": state.value,
        "starts_at": render_time(sale.starts_at_ms),
        "ends_at": render_time(sale.ends_at_ms),
        "policy": render_policy(sale.policy),
        "items": [_public_item(item, stocks[item.id]) for item in sale.items],
    }
    if state is SaleState.PAUSED:
        shown["pause_reason"] = sale.pause_reason
    return shown


def render_admin_sale(sale: Sale, now_ms: int) -> Json:
    """What the merchant sees: drafts too, with the ledger's own counts."""
    return {
        "id": str(sale.id),
        "title": sale.title,
        "state": sale.state_at(now_ms).value,
        "starts_at": render_time(sale.starts_at_ms),
        "ends_at": render_time(sale.ends_at_ms),
        "server_time": render_time(now_ms),
        "created_at": render_time(sale.created_at_ms),
        "publication": sale.publication,
        "pause_reason": sale.pause_reason,
        "policy": render_policy(sale.policy),
        "items": [_admin_item(item) for item in sale.items],
    }


def render_order(order: Order) -> Json:
    """As its buyer sees it. `checkout_url` is there while a payment is open."""
    amount, pay_by = order.amount, order.pay_by_ms
    payment: Json = {"state": order.payment_state.value}
    if order.checkout_url is not None:
        payment["checkout_url"] = order.checkout_url
    return {
        "id": str(order.number),
        "sale_id": str(order.sale_id),
        "item_id": str(order.item_id),
        "quantity": order.quantity,
        "refunded_quantity": order.refunded_quantity,
        "amount": None if amount is None else render_money(amount),
        "state": order.state.value,
        "placed_at": render_time(order.placed_at_ms),
        "pay_by": None if pay_by is None else render_time(pay_by),
        "payment": payment,
        "history": [
            {"state": entry.state.value, "at": render_time(entry.at_ms)} for entry in order.history
        ],
    }


def _item_head(item: Item) -> Json:
    return {"id": str(item.id), "title": item.title, "price": render_money(item.price)}


def _public_item(item: Item, stock: Stock) -> Json:
    return {
        **_item_head(item),
        "stock": item.stock,
        "state": _state(item, stock).value,
        "remaining_hint": stock.available,
        "per_buyer": item.per_buyer,
        "limit_group": item.limit_group_label,
    }


def _admin_item(item: Item) -> Json:
    stock = stock_of(item, None)
    return {
        **_item_head(item),
        "stock": item.stock,
        "state": _state(item, stock).value,
        "remaining_hint": stock.available,
        "per_buyer": item.per_buyer,
        "limit_group": item.limit_group_label,
        "available": item.available,
        "awaiting_payment": item.awaiting_payment,
        "paid": item.paid,
        "shard": item.shard,
    }


def _state(item: Item, stock: Stock) -> ItemState:
    return item_state(stock=item.stock, available=stock.available, may_return=stock.may_return)
