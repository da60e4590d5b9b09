"""Accepted orders that cannot be recorded: why, and the dead letter that each becomes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import insert, select

from sluice.domain.log import Accepted, slots_of
from sluice.domain.number import NUMBER_MAX
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.ledger.journal import report
from sluice.ledger.store import Transaction
from sluice.ledger.tables import (
    NONCE_BYTES,
    REASON_CHARS,
    dead_letters,
    order_slots,
    orders,
    releases,
)

if TYPE_CHECKING:
    from sluice.ledger.intake import ItemFacts

_INT64_MAX = 2**63 - 1


class Reason(StrEnum):
    UNKNOWN_ITEM = "unknown_item"
    MALFORMED = "malformed"
    OVER_LIMIT = "over_limit"
    """More slots than the item lets one buyer have."""
    SOLD_OUT = "sold_out"
    """The ledger has fewer units than the gate gave away."""
    SLOT_TAKEN = "slot_taken"
    NONCE_TAKEN = "nonce_taken"
    NUMBER_TAKEN = "number_taken"
    """The number is another attempt's: its hold must not be released in this one's name."""
    BROKEN_ROW = "broken_row"


class Reject(NamedTuple):
    order: Accepted
    reason: Reason
    detail: str
    limit_group: int
    """0 where the item is unknown."""


def fault_in(order: Accepted, facts: ItemFacts | None) -> tuple[Reason, str] | None:
    """What is wrong with an order by itself; no database would have to be asked."""
    if not 0 < order.number <= NUMBER_MAX:
        return Reason.MALFORMED, "a number that no gate could mint"
    if facts is None:
        return Reason.UNKNOWN_ITEM, f"item {order.item_id} is not on this shard"
    if order.slots >> facts.per_buyer:
        return Reason.OVER_LIMIT, f"slots {slots_of(order.slots)} of {facts.per_buyer}"
    if order.quantity != order.slots.bit_count() or order.quantity < 1:
        return Reason.MALFORMED, f"quantity {order.quantity}, slots {slots_of(order.slots)}"
    if len(order.nonce) != NONCE_BYTES:
        return Reason.MALFORMED, f"a nonce of {len(order.nonce)} bytes"
    if not storable(order.buyer):
        return Reason.MALFORMED, "the buyer key is empty, too long or not text"
    return None


def storable(buyer: str) -> bool:
    if buyer.isascii():
        return 0 < len(buyer) <= BUYER_BYTES_MAX and "\0" not in buyer
    try:
        return len(buyer.encode()) <= BUYER_BYTES_MAX and "\0" not in buyer
    except UnicodeEncodeError:
        return False


async def explain(
    tx: Transaction, facts: Mapping[int, ItemFacts], order: Accepted, error: Exception
) -> Reject:
    """Which rule a single row broke."""
    group = facts[order.item_id].limit_group
    holder = await _holder_of(tx, orders.c.number, orders.c.number == order.number)
    if holder is not None:
        return Reject(order, Reason.NUMBER_TAKEN, "", group)
    holder = await _holder_of(tx, orders.c.number, orders.c.nonce == order.nonce)
    if holder is not None:
        return Reject(order, Reason.NONCE_TAKEN, f"by order {holder}", group)
    mine = (order_slots.c.limit_group == group) & (order_slots.c.buyer == order.buyer)
    slot = order_slots.c.slot.in_(slots_of(order.slots))
    holder = await _holder_of(tx, order_slots.c.order_number, mine & slot)
    if holder is not None:
        return Reject(order, Reason.SLOT_TAKEN, f"by order {holder}", group)
    return Reject(order, Reason.BROKEN_ROW, str(error), group)


async def _holder_of(tx: Transaction, number: Any, wanted: Any) -> int | None:
    found = (await tx.run(select(number).where(wanted).limit(1))).scalar_one_or_none()
    return None if found is None else int(found)


async def dead_letter(
    tx: Transaction, shard: int, rejects: Sequence[Reject], held_elsewhere: Container[int]
) -> list[int]:
    """Writes each as a dead letter, with a release where the gate holds units for it.

    `held_elsewhere` are numbers that an order has: never to be released. What not even a dead
    letter can hold becomes an incident. Returns the numbers that are dead letters now.
    """
    letters, gone = {}, []
    for reject in rejects:
        number = reject.order.number
        if not 0 < number <= NUMBER_MAX:
            await report(tx, "unreadable_order", {"shard": shard, "order": repr(reject.order)})
        elif number not in letters:
            letters[number] = _letter(tx, shard, reject)
            if reject.reason is not Reason.NUMBER_TAKEN and number not in held_elsewhere:
                gone.append(_release(tx, shard, reject))
    if letters:
        await tx.run(insert(dead_letters), list(letters.values()))
    if gone:
        await tx.run(insert(releases), gone)
    return list(letters)


def _letter(tx: Transaction, shard: int, reject: Reject) -> dict[str, Any]:
    order = reject.order
    return {
        "number": order.number,
        "shard": shard,
        "item_id": _clamped(order.item_id),
        "quantity": _clamped(order.quantity),
        "at_ms": tx.now_ms,
        "nonce": order.nonce[:NONCE_BYTES],
        "buyer": _cleaned(order.buyer).encode()[:BUYER_BYTES_MAX].decode(errors="ignore"),
        "reason": reject.reason.value,
        "detail": _cleaned(reject.detail)[:REASON_CHARS],
    }


def _release(tx: Transaction, shard: int, reject: Reject) -> dict[str, Any]:
    order = reject.order
    return {
        "number": order.number,
        "shard": shard,
        "item_id": _clamped(order.item_id),
        "limit_group": reject.limit_group,
        "quantity": _clamped(order.quantity),
        "decided_at_ms": tx.now_ms,
        "buyer": _cleaned(order.buyer),
        "reason": "rejected",
    }


def _clamped(value: int) -> int:
    return max(-_INT64_MAX, min(_INT64_MAX, value))


def _cleaned(text: str) -> str:
    """Text that every database can store."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
