"""From a change in the ledger to a merchant's server: in order, at least once, by several."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.contract.ledger_shop import Shop, unit
from tests.polling import until_it_is
from tests.support.receiver import Receiver, receiving

from sluice.delivery import schedule
from sluice.delivery.sender import Sender
from sluice.domain.errors import LedgerUnavailable
from sluice.domain.signature import secret_of
from sluice.domain.webhook import DeliveryState, Endpoint, EndpointChange, EndpointState
from sluice.ledger import migrate
from sluice.ledger.ledger import Ledger
from sluice.workers import courier, deliverer
from sluice.workers.deliverer import Deliverer

HERE = [ipaddress.ip_network("127.0.0.0/8")]
SECRET = secret_of(b"k" * 32)
OTHER_SECRET = secret_of(b"o" * 32)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here waits as long as it would in earnest."""
    monkeypatch.setattr(schedule, "DELAYS_S", (0.05,))
    monkeypatch.setattr(deliverer, "HAND_OUT_EVERY_S", 0.05)
    monkeypatch.setattr(deliverer, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(deliverer, "IDLE_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(deliverer, "STOP_S", 0.2)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
async def ledger(template: Path, tmp_path: Path) -> AsyncIterator[Ledger]:
    shutil.copy(template, tmp_path / "ledger.db")
    made = Ledger.from_url(f"sqlite:///{tmp_path / 'ledger.db'}", deadline_ms=10_000)
    yield made
    await made.close()


@pytest.fixture
async def shop(ledger: Ledger, tmp_path: Path) -> AsyncIterator[Shop]:
    made = await Shop.open(ledger, f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def delivering(ledger: Ledger, count: int = 1) -> AsyncIterator[list[Deliverer]]:
    """As many as `sluice work` processes would be."""
    made = [Deliverer(ledger, Sender(HERE)) for _ in range(count)]
    running = [asyncio.create_task(each.run()) for each in made]
    try:
        yield made
    finally:
        for each in made:
            each.stop()
        await asyncio.gather(*running)


async def told(ledger: Ledger, receiver: Receiver, *events: str, path: str = "/") -> Endpoint:
    made = await ledger.add_endpoint(
        url=f"{receiver.url}{path}",
        description="",
        events=events or ("order.*", "sale.*"),
        secret=SECRET,
    )
    assert isinstance(made, Endpoint)
    return made


async def over(ledger: Ledger) -> None:
    """Returns when the ledger knows of nothing that is still to be delivered."""

    async def none_pending() -> bool:
        cursor = await ledger.webhook_cursor()
        pending = await ledger.deliveries(1, state=DeliveryState.PENDING)
        return not pending and cursor.position == await ledger.last_event()

    await until_it_is(none_pending)


async def cancelled(shop: Shop, count: int) -> list[str]:
    """Orders that were recorded and cancelled; what is told of each, in order."""
    sold = await shop.sell(await shop.item(unit(count)), count)
    for order in sold:
        await shop.ledger.cancel(order.number, order.buyer, "changed my mind")
    return [str(order.number) for order in sold]


def life(number: str) -> list[str]:
    return [f"order.awaiting_payment {number}", f"order.cancelled {number}"]


def by_order(messages: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for message in messages:
        found.setdefault(message.split()[1], []).append(message)
    return found


# --- what is told ---------------------------------------------------------------------------------


async def test_an_orders_life_is_told_in_its_order_and_signed(ledger: Ledger, shop: Shop) -> None:
    async with receiving() as merchant:
        await told(ledger, merchant, "order.*")
        [number] = await cancelled(shop, 1)
        async with delivering(ledger):
            await merchant.count(2)
            await over(ledger)
    assert merchant.delivered() == life(number)
    assert all(came.signed_by(SECRET) for came in merchant.got)
    first = merchant.got[0].message
    assert first.keys() == {"type", "timestamp", "data"}
    # What happened, and what has become of the order since.
    assert (first["type"], first["data"]["state"]) == ("order.awaiting_payment", "cancelled")
    assert first["data"]["buyer"].startswith("acct:")
    assert first["data"]["amount"] == {"amount": "9.90", "currency": "CNY"}
    assert len({came.id for came in merchant.got}) == 2


async def test_the_steps_of_a_sale_are_told(ledger: Ledger, shop: Shop) -> None:
    async with receiving() as merchant:
        await told(ledger, merchant, "sale.*")
        sale = await shop.sale(unit(1))
        await shop.sell(sale.items[0], 1)
        await ledger.pause(sale.id, "A wrong photo.")
        await ledger.resume(sale.id)
        await ledger.update_sale(sale.id, title="Another title")
        await ledger.close_sale(sale.id)
        async with delivering(ledger):
            await merchant.count(5)
            await over(ledger)
    steps = ("published", "paused", "resumed", "changed", "closed")
    assert merchant.delivered() == [f"sale.{step} {sale.id}" for step in steps]
    assert merchant.got[-1].message["data"]["state"] == "ended"


async def test_what_happened_before_an_endpoint_came_is_not_told(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await cancelled(shop, 3)
    async with receiving() as merchant, delivering(ledger):
        await over(ledger)  # with nobody to tell, the cursor keeps up
        await told(ledger, merchant)
        item = await shop.item(unit(1))
        [new] = await shop.sell(item, 1)
        await merchant.count(2)
        await over(ledger)
    assert merchant.delivered() == [
        f"sale.published {item.sale_id}",
        f"order.awaiting_payment {new.number}",
    ]
    assert str(new.number) not in old


async def test_a_batch_of_orders_is_told_in_parts(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "ROWS_MAX", 3)
    async with receiving() as merchant:
        await told(ledger, merchant, "order.*")
        sold = await shop.sell(await shop.item(unit(8)), 8)  # one event
        async with delivering(ledger, 2):
            await merchant.count(8)
            await over(ledger)
    assert Counter(merchant.delivered()) == Counter(
        f"order.awaiting_payment {order.number}" for order in sold
    )


async def test_a_test_message_and_two_secrets(ledger: Ledger) -> None:
    async with receiving() as merchant:
        made = await told(ledger, merchant, "sale.closed")
        await ledger.rotate_secret(made.id, OTHER_SECRET, 60_000)
        await ledger.add_test(made.id, 60_000)
        async with delivering(ledger):
            await merchant.count(1)
            await over(ledger)
    [came] = merchant.got
    assert came.message["type"] == "webhook.test"
    assert came.signed_by(SECRET)
    assert came.signed_by(OTHER_SECRET)


# --- when it fails --------------------------------------------------------------------------------


async def test_an_order_waits_for_its_own_message_and_for_no_others(
    ledger: Ledger, shop: Shop
) -> None:
    refused: Counter[str] = Counter()

    async def twice_refused(_path: str, message: dict[str, Any]) -> web.StreamResponse:
        number = message["data"]["id"]
        if number != stubborn or refused[number] == 2:
            return web.Response(status=204)
        refused[number] += 1
        return web.Response(status=500)

    stubborn = ""
    async with receiving(twice_refused) as merchant:
        await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 10)
        stubborn = numbers[0]
        async with delivering(ledger):
            await merchant.count(22)
            await over(ledger)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}
    attempts = [came for came in merchant.got if came.message["data"]["id"] == stubborn]
    assert [came.status for came in attempts] == [500, 500, 204, 204]
    assert len({came.id for came in attempts}) == 2  # the same at every attempt


async def test_a_slow_endpoint_does_not_hold_up_a_quick_one(ledger: Ledger, shop: Shop) -> None:
    never = asyncio.Event()

    async def hang(path: str, _message: dict[str, Any]) -> web.StreamResponse:
        if path == "/slow":
            await never.wait()
        return web.Response(status=204)

    async with receiving(hang) as merchant:
        await told(ledger, merchant, "order.*", path="/slow")
        await told(ledger, merchant, "order.*", path="/quick")
        numbers = await cancelled(shop, 30)
        async with delivering(ledger):
            await merchant.count(60)
            await merchant.until(lambda: merchant.at_once == courier.AT_ONCE)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}
    assert {came.path for came in merchant.got} == {"/quick"}
    assert merchant.at_once_most <= 2 * courier.AT_ONCE


async def test_an_endpoint_that_is_down_is_tried_with_one_request_at_a_time(
    ledger: Ledger, shop: Shop
) -> None:
    down = True

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.01)  # so that requests at the same time are seen to be
        return web.Response(status=503 if down else 204)

    async with receiving(answer) as merchant:
        made = await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 40)
        async with delivering(ledger):
            await merchant.count(2 * courier.AT_ONCE)
            merchant.at_once_most = 0
            before = len(merchant.got)
            await merchant.count(before + 10)
            assert merchant.at_once_most == 1
            assert (await ledger.endpoint(made.id)).failing_since_ms is not None
            down = False
            await over(ledger)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}
    assert (await ledger.endpoint(made.id)).failing_since_ms is None


