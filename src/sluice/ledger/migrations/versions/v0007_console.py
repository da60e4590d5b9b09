"""API keys of the merchant's systems, and which incidents somebody has seen.

Revision: 0007
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Bytes, BytewiseText

BEFORE = "0006"

revision = "0007"
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
        "api_keys",
        sa.Column("id", INT64, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("expires_at_ms", INT64, nullable=True),
        sa.Column("revoked_at_ms", INT64, nullable=True),
        sa.Column("used_at_ms", INT64, nullable=True),
        sa.Column("digest", Bytes(32), nullable=False),
        sa.Column("scope", sa.String(40), nullable=False),
        sa.Column("tail", sa.String(4), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_by", BytewiseText(200), nullable=False),
        sa.CheckConstraint("scope = 'read' OR scope = 'full'", name=op.f("ck_api_keys_scope")),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_api_keys_revoked_at_ms"), "api_keys", ["revoked_at_ms"])
    op.create_table(
        "incident_marks",
        sa.Column("incident", BytewiseText(100), nullable=False),
        sa.Column("seen_at_ms", INT64, nullable=False),
        sa.Column("seen_by", BytewiseText(200), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("incident"),
        **OPTIONS,
    )
