"""How soon `sluice up` is ready on a folder in which 10,000 units are held."""

from __future__ import annotations

import time
from pathlib import Path

from bench.generator import generate
from bench.openloop import Plan
from bench.processes import BenchError
from bench.product import product
from bench.run import Bench, Figure, Outcome
from bench.scenarios.accepted import Crowd
from bench.stats import median

READY_S = 2
FILL_PER_S = 3000


def run(bench: Bench) -> Outcome:
    folder = bench.subfolder("up")
    held = bench.sizes.up_held
    _fill(bench, folder, held)
    took = []
    for index in range(bench.sizes.up_starts):
        bench.say(f"up: start {index + 1} of {bench.sizes.up_starts}, {held:,} units held")
        began = time.monotonic()
        with product(folder / "data") as shop:
            took.append(time.monotonic() - began)
            if shop.held(1) != held:
                raise BenchError(f"up: {shop.held(1):,} units are held after the start.")
    name = f"ready with {held:,} held"
    return Outcome(
        figures=[Figure(name=name, value=median(took), unit="s", at_most=READY_S)],
        details={"seconds": took},
    )


def _fill(bench: Bench, folder: Path, held: int) -> None:
    with product(folder / "data") as shop:
        crowd = Crowd(bench, shop, group=9500)
        bench.say(f"up: {held:,} buyers hold a unit")
        with crowd.of(held) as requests:
            plan = Plan(
                file=str(requests.file),
                width=requests.width,
                port=shop.port,
                rate=FILL_PER_S,
                count=held,
            )
            seen = generate(plan, folder / "generator.log")
        if seen.statuses != {"202": held}:
            raise BenchError(f"up: {seen.statuses} for {held} buyers.")
        shop.drain()
