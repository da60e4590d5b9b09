"""The steps of a payment on a real ledger, with the simulator as the provider."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from tests.contract.ledger_shop import Shop

from sluice.batching import Batcher
from sluice.domain.errors import Conflict, Invalid, NotFound
from sluice.domain.log import Accepted
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import Payment, Refund, RefundState
from sluice.domain.signature import BadSignature, Message, signed_headers
from sluice.payment.knobs import Knobs
from sluice.payment.port import (
    Provider,
    ProviderUnavailable,
    RefundStanding,
    Standing,
    StandingState,
)
from sluice.payment.simulator import Simulator
from sluice.settlement import Callbacks, Settlement, gather_callbacks

pytestmark = pytest.mark.parametrize(
    "database",
    [
        "sqlite",
        # What is asked of the ledger has contracts of its own, on each of them.
        pytest.param("postgresql", marks=pytest.mark.verify),
        pytest.param("mariadb", marks=pytest.mark.verify),
    ],
)

KEY = bytes(range(32))
LIMIT = 64


class Till:
    """A shop's settlement, and the provider's side of it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ledger = shop.ledger
        self.provider = Simulator(
            shop.ledger, keys=[KEY], public_url="https://x", return_url="https://x/{order}"
        )
        self.settlement = self.of(self.provider)
        self._names = itertools.count(1)

    def of(self, provider: Provider, callbacks: Callbacks | None = None) -> Settlement:
        return Settlement(
            ledger=self.ledger,
            providers={"simulator": provider},
            active="simulator",
            now_ms=lambda: self.shop.now_ms,
            callbacks=callbacks,
        )

    async def order(self) -> Accepted:
        (sold,) = await self.shop.sell(await self.shop.item(), 1)
        return sold

    async def opened(self, order: Accepted) -> Payment:
        return await self.settlement.open_checkout(order.number, order.buyer)

    async def act(self, payment: Payment, action: str = "pay", knobs: Knobs | None = None) -> None:
        """Somebody does something at the checkout page."""
        if knobs is not None:
            await self.provider.turn(str(payment.reference), knobs)
        await self.provider.settle(str(payment.reference), action)

    async def hear(self) -> int:
        """The callbacks that are due come in, over our webhook's own step."""
        calls = await self.ledger.simulator_calls(100, 60_000)
        for call in calls:
            headers = self.headers(call.body, call.event_id)
            await self.settlement.take("simulator", headers, call.body)
        await self.ledger.simulator_called([call.id for call in calls], [])
        return len(calls)

    def headers(self, body: bytes, event_id: str = "", key: bytes = KEY) -> dict[str, str]:
        message = Message(event_id or f"evt_{next(self._names)}", self.shop.now_ms // 1000, body)
        return signed_headers([key], message)

    async def told(self, **data: Any) -> int:
        """A capture that somebody else tells, with our secret."""
        body = json.dumps(
            {"type": "payment.captured", "data": {"amount": "9.90", "currency": "CNY", **data}}
        ).encode()
        return await self.settlement.take("simulator", self.headers(body), body)

    async def payments(self, order: Accepted) -> list[Payment]:
        return (await self.ledger.payments_of([order.number]))[order.number]

    async def states(self, order: Accepted) -> list[PaymentState]:
        return [payment.state for payment in await self.payments(order)]

    async def money_is_settled(self) -> bool:
        return not await self.ledger.open_money(LIMIT) and not await self.shop.broken()

    async def refunds_done(self) -> None:
        """Carried to the provider, which tells when they are done."""
        assert await self.settlement.send_refunds(LIMIT)
        await self.hear()


@pytest.fixture
def till(shop: Shop) -> Till:
    return Till(shop)


# --- opening --------------------------------------------------------------------------------------


async def test_asked_again_it_is_the_same_checkout(till: Till) -> None:
    order = await till.order()
    first, second = await asyncio.gather(till.opened(order), till.opened(order))
    assert first == second == await till.opened(order)
    assert first.checkout_url == f"https://x/simulator/checkout/{first.reference}"


async def test_nobody_elses_order_is_opened_and_none_that_is_over(till: Till) -> None:
    order = await till.order()
    with pytest.raises(NotFound):
        await till.settlement.open_checkout(order.number, "acct:stranger")
    await till.shop.make_due()
    with pytest.raises(Conflict):
        await till.opened(order)


async def test_after_a_failed_try_there_is_another(till: Till) -> None:
    order = await till.order()
    first = await till.opened(order)
    await till.act(first, "fail")
    await till.hear()
    second = await till.opened(order)
    assert second.id != first.id
    await till.act(second)
    await till.hear()
    assert await till.states(order) == [PaymentState.FAILED, PaymentState.CAPTURED]
    assert await till.shop.state(order) is OrderState.PAID


async def test_a_checkout_that_ended_by_itself_makes_room_for_another(till: Till) -> None:
    order = await till.order()
    first = await till.opened(order)
    await till.shop.execute("UPDATE payments SET expires_at_ms = 1")
    second = await till.opened(order)
    assert second.id != first.id
    assert await till.states(order) == [PaymentState.VOID, PaymentState.PENDING]


async def test_paid_in_its_last_moment_it_is_paid_and_not_asked_for_again(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(drop=1))
    await till.shop.execute("UPDATE payments SET expires_at_ms = 1")
    with pytest.raises(Conflict):
        await till.opened(order)
    assert await till.shop.state(order) is OrderState.PAID


async def test_a_checkout_that_settles_itself_is_still_shown(till: Till) -> None:
    till.provider._knobs = Knobs(settle="pay")
    order = await till.order()
    assert (await till.opened(order)).checkout_url
    await till.hear()
    assert await till.shop.state(order) is OrderState.PAID


# --- callbacks ------------------------------------------------------------------------------------


async def test_a_capture_pays_the_order_however_often_it_is_told(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(repeat=1))
    assert await till.hear() == 2
    assert await till.shop.state(order) is OrderState.PAID
    assert await till.states(order) == [PaymentState.CAPTURED]
    assert await till.money_is_settled()


async def test_a_forged_callback_writes_nothing(till: Till) -> None:
    order = await till.order()
    payment = await till.opened(order)
    body = json.dumps({"type": "payment.captured", "data": {"payment_id": str(payment.id)}})
    with pytest.raises(BadSignature):
        await till.settlement.take(
            "simulator", till.headers(body.encode(), key=bytes(32)), body.encode()
        )
    assert await till.shop.count("inbox") == 0
    assert await till.shop.state(order) is OrderState.AWAITING_PAYMENT


async def test_a_provider_that_is_not_set_up_is_not_found(till: Till) -> None:
    with pytest.raises(NotFound):
        await till.settlement.take("alipay", {}, b"")


async def test_callbacks_that_come_together_are_taken_together(till: Till) -> None:
    """And one that cannot be kept is refused alone."""
    item = await till.shop.item()
    orders = await till.shop.sell(item, 5)
    callbacks: Callbacks = Batcher(
        gather_callbacks(till.ledger), batch_max=100, queue_max=100, deadline_s=30, calls_max=1
    )
    till.settlement = till.of(till.provider, callbacks)
    for order in orders:
        await till.act(await till.opened(order))
    calls = await till.ledger.simulator_calls(100, 60_000)
    bad = {"payment_id": "1", "order_id": "1", "reference": "x" * 300}
    took = await asyncio.gather(
        till.told(**bad),
        *(
            till.settlement.take("simulator", till.headers(c.body, c.event_id), c.body)
            for c in calls
        ),
        return_exceptions=True,
    )
    assert isinstance(took[0], Invalid)
    assert took[1:] == [1] * 5
    assert {await till.shop.state(order) for order in orders} == {OrderState.PAID}
    await callbacks.close()


@pytest.mark.parametrize("opened", [True, False])
async def test_a_callback_may_name_the_order_alone(till: Till, opened: bool) -> None:
    """Such as one that a shop's own till signs, with names of its own."""
    order = await till.order()
    if opened:
        await till.opened(order)
    assert await till.told(order_id=str(order.number), payment_id="till-1") == 1
    assert await till.shop.state(order) is OrderState.PAID
    assert await till.told(order_id=str(order.number), payment_id="till-1") == 1
    assert await till.states(order) == [PaymentState.CAPTURED], "told again it is the same money"


async def test_a_callback_that_numbers_another_orders_payment_means_its_own_order(
    till: Till,
) -> None:
    theirs, mine = await till.order(), await till.order()
    other = await till.opened(theirs)
    await till.told(order_id=str(mine.number), payment_id=str(other.id))
    assert await till.shop.state(mine) is OrderState.PAID
    assert await till.shop.state(theirs) is OrderState.AWAITING_PAYMENT
    assert await till.states(theirs) == [PaymentState.PENDING]
    await till.told(order_id=str(mine.number), payment_id=str(other.id + 900))
    assert (await till.states(mine))[1:] == [PaymentState.REFUNDING], "a second capture"


async def test_a_callback_for_nobody_is_kept_for_the_operator(till: Till) -> None:
    assert await till.told(order_id="12345", payment_id="till-1") == 1
    ((applied,),) = await till.shop.rows("SELECT applied_at_ms FROM inbox")
    assert applied is None


# --- a missing callback ---------------------------------------------------------------------------


async def test_money_whose_callback_was_lost_is_found_before_the_order_ends(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(drop=1))
    await till.shop.make_due()
    assert await till.settlement.void_due(LIMIT) == 1
    assert await till.ledger.expire_due(LIMIT) == []
    assert await till.shop.state(order) is OrderState.PAID
    assert await till.money_is_settled()


async def test_asked_and_told_it_is_the_same_money(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order))
    await till.shop.make_due()
    await till.settlement.void_due(LIMIT)
    await till.hear()
    assert await till.states(order) == [PaymentState.CAPTURED]
    assert await till.money_is_settled()