async def test_410_switches_an_endpoint_off(ledger: Ledger, shop: Shop) -> None:
    async def gone(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=410)

    async with receiving(gone) as merchant:
        made = await told(ledger, merchant, "order.awaiting_payment")
        await shop.sell(await shop.item(unit(1)), 1)
        async with delivering(ledger):

            async def off() -> bool:
                return (await ledger.endpoint(made.id)).state is EndpointState.OFF

            await until_it_is(off)
    assert len(merchant.got) == 1
    [delivery] = await ledger.deliveries(10)
    assert (delivery.state, delivery.status) == (DeliveryState.FAILED, 410)


async def test_what_is_given_up_can_be_sent_again(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "GIVE_UP_AFTER_MS", 1)
    down = True

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=500 if down else 200)

    async with receiving(answer) as merchant:
        made = await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 3)
        async with delivering(ledger):
            await over(ledger)
            failed = await ledger.deliveries(10)
            assert [each.state for each in failed] == [DeliveryState.FAILED] * 6
            down = False
            assert await ledger.replay_failed(made.id, 0, 60_000) == 6
            await over(ledger)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}


async def test_where_it_may_not_go_nothing_is_sent_and_the_log_says_why(ledger: Ledger) -> None:
    async with receiving() as merchant:
        made = await told(ledger, merchant)
        await ledger.add_test(made.id, 60_000)
        worker = Deliverer(ledger, Sender([]))
        running = asyncio.create_task(worker.run())

        async def tried() -> bool:
            return (await ledger.deliveries(1))[0].attempts > 0

        await until_it_is(tried)
        worker.stop()
        await running
    assert merchant.got == []
    assert "not a public address" in ((await ledger.deliveries(1))[0].error or "")


