"""A line as long as the crowd that never paid: from the moment at which all are due until each of
those who waited has an order of their own in the ledger.
"""

from __future__ import annotations

import time

from bench.held import line_up, make_due, take_all
from bench.processes import BenchError, wait_until
from bench.product import product
from bench.run import Bench, Figure, Outcome

AT_LEAST = 5_000
DONE_S = 120.0
LOOK_S = 0.02


def run(bench: Bench) -> Outcome:
    count = bench.sizes.promoted
    with product(bench.subfolder("promotion") / "data") as shop:
        target = shop.open_sale(stock=count)
        bench.say(f"promotion: {count:,} orders that nobody pays, and {count:,} who wait")
        take_all(shop, target.publication, target.item_id, count)
        line_up(shop, target.publication, target.item_id, count)
        bench.say(f"promotion: {count:,} orders are due")
        make_due(shop)
        due = time.monotonic()
        wait_until(
            "everybody's order",
            lambda: shop.orders() == 2 * count,
            seconds=DONE_S,
            every_s=LOOK_S,
        )
        took = time.monotonic() - due
        waiting = shop.orders_in("awaiting_payment")
    if waiting != count:
        raise BenchError(f"promotion: {waiting:,} of {count:,} promoted orders can be paid.")
    return Outcome(
        figures=[
            Figure(
                name="due orders to promoted ones", value=count / took, unit="/s", at_least=AT_LEAST
            )
        ],
        notes=[
            "Promotion: the expiry of the order before, the hand-over in the gate and the new "
            "order in the ledger (SQLite) are in this time."
        ],
    )