async def test_what_nobody_paid_is_closed_and_the_order_ends(till: Till) -> None:
    order = await till.order()
    payment = await till.opened(order)
    await till.shop.make_due()
    assert await till.ledger.expire_due(LIMIT) == [], "an open payment is asked about first"
    await till.settlement.void_due(LIMIT)
    await till.ledger.expire_due(LIMIT)
    assert await till.shop.state(order) is OrderState.EXPIRED
    await till.act(payment)
    assert await till.hear() == 0, "nobody can pay any more"


async def test_several_releasers_ask_once(till: Till) -> None:
    item = await till.shop.item()
    for order in await till.shop.sell(item, 6):
        await till.opened(order)
    await till.shop.make_due()
    asked = await asyncio.gather(*(till.settlement.void_due(LIMIT) for _ in range(4)))
    assert sum(asked) == 6


async def test_a_provider_that_is_away_keeps_the_order_open(till: Till) -> None:
    order = await till.order()
    await till.opened(order)
    await till.shop.make_due()
    away = till.of(Away(till.provider))
    assert await away.void_due(LIMIT) == 1
    assert await till.ledger.expire_due(LIMIT) == []
    assert await till.shop.state(order) is OrderState.AWAITING_PAYMENT
    assert await away.void_due(LIMIT) == 0, "it is asked again when the claim has ended"


