"""Webhooks to the merchant.

Revision: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import BytewiseText, Document

revision = "0003"
down_revision = "0002"
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
    create_endpoints()
    create_deliveries()
    op.create_table(
        "webhook_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", INT64, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **OPTIONS,
    )


def create_endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", INT64, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("active_since_ms", INT64, nullable=False),
        sa.Column("failing_since_ms", INT64, nullable=True),
        sa.Column("old_secret_until_ms", INT64, nullable=True),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("deleted_at_ms", INT64, nullable=True),
        sa.Column("delivered", INT64, nullable=False),
        sa.Column("failed", INT64, nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("off_reason", sa.String(500), nullable=True),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("secret", BytewiseText(100), nullable=False),
        sa.Column("old_secret", BytewiseText(100), nullable=True),
        sa.Column("url", BytewiseText(500), nullable=False),
        sa.Column("events", Document, nullable=False),
        sa.CheckConstraint(
            "state = 'active' OR state = 'off'", name=op.f("ck_webhook_endpoints_state")
        ),
        sa.CheckConstraint(
            "(old_secret IS NULL) = (old_secret_until_ms IS NULL)",
            name=op.f("ck_webhook_endpoints_old_secret"),
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )


def create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", INT64, nullable=False),
        sa.Column("endpoint_id", INT64, nullable=False),
        sa.Column("event_id", INT64, nullable=False),
        sa.Column("occurred_at_ms", INT64, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("give_up_at_ms", INT64, nullable=False),
        sa.Column("due_at_ms", INT64, nullable=True),
        sa.Column("attempted_at_ms", INT64, nullable=True),
        sa.Column("claim", INT64, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("uid", BytewiseText(28), nullable=False),
        sa.Column("subject", BytewiseText(40), nullable=False),
        sa.Column("error", sa.String(200), nullable=True),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'delivered' OR state = 'failed'",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (due_at_ms IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_due"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id"),
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "subject", "endpoint_id", "event_id", name=op.f("uq_webhook_deliveries_subject")
        ),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(
        op.f("ix_webhook_deliveries_endpoint_id_due_at_ms"),
        "webhook_deliveries",
        ["endpoint_id", "due_at_ms"],
    )
    op.create_index(op.f("ix_webhook_deliveries_state_id"), "webhook_deliveries", ["state", "id"])
    op.create_index(
        op.f("ix_webhook_deliveries_endpoint_id_id"), "webhook_deliveries", ["endpoint_id", "id"]
    )
