"""Ten times as many people as can be served: what is accepted, what the others are told, and how
soon all is well again. One HTTP worker; docs/overload.md says what is measured here and why so.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench import sampler
from bench.buyers import Prepared, prepared, requests
from bench.processes import BenchError, end, environment, python
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.sampler import Seen
from bench.speed import WARM_UP_S
from bench.stats import median, quantile
from bench.wrk import Sample, shoot
from sluice.cli.serve import raise_file_limit

TIMES = 10
"""So many times the capacity."""
THINK_MS = 50
"""Mean pause of somebody who was answered: a crowd of `best * THINK_MS / 1000` people would keep
the product just busy if it answered them at once."""
CROWD_MAX = 12_000
CONNECTIONS = (64, 256, 512)
"""At which the best rate is sought."""
LEARN_S = 3.0
SAMPLE_EVERY_S = 0.005
LEAD_S = 2.0
"""Sampled before and after a stretch, for what is usual and for the recovery."""
AFTER_S = 14.0
SETTLE_S = 1.0
"""At first the whole crowd connects at once. What a refusal takes in that time is told apart."""
USUAL_FACTOR = 3.0
USUAL_MS = 25.0
"""Normal again: a second without a refusal in which the median is below this, or below three times
what it was before."""
SHARE_MIN = 90
REFUSED_P99_MS_MAX = 50
RECOVERY_S_MAX = 10


class Storm(NamedTuple):
    best_per_s: float
    crowd: int
    accepted_per_s: float
    load: Sample
    seen: Seen
    began_s: float
    """On the sampler's clock."""
    ended_s: float


def run(bench: Bench) -> Outcome:
    raise_file_limit()
    found = Outcome()
    with product(bench.subfolder("overload") / "data", sheds=True) as shop:
        stage = _Stage(bench, shop)
        best = max(stage.capacity(connections) for connections in CONNECTIONS)
        for polite in (True, False):
            found.figures += _figures(stage.storm(best, polite=polite), found, polite)
        held = shop.held(stage.target.item_id)
        orders = shop.orders()
        if held != orders:
            raise BenchError(f"overload: {held} units are held and {orders} orders recorded.")
    found.notes.append(
        f"Overload: the crowd is {TIMES} times as many people as keep the product busy when each "
        f"pauses {THINK_MS} ms after an answer. `polite`: who is refused stays away for as long as "
        "Retry-After says; `rude`: nobody does, and every refusal is at once another request. What "
        "single people notice is sampled beside it by another process, late as that may itself be; "
        "crowd, sampler, stores and product share this machine's cores."
    )
    return found


