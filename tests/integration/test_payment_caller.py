"""The simulator's calls over real HTTP, to a webhook that is not at its best."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiohttp import web
from tests.polling import until

from sluice.domain.signature import BadSignature, verified
from sluice.domain.simulation import SimulatedCall
from sluice.payment.caller import Caller
from sluice.payment.simulator import Books, Simulator

KEY = bytes(range(32))
NOW_MS = 1_794_362_400_000


@dataclass
class Calls:
    """Books that have calls to make; what became of them."""

    due: list[SimulatedCall]
    done: list[int] = field(default_factory=list)
    again: list[tuple[int, int]] = field(default_factory=list)

    async def simulator_call_due_ms(self) -> int | None:
        return 0 if self.due else None

    async def simulator_calls(self, _limit: int, _claim_ms: int) -> list[SimulatedCall]:
        due, self.due = self.due, []
        return due

    async def simulator_called(self, done: Sequence[int], again: Sequence[tuple[int, int]]) -> None:
        self.done += done
        self.again += again

    async def simulator_close(self, payment_ids: Sequence[int]) -> list[None]:
        return [None for _ in payment_ids]


class Webhook:
    """Ours, or what may stand there instead."""

    def __init__(self) -> None:
        self.status = 200
        self.told: list[tuple[str, bytes]] = []
        self.refused = 0
        self.keep = True
        self.connections: set[object] = set()

    async def answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        body = await request.read()
        try:
            message = verified([KEY], request.headers, body, NOW_MS / 1000)
        except BadSignature:
            self.refused += 1
            return web.Response(status=401, text="no")
        self.told.append((message.id, body))
        answer = web.Response(status=self.status, text="thank you")
        if not self.keep:
            answer.force_close()
        return answer


@contextlib.asynccontextmanager
async def listening(webhook: Webhook, port: int = 0) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/webhooks/payments/simulator", webhook.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def a_caller(url: str, calls: Calls) -> Caller:
    simulator = Simulator(cast(Books, calls), keys=[KEY], public_url=url, return_url=url)
    return Caller(simulator, base_url=url, now_ms=lambda: NOW_MS)


def due(*ids: int, forged: bool = False, attempts: int = 0) -> Calls:
    return Calls([SimulatedCall(n, f"evt_{n}", b'{"n":%d}' % n, forged, attempts) for n in ids])


@pytest.fixture
def webhook() -> Webhook:
    return Webhook()


async def test_every_call_is_made_once_over_few_connections(webhook: Webhook) -> None:
    calls = due(*range(1, 101))
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        assert await caller.turn() == 100
        await caller.aclose()
    assert sorted(calls.done) == list(range(1, 101))
    assert sorted(webhook.told) == sorted((f"evt_{n}", b'{"n":%d}' % n) for n in range(1, 101))
    assert len(webhook.connections) <= 8


async def test_connections_that_end_are_made_anew(webhook: Webhook) -> None:
    webhook.keep = False
    calls = due(*range(1, 30))
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        await caller.turn()
        await caller.aclose()
    assert len(calls.done) == 29


async def test_after_a_restart_of_the_webhook_a_kept_connection_is_made_anew(
    webhook: Webhook,
) -> None:
    calls = due(1)
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        await caller.turn()
    calls.due = due(2).due
    async with listening(webhook, int(url.rpartition(":")[2])):
        await caller.turn()
        await caller.aclose()
    assert calls.done == [1, 2]


@pytest.mark.parametrize("status", [401, 404, 422, 500, 503])
async def test_what_is_not_taken_is_told_again_later_and_later(
    webhook: Webhook, status: int
) -> None:
    webhook.status = status
    calls = due(1)
    calls.due += due(2, attempts=5).due
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        await caller.turn()
        await caller.aclose()
    assert calls.done == []
    assert calls.again == [(1, 1000), (2, 32_000)]


async def test_nobody_there_is_a_reason_to_come_again() -> None:
    calls = due(1)
    await a_caller("http://127.0.0.1:1", calls).turn()
    assert calls.again == [(1, 1000)]


async def test_what_is_forged_is_refused_and_not_sent_again(webhook: Webhook) -> None:
    calls = due(1, forged=True)
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        await caller.turn()
        await caller.aclose()
    assert (webhook.refused, webhook.told) == (1, [])
    assert calls.done == [1]


async def test_in_the_end_a_provider_gives_up(webhook: Webhook) -> None:
    webhook.status = 500
    calls = due(1, attempts=20)
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        await caller.turn()
        await caller.aclose()
    assert calls.done == [1]


async def test_a_plan_wakes_the_caller(webhook: Webhook) -> None:
    calls = Calls([])
    async with listening(webhook) as url:
        caller = a_caller(url, calls)
        running = asyncio.create_task(caller.run())
        calls.due = due(1).due
        caller._simulator.planned.set()
        await until(lambda: bool(calls.done))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [name for name, _ in webhook.told] == ["evt_1"]
