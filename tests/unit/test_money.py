"""Money: whole minor units inside, a plain decimal outside, and nothing lost in between."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.errors import Invalid
from sluice.domain.money import MINOR_MAX, Money, decimals_of

CURRENCIES = ["CNY", "JPY", "KWD", "EUR"]


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "written"),
    [
        ("9.90", "CNY", 990, "9.90"),
        ("9.9", "CNY", 990, "9.90"),
        ("9", "CNY", 900, "9.00"),
        ("0", "CNY", 0, "0.00"),
        ("0.01", "CNY", 1, "0.01"),
        ("500", "JPY", 500, "500"),
        ("1.5", "KWD", 1500, "1.500"),
        ("0.005", "KWD", 5, "0.005"),
        ("10000000000000", "CNY", MINOR_MAX, "10000000000000.00"),
    ],
)
def test_a_decimal_becomes_minor_units_and_a_decimal_again(
    amount: str, currency: str, minor: int, written: str
) -> None:
    money = Money.parse(amount, currency)

    assert money == Money(minor, currency)
    assert money.amount == written


@given(st.integers(0, MINOR_MAX), st.sampled_from(CURRENCIES))
def test_nothing_is_lost_between_text_and_units(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert Money.parse(money.amount, currency) == money
    assert Decimal(money.amount).scaleb(decimals_of(currency)) == minor


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("", "CNY"),
        (".", "CNY"),
        (".5", "CNY"),
        ("5.", "CNY"),
        ("1.234", "CNY"),
        ("1.0", "JPY"),
        ("1.2345", "KWD"),
        ("-1", "CNY"),
        ("+1", "CNY"),
        (" 1", "CNY"),
        ("1e2", "CNY"),
        ("1_0", "CNY"),
        ("1,5", "CNY"),
        ("1.2.3", "CNY"),
        ("٣", "CNY"),
        ("²", "CNY"),
        ("NaN", "CNY"),
        ("10000000000000.01", "CNY"),
        ("9" * 16, "CNY"),
        ("9" * 10_000, "JPY"),
    ],
)
def test_anything_but_a_plain_decimal_of_a_sane_size_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(Invalid) as refused:
        Money.parse(amount, currency, "items[0].price")
    assert refused.value.field == "items[0].price.amount"


@pytest.mark.parametrize("currency", ["", "cny", "CN", "CNYY", "C1Y", "ÇNY", "CN "])
def test_a_currency_is_three_capital_letters(currency: str) -> None:
    with pytest.raises(Invalid) as refused:
        Money.parse("1", currency)
    assert refused.value.field == "price.currency"


def test_several_units_cost_as_many_times_the_price() -> None:
    assert Money(990, "CNY").times(3) == Money(2970, "CNY")
    assert Money(0, "JPY").times(32).amount == "0"
