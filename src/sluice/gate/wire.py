"""What goes over the wire to the gate's functions and what comes back, packed and unpacked."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from sluice.domain.log import (
    Accepted,
    Edited,
    ItemTotals,
    Joined,
    Left,
    LeftReason,
    LogEntry,
    Marked,
    Promoted,
    Released,
)
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.domain.sale import PER_BUYER_MAX

_ATTEMPT = struct.Struct(">12s16sBBBI")
_DECISION = struct.Struct(">BQBI")
_ACCEPTED = struct.Struct(">QBIB12sH")
_RELEASED = struct.Struct(">QBI")
_HELD = struct.Struct(">QII")
_WAITER = struct.Struct(">BI16s")
_PLACE = struct.Struct(">BQI")
_JOINED = struct.Struct(">QIH")
_LEFT = struct.Struct(">QIB")
_PROMOTED = struct.Struct(">QIIQH")

OUTCOMES = tuple(Outcome)
WAIT_OUTCOMES = tuple(WaitOutcome)
LEFT_REASONS: tuple[LeftReason, ...] = ("left", "limit_reached", "closed")
"""In the order of the numbers that the log gives them."""
NONCE_BYTES = 12
DIGEST_BYTES = 16


class Attempt(NamedTuple):
    """One buyer's try at one item, as its verified pass says."""

    item_id: int
    limit_group: int
    publication: int
    nonce: bytes
    digest: bytes
    """16 bytes that stand for the buyer key in the gate."""
    buyer: bytes
    quantity: int
    replay_only: bool
    """The pass has expired: it may answer with its order, but not buy."""


class Decision(NamedTuple):
    """The gate's answer. `number` is the order's, or with LIMIT_REACHED the one held; else 0."""

    outcome: Outcome
    number: int
    quantity: int
    slots: int
    counter: int
    """Log entry of an acceptance, else 0."""


class Held(NamedTuple):
    """One hold of a buyer, as the gate keeps it."""

    number: int
    slots: int
    item_id: int

    @property
    def quantity(self) -> int:
        return self.slots.bit_count()


class Hold(NamedTuple):
    """What `release` needs to find a hold."""

    number: int
    item_id: int
    limit_group: int
    digest: bytes


class Waiter(NamedTuple):
    """A buyer who asks about a place in line for one unit of an item."""

    item_id: int
    limit_group: int
    publication: int
    digest: bytes
    buyer: bytes


class Place(NamedTuple):
    """The gate's answer. `entry` is 0 where there is none; with LIMIT_REACHED it is the number of
    the order that is held. `ahead` counts those before: the position is one more."""

    outcome: WaitOutcome
    entry: int
    ahead: int


class Entry(NamedTuple):
    """A waitlist entry that the ledger gives back to the gate."""

    entry: int
    buyer: bytes
    digest: bytes


def check(attempt: Attempt) -> None:
    """Raises ValueError where the gate's records could not hold it: packing would cut it short."""
    _item, _group, _publication, nonce, digest, buyer, quantity, _replay_only = attempt
    if not (
        0 < quantity <= PER_BUYER_MAX
        and len(nonce) == NONCE_BYTES
        and len(digest) == DIGEST_BYTES
        and len(buyer) <= BUYER_BYTES_MAX
    ):
        raise ValueError("an attempt that the gate cannot keep")


def pack_attempt(attempt: Attempt, place: int) -> bytes:
    """`place` of the item among the call's keys, from 1."""
    _item, _group, publication, nonce, digest, buyer, quantity, replay_only = attempt
    return _ATTEMPT.pack(nonce, digest, place, quantity, replay_only, publication) + buyer


_REFUSALS = {
    _DECISION.pack(at, 0, 0, 0): Decision(outcome, 0, 0, 0, 0)
    for at, outcome in enumerate(OUTCOMES)
    if outcome is not Outcome.ACCEPTED
}
"""Refusals that name no order are the same bytes every time, and so one object."""


