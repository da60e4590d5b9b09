"""Sales and orders are shown in the shapes that the contract names."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.catalog.view import render_admin_sale, render_order, render_sale, stock_of
from sluice.domain.money import Money
from sluice.domain.order import HistoryEntry, Order, OrderState, PaymentState
from sluice.domain.sale import Item, Policy, Sale, SaleState, SaleStatus
from sluice.domain.times import parse_time, render_time

TEA = Item(
    id=10,
    sale_id=1,
    title="Tea",
    price=Money(990, "CNY"),
    stock=10,
    available=8,
    awaiting_payment=1,
    paid=1,
    per_buyer=2,
    limit_group=10,
    limit_group_label=None,
    shard=0,
)
SALE = Sale(
    id=1,
    title="Drop",
    status=SaleStatus.PUBLISHED,
    publication=1,
    pause_reason=None,
    starts_at_ms=1_794_362_400_000,
    ends_at_ms=1_794_369_600_000,
    policy=Policy(),
    items=(TEA,),
    created_at_ms=1_794_000_000_000,
)


def shown_item(item: Item, gate_available: int | None) -> dict[str, object]:
    sale = dataclasses.replace(SALE, items=(item,))
    shown = render_sale(sale, SaleState.LIVE, {item.id: stock_of(item, gate_available)})
    only: dict[str, object] = shown["items"][0]
    return only


def test_a_sale_shows_what_the_contract_names() -> None:
    shown = render_sale(SALE, SaleState.LIVE, {10: stock_of(TEA, 7)})
    assert shown["starts_at"] == "2026-11-11T02:00:00.000Z"
    assert {"id", "title", "state", "starts_at", "ends_at", "policy", "items"} <= set(shown)
    assert shown["items"] == [
        {
            "id": "10",
            "title": "Tea",
            "price": {"amount": "9.90", "currency": "CNY"},
            "stock": 10,
            "state": "available",
            "remaining_hint": 7,
            "per_buyer": 2,
            "limit_group": None,
        }
    ]


@pytest.mark.parametrize(
    ("available", "awaiting", "paid", "gate", "state"),
    [
        (8, 1, 1, 2, "available"),
        (8, 1, 1, 1, "low"),
        (8, 1, 1, 0, "held"),
        (0, 1, 9, 0, "held"),
        (0, 0, 10, 0, "sold_out"),
        (0, 0, 10, None, "sold_out"),
        (8, 1, 1, None, "available"),
    ],
)
def test_an_item_is_sold_out_only_when_nothing_may_come_back(
    available: int, awaiting: int, paid: int, gate: int | None, state: str
) -> None:
    item = dataclasses.replace(TEA, available=available, awaiting_payment=awaiting, paid=paid)
    assert shown_item(item, gate)["state"] == state


def test_a_paused_sale_says_why() -> None:
    sale = dataclasses.replace(SALE, status=SaleStatus.PAUSED, pause_reason="price check")
    shown = render_sale(sale, SaleState.PAUSED, {10: stock_of(TEA, None)})
    assert shown["pause_reason"] == "price check"


def test_the_merchant_sees_the_ledgers_own_counts() -> None:
    shown = render_admin_sale(SALE, SALE.starts_at_ms - 1)
    assert shown["state"] == "scheduled"
    assert shown["server_time"] == "2026-11-11T01:59:59.999Z"
    item = shown["items"][0]
    assert (item["available"], item["awaiting_payment"], item["paid"]) == (8, 1, 1)


def test_an_order_shows_its_history_and_what_was_paid() -> None:
    order = Order(
        number=2**62 + 1,
        sale_id=1,
        item_id=10,
        buyer="jwt:shop:1",
        quantity=2,
        amount=Money(1980, "CNY"),
        state=OrderState.PAID,
        payment_state=PaymentState.CAPTURED,
        placed_at_ms=1_794_362_400_000,
        pay_by_ms=1_794_363_300_000,
        history=[
            HistoryEntry(state=OrderState.QUEUED, at_ms=1_794_362_400_000),
            HistoryEntry(state=OrderState.PAID, at_ms=1_794_362_401_000),
        ],
    )
    assert render_order(order) == {
        "id": "4611686018427387905",
        "sale_id": "1",
        "item_id": "10",
        "quantity": 2,
        "refunded_quantity": 0,
        "amount": {"amount": "19.80", "currency": "CNY"},
        "state": "paid",
        "placed_at": "2026-11-11T02:00:00.000Z",
        "pay_by": "2026-11-11T02:15:00.000Z",
        "payment": {"state": "captured"},
        "history": [
            {"state": "queued", "at": "2026-11-11T02:00:00.000Z"},
            {"state": "paid", "at": "2026-11-11T02:00:01.000Z"},
        ],
    }


@given(st.integers(1_577_836_800_000, 3_818_447_999_999))
def test_a_time_reads_back_as_it_was_written(ms: int) -> None:
    assert parse_time(render_time(ms)) == ms
