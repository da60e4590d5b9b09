"""Live connections: what an idle one occupies in an HTTP worker, and how long one change of a sale
takes to all of them, from before it is asked for to the last client that has read it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.processes import BenchError, environment, python, resident_mb
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.stats import median, quantile
from sluice.cli.serve import raise_file_limit

CROWDS = 2
"""Processes that hold the clients, so that reading is not what takes long."""
ALL_MB_MAX = 400
FAN_OUT_S_MAX = 1.0
SETTLE_S = 3.0


def run(bench: Bench) -> Outcome:
    raise_file_limit()
    count, rounds = bench.sizes.sockets, bench.sizes.sockets_rounds
    folder = bench.subfolder("sockets")
    with product(folder / "data") as shop:
        (worker,) = shop.pids()["http"]
        shop.open_sale()
        sale_id = shop.ask("GET", "/v1/admin/sales?limit=1")["data"][0]["id"]
        before = resident_mb(worker)
        bench.say(f"sockets: {count:,} clients connect")
        began = time.monotonic()
        with _crowds(shop, folder, sale_id, count) as crowds:
            connected_s = time.monotonic() - began
            time.sleep(SETTLE_S)
            idle = resident_mb(worker)
            took = []
            for index in range(rounds):
                bench.say(f"sockets: change {index + 1} of {rounds} to {count:,}")
                took.append(_change(shop, crowds, sale_id, pause=index % 2 == 0))
            after = resident_mb(worker)
    p99 = [quantile(sorted(each), 0.99) for each in took]
    return Outcome(
        figures=[
            Figure(
                name=f"worker with {count:,} idle",
                value=idle,
                unit="MB",
                at_most=ALL_MB_MAX,
            ),
            Figure(name="one connection", value=(idle - before) * 1000 / count, unit="KB"),
            Figure(
                name=f"one change to {count:,}, p99",
                value=median(p99),
                unit="s",
                at_most=FAN_OUT_S_MAX,
            ),
            Figure(
                name=f"one change to {count:,}, last",
                value=median([max(each) for each in took]),
                unit="s",
            ),
            Figure(name="connected", value=count / connected_s, unit="/s"),
        ],
        notes=[
            "Sockets: every client has a token of its own and subscribes to one sale. A change is "
            "an operator's pause or resume; its time runs from before the request to each client's "
            "read, so it has the request, the ledger and the announcement in it.",
        ],
        details={"before_mb": before, "after_mb": after, "p99_s": p99},
    )


def _change(
    shop: Product, crowds: list[subprocess.Popen[str]], sale_id: str, *, pause: bool
) -> list[float]:
    """Seconds until each client had heard of it."""
    for crowd in crowds:
        assert crowd.stdin is not None
        crowd.stdin.write("paused\n" if pause else '"live"\n')
        crowd.stdin.flush()
    began = time.monotonic_ns()
    body = {"reason": "bench"} if pause else None
    shop.ask("POST", f"/v1/admin/sales/{sale_id}/{'pause' if pause else 'resume'}", body)
    heard: list[int] = []
    for crowd in crowds:
        heard += json.loads(_line(crowd))
    return [(at - began) / 1e9 for at in heard]


@contextmanager
def _crowds(
    shop: Product, folder: Path, sale_id: str, count: int
) -> Iterator[list[subprocess.Popen[str]]]:
    each = count // CROWDS
    crowds: list[subprocess.Popen[str]] = []
    with (folder / "crowds.log").open("w") as log:
        try:
            crowds.extend(_crowd(shop, log, sale_id, i * each, each) for i in range(CROWDS))
            for crowd in crowds:
                if _line(crowd) != "ready":
                    raise BenchError("sockets: a crowd did not connect.")
            yield crowds
        finally:
            for crowd in crowds:
                crowd.kill()
                crowd.wait()


def _crowd(
    shop: Product, log: IO[str], sale_id: str, first: int, count: int
) -> subprocess.Popen[str]:
    words = [shop.port, count, first, sale_id, shop.data_dir]
    return subprocess.Popen(
        python("bench.sockets", *map(str, words)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment(),
    )


def _line(crowd: subprocess.Popen[str]) -> str:
    assert crowd.stdout is not None
    line = crowd.stdout.readline().strip()
    if not line:
        raise BenchError("sockets: a crowd has ended; its words are in crowds.log.")
    return line
