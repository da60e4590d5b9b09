"""Any worker's /metrics tells of all workers, and no counter ever goes back."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from sluice.domain.errors import LedgerUnavailable, Unauthenticated
from sluice.domain.outcome import Outcome
from sluice.web.metrics import BOUNDS_S, STALE_AFTER_S, Board, Counts, Rates, ShardFacts, render


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def board(folder: Path, counts: Counts | None = None) -> Board:
    return Board(folder, counts if counts is not None else Counts())


def test_a_scrape_adds_up_all_workers(tmp_path: Path) -> None:
    mine, theirs = Counts(), Counts()
    for _ in range(3):
        mine.decided(Outcome.SOLD_OUT, 0.001)
    theirs.decided(Outcome.SOLD_OUT, 0.001)
    theirs.answered("/v1/sales", 304, 0.001)
    board(tmp_path, theirs).post()
    seen = samples(render(board(tmp_path, mine), [], ledger_up=True))
    assert seen["sluice_attempts_total", (("outcome", "sold_out"),)] == 4
    answered = (("route", "/v1/sales"), ("status", "304"))
    assert seen["sluice_http_requests_total", answered] == 1
    assert seen["sluice_http_workers", ()] == 2


def test_what_a_dead_worker_counted_still_counts(tmp_path: Path) -> None:
    dead = Counts()
    dead.passed(0.001)
    board(tmp_path, dead).post()
    long_ago = time.time() - 2 * STALE_AFTER_S
    for file in tmp_path.iterdir():
        os.utime(file, (long_ago, long_ago))
    seen = samples(render(board(tmp_path), [], ledger_up=True))
    assert seen["sluice_passes_total", (("outcome", "accepted"),)] == 1
    assert seen["sluice_http_workers", ()] == 1


def test_the_buckets_of_a_histogram_are_cumulative(tmp_path: Path) -> None:
    counts = Counts()
    for seconds in (0.0001, BOUNDS_S[0], 0.02, 100.0):
        counts.decided(Outcome.ACCEPTED, seconds)
    seen = samples(render(board(tmp_path, counts), [], ledger_up=True))
    name = "sluice_http_request_seconds"
    for bound, so_far in (("0.001", 2), ("0.025", 3), ("2.5", 3), ("+Inf", 4)):
        assert seen[f"{name}_bucket", (("le", bound), ("route", "buy"))] == so_far
    assert seen[f"{name}_count", (("route", "buy"),)] == 4


def test_a_store_that_is_away_is_seen(tmp_path: Path) -> None:
    shards = [
        ShardFacts(shard=0, armed=True, lag=2),
        ShardFacts(shard=1, armed=None, lag=None),
    ]
    seen = samples(render(board(tmp_path), shards, ledger_up=False))
    assert seen["sluice_ledger_up", ()] == 0
    assert seen["sluice_gate_armed", (("shard", "0"),)] == 1
    assert seen["sluice_gate_armed", (("shard", "1"),)] == 0
    assert seen["sluice_recorder_lag_entries", (("shard", "0"),)] == 2
    assert ("sluice_recorder_lag_entries", (("shard", "1"),)) not in seen


def test_a_broken_file_does_not_break_the_scrape(tmp_path: Path) -> None:
    (tmp_path / "1-1.json").write_bytes(b"{")
    (tmp_path / "2-2.json").write_bytes(b'{"attempts": [1]}')
    assert samples(render(board(tmp_path), [], ledger_up=True))


def test_a_folder_that_cannot_be_written_does_not_break_the_scrape(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert samples(render(board(tmp_path / "file" / "metrics"), [], ledger_up=True))


def test_a_new_start_begins_with_nothing(tmp_path: Path) -> None:
    counts = Counts()
    counts.decided(Outcome.ACCEPTED, 0.001)
    board(tmp_path, counts).post()
    Board.clear(tmp_path)
    seen = samples(render(board(tmp_path), [], ledger_up=True))
    assert seen["sluice_attempts_total", (("outcome", "accepted"),)] == 0


def test_a_fault_of_the_hot_lane_is_counted_by_its_code(tmp_path: Path) -> None:
    counts = Counts()
    counts.problem("unavailable", LedgerUnavailable())
    seen = samples(render(board(tmp_path, counts), [], ledger_up=True))
    assert seen["sluice_problems_total", (("code", "unavailable"),)] == 1


def test_a_request_that_ended_in_a_fault_was_looked_at_too() -> None:
    counts = Counts()
    counts.problem("unauthenticated", Unauthenticated())
    assert counts.answered_in_all() == 1


async def test_rates_are_told_as_what_is_new() -> None:
    counts, told = Counts(), []

    async def report(outcomes: Mapping[str, int]) -> None:
        told.append(dict(outcomes))

    rates = Rates(counts, report)
    counts.decided(Outcome.ACCEPTED, 0.001)
    await rates.tell()
    await rates.tell()
    counts.decided(Outcome.ACCEPTED, 0.001)
    counts.decided(Outcome.SOLD_OUT, 0.001)
    await rates.tell()
    assert told == [{"accepted": 1}, {"accepted": 1, "sold_out": 1}]


def test_every_outcome_has_its_series_from_the_start(tmp_path: Path) -> None:
    seen = samples(render(board(tmp_path), [], ledger_up=True))
    for outcome in Outcome:
        assert ("sluice_attempts_total", (("outcome", outcome.name.lower()),)) in seen
