"""The story of a payment: open a checkout → take what the provider says → close → give back.

The provider moves the money, the ledger decides what it means; each step here asks one of them and
tells the other. Every step can be repeated, by any process: what is told twice counts once.

Late money has three faces: it came after the order was over, it is not the amount, or the order
was paid already. In each of them the ledger books the capture and at once a refund, which
`send_refunds` carries to the provider until it is done; the order stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from sluice.batching import Batcher
from sluice.domain.errors import Conflict, Invalid, NotFound, SluiceError, Unavailable
from sluice.domain.payment import (
    Payment,
    PaymentEvent,
    PaymentEventKind,
    Refund,
    RefundState,
)
from sluice.ledger.ledger import Ledger
from sluice.payment.port import UNNAMED, Provider, ProviderRefused, Standing, StandingState
from sluice.telemetry import get_logger

T = TypeVar("T")

CLAIM_MS = 20_000
"""How long a payment or a refund belongs to the process that asks about it: what a process that was
killed had taken is anybody's again after this, and the units of those orders with it."""
ASK_S_MAX = 8.0
"""One question to a provider. Two who ask the same after all do no harm: however often a call is
made, it has the effect of one."""
OPENING_MS_MAX = 240_000
"""A payment whose checkout did not come within this time is given up for a new one."""
RETRY_MS = (5_000, 30_000, 120_000, 600_000, 1_800_000)
"""Pauses between tries of a refund that the provider could not be asked for."""

_CLOSED = {
    StandingState.CAPTURED: PaymentEventKind.CAPTURED,
    StandingState.FAILED: PaymentEventKind.FAILED,
    StandingState.VOID: PaymentEventKind.VOIDED,
    # Nothing was ever opened there under this name, so nothing can be paid.
    StandingState.UNKNOWN: PaymentEventKind.VOIDED,
}

log = get_logger("payment")


Places = Mapping[str, asyncio.Semaphore]
Callbacks = Batcher[list[PaymentEvent], Invalid | None]


class Settlement:
    """`providers` are those that are set up, by name; `active` is the one for new payments."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        providers: Mapping[str, Provider],
        active: str,
        now_ms: Callable[[], int],
        callbacks: Callbacks | None = None,
    ) -> None:
        """`callbacks` gathers what providers tell; without one each is a transaction of its own."""
        self._ledger = ledger
        self._providers = dict(providers)
        self._active = active
        self._now_ms = now_ms
        self._callbacks = callbacks

    # --- in the HTTP workers --------------------------------------------------------------------

    async def open_checkout(self, number: int, buyer: str) -> Payment:
        """The payment of the buyer's order, with a checkout where it can be paid.

        Asked again it is the same one, as long as it can be paid there. Raises `NotFound`,
        `Conflict` where the order is not to be paid (any more), and `Unavailable`.
        """
        payment = await self._ledger.open_payment(number, buyer, self._active)
        if _is_over(payment, self._now_ms()):
            # Its checkout has ended by itself: hear what became of it, then begin anew.
            await self.close_payment(payment)
            payment = await self._ledger.open_payment(number, buyer, self._active)
        if payment.checkout_url is not None:
            return payment
        provider = self._provider(payment.provider)
        order = (await self._ledger.orders([number])).get(number)
        pay_by_ms = None if order is None else order.pay_by_ms
        checkout = await _asked(provider.open(payment, expires_at_ms=pay_by_ms))
        attached = await self._ledger.attach_payment(
            payment.id, checkout.reference, checkout.url, checkout.expires_at_ms
        )
        # Where it was paid, or closed, in between, the page says so.
        return replace(attached, checkout_url=attached.checkout_url or checkout.url)

    async def take(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """What a provider tells unasked; how many facts it was. When this returns it is committed.

        Raises `NotFound` for a provider that is not set up here, `BadSignature` for a stranger,
        `Invalid` for nonsense, `Unavailable` where it was not committed for certain.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound
        events = provider.verify(headers, body, self._now_ms() / 1000)
        if any(event.payment_id == UNNAMED or event.reference is None for event in events):
            events = [await self._named(provider, event) for event in events]
        if events and self._callbacks is not None:
            fault = await self._callbacks.submit(events)
            if fault is not None:
                raise fault
        elif events:
            await self._ledger.take_callbacks(events)
        return len(events)

    def thanks(self, name: str) -> tuple[str, bytes] | None:
        """Media type and body of the answer by which this provider knows that we took it."""
        provider = self._providers.get(name)
        return None if provider is None else provider.thanks

    # --- anywhere -------------------------------------------------------------------------------

    async def close_payment(self, payment: Payment) -> Standing:
        """Nobody can pay this any more when it returns, or its money is booked.

        An answer of OPEN means that the provider could not close it now. Raises `Unavailable`.
        """
        standing = await _asked(self._provider(payment.provider).close(payment))
        await self._ledger.take_callbacks(told_by(payment, standing))
        return standing

    # --- in `sluice work` -----------------------------------------------------------------------

    async def void_due(self, limit: int) -> int:
        """Close the open payments that stand between due orders and their end; how many were asked.

        What was captured meanwhile is booked now, as its callback would have been; what cannot be
        learned stays open, and is asked again when this process's claim on it ends.
        """
        due = await self._ledger.due_payments(limit, CLAIM_MS)
        places = self._places()
        standings = await asyncio.gather(*(self._close(payment, places) for payment in due))
        told = [
            event
            for payment, standing in zip(due, standings, strict=True)
            if standing is not None
            for event in told_by(payment, standing)
        ]
        if told:
            await self._ledger.take_callbacks(told)
        return len(due)

    async def send_refunds(self, limit: int) -> int:
        """Carry refunds to their providers, and ask about those that have not come back."""
        due = await self._ledger.due_refunds(limit, CLAIM_MS)
        places = self._places()
        await asyncio.gather(*(self._send_refund(refund, places) for refund in due))
        return len(due)

    async def aclose(self) -> None:
        """Answer what waits, then close what the providers hold."""
        if self._callbacks is not None:
            await self._callbacks.close()
        for provider in self._providers.values():
            await provider.aclose()

    def provider(self, name: str) -> Provider | None:
        return self._providers.get(name)

    # --- steps ----------------------------------------------------------------------------------

    async def _named(self, provider: Provider, event: PaymentEvent) -> PaymentEvent:
        """With a payment of ours where the callback names the order alone, or another's payment:
        who signs callbacks by hand numbers payments as they like, and means the order.

        Where none can be found it is kept as it is, for an operator to look into.
        """
        number = provider.order_of(event)
        if number is None:
            return event
        if event.payment_id != UNNAMED:
            named = await self._ledger.payment(event.payment_id)
            if named is not None and named.order_number == number:
                return event
            event = event._replace(reference=event.reference or str(event.payment_id))
        of_order = (await self._ledger.payments_of([number]))[number]
        mine = [payment for payment in of_order if payment.provider == provider.name]
        if mine:
            return event._replace(payment_id=mine[-1].id)
        order = (await self._ledger.orders([number])).get(number)
        if order is None or event.kind is not PaymentEventKind.CAPTURED:
            return event
        try:
            opened = await self._ledger.open_payment(number, order.buyer, provider.name)
        except (NotFound, Conflict):
            return event
        return event._replace(payment_id=opened.id)

    async def _close(self, payment: Payment, places: Places) -> Standing | None:
        """None where it could not be learned."""
        try:
            provider = self._provider(payment.provider)
            async with places[provider.name]:
                return await _asked(provider.close(payment))
        except SluiceError as error:
            log.warning(
                "A payment could not be closed and is asked for again.",
                action="payment.not_closed",
                payment=payment.id,
                provider=payment.provider,
                error=str(error),
            )
            return None

    async def _send_refund(self, refund: Refund, places: Places) -> None:
        try:
            payment = await self._ledger.payment(refund.payment_id)
            if payment is None:
                raise ProviderRefused(f"There is no payment {refund.payment_id}.")
            provider = self._provider(payment.provider)
            async with places[provider.name]:
                standing = await _asked(provider.refund(refund, payment))
        except Unavailable as error:
            await self._ledger.refund_failed(refund.id, str(error), _pause_ms(refund.attempts))
            return
        except SluiceError as error:
            log.error(
                "A refund was refused.",
                action="payment.refund_refused",
                refund=refund.id,
                error=str(error),
            )
            await self._ledger.refund_failed(refund.id, str(error), None)
            return
        if standing.state is RefundState.COMPLETED:
            await self._ledger.refund_completed(refund.id, standing.reference)
        elif standing.state is RefundState.FAILED:
            # To a provider a further try is another refund, which is for an operator to decide.
            await self._ledger.refund_failed(refund.id, standing.reason or "It failed.", None)
        else:
            await self._ledger.refund_sent(refund.id, standing.reference)

    def _places(self) -> Places:
        """As many for each provider as it may be asked at once."""
        return {name: asyncio.Semaphore(each.at_once) for name, each in self._providers.items()}

    def _provider(self, name: str) -> Provider:
        """Raises `Unavailable`: what is not set up now may be so after the next start."""
        provider = self._providers.get(name)
        if provider is None:
            raise Unavailable(f"The payment provider {name} is not set up here.")
        return provider


