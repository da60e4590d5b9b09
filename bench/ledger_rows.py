"""How many accepted orders a second the ledger records: `python bench/ledger_rows.py URL`.

The database at URL is migrated first; give it an empty one, and see what it costs as it fills.
Only `Ledger.record` is timed, in batches as the recorder hands them over; reading the gate's log
is not part of this.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Iterator

from sluice.domain import number
from sluice.domain.log import Accepted, LogBatch
from sluice.domain.money import Money
from sluice.domain.sale import NewItem, NewSale, Sale
from sluice.ledger import migrate
from sluice.ledger.ledger import Ledger

ITEMS = 3
ROWS_PER_ORDER = 3
"""The order, its slot, its history; journal, outbox and position are a few rows a batch."""
REPORT_EVERY_S = 2.0


def batches(sale: Sale, epoch: int, orders: int, size: int, started_s: int) -> Iterator[LogBatch]:
    """Every order by another buyer, in no order, as a crowd comes in."""
    buyers = random.sample(range(10 * orders), orders)
    for first in range(0, orders, size):
        last = min(first + size, orders)
        entries = [
            Accepted(
                number.join(started_s + place // 30_000, 0, place),
                sale.items[place % ITEMS].id,
                1,
                1,
                os.urandom(12),
                f"acct:{buyers[place]}",
            )
            for place in range(first, last)
        ]
        yield LogBatch(0, epoch, first + 1, last, list(entries))


async def measure(url: str, orders: int, size: int) -> None:
    ledger = Ledger.from_url(url, deadline_ms=10_000)
    now_ms = await ledger.now_ms()
    item = NewItem(title="Unit", price=Money(990, "CNY"), stock=orders)
    sale = await ledger.create_sale(
        NewSale(
            title="Rows",
            starts_at_ms=now_ms,
            ends_at_ms=now_ms + 3_600_000,
            items=(item,) * ITEMS,
        ),
        shards=1,
    )
    assert isinstance(sale, Sale)
    await ledger.publish(sale.id)
    lease = await ledger.claim_shard(0, f"bench-{os.getpid()}", 3_600_000)
    if lease is None:
        raise SystemExit("The shard is another's; give this an empty database.")
    lease = await ledger.begin_epoch(lease)
    started_s = now_ms // 1000 - number.EPOCH_S
    cpu = spent = reported = 0.0
    done = before = 0
    for batch in batches(sale, lease.epoch, orders, size, started_s):
        began, used = time.perf_counter(), time.process_time()
        recorded = await ledger.record(lease, batch)
        spent += time.perf_counter() - began
        cpu += time.process_time() - used
        assert recorded.orders == len(batch.entries), recorded
        done += recorded.orders
        if spent - reported >= REPORT_EVERY_S:
            print(f"{done:>9,} orders, {(done - before) / (spent - reported):>9,.0f}/s")
            reported, before = spent, done
    rate = done / spent
    print(
        f"{done:,} orders in {spent:.1f} s: {rate:,.0f} orders/s, "
        f"{rate * ROWS_PER_ORDER:,.0f} rows/s, {cpu / done * 1e6:.1f} us of this process an order"
    )
    await ledger.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=2000)
    arguments = parser.parse_args()
    migrate.upgrade(arguments.url)
    asyncio.run(measure(arguments.url, arguments.orders, arguments.batch))


if __name__ == "__main__":
    main()
