"""Recorder, releasers, payments, cancelling and refunds at once, over the same items."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import Shop, released, unit

from sluice.domain.errors import Conflict
from sluice.domain.log import Accepted
from sluice.domain.order import Order, OrderState
from sluice.domain.payment import PaymentEventKind
from sluice.ledger.faults import Fault
from sluice.ledger.ledger import Ledger
from sluice.ledger.store import Store

T = TypeVar("T")

ROUNDS = 6
BATCH = 30
COLLISIONS_MAX = 20
"""Of some hundred transactions; each is run again. Without an order of locks it is several times
as many, and some give up."""


async def test_everybody_at_once_ends_in_balance(
    shop: Shop, ledger_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collisions = 0
    may_repeat = Store._may_repeat

    def counted(self: Store, fault: Fault, tries: int, error: Exception) -> bool:
        nonlocal collisions
        collisions += fault is Fault.CONTENDED
        return may_repeat(self, fault, tries, error)

    monkeypatch.setattr(Store, "_may_repeat", counted)
    sale = await shop.sale(*(unit(1000) for _ in range(4)))
    chance = random.Random(7)
    sold: list[Accepted] = []

    async def record() -> None:
        for _ in range(ROUNDS):
            items = chance.choices(sale.items, k=BATCH)
            batch = [shop.accepted(item) for item in items]
            done = await shop.ledger.pending_releases(0, 100)
            over = [released(order) for order in sold if order.number in {p.number for p in done}]
            await shop.record(*batch, *over)
            sold.extend(batch)
            await asyncio.sleep(0)

    async def live(ledger: Ledger, seed: int) -> None:
        """Buyers: some pay, some cancel, some are too late, some are refunded."""
        mine = random.Random(seed)
        while not recording.done():
            if not sold:
                await asyncio.sleep(0.01)
                continue
            some = mine.sample(sold, k=min(len(sold), 6))
            for order in some[:2]:
                await _try(ledger.cancel(order.number, order.buyer, ""))
            payments = [
                await _try(ledger.open_payment(order.number, order.buyer, "simulator"))
                for order in some[2:]
            ]
            events = [shop.event(payment) for payment in payments if payment is not None]
            await ledger.take_callbacks(events)
            for order in some[2:3]:
                await _try(ledger.request_refund(order.number, None, True, ""))
            for refund in await ledger.due_refunds(5, 60_000):
                await ledger.refund_completed(refund.id)

    async def expire(ledger: Ledger) -> None:
        while not recording.done():
            await shop.execute(
                "UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire' AND id % 2 = 0"
            )
            await ledger.expire_due(20)
            await asyncio.sleep(0.01)

    async with opened(ledger_url, 60_000) as other:
        recording = asyncio.ensure_future(record())
        await asyncio.gather(
            recording, live(shop.ledger, 1), live(other, 2), expire(other), expire(shop.ledger)
        )
        await shop.make_due()
        for payment in await other.due_payments(1000, 1):
            await other.take_callbacks([shop.event(payment, PaymentEventKind.VOIDED)])
        while await other.expire_due(100):
            pass
        for refund in await other.due_refunds(1000, 1):
            await other.refund_completed(refund.id)

    found: dict[int, Order] = await shop.ledger.orders([order.number for order in sold])
    assert len(found) == ROUNDS * BATCH
    over = {OrderState.PAID, OrderState.EXPIRED, OrderState.CANCELLED, OrderState.REFUNDED}
    assert {order.state for order in found.values()} <= over
    for item in sale.items:
        paid = sum(o.state is OrderState.PAID for o in found.values() if o.item_id == item.id)
        now = await shop.now(item)
        assert (now.available, now.awaiting_payment, now.paid) == (1000 - paid, 0, paid)
    assert await shop.ledger.open_money(100) == []
    assert await shop.broken() == set()
    assert database == "sqlite" or collisions <= COLLISIONS_MAX, collisions


async def _try(work: Awaitable[T]) -> T | None:
    """None where the state does not allow it any more."""
    try:
        return await work
    except Conflict:
        return None
