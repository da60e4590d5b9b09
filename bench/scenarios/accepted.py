"""Every request is another buyer with a valid pass, and every one of them gets an order: 202 from
the product with everything switched on, AOF always, the recorder running.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from bench.buyers import Prepared, Target, prepared
from bench.processes import BenchError, resident_mb
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.speed import WARM_UP_S, WORKERS, report, take_turns
from bench.stats import median
from bench.wrk import CONNECTIONS, Sample, shoot

AT_LEAST = 0.40
AIM = 0.55
RESIDENT_MB_MAX = 150
MORE = 2.5
"""Buyers prepared for a stretch, as a multiple of what the one before took."""
AGREE_S = 10.0
"""HTTP workers post their counts once a second."""


def run(bench: Bench) -> Outcome:
    found = Outcome(
        notes=[
            "Accepted: no buyer and no pass twice; the gate's file is fsynced before each answer; "
            "after every stretch the product's count of 202s, the units held in the gate and the "
            "orders in the ledger must be one number."
        ]
    )
    for workers in WORKERS:
        _with_workers(bench, found, workers)
    return found


def _with_workers(bench: Bench, found: Outcome, workers: int) -> None:
    folder = bench.subfolder("accepted")
    with product(folder / f"data-{workers}", workers=workers) as shop:
        crowd = Crowd(bench, shop, group=workers * 100)
        crowd.shoot(WARM_UP_S)

        def shot(_index: int) -> Sample:
            return crowd.shoot(bench.sizes.seconds)

        with crowd.of(20_000) as requests:
            rounds = take_turns(bench, "accepted", workers, shot=shot, requests=lambda: requests)
        resident = max(map(resident_mb, shop.pids()["http"]))
    report(found, workers, rounds, at_least=AT_LEAST, aim=AIM)
    found.figures.append(
        Figure(
            name=f"resident per HTTP worker, of {workers}",
            value=resident,
            unit="MB",
            at_most=RESIDENT_MB_MAX,
        )
    )
    found.details[f"acceptances with {workers}"] = crowd.accepted
    if workers == 1:
        bench.known["accepted_per_s"] = median([sample.per_s for sample in rounds.product])


class Crowd:
    """Buyers without end for one sale that nobody can exhaust."""

    def __init__(self, bench: Bench, shop: Product, *, group: int) -> None:
        self._bench = bench
        self._shop = shop
        self._target: Target = shop.open_sale()
        self._groups = count(group)
        self.accepted = 0
        self._per_s: float = bench.sizes.buyers_per_s

    @contextmanager
    def of(self, buyers: int) -> Iterator[Prepared]:
        folder = self._bench.subfolder("accepted")
        group = next(self._groups)
        with prepared(
            folder, self._shop.data_dir, self._target, group=group, buyers=buyers
        ) as requests:
            yield requests

    def shoot(self, seconds: float) -> Sample:
        """One stretch with new buyers, and the proof that all of it is in the ledger."""
        buyers = round(self._per_s * (seconds + 1))
        self._bench.say(f"accepted: {buyers:,} buyers get their passes")
        with self.of(buyers) as requests:
            self._bench.say("accepted: everybody buys")
            sample = shoot(
                self._shop.url,
                "prepared.lua",
                requests.file,
                requests.width,
                seconds=seconds,
                watched=self._shop.pids(),
            )
        if sample.asked > buyers:
            raise BenchError(f"accepted: {buyers:,} prepared buyers were too few.")
        if sample.refused or sample.socket_errors:
            raise BenchError(
                f"accepted: {sample.refused} were refused, {sample.socket_errors} got no answer."
            )
        self._bench.say("accepted: the recorder brings it into the ledger")
        self._check(sample)
        return sample

    def _check(self, sample: Sample) -> None:
        """Raises `BenchError` unless counts, gate and ledger agree to the unit.

        wrk drops its connections when its time is up. What it had asked by then is decided all the
        same, a moment later; up to one answer a connection goes unread.
        """
        deadline = time.monotonic() + AGREE_S
        while len(set(numbers := self._numbers())) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        counted, held, orders = numbers
        if not counted == held == orders:
            raise BenchError(
                f"accepted: {counted:,} answers of 202 counted, {held:,} units held in the gate, "
                f"{orders:,} orders in the ledger."
            )
        new = orders - self.accepted
        if not sample.answers <= new <= sample.answers + CONNECTIONS:
            raise BenchError(f"accepted: {sample.answers:,} answers of 202, but {new:,} orders.")
        self.accepted = orders
        self._per_s = sample.per_s * MORE

    def _numbers(self) -> tuple[int, int, int]:
        """Answers of 202 that the HTTP workers counted, units held, orders recorded."""
        self._shop.drain()
        counted = self._shop.attempts()["accepted"]
        return counted, self._shop.held(self._target.item_id), self._shop.orders()