# --- several at once, and those that die ----------------------------------------------------------


async def test_several_at_once_deliver_everything_once(ledger: Ledger, shop: Shop) -> None:
    async with receiving() as merchant, delivering(ledger, 3):
        await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 30)
        await merchant.count(60)
        await over(ledger)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}


async def test_what_a_killed_worker_held_is_delivered_by_the_next(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = asyncio.Event()

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await blocked.wait()
        return web.Response(status=204)

    # Long enough for one attempt, over soon after it.
    monkeypatch.setattr(deliverer, "CLAIM_MS", 1500)
    monkeypatch.setattr(Sender, "attempt_ms_max", 1000)
    async with receiving(answer) as merchant:
        await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 5)
        killed = asyncio.create_task(Deliverer(ledger, Sender(HERE)).run())
        await merchant.until(lambda: merchant.at_once == 5)
        killed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killed
        blocked.set()
        async with delivering(ledger):
            await over(ledger)
    found = by_order(list(dict.fromkeys(merchant.delivered())))
    assert found == {number: life(number) for number in numbers}


async def test_a_worker_that_stops_puts_down_what_it_holds(ledger: Ledger, shop: Shop) -> None:
    blocked = asyncio.Event()

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await blocked.wait()
        return web.Response(status=204)

    async with receiving(answer) as merchant:
        await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 2 * courier.AT_ONCE)
        async with delivering(ledger):
            await merchant.until(lambda: merchant.at_once == courier.AT_ONCE)
        blocked.set()
        async with delivering(ledger):  # at once, and not after a claim of a minute
            await over(ledger)
    found = by_order(list(dict.fromkeys(merchant.delivered())))
    assert found == {number: life(number) for number in numbers}


