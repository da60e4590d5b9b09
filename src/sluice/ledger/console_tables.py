"""What the console adds: keys of the merchant's systems, and who has seen which incident."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, UniqueConstraint

from sluice.domain.api_key import NAME_CHARS_MAX, TAIL_CHARS, Scope
from sluice.ledger.columns import Bytes, BytewiseText
from sluice.ledger.tables import (
    _OPTIONS,
    CODE_CHARS,
    KEY_BYTES,
    REASON_CHARS,
    Int64,
    _one_of,
    metadata,
)

DIGEST_BYTES = 32
INCIDENT_BYTES = 100

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("created_at_ms", Int64, nullable=False),
    Column("expires_at_ms", Int64),
    Column("revoked_at_ms", Int64),
    Column("used_at_ms", Int64),
    Column("digest", Bytes(DIGEST_BYTES), nullable=False),
    Column("scope", String(CODE_CHARS), nullable=False),
    Column("tail", String(TAIL_CHARS), nullable=False),
    Column("name", String(NAME_CHARS_MAX), nullable=False),
    Column("created_by", BytewiseText(KEY_BYTES), nullable=False),
    _one_of("scope", [scope.value for scope in Scope]),
    UniqueConstraint("digest"),
    Index(None, "revoked_at_ms"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""A key that was revoked stays, so that the trail's `key:7` keeps its name."""

incident_marks = Table(
    "incident_marks",
    metadata,
    Column("incident", BytewiseText(INCIDENT_BYTES), primary_key=True),
    Column("seen_at_ms", Int64, nullable=False),
    Column("seen_by", BytewiseText(KEY_BYTES), nullable=False),
    Column("note", String(REASON_CHARS), nullable=False),
    **_OPTIONS,
)
"""Incidents that somebody has taken note of. What they are follows from the other tables."""
