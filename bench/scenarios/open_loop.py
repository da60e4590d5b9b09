"""How long buyers wait when they come at half the accepted rate, one HTTP worker.

They come independently of each other and of the answers; latency counts from when they came.
"""

from __future__ import annotations

from dataclasses import asdict

from bench.generator import generate
from bench.openloop import BEHIND_MS, Plan, Seen
from bench.processes import BenchError
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.scenarios.accepted import Crowd

P99_MS = 20
P999_MS = 100
WARM_UP_S = 2.0
LEARN_S = 3.0


def run(bench: Bench) -> Outcome:
    folder = bench.subfolder("open-loop")
    with product(folder / "data") as shop:
        crowd = Crowd(bench, shop, group=9000)
        accepted = bench.known.get("accepted_per_s")
        if accepted is None:
            crowd.shoot(1.0)
            accepted = crowd.shoot(LEARN_S).per_s
        rate = min(accepted / 2, bench.sizes.open_rate_max)
        count = round(rate * (bench.sizes.open_seconds + WARM_UP_S))
        bench.say(f"open loop: {count:,} buyers get their passes")
        with crowd.of(count) as requests:
            bench.say(f"open loop: {rate:,.0f} buyers a second")
            plan = Plan(
                file=str(requests.file),
                width=requests.width,
                port=shop.port,
                rate=rate,
                count=count,
                unmeasured=round(rate * WARM_UP_S),
            )
            seen = generate(plan, folder / "generator.log")
        _check(shop, seen, count)
    return _found(seen, rate)


def _check(shop: Product, seen: Seen, count: int) -> None:
    """Everybody has an order, no two the same, and the ledger has them all."""
    if seen.statuses != {"202": count} or len(set(seen.orders)) != count:
        raise BenchError(f"open loop: {seen.statuses}, {len(set(seen.orders)):,} different orders.")
    shop.drain()
    recorded = shop.recorded(seen.orders)
    if recorded != count:
        raise BenchError(f"open loop: {recorded:,} of {count:,} orders are in the ledger.")


def _found(seen: Seen, rate: float) -> Outcome:
    waited = seen.latency_ms
    found = Outcome(
        figures=[
            Figure(name="rate", value=rate, unit="/s"),
            Figure(name="p50", value=waited["p50"], unit="ms"),
            Figure(name="p99", value=waited["p99"], unit="ms", at_most=P99_MS),
            Figure(name="p99.9", value=waited["p99.9"], unit="ms", at_most=P999_MS),
            Figure(name="max", value=waited["max"], unit="ms"),
            Figure(name="generator late, p99", value=seen.late_ms["p99"], unit="ms"),
        ],
        notes=[
            "Open loop: exponential gaps, 512 connections, latency from the due time; "
            "every order number was looked up in the ledger."
        ],
        details={key: value for key, value in asdict(seen).items() if key != "orders"},
    )
    if not seen.kept_up:
        found.notes.append(
            f"The generator itself took up 1 % of its requests more than {BEHIND_MS:g} ms late; "
            "these latencies are its own in part."
        )
    return found