class Away:
    """The simulator, with its line cut."""

    def __init__(self, behind: Simulator) -> None:
        self.name, self.thanks, self.at_once = behind.name, behind.thanks, behind.at_once
        self.open, self.query, self.verify = behind.open, behind.query, behind.verify
        self.order_of, self.aclose = behind.order_of, behind.aclose

    async def close(self, payment: Payment) -> Standing:
        raise ProviderUnavailable

    async def refund(self, refund: Refund, payment: Payment) -> RefundStanding:
        raise ProviderUnavailable


# --- late money -----------------------------------------------------------------------------------


async def test_money_for_an_order_that_is_over_goes_back(till: Till) -> None:
    order = await till.order()
    payment = await till.opened(order)
    await till.shop.make_due()
    await till.settlement.void_due(LIMIT)
    await till.ledger.expire_due(LIMIT)
    await till.act(payment, knobs=Knobs(pay_after_close=True, repeat=1))
    await till.hear()
    assert await till.states(order) == [PaymentState.REFUNDING]
    assert len(await till.ledger.open_money(LIMIT)) == 1
    await till.refunds_done()
    assert await till.states(order) == [PaymentState.REFUNDED]
    assert await till.shop.state(order) is OrderState.EXPIRED
    assert await till.money_is_settled()