class _Stage:
    def __init__(self, bench: Bench, shop: Product) -> None:
        self._bench = bench
        self._shop = shop
        self._folder = bench.subfolder("overload")
        self._groups = count(1)
        self.target = shop.open_sale()
        self._sale_id = shop.ask("GET", "/v1/admin/sales?limit=1")["data"][0]["id"]
        self._crowd(WARM_UP_S, 20_000, "prepared.lua", CONNECTIONS[0])

    def capacity(self, connections: int) -> float:
        """Purchases accepted in a second by people who go on at once."""
        self._bench.say(f"overload: the best rate, {connections} connections")
        buyers = round(self._bench.sizes.buyers_per_s * LEARN_S / 2)
        return self._crowd(LEARN_S, buyers, "prepared.lua", connections)[1]

    def storm(self, best: float, *, polite: bool) -> Storm:
        seconds = self._bench.sizes.storm_seconds
        crowd = min(round(best * TIMES * THINK_MS / 1000), CROWD_MAX)
        kind = "polite" if polite else "rude"
        self._bench.say(f"overload: {crowd:,} {kind} people")
        words = (THINK_MS, int(polite))
        buyers = round(best * seconds * 1.5) + crowd
        with (
            self._prepared(buyers) as crowd_requests,
            self._sampling(LEAD_S + seconds + AFTER_S) as sampling,
        ):
            began = sampling.wait(LEAD_S)
            load, accepted = self._shoot(seconds, crowd_requests, "crowd.lua", crowd, *words)
            ended = sampling.now()
            seen = sampling.ended()
        self._shop.drain()
        return Storm(best, crowd, accepted, load, seen, began, ended)

    def _crowd(
        self, seconds: float, buyers: int, script: str, connections: int
    ) -> tuple[Sample, float]:
        with self._prepared(buyers) as of_crowd:
            shot = self._shoot(seconds, of_crowd, script, connections)
        self._shop.drain()
        return shot

    def _shoot(
        self, seconds: float, of_crowd: Prepared, script: str, connections: int, *words: int
    ) -> tuple[Sample, float]:
        """The stretch, and purchases accepted in a second of it."""
        before = self._accepted()
        sample = shoot(
            self._shop.url,
            script,
            of_crowd.file,
            of_crowd.width,
            *words,
            seconds=seconds,
            watched=self._shop.pids(),
            connections=connections,
        )
        return sample, (self._accepted() - before) / seconds

    def _accepted(self) -> int:
        return self._shop.attempts().get("accepted", 0)

    def _prepared(self, buyers: int) -> AbstractContextManager[Prepared]:
        return prepared(
            self._folder,
            self._shop.data_dir,
            self.target,
            group=next(self._groups),
            buyers=buyers,
        )

    @contextmanager
    def _sampling(self, seconds: float) -> Iterator[_Sampling]:
        files = self._sampled(round(seconds / SAMPLE_EVERY_S) + 1)
        plan = sampler.Plan(
            port=self._shop.port,
            seconds=seconds,
            every_s=SAMPLE_EVERY_S,
            requests=files,
            out=str(self._folder / "sampled.json"),
        )
        with _Sampling(plan, self._folder / "sampler.log") as sampling:
            yield sampling

    def _sampled(self, times: int) -> list[tuple[str, str, int]]:
        """Passes and purchases of people of their own, an order's status, a page, a probe."""
        group = next(self._groups)
        purchases = list(requests(self._shop.data_dir, self.target, group, times))
        path = f"/v1/sales/{self._sale_id}/items/{self.target.item_id}/pass"
        passes = [_as_pass(purchase, path) for purchase in purchases]
        order = self._shop.ask("GET", "/v1/orders?limit=1", token=self._shop.token("first"))
        host = f"HTTP/1.1\r\nHost: 127.0.0.1:{self._shop.port}\r\n"
        bearer = f"Authorization: Bearer {self._shop.token('first')}\r\n\r\n"
        bought = self._own_order() if not order["data"] else order["data"][0]["id"]
        kinds = {
            "pass": passes,
            "purchase": purchases,
            "order": [f"GET /v1/orders/{bought} {host}{bearer}".encode()],
            "page": [f"GET /v1/sales/{self._sale_id} {host}\r\n".encode()],
            "probe": [f"GET /livez {host}\r\n".encode()],
        }
        files = []
        for kind, lines in kinds.items():
            file = self._folder / f"sampled-{kind}.bin"
            file.write_bytes(b"".join(lines))
            files.append((kind, str(file), len(lines[0])))
        return files

    def _own_order(self) -> str:
        token = self._shop.token("first")
        path = f"/v1/sales/{self._sale_id}/items/{self.target.item_id}/pass"
        given = self._shop.ask("POST", path, token=token)
        bought = self._shop.ask("POST", given["buy_url"], {"quantity": 1}, token=token)
        return str(bought["order"]["id"])


def _as_pass(purchase: bytes, path: str) -> bytes:
    """The same buyer's request for a pass."""
    head = purchase.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    lines[0] = f"POST {path} HTTP/1.1".encode()
    kept = [line for line in lines if not line.lower().startswith(b"content-")]
    return b"\r\n".join(kept) + b"\r\nContent-Length: 0\r\n\r\n"


