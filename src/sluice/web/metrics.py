"""What one HTTP worker counts, and how any worker answers `/metrics` for all of them.

Counting is adding to plain ints. Each worker writes its counts to a small file in the run folder
once a second; a scrape writes its own worker's file and adds up what all files say. Files of
workers that died stay, so that no counter goes back; `sluice serve` starts with an empty folder.
(prometheus_client's own multiprocess mode does the same through mapped files, at 1 µs and more a
count, and has to be told of it by an environment variable before it is imported.)
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

import sluice
from sluice.admission.overload import Work
from sluice.breaker import Breakers, State
from sluice.domain.outcome import Outcome
from sluice.telemetry import get_logger

MEDIA_TYPE = "text/plain; version=0.0.4"
FLUSH_EVERY_S = 1.0
STALE_AFTER_S = 10.0
"""A worker whose file is older than this is counted as gone; what it counted still counts."""

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LABELS = (*(str(bound) for bound in BOUNDS_S), "+Inf")
HTTP = "http"
_STATES = tuple(map(str, (State.CLOSED, State.HALF_OPEN, State.OPEN)))
log = get_logger("http")


class Histogram(msgspec.Struct):
    """Seconds, in buckets that are not yet cumulative."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * len(_LABELS))
    sum_s: float = 0.0

    def add(self, other: Histogram) -> None:
        self.buckets = _sum(self.buckets, other.buckets)
        self.sum_s += other.sum_s


