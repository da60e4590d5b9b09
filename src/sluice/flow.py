"""The story of a purchase: admit → reserve → record → settle → release, one short step each.

`admit`, `reserve` and `cancel` run in the HTTP workers, the other steps in `sluice work`. Each step
can be repeated: whatever crashes, doing it again has the effect of once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from sluice.accounts.identity import Identity
from sluice.admission.passes import Pass, Passes
from sluice.admission.receipts import Receipt, Receipts
from sluice.batching import Batcher
from sluice.catalog.snapshots import ItemRoute, Snapshots
from sluice.domain import number
from sluice.domain.errors import LedgerUnavailable, NotFound, OrderHeld, Unavailable
from sluice.domain.order import HistoryEntry, Order, OrderState
from sluice.domain.outcome import Outcome
from sluice.domain.payment import OpenPaymentError
from sluice.domain.sale import SaleState
from sluice.gate.gate import Gate
from sluice.gate.reservations import Reservations
from sluice.gate.wire import Attempt, Decision, Hold
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Lease, PendingRelease, Recorded
from sluice.pipe.stream import Pipe
from sluice.settlement import Settlement

CANCEL_TRIES_MAX = 3
"""A buyer who opens payments while cancelling is told to make up their mind."""
TOLD_MAX = 4096
"""Orders in each of the two generations of those last told of."""


class Admitted(NamedTuple):
    """May try now: here is the pass."""

    text: str
    expires_at_ms: int


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """What came of one attempt. `order` is set where a replay found it in the ledger."""

    outcome: Outcome
    decision: Decision
    route: ItemRoute
    attempt: Attempt
    epoch: int
    order: Order | None = None

    @property
    def unclear(self) -> bool:
        """The ledger must be asked what it is."""
        return self.outcome is Outcome.REPLAYED or self.outcome is Outcome.UNKNOWN_ITEM


class Reading(Protocol):
    """A body on its way, as the server hands it out."""

    def done(self) -> bool: ...

    def result(self) -> bytes: ...


class Draft:
    """An attempt by a verified pass whose body is still on its way; see `Purchase.reserve_soon`."""

    __slots__ = ("_now_ms", "_quantities", "attempt", "buyer", "reading", "route", "verified")

    def __init__(
        self,
        buyer: Identity,
        verified: Pass,
        route: ItemRoute,
        reading: Reading,
        quantities: Mapping[bytes, int],
        now_ms: Callable[[], int],
    ) -> None:
        """`quantities` are the bodies that it can read."""
        self.buyer = buyer
        self.verified = verified
        self.route = route
        self.reading = reading
        self.attempt: Attempt | None = None
        self._quantities = quantities
        self._now_ms = now_ms

    def request(self) -> Attempt | None:
        """None as long as the body is not there, and for ever where it is an unusual one."""
        try:
            quantity = self._quantities.get(self.reading.result()) if self.reading.done() else None
        except Exception:  # whoever waits for the body will be told
            return None
        if quantity is not None:
            now_ms = self._now_ms()
            self.attempt = _attempt(self.buyer, self.verified, self.route, quantity, now_ms)
        return self.attempt


_CLOSED_STATES = {
    SaleState.SCHEDULED: Outcome.NOT_STARTED,
    SaleState.PAUSED: Outcome.PAUSED,
    SaleState.ENDED: Outcome.ENDED,
}


class Purchase:
    """The buyer's half of the story."""

    def __init__(
        self,
        *,
        passes: Passes,
        receipts: Receipts,
        snapshots: Snapshots,
        reservations: Reservations,
        gate: Gate,
        ledger: Ledger,
        orders: Batcher[int, Order | None],
        settlement: Settlement,
        now_ms: Callable[[], int],
    ) -> None:
        self._passes = passes
        self._receipts = receipts
        self._snapshots = snapshots
        self._reservations = reservations
        self._gate = gate
        self._ledger = ledger
        self._orders = orders
        self._settlement = settlement
        self._now_ms = now_ms
        self._told = LastTold()

    def closed_sale(self, route: ItemRoute) -> Outcome | None:
        """Why nothing of the sale can be bought now."""
        return _CLOSED_STATES.get(route.state_at(self._now_ms()))

    def closed(self, route: ItemRoute) -> Outcome | None:
        """Why nobody gets a pass for this item now. Answers from memory."""
        closed = self.closed_sale(route)
        if closed is None and self._snapshots.known_sold_out(route.item_id):
            return Outcome.SOLD_OUT
        return closed

    def admit(self, buyer: Identity, route: ItemRoute) -> Admitted | Outcome:
        """A pass for this buyer and item, or why there is none now. Answers from memory."""
        closed = self.closed(route)
        if closed is not None:
            return closed
        now_ms = self._now_ms()
        expires_at_s = now_ms // 1000 + route.pass_ttl_s
        text = self._passes.issue(route.publication, route.item_id, expires_at_s, buyer.binding)
        return Admitted(text, expires_at_s * 1000)

    def verify(self, text: str, buyer: Identity) -> Pass | None:
        """What a genuine pass of this buyer says; None for everybody else's and every forgery."""
        verified = self._passes.verify(text)
        if verified is None or verified.binding != buyer.binding:
            return None
        return verified

    async def reserve(self, buyer: Identity, verified: Pass, quantity: int) -> Reserved:
        """One attempt, decided by the gate.

        Raises `NotFound` for an item that is not for sale, `Overloaded` where nothing was tried,
        `Unavailable` where the outcome is unknown: the same pass may then be sent again.
        """
        route = self._snapshots.item_route(verified.item_id)
        if route is None:
            route = await self._snapshots.load_route(verified.item_id)
            if route is None:
                raise NotFound()
        attempt = _attempt(buyer, verified, route, quantity, self._now_ms())
        decision = await self._reservations.submit(route.shard, attempt)
        reserved = self._reserved(decision, route, attempt)
        return await self._looked_up(reserved) if reserved.unclear else reserved

    def reserve_soon(
        self,
        buyer: Identity,
        verified: Pass,
        route: ItemRoute,
        reading: Reading,
        quantities: Mapping[bytes, int],
    ) -> tuple[Draft, asyncio.Future[Decision | None]] | None:
        """The same attempt before its body is there; None where there is no rush, and the future
        says None where the body must be waited for: then `reserve`."""
        draft = Draft(buyer, verified, route, reading, quantities, self._now_ms)
        future = self._reservations.submit_soon(route.shard, draft)
        return None if future is None else (draft, future)

    async def soon_reserved(
        self, draft: Draft, future: asyncio.Future[Decision | None]
    ) -> Reserved | None:
        """What came of it; None where its body must be waited for. Raises as `reserve` does."""
        decision = await future
        if decision is None or draft.attempt is None:
            return None
        reserved = self._reserved(decision, draft.route, draft.attempt)
        return await self._looked_up(reserved) if reserved.unclear else reserved

    def _reserved(self, decision: Decision, route: ItemRoute, attempt: Attempt) -> Reserved:
        """What the gate's decision means, as far as that is known without another look."""
        outcome = decision.outcome
        if outcome is Outcome.SOLD_OUT:
            self._snapshots.note_sold_out(route.item_id)
        return Reserved(outcome, decision, route, attempt, self._reservations.epoch(route.shard))

    async def _looked_up(self, reserved: Reserved) -> Reserved:
        """An answer that was `unclear`, after a look into the ledger."""
        if reserved.outcome is Outcome.REPLAYED:
            return replace(reserved, order=await self._recorded(reserved.decision.number))
        return await self._replayed_by_ledger(reserved)

    async def _replayed_by_ledger(self, reserved: Reserved) -> Reserved:
        """The gate has retired the item; what was accepted then is in the ledger."""
        nonce = reserved.attempt.nonce
        order = (await self._ledger.order_by_nonces([nonce])).get(nonce)
        if order is None:
            return reserved
        if order.quantity != reserved.attempt.quantity:
            return replace(reserved, outcome=Outcome.OTHER_QUANTITY)
        decision = Decision(Outcome.REPLAYED, order.number, order.quantity, 0, 0)
        return replace(reserved, outcome=Outcome.REPLAYED, decision=decision, order=order)

    def receipt(self, reserved: Reserved) -> str:
        """Our signed word that the gate accepted this."""
        attempt, decision = reserved.attempt, reserved.decision
        return self._receipts.sign(
            Receipt(
                decision.quantity,
                attempt.publication,
                reserved.epoch,
                decision.counter,
                decision.number,
                attempt.item_id,
                decision.slots,
                attempt.nonce,
                attempt.digest,
            )
        )

    async def order(self, buyer: Identity, wanted: int, receipt: str | None) -> Order:
        """The buyer's order as it is now. Raises `NotFound` for another's, and for none.

        What the ledger does not have yet is `queued` where a receipt or the gate says so. While it
        is away, the order is what this process last told of it; of others it can only be said that
        they are held (`OrderHeld`): they may be past `queued`.
        """
        try:
            order = await self._recorded(wanted)
        except LedgerUnavailable:
            if await self._queued(buyer, wanted, receipt) is None:
                raise
            raise OrderHeld from None
        if order is None:
            order = await self._queued(buyer, wanted, receipt)
        if order is None:
            # It may have been recorded, or released, between the two looks.
            order = await self._orders.submit(wanted)
        if order is None or order.buyer != buyer.buyer:
            raise NotFound()
        return order

    async def _recorded(self, wanted: int) -> Order | None:
        """What the ledger says of an order, or said when it last answered."""
        try:
            order = await self._orders.submit(wanted)
        except LedgerUnavailable:
            order = self._told.get(wanted)
            if order is None:
                raise
            return order
        if order is not None:
            self._told.note(order)
        return order

    async def cancel(self, buyer: Identity, wanted: int, receipt: str | None) -> Order:
        """The buyer does not want it: its units go back. Raises `NotFound`, `Conflict` where it is
        paid or over, `Unavailable` where it is not known whether somebody is paying just now.

        A `queued` order is still `queued` in the answer: the wish is recorded, and is carried out
        in the transaction that brings the order into the ledger.
        """
        try:
            return await cancel(self._ledger, self._settlement, wanted, buyer.buyer, "buyer")
        except NotFound:
            queued = await self._queued(buyer, wanted, receipt)
        if queued is None:
            # It may have been recorded between the two looks.
            return await cancel(self._ledger, self._settlement, wanted, buyer.buyer, "buyer")
        await self._ledger.cancel_queued(wanted, buyer.buyer, queued.item_id, "buyer")
        return await self._orders.submit(wanted) or queued

    async def _queued(self, buyer: Identity, wanted: int, receipt: str | None) -> Order | None:
        held = self._receipts.verify(receipt) if receipt else None
        if held is not None and held.number == wanted and held.digest == buyer.digest:
            return await self._queued_order(buyer, wanted, held.item_id, held.quantity)
        shard = number.split(wanted).shard
        groups = self._snapshots.limit_groups(shard)
        for hold in await self._gate.find_holds(shard, groups, buyer.digest):
            if hold.number == wanted:
                return await self._queued_order(buyer, wanted, hold.item_id, hold.quantity)
        return None

    async def _queued_order(
        self, buyer: Identity, wanted: int, item_id: int, quantity: int
    ) -> Order | None:
        route = self._snapshots.item_route(item_id) or await self._snapshots.load_route(item_id)
        return None if route is None else queued_order(buyer.buyer, wanted, route, quantity)


