"""Planted bugs: a guard is taken away, and what it guards against happens, or is caught behind it.

Each test shows first that the guard holds, then that this very test would notice its absence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import literal
from sqlalchemy.exc import DBAPIError
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.errors import Conflict
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import PaymentEventKind
from sluice.ledger import cancel, deadlines, giveback, inbox, settling
from sluice.ledger.money import Money
from sluice.ledger.records import Taken

EVERYWHERE = literal(True)


async def test_without_the_inbox_an_old_word_would_count_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it stands the primary key: the second row is refused, and its effect with it."""
    [order] = await shop.sell(await shop.item(), 1)
    event = shop.event(await shop.opened(order))
    assert await shop.ledger.take_callbacks([event]) == [Taken.NEW]
    assert await shop.ledger.take_callbacks([event]) == [Taken.REPEATED]

    async def all_of_them(self: inbox._Taking) -> Any:
        return list(self._events)

    monkeypatch.setattr(inbox._Taking, "_fresh", all_of_them)
    with pytest.raises(DBAPIError):
        await shop.ledger.take_callbacks([event])
    assert await shop.count("inbox") == 1
    assert await shop.broken() == set()


async def test_without_the_look_at_open_payments_a_paying_buyer_would_lose_the_order(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    await shop.opened(order)
    await shop.make_due()
    assert await shop.ledger.expire_due(9) == []
    monkeypatch.setattr(deadlines, "_has_open_payment", lambda: ~EVERYWHERE)
    assert await shop.ledger.expire_due(9) == [], "the look behind the lock"

    async def nobody(*_: Any) -> set[int]:
        return set()

    monkeypatch.setattr(deadlines, "_being_paid", nobody)
    await shop.make_due()
    if await shop.count("deadlines") == 1:  # only the reminder's is left: nothing could go wrong
        await shop.execute("UPDATE deadlines SET kind = 'expire', due_at_ms = 1")
    assert await shop.ledger.expire_due(9) == [order.number]
    assert "open_payments_have_a_living_order" in await shop.broken()


async def test_without_the_condition_on_the_state_an_order_would_end_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it stand the primary key of the releases and the balance of the units."""
    item = await shop.item()
    one, *others = await shop.sell(item, 3)
    await shop.pay(one)
    held = giveback.Held(one.number, item.id, 1)

    async def expire(tx: Any) -> None:
        before, after = OrderState.AWAITING_PAYMENT, OrderState.EXPIRED
        await giveback.give_back(tx, [held], before, after, reason="expired")

    with pytest.raises(giveback.Overtaken):
        await shop.ledger._write(expire)
    assert await shop.broken() == set()

    monkeypatch.setattr(giveback, "still", lambda _state: EVERYWHERE)
    await shop.ledger._write(expire)
    assert await shop.state(one) is OrderState.EXPIRED
    assert {"units_are_those_of_orders", "history_is_legal"} <= await shop.broken()
    with pytest.raises(DBAPIError):
        await shop.ledger._write(expire)
    assert [await shop.state(o) for o in others] == [OrderState.AWAITING_PAYMENT] * 2


async def test_without_its_transitions_a_payment_would_be_refunded_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    await shop.pay(order)
    await shop.ledger.request_refund(order.number, None, True, "")
    with pytest.raises(Conflict):
        await shop.ledger.request_refund(order.number, None, True, "")
    await shop.execute("UPDATE orders SET state = 'paid'")  # the order's own guard is gone
    with pytest.raises(Conflict):
        await shop.ledger.request_refund(order.number, None, True, "")
    await shop.execute("UPDATE payments SET state = 'captured'")  # and the payment's
    await shop.ledger.request_refund(order.number, None, True, "")
    assert "refunds_are_those_of_payments" in await shop.broken()


async def test_without_the_amount_compared_a_cent_would_buy_everything(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap, dear = await shop.sell(await shop.item(), 2)
    cent = type((await shop.opened(cheap)).amount)(1, "CNY")
    await shop.ledger.take_callbacks([shop.event(await shop.opened(cheap), amount=cent)])
    assert await shop.state(cheap) is OrderState.AWAITING_PAYMENT

    monkeypatch.setattr(Money, "_why_not", lambda *_: None)
    await shop.ledger.take_callbacks([shop.event(await shop.opened(dear), amount=cent)])
    assert await shop.state(dear) is OrderState.PAID
    assert "paid_orders_have_their_money" in await shop.broken()


async def test_without_the_unique_column_two_payments_could_pay_one_order(shop: Shop) -> None:
    [order] = await shop.sell(await shop.item(), 1)
    await shop.pay(order)
    with pytest.raises(DBAPIError):
        await shop.execute(
            "INSERT INTO payments (order_number, amount_minor, captured_minor, refunded_minor, "
            "created_at_ms, pays_for, currency, captured_currency, provider, state) "
            "VALUES (:n, 990, 990, 0, 0, :n, 'CNY', 'CNY', 'simulator', 'captured')",
            n=order.number,
        )


async def test_without_the_shards_row_a_cancellation_could_slip_past_the_recorder(
    shop: Shop, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder has looked for cancellations and not committed yet: one that is noted now must
    wait for it."""
    if database == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    item = await shop.item()
    looked, go_on = asyncio.Event(), asyncio.Event()
    lookup: Callable[..., Awaitable[dict[int, str]]] = cancel.cancelled_while_queued

    async def look_and_wait(*arguments: Any) -> dict[int, str]:
        found = await lookup(*arguments)
        looked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr("sluice.ledger.recorder.cancelled_while_queued", look_and_wait)

    async def cancelled_meanwhile(within_s: float) -> OrderState:
        looked.clear()
        go_on.clear()
        order = shop.accepted(item)
        recording = asyncio.ensure_future(shop.record(order))
        await looked.wait()
        note = shop.ledger.cancel_queued(order.number, order.buyer, item.id, "")
        cancelling = asyncio.ensure_future(note)
        await asyncio.wait({cancelling}, timeout=within_s)
        go_on.set()
        await asyncio.gather(recording, cancelling)
        return await shop.state(order)

    # It waits for the recorder, and the recorder for us.
    assert await cancelled_meanwhile(0.3) is OrderState.CANCELLED

    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(cancel, "_stop_the_recorder", nothing)
    assert await cancelled_meanwhile(20) is OrderState.AWAITING_PAYMENT, "the planted bug shows"
    assert "cancellations_are_applied" in await shop.broken()


async def test_without_a_deadline_of_its_own_an_order_given_up_in_time_would_never_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: Any) -> None:
        return None

    monkeypatch.setattr(settling, "add_deadlines", none)
    [order] = await shop.sell(await shop.item(unit(5)), 1)
    payment = await shop.opened(order)
    await shop.execute("UPDATE deadlines SET due_at_ms = 1 WHERE kind = 'expire'")
    await shop.ledger.expire_due(9)
    await shop.ledger.take_callbacks([shop.event(payment, PaymentEventKind.VOIDED)])
    assert (await shop.order(order)).payment_state is PaymentState.VOID
    await shop.make_due()
    assert await shop.ledger.expire_due(9) == []
    assert await shop.broken() == {"overdue_orders_have_a_deadline"}
