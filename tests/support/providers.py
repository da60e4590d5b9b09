"""Each payment provider with somebody who pays there: what the provider contract runs against.

A further provider joins the contract by a `Desk` of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import stripe

from sluice.domain.money import Money
from sluice.domain.order import PaymentState
from sluice.domain.payment import Payment, Refund, RefundState
from sluice.domain.signature import Message, signed_headers
from sluice.ledger.ledger import Ledger
from sluice.payment.knobs import Knobs
from sluice.payment.port import Provider
from sluice.payment.simulator import Simulator
from sluice.payment.stripe import Stripe
from tests.support import stripe_server
from tests.support.stripe_server import KEY, StripeServer

NOW_S = 1_794_362_400
ORDER = 117_000_000_000_000_042
KEYS = (bytes(range(32)), bytes(range(32, 64)))
"""The simulator's: the first signs."""
SECRETS = ("whsec_first", "whsec_second")
"""Stripe's."""
RETURN_URL = "https://shop.example/orders/{order}"

Callback = tuple[dict[str, str], bytes]


class Desk(Protocol):
    """A provider, and what happens there without us."""

    now_s: float

    @property
    def provider(self) -> Provider: ...

    async def pay(self, reference: str) -> bool:
        """Somebody pays at the checkout; False where nobody can."""

    async def told(self) -> list[Callback]:
        """The callbacks since the last time, as they would come over HTTP."""

    def signed(
        self, body: bytes, *, at_s: float | None = None, old_secret: bool = False
    ) -> Callback:
        """Any body, signed by the provider."""

    def unknown(self) -> bytes:
        """The body of an event that we do not act on."""

    async def given_back(self, reference: str) -> int:
        """Minor units that went back of a checkout."""

    async def go_away(self) -> None:
        """Nobody answers any more."""


def a_payment(payment_id: int = 31, *, amount: Money | None = None) -> Payment:
    return Payment(
        id=payment_id,
        order_number=ORDER,
        provider="",
        reference=None,
        checkout_url=None,
        amount=amount or Money(39900, "CNY"),
        state=PaymentState.PENDING,
        expires_at_ms=None,
        created_at_ms=NOW_S * 1000,
        captured=None,
        refunded_minor=0,
        reason=None,
    )


def a_refund(refund_id: int, minor: int, *, attempts: int = 0) -> Refund:
    return Refund(
        id=refund_id,
        payment_id=31,
        order_number=ORDER,
        amount=Money(minor, "CNY"),
        quantity=0,
        restock=True,
        state=RefundState.PENDING,
        attempts=attempts,
        reason="late",
        reference=None,
    )


class SimulatorDesk:
    def __init__(self, ledger: Ledger, knobs: Knobs) -> None:
        self.now_s: float = NOW_S
        self._knobs = knobs
        self._open(ledger)

    def _open(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.provider = Simulator(
            ledger,
            keys=KEYS,
            public_url="https://drop.example",
            return_url=RETURN_URL,
            knobs=self._knobs,
        )

    async def pay(self, reference: str) -> bool:
        before = (await self.provider.checkout(reference)).state
        after = (await self.provider.settle(reference, "pay")).state
        return before == "open" and after == "captured"

    async def told(self) -> list[Callback]:
        calls = await self._ledger.simulator_calls(100, 60_000)
        return [self._signed(call.event_id, call.body, self.now_s, KEYS[0]) for call in calls]

    def signed(
        self, body: bytes, *, at_s: float | None = None, old_secret: bool = False
    ) -> Callback:
        return self._signed("evt_any", body, self.now_s, KEYS[1 if old_secret else 0])

    def _signed(self, event_id: str, body: bytes, at_s: float, key: bytes) -> Callback:
        return signed_headers([key], Message(event_id, int(at_s), body)), body

    def unknown(self) -> bytes:
        return b'{"type":"payout.paid","data":{"order_id":"1","payment_id":"1"}}'

    async def given_back(self, reference: str) -> int:
        return await self._ledger.simulator_refunded(reference)

    async def go_away(self) -> None:
        await self._ledger.close()
        nowhere = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"
        self._open(Ledger.from_url(nowhere, deadline_ms=300))


class StripeDesk:
    def __init__(self, server: StripeServer) -> None:
        self.now_s: float = NOW_S
        self.server = server
        self.provider = Stripe(KEY, SECRETS, return_url=RETURN_URL, api_base=server.url)
        self._told: list[bytes] = []
        self._seen: set[str] = set()

    async def pay(self, reference: str) -> bool:
        paid = self.server.pay(reference)
        if paid:
            session = self.server.sessions[reference]
            self._told.append(self.server.event("checkout.session.completed", session))
        return paid

    async def told(self) -> list[Callback]:
        for refund in self.server.refunds.values():
            if refund["id"] not in self._seen:
                self._seen.add(refund["id"])
                self._told.append(self.server.event("refund.created", refund))
        told, self._told = self._told, []
        return [self.signed(body) for body in told]

    def signed(
        self, body: bytes, *, at_s: float | None = None, old_secret: bool = False
    ) -> Callback:
        header = stripe.WebhookSignature.generate_signature_header(
            body.decode(), SECRETS[1 if old_secret else 0], int(self.now_s)
        )
        return {"stripe-signature": header}, body

    def unknown(self) -> bytes:
        return self.server.event("customer.created", {"id": "cus_1", "object": "customer"})

    async def given_back(self, reference: str) -> int:
        return self.server.returned(self.server.sessions[reference]["payment_intent"])

    async def go_away(self) -> None:
        self.server.away = True


@contextlib.asynccontextmanager
async def simulator_desk(
    ledger: Ledger, knobs: Knobs | None = None
) -> AsyncIterator[SimulatorDesk]:
    desk = SimulatorDesk(ledger, knobs or Knobs())
    try:
        yield desk
    finally:
        await desk.provider.aclose()
        await desk._ledger.close()


@contextlib.asynccontextmanager
async def stripe_desk() -> AsyncIterator[StripeDesk]:
    async with stripe_server.running(lambda: NOW_S) as server:
        desk = StripeDesk(server)
        try:
            yield desk
        finally:
            await desk.provider.aclose()


def altered(callback: Callback) -> Callback:
    """The same signature for another amount."""
    headers, body = callback
    told = json.loads(body)
    told["altered"] = True
    return headers, json.dumps(told).encode()


def event_id(headers: Mapping[str, str], body: bytes) -> str:
    return headers.get("webhook-id") or str(json.loads(body)["id"])
