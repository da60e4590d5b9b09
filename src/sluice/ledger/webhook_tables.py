"""The tables behind webhooks to the merchant; they are part of the schema in `tables`."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from sluice.domain.webhook import (
    DESCRIPTION_CHARS_MAX,
    ERROR_CHARS_MAX,
    SECRET_CHARS_MAX,
    UID_CHARS,
    URL_CHARS_MAX,
    DeliveryState,
    EndpointState,
)
from sluice.ledger.columns import BytewiseText, Document
from sluice.ledger.tables import _OPTIONS, CODE_CHARS, REASON_CHARS, Int64, _one_of, metadata

SUBJECT_BYTES = 40
"""`order:` and 19 digits, or `test:` and a message's id."""

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("active_since_ms", Int64, nullable=False),
    Column("failing_since_ms", Int64),
    Column("old_secret_until_ms", Int64),
    Column("created_at_ms", Int64, nullable=False),
    Column("deleted_at_ms", Int64),
    Column("delivered", Int64, nullable=False),
    Column("failed", Int64, nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("off_reason", String(REASON_CHARS)),
    Column("description", String(DESCRIPTION_CHARS_MAX), nullable=False),
    Column("secret", BytewiseText(SECRET_CHARS_MAX), nullable=False),
    Column("old_secret", BytewiseText(SECRET_CHARS_MAX)),
    Column("url", BytewiseText(URL_CHARS_MAX), nullable=False),
    Column("events", Document, nullable=False),
    _one_of("state", [state.value for state in EndpointState]),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until_ms IS NULL)", name="old_secret"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""A deleted one stays, without its secret, until its deliveries are cleared away."""

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("endpoint_id", Int64, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("event_id", Int64, nullable=False),
    Column("occurred_at_ms", Int64, nullable=False),
    Column("created_at_ms", Int64, nullable=False),
    Column("give_up_at_ms", Int64, nullable=False),
    Column("due_at_ms", Int64),
    Column("attempted_at_ms", Int64),
    Column("claim", Int64, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("status", SmallInteger),
    Column("type", String(CODE_CHARS), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("uid", BytewiseText(UID_CHARS), nullable=False),
    Column("subject", BytewiseText(SUBJECT_BYTES), nullable=False),
    Column("error", String(ERROR_CHARS_MAX)),
    _one_of("state", [state.value for state in DeliveryState]),
    CheckConstraint("(state = 'pending') = (due_at_ms IS NOT NULL)", name="due"),
    UniqueConstraint("subject", "endpoint_id", "event_id"),
    Index(None, "endpoint_id", "due_at_ms"),
    Index(None, "state", "id"),
    Index(None, "endpoint_id", "id"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""One message to one endpoint. `due_at_ms` is when it may be taken, and, while somebody has it,
when it may be taken again; `claim` says who has it. The unique key keeps a message from being there
twice, puts those of a subject in their order, and finds what was told of an order."""

webhook_cursor = Table(
    "webhook_cursor",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", Int64, nullable=False),
    Column("done", Integer, nullable=False),
    **_OPTIONS,
)
"""One row: the outbox is fanned out up to `position`, and so many subjects of the event after it.
It is moved by compare-and-set in the transaction that writes the deliveries."""
