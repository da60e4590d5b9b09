"""Order numbers: three parts in 63 bits, in the order of time, and never anything else as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.number import (
    EPOCH_S,
    NUMBER_MAX,
    SEQUENCE_MAX,
    SHARDS_MAX,
    NumberParts,
    join,
    parse,
    split,
)

parts = st.tuples(
    st.integers(0, 2**31 - 1), st.integers(0, SHARDS_MAX - 1), st.integers(0, SEQUENCE_MAX)
)


@given(parts)
def test_parts_go_in_and_come_out(given_parts: tuple[int, int, int]) -> None:
    number = join(*given_parts)

    assert split(number) == given_parts
    assert 0 <= number <= NUMBER_MAX


@given(parts, parts)
def test_numbers_sort_by_second_then_shard_then_sequence(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert (join(*one) < join(*other)) == (one < other)


def test_the_highest_parts_make_the_highest_number() -> None:
    assert join(2**31 - 1, SHARDS_MAX - 1, SEQUENCE_MAX) == NUMBER_MAX


def test_a_number_tells_when_it_was_minted_to_the_second() -> None:
    assert NumberParts(0, 1, 2).minted_at_ms == EPOCH_S * 1000 == 1_767_225_600_000
    assert split(join(86_400, 0, 1)).minted_at_ms == (EPOCH_S + 86_400) * 1000


@given(st.integers(1, NUMBER_MAX))
def test_text_is_read_back_exactly(number: int) -> None:
    assert parse(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "00",
        "01",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1.0",
        "1e3",
        "1_000",
        "0x1",
        "٣",
        "²",
        "１",
        "abc",
        str(NUMBER_MAX + 1),
        "9" * 19,
        "1" * 20,
        "1" * 10_000,
    ],
)
def test_other_text_is_no_number(text: str) -> None:
    assert parse(text) is None