def unpack_decisions(packed: bytes, counter: int) -> list[Decision]:
    """In the order of the attempts; `counter` is 0 where none of them was accepted."""
    if counter:
        return [
            Decision(OUTCOMES[outcome], number, quantity, slots, counter if outcome == 0 else 0)
            for outcome, number, quantity, slots in _DECISION.iter_unpack(packed)
        ]
    known, size = _REFUSALS.get, _DECISION.size
    return [
        known(part := packed[at : at + size]) or _unpack_refusal(part)
        for at in range(0, len(packed), size)
    ]


def _unpack_refusal(packed: bytes) -> Decision:
    outcome, number, quantity, slots = _DECISION.unpack(packed)
    return Decision(OUTCOMES[outcome], number, quantity, slots, 0)


def pack_hold(hold: Hold) -> bytes:
    return hold.number.to_bytes(8, "big") + hold.digest


def unpack_held(packed: bytes) -> list[Held]:
    """Everything that one buyer holds in one limit group."""
    return [Held._make(fields) for fields in _HELD.iter_unpack(packed)]


def pack_waiter(waiter: Waiter, place: int) -> bytes:
    """`place` of the item among the call's keys, from 1."""
    return _WAITER.pack(place, waiter.publication, waiter.digest) + waiter.buyer


def unpack_places(packed: bytes) -> list[Place]:
    return [
        Place(WAIT_OUTCOMES[outcome], entry, ahead)
        for outcome, entry, ahead in _PLACE.iter_unpack(packed)
    ]


def pack_waiting(entry: Entry) -> bytes:
    return entry.entry.to_bytes(8, "big") + entry.digest + entry.buyer


def unpack_entry(kind: bytes, data: bytes) -> Iterable[LogEntry]:
    """The facts of one log entry. Raises ValueError on a kind this version does not know."""
    if kind == b"a":
        return _accepted(data)
    if kind == b"r":
        return _released(data)
    if kind == b"e":
        item, edit, delta, applied = data.split(b",")
        return (Edited(int(item), int(edit), int(delta), applied == b"1"),)
    if kind == b"p":
        return _promoted(data)
    if kind == b"w":
        return _joined(data)
    if kind == b"l":
        return _left(data)
    if kind == b"m":
        rows = [row.split(b",") for row in data.split(b";") if row]
        return (Marked(tuple(ItemTotals(*map(int, row)) for row in rows)),)
    raise ValueError(f"the gate's log holds an entry of an unknown kind: {kind!r}")


def _accepted(data: bytes) -> list[Accepted]:
    head = data.index(b";")
    items = [int(name) for name in data[:head].split(b",")]
    at, size, end = head + 1, _ACCEPTED.size, len(data)
    entries = []
    while at < end:
        number, quantity, slots, place, nonce, length = _ACCEPTED.unpack_from(data, at)
        at += size
        buyer = data[at : at + length].decode()
        at += length
        entries.append(Accepted(number, items[place - 1], quantity, slots, nonce, buyer))
    return entries


def _released(data: bytes) -> list[Released]:
    return [
        Released(number, item_id, quantity)
        for number, quantity, item_id in _RELEASED.iter_unpack(data)
    ]


def _promoted(data: bytes) -> list[Promoted]:
    at, size, end = 0, _PROMOTED.size, len(data)
    entries = []
    while at < end:
        number, slots, item_id, entry, length = _PROMOTED.unpack_from(data, at)
        at += size
        entries.append(Promoted(number, item_id, slots, entry, _buyer(data, at, length)))
        at += length
    return entries


def _joined(data: bytes) -> list[Joined]:
    at, size, end = 0, _JOINED.size, len(data)
    entries = []
    while at < end:
        entry, item_id, length = _JOINED.unpack_from(data, at)
        at += size
        entries.append(Joined(entry, item_id, _buyer(data, at, length)))
        at += length
    return entries


def _left(data: bytes) -> list[Left]:
    return [
        Left(entry, item_id, LEFT_REASONS[reason])
        for entry, item_id, reason in _LEFT.iter_unpack(data)
    ]


def _buyer(data: bytes, at: int, length: int) -> str:
    if at + length > len(data):
        raise ValueError("a buyer key that was cut short")
    return data[at : at + length].decode()