def told_by(payment: Payment, standing: Standing) -> list[PaymentEvent]:
    """What a provider's answer says, as its callback would. The same answer is the same event."""
    kind = _CLOSED.get(standing.state)
    if kind is None:
        return []
    return [
        PaymentEvent(
            provider=payment.provider,
            event_id=f"asked:{payment.id}:{kind}",
            kind=kind,
            payment_id=payment.id,
            reference=standing.reference or payment.reference,
            amount=standing.amount,
            refund_id=None,
            body=b"",
        )
    ]


def gather_callbacks(
    ledger: Ledger,
) -> Callable[[list[list[PaymentEvent]]], Awaitable[list[Invalid | None]]]:
    """What the callbacks' batcher asks: all that arrived together, in one transaction.

    One that the ledger cannot keep is refused alone, and its neighbours go on.
    """

    async def take(batch: list[list[PaymentEvent]]) -> list[Invalid | None]:
        try:
            await ledger.take_callbacks([event for events in batch for event in events])
        except Invalid:
            return [await alone(events) for events in batch]
        return [None] * len(batch)

    async def alone(events: list[PaymentEvent]) -> Invalid | None:
        try:
            await ledger.take_callbacks(events)
        except Invalid as fault:
            return fault
        return None

    return take


async def _asked(call: Awaitable[T]) -> T:
    """A provider's answer. Raises `Unavailable` where it takes too long."""
    try:
        async with asyncio.timeout(ASK_S_MAX):
            return await call
    except TimeoutError:
        raise Unavailable("The payment provider did not answer in time.") from None


def _is_over(payment: Payment, now_ms: int) -> bool:
    """Its checkout has ended by itself, or was never heard of though it was asked for long ago."""
    if payment.checkout_url is None:
        return now_ms - payment.created_at_ms > OPENING_MS_MAX
    return payment.expires_at_ms is not None and now_ms >= payment.expires_at_ms


def _pause_ms(attempts: int) -> int:
    return RETRY_MS[min(attempts, len(RETRY_MS) - 1)]