class Counts(msgspec.Struct):
    """One worker's counts since it started; lists are indexed by `Outcome`."""

    attempts: list[int] = msgspec.field(default_factory=lambda: [0] * len(Outcome))
    passes: list[int] = msgspec.field(default_factory=lambda: [0] * len(Outcome))
    """Requests for a pass: `ACCEPTED` is an issued one."""
    answers: dict[str, int] = msgspec.field(default_factory=dict)
    """By `"ROUTE STATUS"`, such as `"/v1/sales/{sale} 200"`."""
    problems: dict[str, int] = msgspec.field(default_factory=dict)
    """By code: what went wrong before the gate or the ledger had decided anything."""
    seconds: dict[str, Histogram] = msgspec.field(default_factory=dict)
    """By route of the hot lane, and of all others together: from arrival to answer."""
    events: dict[str, int] = msgspec.field(default_factory=dict)
    """By name: what became of orders, payments and lines after the gate had decided."""
    shed: list[int] = msgspec.field(default_factory=lambda: [0] * len(Work))
    """Requests turned away because too much was asked for, by `Work`."""
    queue_s: float = 0.0
    """The longest that a request waited within the last second, before anything looked at it. In a
    sum of workers the longest of those that are alive."""
    shed_level: float = 0.0
    """From 0 to 3; of workers as above."""
    breakers: dict[str, str] = msgspec.field(default_factory=dict)
    """By store: `closed`, `open` or `half_open`; in a sum the one furthest from closed."""
    breakers_opened: dict[str, int] = msgspec.field(default_factory=dict)
    """By store: how often."""
    resident_bytes: int = 0
    live_connections: int = 0
    """Open now. In a sum of workers only those that are alive count."""

    def happened(self, event: str, times: int = 1) -> None:
        if times:
            self.events[event] = self.events.get(event, 0) + times

    def decided(self, outcome: Outcome, seconds: float) -> None:
        """One attempt to buy was decided."""
        self.attempts[outcome] += 1
        self._observe("buy", seconds)

    def passed(self, seconds: float) -> None:
        """A pass was issued."""
        self.passes[Outcome.ACCEPTED] += 1
        self._observe("pass", seconds)

    def refused_pass(self, outcome: Outcome, seconds: float) -> None:
        self.passes[outcome] += 1
        self._observe("pass", seconds)

    def answered(
        self, route: str, status: int, seconds: float, timed_as: str | None = None
    ) -> None:
        """Any other request was answered; its time is counted with all that are `timed_as` this."""
        key = f"{route} {status}"
        self.answers[key] = self.answers.get(key, 0) + 1
        self._observe(timed_as or route, seconds)

    def problem(self, code: str, error: BaseException) -> None:
        """A request of the hot lane ended in a fault; one that is ours is logged with its trace."""
        self.problems[code] = self.problems.get(code, 0) + 1
        if code == "internal":
            log.error("A request failed.", action="http.failed", exc_info=error)

    def answered_in_all(self) -> int:
        """Requests that were looked at, whatever became of them."""
        decided = sum(self.attempts) + sum(self.passes)
        return decided + sum(self.answers.values()) + sum(self.problems.values())

    def _observe(self, route: str, seconds: float) -> None:
        histogram = self.seconds.get(route)
        if histogram is None:
            histogram = self.seconds[route] = Histogram()
        histogram.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        histogram.sum_s += seconds

    def merge(self, other: Counts) -> None:
        self.attempts = _sum(self.attempts, other.attempts)
        self.passes = _sum(self.passes, other.passes)
        self.shed = _sum(self.shed, other.shed)
        for mine, theirs in (
            (self.answers, other.answers),
            (self.problems, other.problems),
            (self.events, other.events),
            (self.breakers_opened, other.breakers_opened),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for route, histogram in other.seconds.items():
            self.seconds.setdefault(route, Histogram()).add(histogram)


def _sum(mine: list[int], theirs: list[int]) -> list[int]:
    return [a + b for a, b in zip(mine, theirs, strict=True)]


class Board:
    """The folder on which the workers of one machine post their counts."""

    def __init__(
        self,
        folder: Path,
        counts: Counts,
        role: str = HTTP,
        breakers: Breakers | None = None,
    ) -> None:
        """`folder` is the workers' own; it is made where it is not there. `role` says what kind of
        worker counts here: only those of HTTP are HTTP workers."""
        self._folder = folder
        self._counts = counts
        self._breakers = breakers or Breakers()
        # A worker that is started again must not write over what the one before it counted.
        self._file = folder / f"{role}-{os.getpid()}-{time.time_ns():x}.json"

    @staticmethod
    def folder(run_dir: Path) -> Path:
        return run_dir / "metrics"

    @staticmethod
    def clear(folder: Path) -> None:
        """Called once before the workers start."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.json"):
            file.unlink(missing_ok=True)

    def post(self) -> None:
        self._counts.resident_bytes = resident_bytes()
        self._counts.breakers = self._breakers.states()
        self._counts.breakers_opened = {each.store: each.opened for each in self._breakers}
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self._counts))
        draft.replace(self._file)

    def read(self) -> tuple[Counts, list[int]]:
        """The sum of all workers, and the resident bytes of each HTTP worker that is alive."""
        total, resident = Counts(), []
        for file in self._folder.glob("*.json"):
            try:
                counts = msgspec.json.decode(file.read_bytes(), type=Counts)
                total.merge(counts)
                fresh = time.time() - file.stat().st_mtime < STALE_AFTER_S
            except (OSError, ValueError):
                continue  # taken away, or of another version: /metrics must answer all the same
            if fresh and file.name.startswith(f"{HTTP}-"):
                resident.append(counts.resident_bytes)
                total.live_connections += counts.live_connections
                total.queue_s = max(total.queue_s, counts.queue_s)
                total.shed_level = max(total.shed_level, counts.shed_level)
                for store, state in counts.breakers.items():
                    known = total.breakers.setdefault(store, state)
                    total.breakers[store] = max(known, state, key=_STATES.index)
        return total, resident

    async def run(self) -> None:
        """Posts once a second until it is cancelled; a full disk must not end the worker."""
        failing = False
        while True:
            try:
                self.post()
                failing = False
            except OSError as error:
                if not failing:
                    log.warning(
                        "Counts were not written.",
                        action="http.counts_not_written",
                        error=str(error),
                    )
                failing = True
            await asyncio.sleep(FLUSH_EVERY_S)


class Rates:
    """Tells what this worker decided in its last second, for the rates that operators watch."""

    def __init__(
        self, counts: Counts, report: Callable[[Mapping[str, int]], Awaitable[object]]
    ) -> None:
        """`report` takes outcomes by name, and copes with a server that is away."""
        self._counts = counts
        self._report = report
        self._told = list(counts.attempts)

    async def tell(self) -> None:
        now = list(self._counts.attempts)
        new = {
            outcome.name.lower(): now[outcome] - self._told[outcome]
            for outcome in Outcome
            if now[outcome] > self._told[outcome]
        }
        self._told = now
        if new:
            await self._report(new)

    async def run(self) -> None:
        """Once a second until it is cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(FLUSH_EVERY_S)


class ShardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a scrape saw of one shard; None where the store did not answer."""

    shard: int
    armed: bool | None
    lag: int | None
    """Log entries of the gate that the ledger has not recorded."""


def render(
    board: Board, shards: Iterable[ShardFacts], *, ledger_up: bool, more: Iterable[Metric] = ()
) -> bytes:
    """The whole answer to a scrape, in Prometheus' text format."""
    try:
        board.post()
    except OSError as error:
        log.warning("Counts were not written.", action="http.counts_not_written", error=str(error))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families([*_counted(board), *_seen(shards, ledger_up), *more]))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(board: Board) -> Iterator[Metric]:
    total, resident = board.read()
    info = GaugeMetricFamily("sluice_info", "The version that runs.", labels=["version"])
    info.add_metric([sluice.__version__], 1)
    yield info
    yield _by_outcome("sluice_attempts", "Attempts to buy, as they were decided.", total.attempts)
    yield _by_outcome("sluice_passes", "Passes asked for; `accepted` are issued.", total.passes)
    answers = CounterMetricFamily(
        "sluice_http_requests", "Other requests answered.", labels=["route", "status"]
    )
    for key, count in sorted(total.answers.items()):
        answers.add_metric(list(key.rsplit(" ", 1)), count)
    yield answers
    problems = CounterMetricFamily(
        "sluice_problems", "Faults in the hot lane, by problem code.", labels=["code"]
    )
    for code, count in sorted(total.problems.items()):
        problems.add_metric([code], count)
    yield problems
    events = CounterMetricFamily(
        "sluice_events", "What became of orders, payments and waitlists.", labels=["event"]
    )
    for event, count in sorted(total.events.items()):
        events.add_metric([event], count)
    yield events
    yield _seconds(total.seconds)
    shed = CounterMetricFamily(
        "sluice_shed", "Requests turned away because too much was asked for.", labels=["work"]
    )
    for work in Work:
        shed.add_metric([work.name.lower()], total.shed[work])
    yield shed
    yield GaugeMetricFamily(
        "sluice_queue_seconds",
        "The longest that a request waited to be looked at, in the worst worker's last second.",
        value=total.queue_s,
    )
    yield GaugeMetricFamily(
        "sluice_shed_level",
        "What the worst worker sheds: to 1 looking and passes, to 2 purchases, to 3 orders.",
        value=total.shed_level,
    )
    breakers = GaugeMetricFamily(
        "sluice_breaker_open",
        "Whether a worker leaves a store alone that does not answer; half while it tries.",
        labels=["store"],
    )
    opened = CounterMetricFamily(
        "sluice_breaker_opened", "How often a store was left alone.", labels=["store"]
    )
    for store, state in sorted(total.breakers.items()):
        breakers.add_metric([store], _STATES.index(state) / 2)
    for store, count in sorted(total.breakers_opened.items()):
        opened.add_metric([store], count)
    yield from (breakers, opened)
    yield GaugeMetricFamily(
        "sluice_live_connections", "Live connections open now.", value=total.live_connections
    )
    yield GaugeMetricFamily("sluice_http_workers", "HTTP workers alive.", value=len(resident))
    yield GaugeMetricFamily(
        "sluice_http_worker_resident_bytes",
        "Resident memory of the largest HTTP worker.",
        value=max(resident, default=0),
    )


def _seen(shards: Iterable[ShardFacts], ledger_up: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily("sluice_ledger_up", "Whether the ledger answers.", value=ledger_up)
    armed = GaugeMetricFamily(
        "sluice_gate_armed", "Whether the shard's gate may sell.", labels=["shard"]
    )
    lag = GaugeMetricFamily(
        "sluice_recorder_lag_entries",
        "Entries of the shard's log that the ledger has not recorded.",
        labels=["shard"],
    )
    for facts in shards:
        label = [str(facts.shard)]
        armed.add_metric(label, facts.armed or False)
        if facts.lag is not None:
            lag.add_metric(label, facts.lag)
    yield from (armed, lag)


def _by_outcome(name: str, text: str, counts: list[int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["outcome"])
    for outcome in Outcome:
        family.add_metric([outcome.name.lower()], counts[outcome])
    return family


def _seconds(histograms: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(
        "sluice_http_request_seconds", "From a request's arrival to its answer.", labels=["route"]
    )
    for route, histogram in sorted(histograms.items()):
        rows = list(zip(_LABELS, accumulate(histogram.buckets), strict=True))
        family.add_metric([route], rows, histogram.sum_s)
    return family


def resident_bytes() -> int:
    """This process's resident memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
