"""The gate's log: what the gate did, in the order it did it. Facts, in the past participle."""

from __future__ import annotations

from typing import Literal, NamedTuple

LeftReason = Literal["left", "limit_reached", "closed"]
"""By the buyer's wish · the buyer had no slot left when the turn came · the line was closed."""


class Accepted(NamedTuple):
    number: int
    item_id: int
    quantity: int
    slots: int
    """Mask of the buyer's unit slots in the limit group: bit 0 is slot 1."""
    nonce: bytes
    """12 bytes; names the attempt everywhere."""
    buyer: str


class Released(NamedTuple):
    number: int
    item_id: int
    quantity: int


class Edited(NamedTuple):
    """Stock edit `edit` of the item was applied, or refused because its units were not there."""

    item_id: int
    edit: int
    delta: int
    applied: bool


class Joined(NamedTuple):
    """A buyer took the last place in line for one unit of the item; `entry` is its name."""

    entry: int
    item_id: int
    buyer: str


class Left(NamedTuple):
    """An entry ended without an order."""

    entry: int
    item_id: int
    reason: LeftReason


class Promoted(NamedTuple):
    """The head of the line got a unit that came back: an order of one unit in its own right."""

    number: int
    item_id: int
    slots: int
    """As for `Accepted`; one bit."""
    entry: int
    buyer: str

    @property
    def nonce(self) -> bytes:
        return promoted_nonce(self.entry)


class ItemTotals(NamedTuple):
    """The gate's own numbers of one item: `available + held == stock`, always."""

    item_id: int
    available: int
    held: int
    stock: int
    waiting: int = 0
    """How many stand in line."""


class Marked(NamedTuple):
    """An audit mark: the gate's totals at this very place of the log."""

    totals: tuple[ItemTotals, ...]


LogEntry = Accepted | Released | Edited | Joined | Left | Promoted | Marked


class LogBatch(NamedTuple):
    """Consecutive log entries of one shard: counters `first` to `last`, both included."""

    shard: int
    epoch: int
    first: int
    last: int
    entries: list[LogEntry]


def slots_of(mask: int) -> list[int]:
    """Slot numbers (1..32) of a mask."""
    return [bit + 1 for bit in range(32) if mask >> bit & 1]


def promoted_nonce(entry: int) -> bytes:
    """The nonce of the order that a waitlist entry becomes: the entry names the attempt."""
    return b"wait" + entry.to_bytes(8, "big")
