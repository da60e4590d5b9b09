"""A crowd that never paid: from the moment at which all of it is due until the last unit can be
bought again, in the running product.
"""

from __future__ import annotations

import time

from bench.held import make_due, take_all
from bench.processes import BenchError, wait_until
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome

AT_LEAST = 10_000
DONE_S = 120.0
LOOK_S = 0.02


def run(bench: Bench) -> Outcome:
    count = bench.sizes.due
    with product(bench.subfolder("expiry") / "data") as shop:
        target = shop.open_sale(stock=count)
        bench.say(f"expiry: {count:,} orders that nobody pays")
        take_all(shop, target.publication, target.item_id, count)
        bench.say(f"expiry: {count:,} orders are due")
        began = time.monotonic()
        make_due(shop)
        due = time.monotonic()
        wait_until(
            "all units to be back on sale",
            lambda: shop.held(target.item_id) == 0,
            seconds=DONE_S,
            every_s=LOOK_S,
        )
        took = time.monotonic() - due
        _check(shop, count)
    return Outcome(
        figures=[
            Figure(
                name="due orders to units on sale", value=count / took, unit="/s", at_least=AT_LEAST
            ),
            Figure(name=f"{count:,} due at once, last unit on sale after", value=took, unit="s"),
        ],
        notes=[
            "Expiry: state, history, limit, stock, journal, release and outbox in the ledger "
            "(SQLite), then the release in the gate; timed until the gate counts nothing as held."
        ],
        details={"making_due_s": due - began},
    )


def _check(shop: Product, count: int) -> None:
    expired = shop.orders_in("expired")
    if expired != count:
        raise BenchError(f"expiry: {expired:,} of {count:,} orders are expired.")
