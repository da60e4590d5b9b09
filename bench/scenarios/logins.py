"""Log-ins by password: as fast as argon2 lets them be, and those who buy meanwhile feel nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.buyers import Prepared, written
from bench.generator import generate
from bench.openloop import Plan, Seen
from bench.processes import BenchError, environment, python, running, wait_until
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.scenarios.accepted import Crowd
from bench.stats import median
from bench.wrk import Sample, shoot
from sluice.settings import Settings

AT_LEAST = 0.80
"""Of what argon2 alone does in as many threads: the rest is HTTP, the ledger and the session."""
P99_TIMES_MAX = 1.5
"""What log-ins may make of the buyers' p99. It is a few milliseconds, so less could not be told."""
TURNED_AWAY_PERCENT_MAX = 0.1
TURNS = 2
ACCOUNTS = 64
CONNECTIONS = 8
PASSWORD = "correct horse battery"
BUYING_PART = 0.25
"""Buyers come at so much of the accepted rate: a core must be left that log-ins could take."""
LEARN_S = 3.0
WARM_UP_S = 2.0
_START_S = 20.0


def run(bench: Bench) -> Outcome:
    folder = bench.subfolder("login")
    threads = Settings().password_threads
    with product(folder / "data") as shop:
        _register(shop)
        with written(folder, 1, _log_ins(shop)) as requests:
            _log_in(shop, requests, WARM_UP_S)
            alone: list[float] = []
            logged_in: list[float] = []
            for _ in range(TURNS):
                bench.say(f"login: argon2 alone in {threads} threads")
                alone.append(_alone(bench, threads))
                bench.say("login: everybody logs in")
                logged_in.append(_log_in(shop, requests, bench.sizes.log_in_seconds).per_s)
            crowd = Crowd(bench, shop, group=9500)
            crowd.shoot(1.0)
            rate = crowd.shoot(LEARN_S).per_s * BUYING_PART
            without = _buy(bench, shop, crowd, rate)
            with _logging_in(bench, shop, requests) as beside:
                with_them = _buy(bench, shop, crowd, rate)
    return _found(median(alone), median(logged_in), without, with_them, beside, rate, threads)


def _alone(bench: Bench, threads: int) -> float:
    """Passwords compared per second by a process that does nothing else."""
    log = bench.folder / "argon2.log"
    log.unlink(missing_ok=True)
    seconds = bench.sizes.log_in_seconds
    command = python("bench.scenarios.logins", str(threads), str(seconds))
    with running(command, log=log, environ=environment()) as child:
        wait_until(
            "argon2 alone",
            lambda: child.poll() is not None,
            seconds=seconds + _START_S,
            every_s=0.1,
        )
    return float(log.read_text().split()[-1])


def _register(shop: Product) -> None:
    for n in range(ACCOUNTS):
        shop.ask("POST", "/v1/accounts", {"login": _name(n), "password": PASSWORD})


def _name(n: int) -> str:
    return f"bench{n:04d}"


def _log_ins(shop: Product) -> Iterator[bytes]:
    for n in range(ACCOUNTS):
        body = json.dumps({"login": _name(n), "password": PASSWORD})
        yield (
            f"POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1:{shop.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def _log_in(shop: Product, requests: Prepared, seconds: float) -> Sample:
    sample = shoot(
        shop.url,
        "prepared.lua",
        requests.file,
        requests.width,
        seconds=seconds,
        watched=shop.pids(),
        connections=CONNECTIONS,
    )
    # Beside buyers one log-in may take longer than wrk waits before it counts an error.
    if sample.refused or not sample.answers:
        raise BenchError(f"login: {sample.refused} of {sample.answers} were refused.")
    return sample


@contextmanager
def _logging_in(bench: Bench, shop: Product, requests: Prepared) -> Iterator[list[Sample]]:
    """Log-ins without a pause for about as long as the block lasts; their sample is there after."""
    seconds = bench.sizes.log_in_seconds + WARM_UP_S
    with ThreadPoolExecutor(1) as beside:
        samples: list[Sample] = []
        running_ = beside.submit(_log_in, shop, requests, seconds)
        yield samples
        samples.append(running_.result())


def _buy(bench: Bench, shop: Product, crowd: Crowd, rate: float) -> Seen:
    """Buyers come at `rate`, whatever became of those before. Raises `BenchError` where somebody
    got neither an order nor the answer that there is too much to do."""
    count = round(rate * (bench.sizes.log_in_seconds + WARM_UP_S))
    with crowd.of(count) as requests:
        bench.say(f"login: {rate:,.0f} buyers a second")
        plan = Plan(
            file=str(requests.file),
            width=requests.width,
            port=shop.port,
            rate=rate,
            count=count,
            unmeasured=round(rate * WARM_UP_S),
        )
        seen = generate(plan, bench.folder / "login-generator.log")
    if sum(seen.statuses.get(status, 0) for status in ("202", "503")) != count:
        raise BenchError(f"login: buyers were answered {seen.statuses}.")
    return seen


def _found(
    alone: float,
    logged_in: float,
    without: Seen,
    with_them: Seen,
    beside: list[Sample],
    rate: float,
    threads: int,
) -> Outcome:
    p99, p99_beside = without.latency_ms["p99"], with_them.latency_ms["p99"]
    [sample] = beside
    return Outcome(
        figures=[
            Figure(name="argon2 alone", value=alone, unit="/s"),
            Figure(name="log-ins", value=logged_in, unit="/s"),
            Figure(
                name="log-ins, of argon2 alone",
                value=logged_in / alone,
                unit="",
                at_least=AT_LEAST,
            ),
            Figure(name="log-ins beside buyers", value=sample.per_s, unit="/s"),
            Figure(name="buyers", value=rate, unit="/s"),
            Figure(name="buyers' p99", value=p99, unit="ms"),
            Figure(name="buyers' p99 beside log-ins", value=p99_beside, unit="ms"),
            Figure(
                name="buyers turned away beside log-ins",
                value=100 * with_them.statuses.get("503", 0) / with_them.answered,
                unit="%",
                at_most=TURNED_AWAY_PERCENT_MAX,
            ),
            Figure(
                name="buyers' p99, so many times",
                value=p99_beside / p99,
                unit="",
                at_most=P99_TIMES_MAX,
            ),
        ],
        notes=[
            f"Log-in: one HTTP worker, {threads} threads for argon2, {CONNECTIONS} connections; "
            "the same threads and priority in a process of their own are the measure. Buyers come "
            f"at {BUYING_PART:.0%} of the accepted rate, with exponential gaps."
        ],
    )


def _compare_alone(threads: int, seconds: float) -> float:
    from sluice.accounts.hashing import make_hasher, stand_back

    stand_back()
    hasher = make_hasher()
    kept = hasher.hash(PASSWORD)
    began = time.monotonic()

    def compare() -> int:
        done = 0
        while time.monotonic() - began < seconds:
            hasher.verify(kept, PASSWORD)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        done = sum(each.result() for each in [pool.submit(compare) for _ in range(threads)])
    return done / (time.monotonic() - began)


if __name__ == "__main__":
    import sys

    print(_compare_alone(int(sys.argv[1]), float(sys.argv[2])))
