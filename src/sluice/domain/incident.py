"""Something that an operator should look at, as the stores' durable facts tell it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class IncidentKind(StrEnum):
    REPORTED = "reported"
    """The recorder met what must not happen, and wrote it down."""
    DEAD_LETTER = "dead_letter"
    """An accepted order could not be recorded."""
    WEBHOOK_OFF = "webhook_off"
    """An endpoint was switched off, though not by the merchant."""
    WEBHOOK_FAILING = "webhook_failing"
    """An endpoint has not taken a message since then."""
    REFUND_FAILED = "refund_failed"
    """Money is owed back and its provider would not take the refund."""
    CALLBACK_STUCK = "callback_stuck"
    """A provider told us something that could not be applied."""
    EPOCH_BEGUN = "epoch_begun"
    """A shard's gate began anew."""
    STORES_DISAGREE = "stores_disagree"
    """Gate and ledger did not agree when they were last compared."""


class Seen(NamedTuple):
    """Who has taken note of it."""

    by: str
    at_ms: int
    note: str


class Incident(NamedTuple):
    """Times are Unix milliseconds."""

    key: str
    """Names it for as long as it is the same one: `dead_letter-7`."""
    kind: IncidentKind
    subject: str
    """What it is about: `order:117…`, `endpoint:3`, `item:12`, `shard:0`; empty for nothing."""
    detail: str
    since_ms: int
    until_ms: int | None
    """None while it lasts. What happened at one moment ended in it."""
    seen: Seen | None = None
