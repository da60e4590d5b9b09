"""A payment provider that is none: no money moves, everything else is as with a real one.

It keeps books of its own, has a checkout page, settles there, and calls our webhook over HTTP with
signatures (Standard Webhooks). `Knobs` make it behave as badly as providers do.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from sluice.batching import Batcher
from sluice.domain import number
from sluice.domain.errors import Invalid, NotFound
from sluice.domain.money import Money
from sluice.domain.payment import (
    Payment,
    PaymentEvent,
    PaymentEventKind,
    Refund,
    RefundState,
)
from sluice.domain.signature import ID_HEADER, verified
from sluice.domain.simulation import (
    PlannedCall,
    SimulatedCall,
    SimulatedCheckout,
    SimulatedRefund,
)
from sluice.payment.knobs import REORDER_MS, Knobs, read_knobs
from sluice.payment.port import (
    UNNAMED,
    Checkout,
    RefundStanding,
    Standing,
    StandingState,
    return_address,
)

NAME = "simulator"
CHECKOUT_PATH = "/simulator/checkout/"
CHECKOUT_MS = 3_600_000
"""How long a checkout is there for an order that has no end."""
CLOSING_MAX = 10_000
CLOSING_S_MAX = 15.0
EVENT_ID_CHARS_MAX = 100
ENDS = {"pay": "captured", "fail": "failed", "cancel": "void"}
"""What somebody does at the page, and how the checkout stands then."""
KINDS = {
    "payment.captured": PaymentEventKind.CAPTURED,
    "payment.failed": PaymentEventKind.FAILED,
    "payment.voided": PaymentEventKind.VOIDED,
    "refund.completed": PaymentEventKind.REFUND_COMPLETED,
    "refund.failed": PaymentEventKind.REFUND_FAILED,
}
_TOLD = {"captured": "payment.captured", "failed": "payment.failed", "void": "payment.voided"}


class Books(Protocol):
    """Where the simulator keeps what a provider keeps. The ledger's database does it."""

    async def simulator_open(self, wanted: SimulatedCheckout) -> SimulatedCheckout: ...
    async def simulator_checkout(self, reference: str) -> SimulatedCheckout | None: ...
    async def simulator_checkout_of(self, payment_id: int) -> SimulatedCheckout | None: ...
    async def simulator_close(
        self, payment_ids: Sequence[int]
    ) -> list[SimulatedCheckout | None]: ...
    async def simulator_turn(self, reference: str, knobs: bytes) -> bool: ...
    async def simulator_settle(
        self,
        reference: str,
        state: str,
        captured_minor: int,
        calls: Sequence[PlannedCall],
        before: Sequence[str] = ("open",),
    ) -> bool: ...
    async def simulator_refund(
        self, wanted: SimulatedRefund, captured_minor: int, calls: Sequence[PlannedCall]
    ) -> tuple[SimulatedRefund, bool]: ...
    async def simulator_refunded(self, reference: str) -> int: ...
    async def simulator_call_due_ms(self) -> int | None: ...
    async def simulator_calls(self, limit: int, claim_ms: int) -> list[SimulatedCall]: ...
    async def simulator_called(
        self, done: Sequence[int], again: Sequence[tuple[int, int]]
    ) -> None: ...


class Told(msgspec.Struct, frozen=True, gc=False):
    """`data` of a callback. Members that we do not know are passed over."""

    order_id: str
    payment_id: str
    amount: str = ""
    currency: str = ""
    reference: str | None = None
    refund_id: str | None = None
    reason: str | None = None


class Callback(msgspec.Struct, frozen=True, gc=False):
    type: str
    data: Told


_decode = msgspec.json.Decoder(Callback).decode