async def test_a_wrong_amount_goes_back_and_the_order_waits_on(till: Till) -> None:
    order = await till.order()
    payment = await till.opened(order)
    await till.act(payment, knobs=Knobs(wrong_amount=1))
    await till.hear()
    assert await till.shop.state(order) is OrderState.AWAITING_PAYMENT
    await till.refunds_done()
    assert await till.states(order) == [PaymentState.REFUNDED]
    assert await till.ledger.simulator_refunded(str(payment.reference)) == 989
    assert await till.money_is_settled()


async def test_a_second_capture_goes_back(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order))
    await till.hear()
    await till.told(order_id=str(order.number), payment_id="till-2")
    await till.refunds_done()
    assert await till.states(order) == [PaymentState.CAPTURED, PaymentState.REFUNDED]
    assert await till.shop.state(order) is OrderState.PAID
    assert await till.money_is_settled()


async def test_a_lost_word_of_a_refund_is_asked_for(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(wrong_amount=1))
    await till.hear()
    await till.provider.turn(str((await till.payments(order))[0].reference), Knobs(drop=1))
    await till.settlement.send_refunds(LIMIT)
    assert await till.hear() == 0
    assert await till.states(order) == [PaymentState.REFUNDING]
    await till.shop.execute("UPDATE refunds SET due_at_ms = 1")
    await till.settlement.send_refunds(LIMIT)
    assert await till.states(order) == [PaymentState.REFUNDED]


async def test_a_refund_that_fails_is_the_operators_until_it_is_done(till: Till) -> None:
    order = await till.order()
    payment = await till.opened(order)
    await till.act(payment, knobs=Knobs(wrong_amount=1, refund_fail=1))
    await till.hear()
    await till.refunds_done()
    assert await till.settlement.send_refunds(LIMIT) == 0
    ((refund, _),) = await till.ledger.open_money(LIMIT)
    assert refund.state is RefundState.FAILED
    await till.provider.turn(str(payment.reference), Knobs())
    await till.ledger.retry_refund(refund.id)
    await till.refunds_done()
    assert await till.states(order) == [PaymentState.REFUNDED]
    assert await till.money_is_settled()


async def test_a_refund_waits_for_a_provider_that_is_away(till: Till) -> None:
    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(wrong_amount=1))
    await till.hear()
    assert await till.of(Away(till.provider)).send_refunds(LIMIT) == 1
    ((refund, _),) = await till.ledger.open_money(LIMIT)
    assert (refund.state, refund.attempts) == (RefundState.PENDING, 1)
    await till.shop.execute("UPDATE refunds SET due_at_ms = 1")
    await till.refunds_done()
    assert await till.states(order) == [PaymentState.REFUNDED]


# --- guards, taken out ----------------------------------------------------------------------------


async def test_without_a_common_name_asked_and_told_would_be_two_captures(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is that a capture has one name; here the provider's answer has another."""
    ask = till.provider.close

    async def renamed(payment: Payment) -> Standing:
        return (await ask(payment))._replace(reference="another name")

    monkeypatch.setattr(till.provider, "close", renamed)
    order = await till.order()
    await till.act(await till.opened(order))
    await till.shop.make_due()
    await till.settlement.void_due(LIMIT)
    await till.hear()
    assert len(await till.payments(order)) == 2


async def test_without_asking_first_the_order_of_who_paid_would_be_open(till: Till) -> None:
    """The guard is `close`; here it says that nothing can be paid although somebody has."""

    class Careless(Away):
        async def close(self, payment: Payment) -> Standing:
            return Standing(StandingState.VOID)

    order = await till.order()
    await till.act(await till.opened(order), knobs=Knobs(drop=1))
    await till.shop.make_due()
    await till.of(Careless(till.provider)).void_due(LIMIT)
    await till.ledger.expire_due(LIMIT)
    assert await till.shop.state(order) is OrderState.EXPIRED
