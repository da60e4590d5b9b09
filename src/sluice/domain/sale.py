"""A sale, its items and its policy, and what can be said of them at a given time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

from sluice.domain.money import Money

TITLE_MAX = 200
ITEMS_MAX = 200
"""Items in one sale."""
STOCK_MAX = 10_000_000
PER_BUYER_MAX = 32
"""A buyer's units in one limit group are slots in a 32-bit mask in the gate."""


class SaleStatus(StrEnum):
    """What is stored; what is told (`SaleState`) also depends on the time."""

    DRAFT = "draft"
    PUBLISHED = "published"
    PAUSED = "paused"
    CLOSED = "closed"


class SaleState(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"


class ItemState(StrEnum):
    AVAILABLE = "available"
    LOW = "low"
    HELD = "held"
    """All units are held, some may return."""
    SOLD_OUT = "sold_out"


class Challenge(StrEnum):
    NONE = "none"
    ARITHMETIC = "arithmetic"
    SLIDER = "slider"
    PROOF_OF_WORK = "proof_of_work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each hot route of a sale by itself; None: no limit."""

    per_buyer_per_minute: int | None = 10
    per_address_per_minute: int | None = 120
    per_sale_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRoom:
    enabled: bool = False
    admit_per_second: float | None = None
    """None: the pace that the service measures it can keep."""
    active_max: int | None = None
    """People who are in at once and have not bought yet; None: no limit of its own."""
    opens_before_seconds: int = 600
    """It may be joined from so long before the start."""
    factor: float = 2.0
    """At most so many people are in for each unit that can still be bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    challenge: Challenge = Challenge.NONE
    pass_ttl_seconds: int = 60
    payment_window_seconds: int = 900
    payment_reminder_seconds: int = 450
    waitlist: bool = True
    waitlist_until_ms: int | None = None
    invite_only: bool = False
    """Only for buyers on the sale's list: put there by the merchant or by an invitation's code."""
    limits: Limits = field(default_factory=Limits)
    waiting_room: WaitingRoom = field(default_factory=WaitingRoom)


_TOGETHER = ("payment_window_seconds", "payment_reminder_seconds")
"""Either is right only for the other as it was known."""


def rebased(was: Policy, wanted: Policy, now: Policy) -> Policy:
    """The policy as it is `now` with what changes from `was` to `wanted`: nobody undoes what
    somebody else changed since they looked."""
    policy: Policy = _rebased(was, wanted, now)
    if any(getattr(was, name) != getattr(wanted, name) for name in _TOGETHER):
        policy = replace(policy, **{name: getattr(wanted, name) for name in _TOGETHER})
    return policy


def _rebased(was: Any, wanted: Any, now: Any) -> Any:
    changed = {}
    for name in (each.name for each in fields(now)):
        before, after = getattr(was, name), getattr(wanted, name)
        if before != after:
            nested = is_dataclass(after) and is_dataclass(before)
            changed[name] = _rebased(before, after, getattr(now, name)) if nested else after
    return replace(now, **changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item as the merchant wrote it."""

    title: str
    price: Money
    stock: int
    per_buyer: int = 1
    limit_group: str | None = None
    """Items of a sale with the same label share `per_buyer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSale:
    title: str
    starts_at_ms: int
    ends_at_ms: int
    items: tuple[NewItem, ...]
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemChange:
    """What a merchant changes of an item; None leaves it as it is."""

    item_id: int
    title: str | None = None
    price: Money | None = None
    per_buyer: int | None = None
    """Holds for the item's whole limit group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleChange:
    """What a merchant changes of a sale; None leaves it as it is. `policy` is the whole new one; of
    it only that counts which is not as in `policy_was`, which they had seen."""

    title: str | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    policy: Policy | None = None
    policy_was: Policy | None = None
    items: tuple[ItemChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item as the ledger knows it. Units are whole; `available` is the ledger's L."""

    id: int
    sale_id: int
    title: str
    price: Money
    stock: int
    available: int
    awaiting_payment: int
    paid: int
    per_buyer: int
    limit_group: int
    """The id of the first item of its group; its own id where it stands alone."""
    limit_group_label: str | None
    shard: int
    written_off: int = 0
    edit: int = 0
    """The number of the last stock edit that was given out."""
    loaded_epoch: int | None = None
    """The epoch of the gate that was given this item, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    id: int
    title: str
    status: SaleStatus
    publication: int
    """Counts the publications; a pass of another one does not count."""
    pause_reason: str | None
    starts_at_ms: int
    ends_at_ms: int
    policy: Policy
    items: tuple[Item, ...]
    created_at_ms: int

    def state_at(self, now_ms: int) -> SaleState:
        return state_at(self.status, self.starts_at_ms, self.ends_at_ms, now_ms)

    @property
    def room_opens_at_ms(self) -> int:
        """From when on a waiting room can be joined, where there is one, and challenges are asked;
        without one that is the start."""
        room = self.policy.waiting_room
        return self.starts_at_ms - (room.opens_before_seconds * 1000 if room.enabled else 0)

    @property
    def waits_until_ms(self) -> int:
        """Until when units that come back go to whoever waits for them; 0 where nobody may wait."""
        if not self.policy.waitlist or self.status in (SaleStatus.DRAFT, SaleStatus.CLOSED):
            return 0
        until_ms = self.policy.waitlist_until_ms
        return self.ends_at_ms if until_ms is None else until_ms


def state_at(status: SaleStatus, starts_at_ms: int, ends_at_ms: int, now_ms: int) -> SaleState:
    """What a sale is at a time of the gate's clock."""
    if status is SaleStatus.DRAFT:
        return SaleState.DRAFT
    if status is SaleStatus.CLOSED or now_ms >= ends_at_ms:
        return SaleState.ENDED
    if status is SaleStatus.PAUSED:
        return SaleState.PAUSED
    return SaleState.LIVE if now_ms >= starts_at_ms else SaleState.SCHEDULED


def item_state(*, stock: int, available: int, may_return: bool) -> ItemState:
    """`low` is a tenth of the stock or less; `may_return` says that held units are not yet paid."""
    if available <= 0:
        return ItemState.HELD if may_return else ItemState.SOLD_OUT
    return ItemState.LOW if available * 10 <= stock else ItemState.AVAILABLE
