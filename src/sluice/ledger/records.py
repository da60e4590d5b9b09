"""What the ledger is given and what it answers, besides the domain's sales and orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from sluice.domain.payment import Payment, Refund

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to record a shard: true as long as nobody took a higher fence."""

    shard: int
    epoch: int
    fence: int
    owner: str
    lease_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPosition:
    """The log of `epoch` is recorded up to `counter`."""

    shard: int
    epoch: int
    counter: int
    highest_number: int
    """Of all orders that the ledger has seen on this shard, in any epoch."""

    def behind(self, epoch: int | None, counter: int) -> int | None:
        """How many entries of the gate's log, which is at `counter` of `epoch`, are not recorded
        yet. None where the gate is in another epoch, or in none: these counters have nothing to do
        with each other, and it does not sell before the ledger has begun the same one."""
        return max(0, counter - self.counter) if epoch == self.epoch else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a batch of the log."""

    orders: int = 0
    """Orders written."""
    repeated: int = 0
    """Accepted entries whose number the ledger had already; nothing was written for them."""
    dead: tuple[int, ...] = ()
    """Numbers that were dead-lettered."""
    released: int = 0
    """Releases that are now known to be applied by the gate."""
    settled: int = 0
    """Stock edits that are now applied or refused."""
    marks_failed: tuple[int, ...] = ()
    """Items of which gate and ledger did not agree at an audit mark."""
    cancelled: int = 0
    """Of the orders written, those that were cancelled before they were recorded."""
    joined: int = 0
    """Entries that took a place in a waitlist."""
    promoted: int = 0
    """Entries that became an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockEdit:
    item_id: int
    edit: int
    delta: int
    reason: str
    state: str
    """pending, applied or refused."""
    stock_after: int | None
    requested_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRelease:
    """A hold that the ledger gave up and the gate has not yet been heard to release."""

    number: int
    shard: int
    item_id: int
    limit_group: int
    buyer: str
    quantity: int
    reason: str
    decided_at_ms: int


class LetterState(StrEnum):
    """What became of the units of an order that could not be recorded."""

    RETURNED = "returned"
    RETURNING = "returning"
    """It is decided, and the gate has not yet been heard to do it."""
    KEPT = "kept"
    """Its number is another attempt's, which holds them."""
    STUCK = "stuck"
    """Nothing has decided anything: a retry gives them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    id: int
    number: int
    shard: int
    item_id: int
    buyer: str
    quantity: int
    reason: str
    detail: str
    at_ms: int
    state: LetterState
    returned_at_ms: int | None


class Once(NamedTuple, Generic[T]):
    """Do this once per `key`; the first answer is kept with what it did, in one transaction."""

    key: str
    """Names actor, route and Idempotency-Key; at most 200 bytes."""
    body_hash: bytes
    """At most 64 bytes."""
    render: Callable[[T], bytes]
    """The response body for what was done."""
    status: int = 201


class Answered(NamedTuple):
    """The first answer to this key, word for word."""

    status: int
    body: bytes


class Incident(NamedTuple):
    id: int
    kind: str
    detail: str
    at_ms: int


class Mark(NamedTuple):
    """Gate and ledger, compared at one place of the log. Units; `decided_not_applied` is X."""

    shard: int
    item_id: int
    epoch: int
    counter: int
    gate_available: int
    gate_held: int
    gate_stock: int
    ledger_available: int
    decided_not_applied: int
    ok: int
    """1 where they agreed."""
    at_ms: int


class Check(NamedTuple):
    """One invariant, looked at: `detail` says what was counted, or what is wrong."""

    name: str
    ok: bool
    detail: str


class Event(NamedTuple):
    """A message of the outbox; `id` is its position, to go on after."""

    id: int
    kind: str
    payload: dict[str, Any]
    """`order.*`: `{"numbers": [...]}`; `sale.*`: `{"sale_id": n}`; `payment.*`: `{"payments":
    [...], "numbers": [...]}`; `waitlist.*`: `{"entries": [{"id", "item_id", "buyer", "number" or
    "reason"}]}`."""
    at_ms: int


class Party(NamedTuple):
    """Whom an order concerns, and its present state."""

    number: int
    buyer: str
    sale_id: int
    """0 where its item is unknown, which only a rejected order's can be."""
    item_id: int
    state: str
    payment_state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitEntry:
    """A place in an item's line; its id is the order in it. Times are Unix milliseconds."""

    id: int
    item_id: int
    buyer: str
    state: str
    """waiting, promoted, left or closed."""
    reason: str | None
    """left, limit_reached or closed, where it ended without an order."""
    order_number: int | None
    joined_at_ms: int
    ended_at_ms: int | None


class Taken(StrEnum):
    """What became of a callback."""

    NEW = "new"
    """Its effect is committed now."""
    REPEATED = "repeated"
    """It was committed before."""
    PENDING = "pending"
    """It is kept, but its effect failed; it will be tried again."""


class OpenMoney(NamedTuple):
    """Money that is owed back and not yet back."""

    refund: Refund
    payment: Payment
