"""A merchant and a gate around a ledger, for its tests: who sells, what the gate's log says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sluice.domain import number
from sluice.domain.log import (
    Accepted,
    Edited,
    ItemTotals,
    Joined,
    LogBatch,
    LogEntry,
    Marked,
    Promoted,
    Released,
)
from sluice.domain.money import Money
from sluice.domain.order import Order, OrderState
from sluice.domain.payment import Payment, PaymentEvent, PaymentEventKind
from sluice.domain.sale import Item, NewItem, NewSale, Policy, Sale
from sluice.ledger.engine import driver_url
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Lease, Recorded

LEASE_MS = 60_000
HOUR_MS = 3_600_000


def unit(
    stock: int = 10, *, price: int = 990, per_buyer: int = 2, group: str | None = None
) -> NewItem:
    return NewItem(
        title="Unit",
        price=Money(price, "CNY"),
        stock=stock,
        per_buyer=per_buyer,
        limit_group=group,
    )


class Shop:
    """`record` writes the next entries of shard 0's log."""

    def __init__(self, ledger: Ledger, engine: AsyncEngine, lease: Lease, now_ms: int) -> None:
        self.ledger = ledger
        self.lease = lease
        self.now_ms = now_ms
        self.counter = 0
        self._engine = engine
        self._sequence = count(1)
        self._buyers = count(1)

    @classmethod
    async def open(cls, ledger: Ledger, url: str) -> Shop:
        engine = create_async_engine(driver_url(url), poolclass=NullPool)
        lease = await ledger.claim_shard(0, "the test", LEASE_MS)
        assert lease is not None
        return cls(ledger, engine, await ledger.begin_epoch(lease), await ledger.now_ms())

    async def close(self) -> None:
        await self._engine.dispose()

    # --- the merchant ----------------------------------------------------------------------------

    def new_sale(
        self, *items: NewItem, starts_in_ms: int = -HOUR_MS, policy: Policy | None = None
    ) -> NewSale:
        return NewSale(
            title="Sale",
            starts_at_ms=self.now_ms + starts_in_ms,
            ends_at_ms=self.now_ms + starts_in_ms + 3 * HOUR_MS,
            items=items or (unit(),),
            policy=policy or Policy(),
        )

    async def draft(
        self, *items: NewItem, starts_in_ms: int = -HOUR_MS, policy: Policy | None = None
    ) -> Sale:
        new = self.new_sale(*items, starts_in_ms=starts_in_ms, policy=policy)
        sale = await self.ledger.create_sale(new, shards=1)
        assert isinstance(sale, Sale)
        return sale

    async def sale(
        self, *items: NewItem, starts_in_ms: int = -HOUR_MS, policy: Policy | None = None
    ) -> Sale:
        """Published, and live if it does not start later."""
        draft = await self.draft(*items, starts_in_ms=starts_in_ms, policy=policy)
        return await self.ledger.publish(draft.id)

    async def item(self, *items: NewItem, policy: Policy | None = None) -> Item:
        """The first item of a live sale."""
        return (await self.sale(*items, policy=policy)).items[0]

    async def now(self, item: Item) -> Item:
        """The item as the ledger has it now."""
        sale = (await self.ledger.sales([item.sale_id]))[item.sale_id]
        return next(each for each in sale.items if each.id == item.id)

    # --- the gate's log ---------------------------------------------------------------------------

    def accepted(
        self,
        item: Item | int,
        buyer: str | None = None,
        *,
        slots: int = 1,
        number_: int | None = None,
        nonce: bytes | None = None,
    ) -> Accepted:
        """An order by a buyer of its own, unless one is named."""
        return Accepted(
            number=number_ or self.number(),
            item_id=item if isinstance(item, int) else item.id,
            quantity=slots.bit_count(),
            slots=slots,
            nonce=nonce or os.urandom(12),
            buyer=buyer or f"acct:{next(self._buyers)}",
        )

    def number(self) -> int:
        """The next one that the gate would mint."""
        second = self.now_ms // 1000 - number.EPOCH_S
        return number.join(second, 0, next(self._sequence))

    def batch(self, *entries: LogEntry) -> LogBatch:
        """The next batch of the log; the same again until one is recorded."""
        first = self.counter + 1
        return LogBatch(0, self.lease.epoch, first, first + max(len(entries), 1) - 1, list(entries))

    async def record(self, *entries: LogEntry) -> Recorded:
        batch = self.batch(*entries)
        recorded = await self.ledger.record(self.lease, batch)
        self.counter = batch.last
        return recorded

    async def sell(self, item: Item, orders: int) -> list[Accepted]:
        sold = [self.accepted(item) for _ in range(orders)]
        assert (await self.record(*sold)).orders == orders
        return sold

    def joined(self, item: Item, buyer: str | None = None) -> Joined:
        """A place in line for a buyer of its own, unless one is named."""
        return Joined(self.number(), item.id, buyer or f"acct:{next(self._buyers)}")

    def promoted(self, place: Joined, *, slots: int = 1) -> Promoted:
        return Promoted(self.number(), place.item_id, slots, place.entry, place.buyer)

    # --- time and money ---------------------------------------------------------------------------

    async def make_due(self) -> None:
        """Every payment window is over. (The deadlines' rows and the orders say it alike.)"""
        await self.execute("UPDATE orders SET pay_by_ms = 1 WHERE pay_by_ms IS NOT NULL")
        await self.execute("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire'")
        await self.execute("UPDATE payments SET ask_at_ms = 1 WHERE ask_at_ms IS NOT NULL")

    async def order(self, order: Accepted | int) -> Order:
        number_ = order if isinstance(order, int) else order.number
        return (await self.ledger.orders([number_]))[number_]

    async def state(self, order: Accepted | int) -> OrderState:
        return (await self.order(order)).state

    async def opened(self, order: Accepted) -> Payment:
        """The order's payment, open."""
        return await self.ledger.open_payment(order.number, order.buyer, "simulator")

    def event(
        self,
        payment: Payment,
        kind: PaymentEventKind = PaymentEventKind.CAPTURED,
        *,
        amount: Money | None = None,
        reference: str | None = None,
        refund_id: int | None = None,
        event_id: str | None = None,
    ) -> PaymentEvent:
        """The provider's word of its whole amount, under an id of its own."""
        return PaymentEvent(
            provider=payment.provider,
            event_id=event_id or os.urandom(8).hex(),
            kind=kind,
            payment_id=payment.id,
            reference=reference,
            amount=amount or payment.amount,
            refund_id=refund_id,
            body=b"{}",
        )

    async def pay(self, order: Accepted) -> Payment:
        """The order is paid; the payment as it is then."""
        await self.ledger.take_callbacks([self.event(await self.opened(order))])
        return (await self.ledger.payments_of([order.number]))[order.number][-1]

    # --- what is in the database -----------------------------------------------------------------

    async def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        async with self._engine.connect() as connection:
            found = await connection.execute(text(statement), values)
            return [tuple(row) for row in found]

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT COUNT(*) FROM {table}"))[0][0])

    async def execute(self, statement: str, **values: Any) -> None:
        """Raw SQL, past everything that the ledger checks."""
        async with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":  # else it does not look at them
                await connection.execute(text("PRAGMA foreign_keys = ON"))
            await connection.execute(text(statement), values)
            await connection.commit()

    async def broken(self) -> set[str]:
        """The names of the invariants that do not hold."""
        return {check.name for check in await self.ledger.audit() if not check.ok}

    async def everything(self) -> dict[str, int]:
        """Rows of every table that recording writes to: equal before and after means no effect."""
        return {table: await self.count(table) for table in WRITTEN}


WRITTEN: Sequence[str] = (
    "orders",
    "order_slots",
    "order_history",
    "stock_journal",
    "releases",
    "dead_letters",
    "outbox",
    "audit_marks",
    "incidents",
    "deadlines",
    "cancellations",
    "waitlist",
)


def totals(item: Item, *, available: int, stock: int | None = None) -> Marked:
    """An audit mark over one item, as a gate without faults would append it."""
    whole = item.stock if stock is None else stock
    return Marked((ItemTotals(item.id, available, whole - available, whole),))


def released(order: Accepted) -> Released:
    return Released(order.number, order.item_id, order.quantity)


def edited(item: Item, edit: int, delta: int, *, applied: bool = True) -> Edited:
    return Edited(item.id, edit, delta, applied)
