"""What happened in each sale, second by second.

Revision: 0008
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Document

BEFORE = "0007"

revision = "0008"
down_revision = BEFORE
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPTIONS: dict[str, Any] = {
    f"{name}_{key}": value
    for name in ("mysql", "mariadb")
    for key, value in {
        "engine": "InnoDB",
        "charset": "utf8mb4",
        "collate": "utf8mb4_bin",
    }.items()
}


def upgrade() -> None:
    op.create_table(
        "sale_ticks",
        sa.Column("sale_id", INT64, autoincrement=False, nullable=False),
        sa.Column("span_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_s", INT64, autoincrement=False, nullable=False),
        sa.Column("total", INT64, nullable=False),
        sa.Column("counts", Document, nullable=False),
        sa.CheckConstraint("span_s > 0 AND total >= 0", name=op.f("ck_sale_ticks_sane")),
        sa.PrimaryKeyConstraint("sale_id", "span_s", "at_s"),
        **OPTIONS,
    )
    op.create_index(op.f("ix_sale_ticks_span_s_at_s"), "sale_ticks", ["span_s", "at_s"])
