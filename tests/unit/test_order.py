"""An order's life: one table of legal steps, and a state that follows from the history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.order import HOLDING, TRANSITIONS, OrderState, fold, may_become

Q, A, P = OrderState.QUEUED, OrderState.AWAITING_PAYMENT, OrderState.PAID
LIVES = [
    [],
    [Q],
    [A],
    [Q, A],
    [A, P],
    [P],  # a free item's
    [OrderState.REJECTED],
    [OrderState.CANCELLED],
    [A, OrderState.CANCELLED],
    [A, OrderState.EXPIRED],
    [A, P, OrderState.REFUNDING, OrderState.REFUNDED],
]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: "-".join(life) or "new")
def test_the_state_is_where_the_history_leads(life: list[OrderState]) -> None:
    assert fold(life) == (life[-1] if life else Q)


@pytest.mark.parametrize(
    "life",
    [
        [A, A],
        [A, Q],
        [A, OrderState.REJECTED],
        [P, A],
        [P, OrderState.CANCELLED],
        [P, OrderState.EXPIRED],
        [P, OrderState.REFUNDED],
        [OrderState.EXPIRED, P],
        [A, OrderState.EXPIRED, A],
        [OrderState.CANCELLED, A],
        [OrderState.REJECTED, A],
        [OrderState.REFUNDING],
    ],
    ids="-".join,
)
def test_a_step_that_is_not_in_the_table_is_an_error(life: list[OrderState]) -> None:
    with pytest.raises(ValueError):
        fold(life)


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    reached = {Q}
    while more := set().union(*(TRANSITIONS[state] for state in reached)) - reached:
        reached |= more

    assert set(TRANSITIONS) == set(OrderState) == reached


def test_no_order_comes_back_to_a_state_that_it_left() -> None:
    """So a unit that was given back can never be held again under the same number."""

    def after(state: OrderState) -> set[OrderState]:
        steps = TRANSITIONS[state]
        return set(steps).union(*(after(step) for step in steps))

    assert all(state not in after(state) for state in OrderState)


def test_an_order_that_gave_its_units_back_never_holds_them_again() -> None:
    for state in set(OrderState) - HOLDING - {Q}:
        assert not TRANSITIONS[state] & HOLDING


@given(st.lists(st.sampled_from(OrderState), max_size=6))
def test_a_history_folds_if_and_only_if_each_step_may_be_taken(life: list[OrderState]) -> None:
    steps = [step for at, step in enumerate(life) if step is not Q or set(life[:at]) - {Q}]
    legal = all(may_become(*pair) for pair in zip([Q, *steps], steps, strict=False))

    if legal:
        assert fold(life) == ([Q, *steps])[-1]
    else:
        with pytest.raises(ValueError):
            fold(life)