class _Sampling:
    """The sampler in a process of its own."""

    def __init__(self, plan: sampler.Plan, log: Path) -> None:
        self._plan = plan
        self._log = log

    def __enter__(self) -> _Sampling:
        self._clock = time.monotonic
        with self._log.open("ab") as errors:
            self._child = subprocess.Popen(
                python("bench.sampler", json.dumps(asdict(self._plan))),
                stderr=errors,
                env=environment(),
                start_new_session=True,
            )
        self._began = self._clock()
        return self

    def __exit__(self, *_: object) -> None:
        end(self._child)

    def now(self) -> float:
        return self._clock() - self._began

    def wait(self, seconds: float) -> float:
        """The time after which the storm begins, some moments after the sampler did."""
        time.sleep(seconds)
        return self.now()

    def ended(self) -> Seen:
        try:
            self._child.wait(timeout=self._plan.seconds + 60)
        except subprocess.TimeoutExpired:
            raise BenchError("The sampler did not end in time.") from None
        if self._child.returncode != 0:
            last = self._log.read_text(errors="replace")[-300:]
            raise BenchError(f"The sampler failed: {last}")
        seen = json.loads(Path(self._plan.out).read_text())
        return [(at, kind, status, ms) for at, kind, status, ms in seen]


def _figures(storm: Storm, found: Outcome, polite: bool) -> list[Figure]:
    during = [x for x in storm.seen if storm.began_s <= x[0] < storm.ended_s]
    settled_s = storm.began_s + SETTLE_S
    at_first = sorted(ms for at, _, status, ms in during if status == 503 and at < settled_s)
    refused = sorted(ms for at, _, status, ms in during if status == 503 and at >= settled_s)
    label = "polite" if polite else "rude"
    share = storm.accepted_per_s / storm.best_per_s * 100
    figures = [
        Figure(name=f"{label}: people", value=storm.crowd, unit="people"),
        Figure(name=f"{label}: accepted", value=storm.accepted_per_s, unit="/s"),
        Figure(
            name=f"{label}: accepted, of the best",
            value=share,
            unit="%",
            at_least=SHARE_MIN if polite else None,
        ),
        Figure(
            name=f"{label}: refused, p99",
            value=quantile(refused, 0.99) if refused else 0.0,
            unit="ms",
            at_most=REFUSED_P99_MS_MAX if polite else None,
        ),
        Figure(
            name=f"{label}: refused in the first second, p99",
            value=quantile(at_first, 0.99) if at_first else 0.0,
            unit="ms",
        ),
        Figure(
            name=f"{label}: normal again after",
            value=_recovery_s(storm),
            unit="s",
            at_most=RECOVERY_S_MAX,
        ),
    ]
    if polite:
        figures.insert(0, Figure(name="best accepted", value=storm.best_per_s, unit="/s"))
    told = {}
    for kind in ("pass", "purchase", "order", "page", "probe"):
        answers = [(status, ms) for _, k, status, ms in during if k == kind]
        served = sorted(ms for status, ms in answers if 200 <= status < 300)
        if served:
            figures.append(
                Figure(name=f"{label}: {kind} served, p99", value=quantile(served, 0.99), unit="ms")
            )
        told[kind] = {
            "asked": len(answers),
            "served": len(served),
            "refused": sum(status == 503 for status, _ in answers),
            "unanswered": sum(status == 0 for status, _ in answers),
            "median_ms": round(median([ms for _, ms in answers]), 2) if answers else None,
        }
    found.details[label] = {"sampled": told, "load": asdict(storm.load)}
    return figures


def _recovery_s(storm: Storm) -> float:
    """From the end of the storm to the first whole second in which all was as before it."""
    before = [ms for at, _, status, ms in storm.seen if at < storm.began_s - 0.5 and status]
    usual_ms = max(USUAL_MS, USUAL_FACTOR * median(before)) if before else USUAL_MS
    for second in range(int(AFTER_S)):
        start = storm.ended_s + second
        window = [x for x in storm.seen if start <= x[0] < start + 1]
        if not window or any(status in (0, 503) for _, _, status, _ in window):
            continue
        if median([ms for *_, ms in window]) <= usual_ms:
            return float(second)
    return AFTER_S
