"""The payment simulator's own books: nothing of ours refers to them, nor they to ours.

They are in the ledger's database so that they survive a restart and every process sees the same.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, SmallInteger, String, Table, UniqueConstraint

from sluice.ledger.columns import Blob, BytewiseText, Document
from sluice.ledger.tables import _OPTIONS, CODE_CHARS, KEY_BYTES, Int64, _one_of, metadata

STATES = ["open", "captured", "failed", "void"]

simulator_checkouts = Table(
    "simulator_checkouts",
    metadata,
    Column("reference", BytewiseText(KEY_BYTES), primary_key=True),
    Column("payment_id", Int64, nullable=False),
    Column("order_number", Int64, nullable=False),
    Column("amount_minor", Int64, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("captured_minor", Int64, nullable=False),
    Column("return_url", Document, nullable=False),
    Column("knobs", Blob, nullable=False),
    Column("created_at_ms", Int64, nullable=False),
    Column("expires_at_ms", Int64),
    _one_of("state", STATES),
    UniqueConstraint("payment_id"),
    **_OPTIONS,
)

simulator_refunds = Table(
    "simulator_refunds",
    metadata,
    Column("refund_id", Int64, primary_key=True, autoincrement=False),
    Column("reference", BytewiseText(KEY_BYTES), nullable=False),
    Column("amount_minor", Int64, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("at_ms", Int64, nullable=False),
    CheckConstraint("amount_minor > 0", name="amount"),
    _one_of("state", ["completed", "failed"]),
    Index(None, "reference"),
    **_OPTIONS,
)

simulator_calls = Table(
    "simulator_calls",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("event_id", BytewiseText(KEY_BYTES), nullable=False),
    Column("body", Blob, nullable=False),
    Column("due_at_ms", Int64, nullable=False),
    Column("forged", SmallInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Index(None, "due_at_ms"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Callbacks that are still to be made; a row is gone when it was answered or given up."""
