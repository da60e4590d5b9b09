"""Which moments of a sale's life, reached by the clock alone, have been announced."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table

from sluice.ledger.tables import _OPTIONS, CODE_CHARS, Int64, _one_of, metadata

STARTED = "started"
ENDED = "ended"

sale_moments = Table(
    "sale_moments",
    metadata,
    Column("sale_id", Int64, ForeignKey("sales.id"), primary_key=True, autoincrement=False),
    Column("moment", String(CODE_CHARS), primary_key=True),
    Column("at_ms", Int64, nullable=False),
    _one_of("moment", [STARTED, ENDED]),
    **_OPTIONS,
)
"""The primary key says: each is announced once, however many workers look at the clock."""
