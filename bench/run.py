"""What every scenario is given and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured. The full run takes about half an hour on two cores."""

    rounds: int = 5
    """Of plaintext and product in turns; medians are taken over them."""
    seconds: float = 4.0
    """One timed stretch."""
    buyers_per_s: int = 60_000
    """Prepared for one second of an accepted stretch; more than any worker here answers."""
    refused_buyers: int = 25_000
    drained: int = 1_000_000
    open_seconds: float = 20.0
    open_rate_max: int = 20_000
    grown: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    grown_rounds: int = 20
    grown_calls: int = 10
    """Batches a round at each size."""
    held: tuple[int, ...] = (100_000, 1_000_000)
    """Held orders at which the gate's memory is weighed."""
    up_held: int = 10_000
    up_starts: int = 5
    due: int = 100_000
    """Orders whose time to pay ends at one moment."""
    promoted: int = 50_000
    callbacks: int = 120_000
    sockets: int = 10_000
    sockets_rounds: int = 10
    storm_seconds: float = 10.0
    """Of each of the two storms."""
    pass_buyers: int = 100_000
    """In one stretch; where it is longer they ask again."""
    sessions: int = 50_000
    log_in_seconds: float = 8.0
    waiting: int = 1_000_000
    """People in a waiting room before anything is timed."""


QUICK = Sizes(
    rounds=2,
    seconds=2.0,
    refused_buyers=20_000,
    drained=40_000,
    open_seconds=4.0,
    grown=(1_000, 20_000, 100_000),
    grown_rounds=6,
    held=(50_000,),
    up_held=2_000,
    up_starts=2,
    due=5_000,
    promoted=5_000,
    callbacks=60_000,
    sockets=2_000,
    sockets_rounds=4,
    storm_seconds=6.0,
    pass_buyers=30_000,
    sessions=20_000,
    log_in_seconds=4.0,
    waiting=100_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number, and what it should be."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    ratio: float | None = None
    """To plaintext, where the target is set against it instead of against the value."""

    @property
    def judged(self) -> float:
        return self.value if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        if self.at_least is not None:
            return self.judged >= self.at_least
        if self.at_most is not None:
            return self.judged <= self.at_most
        return None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything that one scenario found."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences that a reader of the figures needs."""
    details: dict[str, Any] = field(default_factory=dict)
    """Every round, for the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run: a folder that is removed when it ends, the sizes, and where progress is told."""

    folder: Path
    sizes: Sizes
    say: Callable[[str], None]
    known: dict[str, float] = field(default_factory=dict)
    """What one scenario found that a later one needs, such as the accepted rate."""

    def subfolder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir(parents=True, exist_ok=True)
        return made
