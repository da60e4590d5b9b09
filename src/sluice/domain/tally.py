"""What is counted of a sale, second by second, and how counts become what people read.

A cell holds the counts of one sale in one stretch of time, as a list of ints in the order of
`NAMES`. Counts only add up, so cells of several processes or of several seconds are one by adding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

REASONS = (
    "sold_out",
    "limit_reached",
    "not_started",
    "ended",
    "paused",
    "bad_pass",
    "challenge_failed",
    "not_allowed",
    "unauthenticated",
    "too_many_requests",
    "invalid",
    "not_found",
    "overloaded",
    "unavailable",
    "other",
)
"""Why a pass or a purchase was refused: codes of problems; whatever has no place of its own is
`other`."""

BOUNDS_MS = tuple(round(0.5 * 2 ** (step / 2), 3) for step in range(28))
"""Upper bounds of the buckets of a purchase's time, each √2 of the one before: from half a
millisecond to 5.8 s. One more bucket holds what took longer."""

VIEWS = "views"
LOST = "lost"
"""Counts of processes that the cache server did not take: of what, nobody knows any more."""
PASSES_GIVEN = "passes.given"
PASSES_WAITING = "passes.waiting"
"""Asked while a waiting room was pacing, and told to wait."""
BUYS_ACCEPTED = "buys.accepted"
BUYS_REPLAYED = "buys.replayed"
_PASSES, _BUYS, _TIMES = "passes.", "buys.", "ms."

NAMES: tuple[str, ...] = (
    VIEWS,
    LOST,
    PASSES_GIVEN,
    PASSES_WAITING,
    *(_PASSES + reason for reason in REASONS),
    BUYS_ACCEPTED,
    BUYS_REPLAYED,
    *(_BUYS + reason for reason in REASONS),
    *(f"{_TIMES}{bucket}" for bucket in range(len(BOUNDS_MS) + 1)),
)
PLACE: dict[str, int] = {name: place for place, name in enumerate(NAMES)}
SIZE = len(NAMES)
FIRST_TIME = PLACE[f"{_TIMES}0"]

Cell = list[int]


def new_cell() -> Cell:
    return [0] * SIZE


def pass_place(reason: str) -> int:
    """Where a refused pass is counted."""
    return PLACE.get(_PASSES + reason, PLACE["passes.other"])


def buy_place(reason: str) -> int:
    """Where a refused purchase is counted."""
    return PLACE.get(_BUYS + reason, PLACE["buys.other"])


def time_place(ms: float) -> int:
    return FIRST_TIME + bisect_left(BOUNDS_MS, ms)


def add(cell: Cell, counts: Mapping[str, int]) -> None:
    """Add named counts; names of another version are left out."""
    for name, count in counts.items():
        place = PLACE.get(name)
        if place is not None:
            cell[place] += count


def named(cell: Sequence[int]) -> dict[str, int]:
    """What is not zero, by name: how cells travel and are kept."""
    return {NAMES[place]: count for place, count in enumerate(cell) if count}


def summed(cells: Iterable[Mapping[str, int]]) -> Cell:
    total = new_cell()
    for cell in cells:
        add(total, cell)
    return total


def quantile_ms(cell: Sequence[int], share: float) -> float | None:
    """The time within which `share` of the purchases were decided; between the bounds of a bucket
    by proportion, so never off by more than a bucket (√2). None where there were none."""
    times = cell[FIRST_TIME:]
    total = sum(times)
    if not total:
        return None
    wanted = share * total
    seen = 0
    for bucket, count in enumerate(times):
        if count and seen + count >= wanted:
            if bucket == len(BOUNDS_MS):
                return BOUNDS_MS[-1]
            low = BOUNDS_MS[bucket - 1] if bucket else 0.0
            return round(low + (BOUNDS_MS[bucket] - low) * (wanted - seen) / count, 3)
        seen += count
    return BOUNDS_MS[-1]


def traffic(cell: Sequence[int]) -> dict[str, Any]:
    """A cell for people: `{"views", "passes": {"asked", "given", "waiting", "refused": {…}},
    "purchases": {"asked", "accepted", "replayed", "refused": {…}}, "latency_ms": {"p50", "p99",
    "measured"}, "lost"}`. Zero reasons are left out."""
    passes = _refused(cell, _PASSES)
    buys = _refused(cell, _BUYS)
    given, waiting = cell[PLACE[PASSES_GIVEN]], cell[PLACE[PASSES_WAITING]]
    accepted, replayed = cell[PLACE[BUYS_ACCEPTED]], cell[PLACE[BUYS_REPLAYED]]
    return {
        "views": cell[PLACE[VIEWS]],
        "passes": {
            "asked": given + waiting + sum(passes.values()),
            "given": given,
            "waiting": waiting,
            "refused": passes,
        },
        "purchases": {
            "asked": accepted + replayed + sum(buys.values()),
            "accepted": accepted,
            "replayed": replayed,
            "refused": buys,
        },
        "latency_ms": {
            "p50": quantile_ms(cell, 0.5),
            "p99": quantile_ms(cell, 0.99),
            "measured": sum(cell[FIRST_TIME:]),
        },
        "lost": cell[PLACE[LOST]],
    }


def _refused(cell: Sequence[int], prefix: str) -> dict[str, int]:
    counts = {reason: cell[PLACE[prefix + reason]] for reason in REASONS}
    return {reason: count for reason, count in counts.items() if count}
