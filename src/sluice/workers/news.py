"""What the outbox's events mean to a merchant's endpoint, and the messages they are sent as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sluice.catalog.view import Json, render_admin_sale, render_order
from sluice.domain.order import Order
from sluice.domain.sale import Sale
from sluice.domain.times import render_time
from sluice.domain.webhook import (
    TEST_TYPE,
    Cursor,
    Delivery,
    News,
    subject_of_order,
    subject_of_sale,
)
from sluice.ledger.records import Event


def news_of(
    events: Sequence[Event], before: Cursor, limit: int, since_ms: int
) -> tuple[list[News], Cursor]:
    """Up to `limit` pieces of news, one for each subject of an event, and how far that goes.

    `events` are those after `before`. What was before `since_ms` is news to nobody.
    """
    news: list[News] = []
    position, done = before
    for event in events:
        subjects = subjects_of(event)[done:] if event.at_ms >= since_ms else []
        part = subjects[: limit - len(news)]
        news += [News(event.id, event.kind, subject, event.at_ms) for subject in part]
        if len(part) < len(subjects):
            return news, Cursor(position, done + len(part))
        position, done = event.id, 0
    return news, Cursor(position, done)


def subjects_of(event: Event) -> list[str]:
    """Whom the event happened to, each once; empty for kinds that endpoints are not told."""
    family = event.kind.partition(".")[0]
    if family == "order":
        return list(dict.fromkeys(subject_of_order(n) for n in event.payload["numbers"]))
    if family == "sale":
        return [subject_of_sale(event.payload["sale_id"])]
    return []


def message_body(
    delivery: Delivery, orders: Mapping[int, Order], sales: Mapping[int, Sale], now_ms: int
) -> bytes | None:
    """The message as it is sent now: `type` and `timestamp` say what happened and when, `data` is
    its subject as it is at this moment. None where the ledger does not have the subject."""
    data = _data(delivery, orders, sales, now_ms)
    if data is None:
        return None
    return msgspec.json.encode(
        {"type": delivery.type, "timestamp": render_time(delivery.occurred_at_ms), "data": data}
    )


def _data(
    delivery: Delivery, orders: Mapping[int, Order], sales: Mapping[int, Sale], now_ms: int
) -> Json | None:
    kind, _, name = delivery.subject.partition(":")
    if delivery.type == TEST_TYPE:
        return {"endpoint_id": str(delivery.endpoint_id), "message": "It works."}
    if kind == "order":
        order = orders.get(int(name))
        return None if order is None else order_data(order)
    sale = sales.get(int(name))
    return None if sale is None else render_admin_sale(sale, now_ms)


def order_data(order: Order) -> dict[str, Any]:
    """The order as its buyer is shown it, and whose it is."""
    return {**render_order(order), "buyer": order.buyer}


def wanted_by(deliveries: Sequence[Delivery]) -> tuple[list[int], list[int]]:
    """Order numbers and sale ids that their messages are about."""
    found: dict[str, set[int]] = {"order": set(), "sale": set()}
    for delivery in deliveries:
        kind, _, name = delivery.subject.partition(":")
        if kind in found:
            found[kind].add(int(name))
    return sorted(found["order"]), sorted(found["sale"])
