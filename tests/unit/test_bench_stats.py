"""Medians, quantiles and ratios of the benchmarks, and how a figure is judged."""

from __future__ import annotations

import pytest
from bench.report import Report, number
from bench.run import Figure, Outcome
from bench.stats import flatness, median, quantile, ratio


def test_a_median_is_the_middle_one_whatever_the_outliers() -> None:
    assert median([3.0, 1.0, 1000.0]) == 3.0


def test_a_median_of_an_even_number_is_between_the_two_in_the_middle() -> None:
    assert median([4.0, 1.0, 2.0, 100.0]) == 3.0


def test_of_nothing_there_is_neither_median_nor_quantile() -> None:
    with pytest.raises(ValueError, match="no median"):
        median([])
    with pytest.raises(ValueError, match="no quantile"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000), (0.0001, 1)]
)
def test_a_quantile_is_a_value_that_somebody_really_waited(q: float, expected: int) -> None:
    assert quantile(range(1, 1001), q) == expected


def test_a_high_quantile_of_few_values_is_the_worst_of_them() -> None:
    assert quantile([1.0, 2.0, 900.0], 0.999) == 900.0


def test_a_ratio_is_of_the_medians_and_tells_how_far_single_rounds_lie_apart() -> None:
    found = ratio([40.0, 10.0, 50.0], [100.0, 100.0, 80.0])
    assert found.of_medians == pytest.approx(0.4)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.625)


def test_a_round_without_its_other_side_gives_no_ratio() -> None:
    with pytest.raises(ValueError, match="both sides"):
        ratio([1.0, 2.0], [1.0])


def test_costs_are_flat_by_how_much_the_dearest_exceeds_the_cheapest() -> None:
    assert flatness([5.0, 5.5, 5.2]) == pytest.approx(0.1)


def test_a_speed_is_judged_by_its_ratio_and_not_by_its_rate() -> None:
    figure = Figure(name="1 worker", value=50_000, unit="/s", ratio=0.39, at_least=0.40)
    assert figure.met is False


def test_a_size_is_judged_by_its_value() -> None:
    assert Figure(name="held", value=199.0, unit="bytes", at_most=200).met is True
    assert Figure(name="held", value=201.0, unit="bytes", at_most=200).met is False


def test_a_figure_without_a_target_is_neither_met_nor_missed() -> None:
    assert Figure(name="plaintext", value=1.0, unit="/s", ratio=1.0).met is None


def test_a_scenario_that_failed_stands_in_the_table_as_missed() -> None:
    report = Report(taken_at="now", quick=False, hardware={}, versions={}, settings={})
    report.scenarios["growth"] = Outcome(figures=[Figure(name="x", value=1.5, unit="µs")])
    report.failed["drain"] = "it was not drained"
    assert report.rows() == [
        ("growth", "x", "1.5 µs", "", "", ""),
        ("drain", "failed: it was not drained", "", "", "", "no"),
    ]
    assert "| drain | failed: it was not drained |" in report.markdown()


def test_numbers_are_told_to_three_digits_or_whole() -> None:
    assert number(31234.56, "/s") == "31,235/s"
    assert number(5.9173, "µs") == "5.92 µs"
    assert number(7.0, "%") == "7%"
