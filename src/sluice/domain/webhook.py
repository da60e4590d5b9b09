"""Who is told of what: endpoints of the merchant, and each delivery to one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sluice.domain.order import OrderState

EVENT_TYPES: tuple[str, ...] = (
    *(f"order.{state}" for state in OrderState if state is not OrderState.QUEUED),
    "order.payment_due_soon",
    "sale.published",
    "sale.changed",
    "sale.started",
    "sale.paused",
    "sale.resumed",
    "sale.ended",
    "sale.closed",
)
"""What an endpoint can be told. A queued order is not in the ledger yet, and nobody's news."""
TEST_TYPE = "webhook.test"
FAMILIES = ("order.*", "sale.*")
ENDPOINTS_MAX = 20
DESCRIPTION_CHARS_MAX = 200
URL_CHARS_MAX = 500
SECRET_CHARS_MAX = 100
ERROR_CHARS_MAX = 200
UID_CHARS = 28
"""`msg_` and 24 hexadecimal digits."""


class EndpointState(StrEnum):
    ACTIVE = "active"
    OFF = "off"
    """Switched off by the merchant, or by the endpoint itself (410)."""


class DeliveryState(StrEnum):
    PENDING = "pending"
    """To be sent, or to be sent again."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up; a replay makes it pending again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    id: int
    url: str
    description: str
    events: tuple[str, ...]
    state: EndpointState
    off_reason: str | None
    secret: str
    old_secret: str | None
    """Signs as well until `old_secret_until_ms`."""
    old_secret_until_ms: int | None
    version: int
    """Counted up by every change."""
    active_since_ms: int
    """Events before this are not for it."""
    failing_since_ms: int | None
    """Since when no attempt succeeded; None while the last one did."""
    delivered: int
    """Attempts that succeeded, and that failed, in all."""
    failed: int
    created_at_ms: int

    def secrets_at(self, now_ms: int) -> list[str]:
        """Those that sign now; the newest first."""
        until_ms = self.old_secret_until_ms
        if self.old_secret is None or until_ms is None or until_ms <= now_ms:
            return [self.secret]
        return [self.secret, self.old_secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChange:
    """None leaves a value as it is."""

    url: str | None = None
    description: str | None = None
    events: tuple[str, ...] | None = None
    state: EndpointState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one endpoint. The order of its subject's messages is that of `event_id`."""

    id: int
    endpoint_id: int
    uid: str
    """`webhook-id`: the same at every attempt."""
    event_id: int
    type: str
    subject: str
    """`order:NUMBER` or `sale:ID`."""
    occurred_at_ms: int
    state: DeliveryState
    attempts: int
    created_at_ms: int
    give_up_at_ms: int
    due_at_ms: int | None
    """When it is sent next; None where it will not be."""
    attempted_at_ms: int | None
    status: int | None
    """Of the last answer."""
    error: str | None
    """Why the last attempt failed where there was no answer, or why it was given up."""


class News(NamedTuple):
    """Something that happened to one subject, and that endpoints may be told."""

    event_id: int
    type: str
    subject: str
    occurred_at_ms: int


class Cursor(NamedTuple):
    """The outbox is fanned out up to `position`, and `done` subjects of the event after it."""

    position: int
    done: int


class Claim(NamedTuple):
    """Deliveries that are one sender's for a while."""

    token: int
    deliveries: tuple[Delivery, ...]


class Attempted(NamedTuple):
    """What came of one attempt. It is tried again where there is `retry_in_ms`, else it is over."""

    delivery: Delivery
    claim: int
    endpoint_version: int
    delivered: bool
    status: int | None
    error: str | None
    retry_in_ms: int | None
    gone: bool = False


class WebhookFacts(NamedTuple):
    """For whoever watches."""

    endpoints: tuple[tuple[int, int, int, str], ...]
    """Id, attempts that succeeded, attempts that failed, state."""
    pending: int
    failed: int
    oldest_pending_ms: int | None
    """When it was written."""


def wants(events: Iterable[str], kind: str) -> bool:
    """Whether a list of types and families has this type in it."""
    family = kind.partition(".")[0] + ".*"
    return any(event in (kind, family) for event in events)


def subject_of_order(number: int) -> str:
    return f"order:{number}"


def subject_of_sale(sale_id: int) -> str:
    return f"sale:{sale_id}"


def id_in(subject: str) -> int:
    """The number in a subject."""
    return int(subject.partition(":")[2])