Fault = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("fan_out", LedgerUnavailable("away")),
        ("claim_deliveries", LedgerUnavailable("away")),
        ("orders", LedgerUnavailable("away")),
        ("settle_deliveries", LedgerUnavailable("away")),
        ("settle_deliveries", RuntimeError("a bug")),
    ],
)
async def test_a_fault_of_the_ledger_is_got_over(
    ledger: Ledger,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fault: Exception,
) -> None:
    monkeypatch.setattr(deliverer, "PAUSE_S", 0.05)
    whole: Fault = getattr(Ledger, step)
    faults = 2

    async def sometimes(*arguments: Any, **named: Any) -> Any:
        nonlocal faults
        if faults:
            faults -= 1
            raise fault
        return await whole(*arguments, **named)

    async with receiving() as merchant:
        await told(ledger, merchant, "order.*")
        numbers = await cancelled(shop, 3)
        monkeypatch.setattr(Ledger, step, sometimes)
        async with delivering(ledger):
            await over(ledger)
    assert by_order(merchant.delivered()) == {number: life(number) for number in numbers}


async def test_it_gives_way_to_the_recorder_and_not_for_ever(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> Deliverer:
        """Whose recorder is busy for an hour."""
        worker = Deliverer(ledger, Sender(HERE))
        with monkeypatch.context() as patch:
            patch.setattr(deliverer, "GIVE_WAY_S", 3600)
            worker.give_way()
        return worker

    monkeypatch.setattr(deliverer, "GIVE_WAY_S", 0.03)
    async with receiving() as merchant:
        await told(ledger, merchant, "order.*")
        await cancelled(shop, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await busy().run()
        assert await ledger.deliveries(1) == []

        monkeypatch.setattr(deliverer, "GIVE_WAY_MAX_S", 0.05)
        worker = busy()
        running = asyncio.create_task(worker.run())
        await merchant.count(2)
        worker.stop()
        await running


# --- tidiness -------------------------------------------------------------------------------------


async def test_the_outbox_is_forgotten_behind_the_cursor(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "OUTBOX_KEPT", 2)
    await cancelled(shop, 5)
    worker = Deliverer(ledger, Sender(HERE))
    await worker.tidy()
    assert await shop.count("outbox") > 5  # nothing is forgotten that was not looked at
    while await worker.tell():
        pass
    await worker.tidy()
    assert await shop.count("outbox") == 3
    assert (await ledger.webhook_cursor()).position == await ledger.last_event()


async def test_an_endpoint_that_is_switched_off_is_sent_nothing_more(
    ledger: Ledger, shop: Shop
) -> None:
    blocked = asyncio.Event()

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await blocked.wait()
        return web.Response(status=204)

    async with receiving(answer) as merchant:
        made = await told(ledger, merchant, "order.*")
        await cancelled(shop, 3 * courier.AT_ONCE)
        async with delivering(ledger) as [worker]:
            await merchant.until(lambda: merchant.at_once == courier.AT_ONCE)
            await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.OFF))
            await worker.hand_out()
            blocked.set()

            async def put_down() -> bool:
                return not worker._couriers

            await until_it_is(put_down)
    assert len(merchant.got) == courier.AT_ONCE