class Simulator:
    """The provider. `public_url` is where its pages are; `keys` sign the callbacks (the first) and
    verify them (all)."""

    name = NAME
    thanks = None
    at_once = 500

    def __init__(
        self,
        books: Books,
        *,
        keys: Sequence[bytes],
        public_url: str,
        return_url: str,
        knobs: Knobs | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.keys = tuple(keys)
        self.books = books
        self.planned = asyncio.Event()
        """Set when there are new callbacks to make."""
        self._public_url = public_url
        self._return_url = return_url
        self._knobs = knobs or Knobs()
        self._dice = dice
        self._closing: Batcher[int, SimulatedCheckout | None] = Batcher(
            books.simulator_close,
            batch_max=self.at_once,
            queue_max=CLOSING_MAX,
            deadline_s=CLOSING_S_MAX,
            calls_max=1,
        )
        """Payments of a whole sale are due at once; those closed together share a transaction."""

    # --- the port -------------------------------------------------------------------------------

    async def open(self, payment: Payment, *, expires_at_ms: int | None) -> Checkout:
        wanted = SimulatedCheckout(
            reference=f"sim_{secrets.token_urlsafe(16)}",
            payment_id=payment.id,
            order_number=payment.order_number,
            amount=payment.amount,
            state="open",
            captured_minor=0,
            return_url=return_address(self._return_url, payment.order_number),
            knobs=b"",
            expires_at_ms=expires_at_ms,
        )
        checkout = await self.books.simulator_open(wanted)
        if self._knobs.settle != "ask" and checkout.state == "open":
            await self.settle(checkout.reference, self._knobs.settle)
        url = f"{self._public_url}{CHECKOUT_PATH}{checkout.reference}"
        ends_at_ms = checkout.expires_at_ms or payment.created_at_ms + CHECKOUT_MS
        return Checkout(checkout.reference, url, ends_at_ms)

    async def close(self, payment: Payment) -> Standing:
        return _standing(await self._closing.submit(payment.id))

    async def query(self, payment: Payment) -> Standing:
        return _standing(await self._checkout_of(payment))

    async def refund(self, refund: Refund, payment: Payment) -> RefundStanding:
        checkout = await self._checkout_of(payment)
        came = _came(checkout, payment)
        if came == 0:
            return RefundStanding(RefundState.FAILED, reason="Nothing was captured here.")
        reference = payment.reference or f"payment_{payment.id}"
        knobs = self._knobs if checkout is None else self._knobs_of(checkout)
        failed = self._happens(knobs.refund_fail)
        told = "refund.failed" if failed else "refund.completed"
        body = _body(told, payment, reference, refund.amount, refund.id)
        wanted = SimulatedRefund(
            refund.id, reference, refund.amount, "failed" if failed else "completed"
        )
        found, is_new = await self.books.simulator_refund(wanted, came, self._calls(body, knobs))
        self.planned.set()
        name = f"{reference}/{refund.id}"
        if found.state == "failed":
            return RefundStanding(RefundState.FAILED, name, "The simulator was told to fail.")
        return RefundStanding(RefundState.SENT if is_new else RefundState.COMPLETED, name)

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> list[PaymentEvent]:
        message = verified(self.keys, headers, body, now_s)
        if len(message.id) > EVENT_ID_CHARS_MAX:
            raise Invalid(ID_HEADER, f"may have {EVENT_ID_CHARS_MAX} characters")
        try:
            callback = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid("body", f"cannot be used: {error}") from None
        kind = KINDS.get(callback.type)
        return [] if kind is None else [_event(message.id, kind, callback.data, body)]

    def order_of(self, event: PaymentEvent) -> int | None:
        return number.parse(_decode(event.body).data.order_id)

    async def aclose(self) -> None:
        await self._closing.close()

    # --- its page -------------------------------------------------------------------------------

    async def checkout(self, reference: str) -> SimulatedCheckout:
        """Raises `NotFound`."""
        found = await self.books.simulator_checkout(reference)
        if found is None:
            raise NotFound
        return found

    async def settle(self, reference: str, action: str) -> SimulatedCheckout:
        """Somebody pays, fails or cancels at the page; how the checkout stands then.

        Twice is once. Raises `NotFound`.
        """
        checkout = await self.checkout(reference)
        knobs = self._knobs_of(checkout)
        state = ENDS[action]
        if state == "captured" and self._happens(knobs.fail):
            state = "failed"
        taken = checkout.amount
        if self._happens(knobs.wrong_amount):
            taken = Money(max(1, taken.minor - 1), taken.currency)
        late = knobs.pay_after_close and state == "captured"
        await self.books.simulator_settle(
            reference,
            state,
            taken.minor if state == "captured" else 0,
            self._calls(_body(_TOLD[state], checkout, reference, taken), knobs),
            ("open", "void") if late else ("open",),
        )
        self.planned.set()
        return await self.checkout(reference)

    async def turn(self, reference: str, knobs: Knobs) -> None:
        """Set the knobs of one checkout. Raises `NotFound`."""
        if not await self.books.simulator_turn(reference, knobs.encoded()):
            raise NotFound

    # --- what goes wrong ------------------------------------------------------------------------

    def _knobs_of(self, checkout: SimulatedCheckout) -> Knobs:
        return read_knobs(checkout.knobs) if checkout.knobs else self._knobs

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._dice() < chance

    def _calls(self, body: bytes, knobs: Knobs) -> list[PlannedCall]:
        """The callbacks of one event, as the knobs have them."""
        after_ms = knobs.delay_ms + int(self._dice() * knobs.spread_ms)
        calls = []
        if self._happens(knobs.forge):
            calls.append(PlannedCall(_event_id("forged"), body, after_ms, forged=True))
        if self._happens(knobs.drop):
            return calls
        if self._happens(knobs.reorder):
            after_ms += int(self._dice() * REORDER_MS) + 1
        call = PlannedCall(_event_id("evt"), body, after_ms)
        return [*calls, call, call] if self._happens(knobs.repeat) else [*calls, call]

    async def _checkout_of(self, payment: Payment) -> SimulatedCheckout | None:
        return await self.books.simulator_checkout_of(payment.id)


def _standing(checkout: SimulatedCheckout | None) -> Standing:
    if checkout is None:
        return Standing(StandingState.UNKNOWN)
    captured = Money(checkout.captured_minor, checkout.amount.currency)
    state = StandingState(checkout.state)
    amount = captured if state is StandingState.CAPTURED else None
    return Standing(state, amount, checkout.reference)


def _came(checkout: SimulatedCheckout | None, payment: Payment) -> int:
    """Minor units that were captured: by our books, or by a callback that was signed elsewhere with
    our secret, as tests and tills do."""
    if checkout is not None and checkout.state == "captured":
        return checkout.captured_minor
    return 0 if payment.captured is None else payment.captured.minor


def _event_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _body(
    told: str,
    of: SimulatedCheckout | Payment,
    reference: str,
    amount: Money,
    refund_id: int | None = None,
) -> bytes:
    data = {
        "order_id": str(of.order_number),
        "payment_id": str(of.id if isinstance(of, Payment) else of.payment_id),
        "amount": amount.amount,
        "currency": amount.currency,
        "reference": reference,
    }
    if refund_id is not None:
        data["refund_id"] = str(refund_id)
    return msgspec.json.encode({"type": told, "data": data})


def _event(event_id: str, kind: PaymentEventKind, data: Told, body: bytes) -> PaymentEvent:
    """A payment that is not numbered as ours are goes by its order, and its id is its name."""
    amount = Money.parse(data.amount, data.currency, "data") if data.amount else None
    if amount is None and kind is PaymentEventKind.CAPTURED:
        raise Invalid("data.amount", "is required")
    payment_id = _id(data.payment_id)
    return PaymentEvent(
        provider=NAME,
        event_id=event_id,
        kind=kind,
        payment_id=payment_id or UNNAMED,
        reference=data.reference or (None if payment_id else data.payment_id),
        amount=amount,
        refund_id=None if data.refund_id is None else _id(data.refund_id),
        body=body,
    )


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
