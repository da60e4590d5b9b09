"""What a worker counts of a sale is told once a second, and what is lost is owned up to."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from sluice.domain import tally
from sluice.domain.outcome import Outcome
from sluice.web.problems import for_outcome
from sluice.web.tally import _REASON, SALES_MAX, Tally


class Board:
    """Takes counts, or is away."""

    def __init__(self) -> None:
        self.taken: list[dict[int, dict[str, int]]] = []
        self.away = False

    async def add(self, counts: Mapping[int, Mapping[str, int]]) -> bool:
        if not self.away:
            self.taken.append({sale_id: dict(each) for sale_id, each in counts.items()})
        return not self.away


def test_every_outcome_has_the_name_of_its_problem() -> None:
    for outcome, reason in _REASON.items():
        assert for_outcome(outcome).code == reason
        assert reason in tally.REASONS
    assert {*_REASON, Outcome.ACCEPTED, Outcome.REPLAYED} == set(Outcome)


async def test_what_happened_is_told_by_sale_and_once() -> None:
    board = Board()
    counted = Tally(board.add)
    counted.viewed(7)
    counted.viewed(7)
    counted.passed(7)
    counted.passed(7, Outcome.NOT_STARTED)
    counted.refused_pass(7, "challenge_failed")
    counted.told_to_wait(7)
    counted.decided(8, Outcome.ACCEPTED, perf_counter())
    counted.decided(8, Outcome.SOLD_OUT, perf_counter())
    counted.refused_purchase(8, "overloaded")
    counted.refused_purchase(8, "of a later version")
    await counted.tell()
    await counted.tell()
    [told] = board.taken
    assert told[7] == {
        "views": 2,
        "passes.given": 1,
        "passes.waiting": 1,
        "passes.not_started": 1,
        "passes.challenge_failed": 1,
    }
    seen = tally.traffic(tally.summed([told[8]]))
    assert seen["purchases"] == {
        "asked": 4,
        "accepted": 1,
        "replayed": 0,
        "refused": {"sold_out": 1, "overloaded": 1, "other": 1},
    }
    assert seen["latency_ms"]["measured"] == 2


async def test_what_could_not_be_told_is_lost_and_that_is_told() -> None:
    board = Board()
    counted = Tally(board.add)
    board.away = True
    for _ in range(3):
        counted.viewed(7)
    await counted.tell()
    counted.viewed(7)
    counted.decided(7, Outcome.ACCEPTED, perf_counter())
    await counted.tell()
    board.away = False
    await counted.tell()
    await counted.tell()
    assert board.taken == [{7: {"lost": 5}}]


async def test_what_is_of_no_sale_or_of_too_many_is_not_kept() -> None:
    board = Board()
    counted = Tally(board.add)
    for sale_id in range(SALES_MAX + 10):
        counted.viewed(sale_id)
    await counted.tell()
    assert set(board.taken[0]) == set(range(1, SALES_MAX + 1))


def test_quantiles_are_right_to_a_bucket() -> None:
    cell = tally.new_cell()
    for n in range(1, 1001):
        cell[tally.time_place(n / 10)] += 1
    for share in (0.5, 0.9, 0.99):
        found = tally.quantile_ms(cell, share)
        assert found is not None
        assert abs(found - share * 100) < 0.42 * share * 100
    cell[tally.time_place(60_000)] += 9000
    assert tally.quantile_ms(cell, 0.99) == tally.BOUNDS_MS[-1]
    assert tally.quantile_ms(tally.new_cell(), 0.5) is None


def test_names_of_another_version_do_no_harm() -> None:
    assert tally.named(tally.summed([{"views": 1, "of another version": 5}])) == {"views": 1}
