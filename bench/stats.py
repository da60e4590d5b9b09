"""Medians, quantiles and ratios; nothing here knows what is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle. Raises ValueError on none."""
    if not values:
        raise ValueError("no values, no median")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least the share `q` of the values does not exceed.

    `ordered` must be sorted. No interpolation: a tail latency is one that somebody waited.
    """
    if not ordered:
        raise ValueError("no values, no quantile")
    if not 0 < q <= 1:
        raise ValueError("q must be above 0 and at most 1")
    # A hair less before rounding up: 0.999 * 1000 is 999.0000000000001 in some products.
    return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One side against the other: of the medians, and how far single rounds lie apart."""

    of_medians: float
    low: float
    high: float


def ratio(side: Sequence[float], base: Sequence[float]) -> Ratio:
    """`side` over `base`, where `side[i]` was taken right after `base[i]`."""
    if len(side) != len(base) or not side:
        raise ValueError("each round must have both sides")
    paired = [s / b for s, b in zip(side, base, strict=True)]
    return Ratio(median(side) / median(base), min(paired), max(paired))


def flatness(costs: Sequence[float]) -> float:
    """The dearest over the cheapest, less one: 0.15 means that they lie within 15 %."""
    if not costs or min(costs) <= 0:
        raise ValueError("costs must be above 0")
    return max(costs) / min(costs) - 1
