"""What comes after the win, in the ledger alone: `python bench/ledger_after.py URL`.

Expiry of due orders with restock, promotions, and payment callbacks (inbox row and effect), each
timed by itself in batches as the workers make them. Give it an empty database.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from itertools import count

from sqlalchemy import text

from sluice.domain import number
from sluice.domain.log import Accepted, Joined, LogBatch, LogEntry, Promoted
from sluice.domain.money import Money
from sluice.domain.payment import PaymentEvent, PaymentEventKind
from sluice.domain.sale import NewItem, NewSale, Sale
from sluice.ledger import migrate
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Lease, Taken

RECORDED = 4000
"""Log entries in one batch of the recorder."""
ITEMS = 3


class Fixture:
    """A sale with plenty of units, and the log of its only shard."""

    def __init__(self, ledger: Ledger, sale: Sale, lease: Lease, now_ms: int) -> None:
        self.ledger = ledger
        self._sale = sale
        self._lease = lease
        self._second = now_ms // 1000 - number.EPOCH_S
        self._sequence = count()
        self._counter = 0

    def number(self) -> int:
        place = next(self._sequence)
        return number.join(self._second + place // 30_000, 0, place)

    def accepted(self) -> Accepted:
        minted = self.number()
        item = self._sale.items[minted % ITEMS]
        return Accepted(minted, item.id, 1, 1, os.urandom(12), f"acct:{os.urandom(8).hex()}")

    def joined(self) -> Joined:
        minted = self.number()
        item = self._sale.items[minted % ITEMS]
        return Joined(minted, item.id, f"acct:{os.urandom(8).hex()}")

    async def record(self, entries: Sequence[LogEntry], size: int = RECORDED) -> None:
        for part in _parts(entries, size):
            first = self._counter + 1
            self._counter += len(part)
            batch = LogBatch(0, self._lease.epoch, first, self._counter, list(part))
            recorded = await self.ledger.record(self._lease, batch)
            assert not recorded.dead, recorded

    async def execute(self, statement: str) -> None:
        """Past the ledger: the clock cannot be turned."""
        async with self.ledger._engines.writing.begin() as connection:
            await connection.execute(text(statement))


def _parts(all_of: Sequence[LogEntry], size: int) -> Iterator[Sequence[LogEntry]]:
    for start in range(0, len(all_of), size):
        yield all_of[start : start + size]


async def begin(url: str, units: int) -> Fixture:
    ledger = Ledger.from_url(url, deadline_ms=60_000)
    now_ms = await ledger.now_ms()
    item = NewItem(title="Unit", price=Money(990, "CNY"), stock=units, per_buyer=32)
    sale = await ledger.create_sale(
        NewSale(
            title="After",
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
    return Fixture(ledger, sale, await ledger.begin_epoch(lease), now_ms)


async def expiry(fixture: Fixture, orders: int, size: int) -> float:
    """Due orders that nobody pays: state, history, slots, units, release and word of it."""
    await fixture.record([fixture.accepted() for _ in range(orders)])
    await fixture.execute("UPDATE orders SET pay_by_ms = 1 WHERE state = 'awaiting_payment'")
    await fixture.execute("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire'")
    began, done = time.perf_counter(), 0
    while expired := len(await fixture.ledger.expire_due(size)):
        done += expired
    assert done == orders, done
    return orders / (time.perf_counter() - began)


async def promotion(fixture: Fixture, entries: int, size: int) -> float:
    """Each ends an entry of the line and makes an order."""
    line = [fixture.joined() for _ in range(entries)]
    await fixture.record(line)
    promoted = [Promoted(fixture.number(), e.item_id, 1, e.entry, e.buyer) for e in line]
    began = time.perf_counter()
    await fixture.record(promoted, size)
    return entries / (time.perf_counter() - began)


async def callbacks(fixture: Fixture, orders: int, size: int) -> float:
    """Captures, each kept in the inbox and applied to payment, order and units."""
    accepted = [fixture.accepted() for _ in range(orders)]
    await fixture.record(accepted)
    events = []
    for order in accepted:
        payment = await fixture.ledger.open_payment(order.number, order.buyer, "simulator")
        events.append(
            PaymentEvent(
                "simulator",
                os.urandom(12).hex(),
                PaymentEventKind.CAPTURED,
                payment.id,
                None,
                payment.amount,
                None,
                b'{"type":"payment.captured","data":{}}' * 4,
            )
        )
    began = time.perf_counter()
    for start in range(0, len(events), size):
        taken = await fixture.ledger.take_callbacks(events[start : start + size])
        assert set(taken) == {Taken.NEW}
    return orders / (time.perf_counter() - began)


async def measure(url: str, orders: int) -> None:
    fixture = await begin(url, 4 * orders)
    for size in (1000, 4000):
        rate = await expiry(fixture, orders, size)
        print(f"expiry with restock, {size:,} at a time: {rate:>9,.0f} orders/s")
    rate = await promotion(fixture, min(orders, 20_000), 2000)
    print(f"promotions, 2,000 at a time: {rate:>9,.0f}/s")
    for size in (1, 16, 200):
        rate = await callbacks(fixture, 200 if size == 1 else min(orders, 4000), size)
        print(f"callbacks, {size:,} at a time: {rate:>9,.0f}/s")
    broken = [check for check in await fixture.ledger.audit(600_000) if not check.ok]
    print(f"audit: {broken or 'all holds'}")
    await fixture.ledger.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--orders", type=int, default=100_000)
    arguments = parser.parse_args()
    migrate.upgrade(arguments.url)
    asyncio.run(measure(arguments.url, arguments.orders))


if __name__ == "__main__":
    main()
