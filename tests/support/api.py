"""The framework's lane with real parts, called in this process; or with every store away."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
from litestar import Litestar

from sluice import wiring
from sluice.accounts.admin import AdminTokens
from sluice.accounts.identities import Identities
from sluice.admission.address import Addresses
from sluice.admission.guests import GuestLists
from sluice.admission.passes import Passes
from sluice.admission.receipts import Receipts
from sluice.audit import Auditor
from sluice.batching import Batcher
from sluice.cache.server import CacheServer
from sluice.cache.tally import TallyBoard
from sluice.catalog.snapshots import Snapshots
from sluice.domain.order import Order
from sluice.flow import Purchase
from sluice.gate.clock import GateClock
from sluice.gate.gate import Gate
from sluice.gate.reservations import Reservations
from sluice.gate.waitlists import Waitlists
from sluice.ledger.ledger import Ledger
from sluice.operate import Operator
from sluice.payment.simulator import Simulator
from sluice.settings import Settings
from sluice.settlement import Settlement
from sluice.waiting import Waiting, entries_of
from sluice.web.api.app import create_app, litestar_app
from sluice.web.entrance import Entrance
from sluice.web.limiting import Limiting
from sluice.web.metrics import Board, Counts
from sluice.web.openapi import document
from sluice.web.pace import PollPace
from sluice.web.parts import Parts
from sluice.web.routes import Routes
from sluice.web.watch import Watch
from sluice.wiring import settlement_of
from tests.support.files import make_ledger
from tests.support.http import AGAIN_S, PATIENCE_S, TOLD_LATER, may_go_again
from tests.support.tokens import identity_token
from tests.valkey import running

ADMIN_TOKEN = "test-admin-token-0123456789"
SECRET = b"a secret shared with the shop, long enough"
PAYMENT_KEY = b"signs the simulator's calls"
LEASE_MS = 600_000
DEADLINE_MS = 5000
"""Generous: the disk may be doing other things."""
NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
BUYER = {"Authorization": f"Bearer {identity_token(SECRET, 'mei')}"}


class Api(httpx.AsyncClient):
    """A client of the app in this process. `parts` are what the app works with."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        # What the app lets through must not come back as an answer: raise it in the test.
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=True)
        super().__init__(transport=transport, base_url="http://sluice.test")
        self.again_on: Collection[str] = TOLD_LATER
        """As of `tests.support.http.Client`."""

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        until_s = monotonic() + PATIENCE_S
        while True:
            answer = await super().send(request, **how)
            if answer.status_code != 503 or monotonic() > until_s:
                return answer
            code = answer.json().get("code")
            again = may_go_again(request.method, request.url.path, request.headers, code)
            if code not in self.again_on or not again:
                return answer
            await asyncio.sleep(AGAIN_S)

    async def create_sale(self, **changes: Any) -> dict[str, Any]:
        answer = await self.post("/v1/admin/sales", headers=ADMIN, json=a_sale(**changes))
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def open_sale(self, **changes: Any) -> dict[str, Any]:
        sale = await self.create_sale(**changes)
        answer = await self.post(f"/v1/admin/sales/{sale['id']}/publish", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        published: dict[str, Any] = answer.json()
        return published


FOR_A_CROWD = {"limits": {"per_buyer_per_minute": None, "per_address_per_minute": None}}
"""A policy for many from one address."""


def a_sale(**changes: Any) -> dict[str, Any]:
    """The body of a sale that is on from now into the far future."""
    return {
        "title": "The November drop",
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": "2080-01-01T00:00:00Z",
        "items": [
            {"title": "Teapot", "price": {"amount": "399.00", "currency": "CNY"}, "stock": 50}
        ],
        **changes,
    }


@contextlib.asynccontextmanager
async def api() -> AsyncIterator[Api]:
    """With a gate that is armed, a cache server and a ledger of their own."""
    with (
        running() as gate,
        running() as cache,
        tempfile.TemporaryDirectory(prefix="slt") as folder,
    ):
        settings = _settings(Path(folder), gate.url, cache.url, "", DEADLINE_MS)
        await asyncio.to_thread(make_ledger, Path(folder) / "sluice.db")
        parts = _parts(settings)
        await _arm(parts)
        try:
            async with Api(parts) as client:
                yield client
        finally:
            await _close(parts)


@contextlib.asynccontextmanager
async def api_without_stores(folder: Path) -> AsyncIterator[Api]:
    """Every store is away."""
    nobody = f"unix://{folder}/nobody"
    parts = _parts(_settings(folder, nobody, nobody, NOWHERE))
    try:
        async with Api(parts) as client:
            client.again_on = ()
            yield client
    finally:
        await _close(parts)


def _settings(
    folder: Path, gate_url: str, cache_url: str, ledger_url: str, deadline_ms: int = 900
) -> Settings:
    return Settings(
        deadline_ms=deadline_ms,
        data_dir=folder,
        redis_url=gate_url,
        cache_url=cache_url,
        database_url=ledger_url,
        secret_keys=(b"k" * 32,),
        admin_token=ADMIN_TOKEN,
        identity_secret=SECRET,
        payment_keys=(PAYMENT_KEY,),
        own_url="http://sluice.test",
    )


def _parts(settings: Settings) -> Parts:
    deadline_ms = settings.deadline_ms
    gate = Gate.from_url(settings.gate_url, timeout_s=deadline_ms / 1000)
    ledger = Ledger.from_url(settings.ledger_url, deadline_ms=deadline_ms, clock=gate.time_ms)
    cache = CacheServer.from_url(settings.cache_server_url)
    clock = GateClock(gate.time_ms)
    counts = Counts()
    snapshots = Snapshots(ledger, gate.totals, clock.now_ms)
    settlement = settlement_of(settings, ledger, clock.now_ms)
    simulator = settlement.provider("simulator")
    assert isinstance(simulator, Simulator)
    limiter = wiring.make_limiter(settings, cache, clock)
    entry = wiring.make_entry(settings, ledger, cache, clock.now_ms)
    guests = GuestLists(
        ledger.guest_priorities, ledger.has_priorities, queue_max=100, deadline_s=deadline_ms / 1000
    )
    challenges = wiring.make_challenges(settings, cache, clock, snapshots)
    return Parts(
        settings=settings,
        ledger=ledger,
        gate=gate,
        purchase=_purchase(settings, gate, ledger, snapshots, settlement, clock),
        waiting=Waiting(
            waitlists=Waitlists(gate, batch_max=100, queue_max=1000, deadline_s=deadline_ms / 1000),
            gate=gate,
            ledger=ledger,
            entries=entries_of(ledger, queue_max=1000, deadline_s=deadline_ms / 1000),
        ),
        operator=Operator(ledger, gate, cache.announce, settings),
        auditor=Auditor(ledger, gate),
        snapshots=snapshots,
        identities=Identities.from_settings(settings, entry.sessions),
        entry=entry,
        admin=AdminTokens(settings),
        cache=cache,
        clock=clock,
        board=Board(Board.folder(settings.run_dir), counts),
        counts=counts,
        pace=PollPace(),
        began_to_wait=lambda _item_id, _digest: None,
        settlement=settlement,
        simulator=simulator,
        limiter=limiter,
        limiting=Limiting(limiter, Addresses(settings.trusted_proxies)),
        guests=guests,
        entrance=Entrance(challenges, guests, limiter),
        watch=Watch(
            ledger=ledger,
            gate=gate,
            cache=cache,
            board=TallyBoard(cache),
            auditor=Auditor(ledger, gate),
            now_ms=clock.now_ms,
        ),
    )


def _purchase(
    settings: Settings,
    gate: Gate,
    ledger: Ledger,
    snapshots: Snapshots,
    settlement: Settlement,
    clock: GateClock,
) -> Purchase:
    deadline_s = settings.deadline_ms / 1000

    async def orders(numbers: list[int]) -> list[Order | None]:
        found = await ledger.orders(numbers)
        return [found.get(number) for number in numbers]

    return Purchase(
        passes=Passes(settings.secret_keys),
        receipts=Receipts(settings.secret_keys),
        snapshots=snapshots,
        reservations=Reservations(gate, batch_max=100, queue_max=1000, deadline_s=deadline_s),
        gate=gate,
        ledger=ledger,
        orders=Batcher(orders, batch_max=100, queue_max=1000, deadline_s=deadline_s),
        settlement=settlement,
        now_ms=clock.now_ms,
    )


async def _arm(parts: Parts) -> None:
    """What the shard's worker does at its start, for a lease that outlasts the test."""
    await parts.gate.load_library()
    await parts.clock.sync()
    lease = await parts.ledger.claim_shard(0, "test", LEASE_MS)
    assert lease is not None
    lease = await parts.ledger.begin_epoch(lease)
    await parts.gate.begin_epoch(0, lease.epoch, 0)
    await parts.gate.arm(0, lease.epoch, LEASE_MS)


async def _close(parts: Parts) -> None:
    await parts.entry.close()
    await parts.cache.close()
    await parts.ledger.close()
    await parts.gate.close()


def framework(folder: Path) -> Litestar:
    """The framework's app alone, for a look at its routes."""
    parts = _parts(_settings(folder, f"unix://{folder}/nobody", f"unix://{folder}/nobody", NOWHERE))
    return litestar_app(parts, Routes(document()["paths"]))