class LastTold:
    """Orders that the ledger has told of lately, in two generations, so that the number of them is
    bounded. Nothing here is `queued`: what is in the ledger is past that for ever."""

    def __init__(self) -> None:
        self._young: dict[int, Order] = {}
        self._old: dict[int, Order] = {}

    def note(self, order: Order) -> None:
        if len(self._young) >= TOLD_MAX:
            self._old, self._young = self._young, {}
        self._young[order.number] = order

    def get(self, number: int) -> Order | None:
        return self._young.get(number) or self._old.get(number)


def _attempt(
    buyer: Identity, verified: Pass, route: ItemRoute, quantity: int, now_ms: int
) -> Attempt:
    publication, item_id, expires_at_s, nonce, _binding = verified
    return Attempt(
        item_id,
        route.limit_group,
        publication,
        nonce,
        buyer.digest,
        buyer.buyer.encode(),
        quantity,
        expires_at_s * 1000 <= now_ms,
    )


def queued_order(buyer: str, wanted: int, route: ItemRoute, quantity: int) -> Order:
    """An accepted order that the ledger has not committed yet."""
    placed_at_ms = number.split(wanted).minted_at_ms
    return Order(
        number=wanted,
        sale_id=route.sale_id,
        item_id=route.item_id,
        buyer=buyer,
        quantity=quantity,
        amount=route.price.times(quantity),
        state=OrderState.QUEUED,
        placed_at_ms=placed_at_ms,
        history=[HistoryEntry(state=OrderState.QUEUED, at_ms=placed_at_ms)],
    )


