"""A sale as a merchant writes it is read strictly, and every fault is named at once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.catalog.change import parse_change
from sluice.catalog.draft import (
    parse_reason,
    parse_sale,
    parse_stock_edit,
    sale_from_file,
    sale_from_json,
)
from sluice.domain.errors import InvalidFields
from sluice.domain.money import Money
from sluice.domain.sale import Challenge, Item, Policy, Sale, SaleStatus

EXAMPLES = Path(__file__).parents[2] / "examples"


def body(**changes: Any) -> dict[str, Any]:
    whole = {
        "title": "Drop",
        "starts_at": "2026-11-11T10:00:00+08:00",
        "ends_at": "2026-11-11T12:00:00.5Z",
        "items": [item()],
    }
    whole.update(changes)
    return whole


def item(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "title": "Tea",
        "price": {"amount": "9.90", "currency": "CNY"},
        "stock": 5,
    }
    whole.update(changes)
    return whole


def faults(whole: object) -> dict[str, str]:
    with pytest.raises(InvalidFields) as raised:
        parse_sale(whole)
    return dict(raised.value.errors)


def test_a_sale_is_read_with_safe_defaults() -> None:
    sale = parse_sale(body())
    assert sale.starts_at_ms == 1_794_362_400_000
    assert sale.ends_at_ms - sale.starts_at_ms == 10 * 3_600_000 + 500
    assert sale.policy == Policy()
    [tea] = sale.items
    assert (tea.price, tea.stock, tea.per_buyer, tea.limit_group) == (Money(990, "CNY"), 5, 1, None)


def test_the_example_has_five_hundred_fifty_and_one_units() -> None:
    sale = sale_from_file(EXAMPLES / "drop.toml")
    assert [item.stock for item in sale.items] == [500, 50, 1]


def test_a_json_file_reads_as_a_request_body_does(tmp_path: Path) -> None:
    file = tmp_path / "sale.json"
    file.write_bytes(
        b'{"title":"Drop","starts_at":"2026-11-11T10:00:00Z","ends_at":"2026-11-11T11:00:00Z",'
        b'"items":[{"title":"Tea","price":{"amount":"0","currency":"JPY"},"stock":1}]}'
    )
    assert sale_from_file(file) == sale_from_json(file.read_bytes())


def test_every_fault_is_named_at_once() -> None:
    found = faults(
        {
            "title": "a\nb",
            "starts_at": "2026-11-11",
            "items": [item(stock=-1, colour="red"), item(price={"amount": 9.9, "currency": "x"})],
            "policy": {"pass_ttl_seconds": 4, "limits": {"per_buyer_per_minute": 0}, "luck": 1},
            "extra": None,
        }
    )
    assert set(found) == {
        "title",
        "starts_at",
        "ends_at",
        "items[0].stock",
        "items[0].colour",
        "items[1].price.amount",
        "policy.pass_ttl_seconds",
        "policy.limits.per_buyer_per_minute",
        "policy.luck",
        "extra",
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "\ud800"}, "title"),
        ({"title": 7}, "title"),
        ({"title": None}, "title"),
        ({"starts_at": "2026-11-11T10:00:00"}, "starts_at"),
        ({"starts_at": "2026-02-30T10:00:00Z"}, "starts_at"),
        ({"starts_at": "0001-01-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": 1_794_362_400}, "starts_at"),
        ({"ends_at": "9999-12-31T23:59:59Z"}, "ends_at"),
        ({"ends_at": "2026-11-11T10:00:00+08:00"}, "ends_at"),
        ({"items": []}, "items"),
        ({"items": {}}, "items"),
        ({"items": [item()] * 201}, "items"),
        ({"items": [7]}, "items[0]"),
        ({"items": [item(stock=10_000_001)]}, "items[0].stock"),
        ({"items": [item(stock=True)]}, "items[0].stock"),
        ({"items": [item(stock=1.0)]}, "items[0].stock"),
        ({"items": [item(stock="1")]}, "items[0].stock"),
        ({"items": [item(per_buyer=0)]}, "items[0].per_buyer"),
        ({"items": [item(per_buyer=33)]}, "items[0].per_buyer"),
        ({"items": [item(limit_group="")]}, "items[0].limit_group"),
        ({"items": [item(price={"amount": "-1", "currency": "CNY"})]}, "items[0].price.amount"),
        ({"items": [item(price={"amount": "1.005", "currency": "CNY"})]}, "items[0].price.amount"),
        ({"items": [item(price={"amount": "1e3", "currency": "CNY"})]}, "items[0].price.amount"),
        ({"items": [item(price={"amount": "1", "currency": "cny"})]}, "items[0].price.currency"),
        ({"items": [item(price={"amount": "1", "currency": "CNY", "x": 1})]}, "items[0].price.x"),
        ({"items": [item(price="1 CNY")]}, "items[0].price"),
        ({"policy": []}, "policy"),
        ({"policy": {"challenge": "riddle"}}, "policy.challenge"),
        ({"policy": {"waitlist": 1}}, "policy.waitlist"),
        ({"policy": {"waitlist_until": "2026-11-11T10:00:00+08:00"}}, "policy.waitlist_until"),
        ({"policy": {"payment_window_seconds": 1}}, "policy.payment_window_seconds"),
        ({"policy": {"payment_reminder_seconds": 900}}, "policy.payment_reminder_seconds"),
        (
            {"policy": {"waiting_room": {"admit_per_second": float("inf")}}},
            "policy.waiting_room.admit_per_second",
        ),
        ({"policy": {"waiting_room": {"active_max": 0}}}, "policy.waiting_room.active_max"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_the_name_of_its_field(
    changes: dict[str, Any], field: str
) -> None:
    assert field in faults(body(**changes))


def test_variants_of_a_limit_group_must_agree_on_the_limit() -> None:
    variants = [item(limit_group="tea", per_buyer=2), item(limit_group="tea", per_buyer=3)]
    assert list(faults(body(items=variants))) == ["items[1].per_buyer"]
    assert parse_sale(body(items=[variants[0], {**variants[1], "per_buyer": 2}]))


def test_a_short_payment_window_brings_its_reminder_along() -> None:
    policy = parse_sale(body(policy={"payment_window_seconds": 60})).policy
    assert policy.payment_reminder_seconds == 30


def test_a_policy_is_read_whole() -> None:
    policy = parse_sale(
        body(
            policy={
                "challenge": "slider",
                "waitlist": False,
                "waitlist_until": None,
                "limits": {"per_address_per_minute": 50},
                "waiting_room": {"enabled": True, "admit_per_second": 20, "active_max": 100},
            }
        )
    ).policy
    assert policy.challenge is Challenge.SLIDER
    assert policy.limits.per_buyer_per_minute == 10
    assert policy.waiting_room.admit_per_second == 20.0


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"title": NaN}', b"null"])
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidFields):
        sale_from_json(data)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.dictionaries(
        st.sampled_from(["title", "starts_at", "ends_at", "items", "policy"]), json_like
    )
)
def test_no_body_makes_anything_but_a_sale_or_a_list_of_faults(changes: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidFields):
        parse_sale(body(**changes))


def stored(**changes: Any) -> Sale:
    items = tuple(
        Item(
            id=n,
            sale_id=1,
            title="Tea",
            price=Money(990, "CNY"),
            stock=5,
            available=5,
            awaiting_payment=0,
            paid=0,
            per_buyer=2,
            limit_group=10,
            limit_group_label="tea",
            shard=0,
        )
        for n in (10, 11)
    )
    values: dict[str, Any] = {
        "id": 1,
        "title": "Drop",
        "status": SaleStatus.DRAFT,
        "publication": 0,
        "pause_reason": None,
        "starts_at_ms": 1_794_362_400_000,
        "ends_at_ms": 1_794_369_600_000,
        "policy": Policy(waitlist=False),
        "items": items,
        "created_at_ms": 0,
    }
    values.update(changes)
    return Sale(**values)


def change_faults(whole: object) -> list[str]:
    with pytest.raises(InvalidFields) as raised:
        parse_change(whole, stored())
    return [field for field, _ in raised.value.errors]


def test_a_change_leaves_what_it_does_not_name() -> None:
    change = parse_change({"policy": {"pass_ttl_seconds": 30}}, stored())
    assert change.policy == Policy(waitlist=False, pass_ttl_seconds=30)
    assert (change.title, change.starts_at_ms, change.items) == (None, None, ())


def test_a_change_is_checked_against_what_it_leaves() -> None:
    assert change_faults({"starts_at": "2026-11-11T12:00:00+08:00"}) == ["ends_at"]
    different = [{"id": "10", "per_buyer": 3}, {"id": "11", "per_buyer": 4}]
    assert change_faults({"items": different}) == ["items[1].per_buyer"]
    one = parse_change({"items": [different[0]]}, stored())
    assert one.items[0].per_buyer == 3, "it holds for the other item of the group as well"


def test_a_change_names_items_of_this_sale_once() -> None:
    assert change_faults({"items": [{"id": "12"}]}) == ["items[0].id"]
    assert change_faults({"items": [{"id": 10}]}) == ["items[0].id"]
    assert change_faults({"items": [{"id": "10"}, {"id": "10"}]}) == ["items"]
    assert change_faults({"items": [{"id": "10", "stock": 7}]}) == ["items[0].stock"]
    assert change_faults({"title": None, "state": "live"}) == ["title", "state"]


def test_a_stock_edit_has_a_delta_and_a_reason() -> None:
    assert parse_stock_edit({"delta": -5, "reason": "broken"}) == (-5, "broken")
    refused: list[object] = [
        {"delta": 0, "reason": "x"},
        {"delta": 1},
        {"delta": "1", "reason": "x"},
        [],
    ]
    for whole in refused:
        with pytest.raises(InvalidFields):
            parse_stock_edit(whole)


def test_a_pause_has_a_reason() -> None:
    assert parse_reason({"reason": "price check"}) == "price check"
    with pytest.raises(InvalidFields):
        parse_reason({})
