"""The payment simulator's own books.

Revision: 0004
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Blob, BytewiseText, Document

revision = "0004"
down_revision = "0003"
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
        "simulator_checkouts",
        sa.Column("reference", BytewiseText(200), nullable=False),
        sa.Column("payment_id", INT64, nullable=False),
        sa.Column("order_number", INT64, nullable=False),
        sa.Column("amount_minor", INT64, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("captured_minor", INT64, nullable=False),
        sa.Column("return_url", Document, nullable=False),
        sa.Column("knobs", Blob, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("expires_at_ms", INT64, nullable=True),
        sa.CheckConstraint(
            "state = 'open' OR state = 'captured' OR state = 'failed' OR state = 'void'",
            name=op.f("ck_simulator_checkouts_state"),
        ),
        sa.PrimaryKeyConstraint("reference"),
        sa.UniqueConstraint("payment_id", name=op.f("uq_simulator_checkouts_payment_id")),
        **OPTIONS,
    )
    op.create_table(
        "simulator_refunds",
        sa.Column("refund_id", INT64, autoincrement=False, nullable=False),
        sa.Column("reference", BytewiseText(200), nullable=False),
        sa.Column("amount_minor", INT64, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_simulator_refunds_amount")),
        sa.CheckConstraint(
            "state = 'completed' OR state = 'failed'", name=op.f("ck_simulator_refunds_state")
        ),
        sa.PrimaryKeyConstraint("refund_id"),
        **OPTIONS,
    )
    op.create_index(op.f("ix_simulator_refunds_reference"), "simulator_refunds", ["reference"])
    op.create_table(
        "simulator_calls",
        sa.Column("id", INT64, nullable=False),
        sa.Column("event_id", BytewiseText(200), nullable=False),
        sa.Column("body", Blob, nullable=False),
        sa.Column("due_at_ms", INT64, nullable=False),
        sa.Column("forged", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_simulator_calls_due_at_ms"), "simulator_calls", ["due_at_ms"])