async def cancel(
    ledger: Ledger, settlement: Settlement, wanted: int, buyer: str | None, reason: str
) -> Order:
    """End an order that is not paid; `buyer` is None for an operator. Done again, the same order.

    A payment under way is closed at its provider first: whoever has paid keeps what they bought.
    Raises `NotFound`, `Conflict`, and `Unavailable` where the provider cannot close it now.
    """
    for _ in range(CANCEL_TRIES_MAX):
        try:
            return await ledger.cancel(wanted, buyer, reason)
        except OpenPaymentError as under_way:
            await settlement.close_payment(under_way.payment)
    raise Unavailable("The payment that is under way could not be closed.")


# --- the worker's half ----------------------------------------------------------------------------


async def record(
    pipe: Pipe, ledger: Ledger, lease: Lease, *, facts_max: int, block_ms: int
) -> tuple[int, Recorded] | None:
    """Bring the next facts of the gate's log into the ledger, in one transaction with the position.

    Returns the new position and what came of it; None where there is nothing new. Raises
    `FenceLost` where another worker owns the shard now.
    """
    batch = await pipe.next_batch(facts_max=facts_max, block_ms=block_ms)
    if batch is None:
        return None
    return batch.last, await ledger.record(lease, batch)


class HandedBack(NamedTuple):
    """What one step of `release` did."""

    pending: list[PendingRelease]
    """The releases that it looked at, in order of number; as many as were asked for: go on."""
    units_of: set[int]
    """Items of which the gate gave units back, to somebody who waits or on sale."""
    orders: int


async def release(
    gate: Gate,
    ledger: Ledger,
    lease: Lease,
    digest: Callable[[str], bytes],
    *,
    limit: int,
    after: int = 0,
    skip: Container[int] = (),
) -> HandedBack:
    """Hand back in the gate what the ledger has decided to release, from number `after` on.

    The ledger marks them applied when the gate's log says so, so a crash repeats this harmlessly;
    `skip` are those that were handed back a moment ago and whose log is still being read.
    """
    pending = await ledger.pending_releases(lease.shard, limit, after)
    fresh = [each for each in pending if each.number not in skip]
    if not fresh:
        return HandedBack(pending, set(), 0)
    holds = [Hold(p.number, p.item_id, p.limit_group, digest(p.buyer)) for p in fresh]
    released = await gate.release(lease.shard, lease.epoch, holds)
    items = {each.item_id for each, done in zip(fresh, released, strict=True) if done}
    return HandedBack(pending, items, sum(released))
