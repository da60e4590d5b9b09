"""What happened in each sale, second by second and later in coarser steps."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table

from sluice.ledger.columns import Document
from sluice.ledger.tables import _OPTIONS, Int64, metadata

sale_ticks = Table(
    "sale_ticks",
    metadata,
    Column("sale_id", Int64, primary_key=True, autoincrement=False),
    Column("span_s", Integer, primary_key=True, autoincrement=False),
    Column("at_s", Int64, primary_key=True, autoincrement=False),
    Column("total", Int64, nullable=False),
    Column("counts", Document, nullable=False),
    CheckConstraint("span_s > 0 AND total >= 0", name="sane"),
    Index(None, "span_s", "at_s"),
    **_OPTIONS,
)
"""`counts` is JSON, name → how often, of the `span_s` seconds from `at_s` (Unix seconds) on;
`total` is their sum. Counts of a cell only grow, so of two versions of a row the larger one is
right."""
