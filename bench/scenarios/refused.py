"""Everybody holds a pass from before it sold out, and everybody is told so: 409 from the product
with everything switched on.
"""

from __future__ import annotations

from bench.buyers import Prepared, prepared
from bench.processes import BenchError, wait_until
from bench.product import Product, product
from bench.run import Bench, Outcome
from bench.speed import WARM_UP_S, WORKERS, report, take_turns
from bench.wrk import Sample, shoot

AT_LEAST = 0.60


def run(bench: Bench) -> Outcome:
    found = Outcome(
        notes=[
            f"Refused: {bench.sizes.refused_buyers:,} buyers in turn, each with a token and a pass "
            "of their own; all but the first round finds their tokens remembered, as the request "
            "for the pass would have done (a worker remembers 25,000 at least)."
        ]
    )
    for workers in WORKERS:
        _with_workers(bench, found, workers)
    return found


def _with_workers(bench: Bench, found: Outcome, workers: int) -> None:
    folder = bench.subfolder("refused")
    with product(folder / f"data-{workers}", workers=workers) as shop:
        target = shop.sell_out()
        shop.drain()
        bench.say(f"refused: {bench.sizes.refused_buyers:,} buyers get their passes")
        with prepared(
            folder, shop.data_dir, target, group=workers, buyers=bench.sizes.refused_buyers
        ) as requests:
            _shoot(shop, requests, WARM_UP_S)

            def shot(_index: int) -> Sample:
                return _shoot(shop, requests, bench.sizes.seconds)

            rounds = take_turns(bench, "refused", workers, shot=shot, requests=lambda: requests)
            _check(shop, sum(sample.answers for sample in rounds.product))
    report(found, workers, rounds, at_least=AT_LEAST)


def _check(shop: Product, answers: int) -> None:
    """Each of them was decided by the gate, and as `sold_out`: an overloaded product answers fast,
    but not with this."""
    wait_until(
        f"{answers:,} refusals among the product's own counts",
        lambda: shop.attempts()["sold_out"] >= answers,
        seconds=5.0,
        every_s=0.2,
    )


def _shoot(shop: Product, requests: Prepared, seconds: float) -> Sample:
    """One stretch. Raises `BenchError` where anything but a refusal came back."""
    sample = shoot(
        shop.url,
        "prepared.lua",
        requests.file,
        requests.width,
        seconds=seconds,
        watched=shop.pids(),
    )
    if sample.refused != sample.answers or sample.socket_errors:
        raise BenchError(
            f"refused: {sample.answers - sample.refused} answers were no refusals and "
            f"{sample.socket_errors} connections failed."
        )
    return sample
