"""Guest lists, and the codes that invite.

Revision: 0006
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Bytes, BytewiseText

BEFORE = "0005"

revision = "0006"
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
    create_batches()
    create_codes()
    create_guests()


def create_batches() -> None:
    op.create_table(
        "code_batches",
        sa.Column("id", INT64, nullable=False),
        sa.Column("sale_id", INT64, nullable=False),
        sa.Column("seed", Bytes(16), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("uses_max", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.ForeignKeyConstraint(["sale_id"], ["sales.id"], name=op.f("fk_code_batches_sale_id")),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sale_id", "seed", name=op.f("uq_code_batches_sale_id")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )


def create_codes() -> None:
    op.create_table(
        "sale_codes",
        sa.Column("sale_id", INT64, autoincrement=False, nullable=False),
        sa.Column("hash", Bytes(16), nullable=False),
        sa.Column("batch_id", INT64, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("uses_max", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.CheckConstraint("used >= 0 AND used <= uses_max", name=op.f("ck_sale_codes_uses")),
        sa.ForeignKeyConstraint(["sale_id"], ["sales.id"], name=op.f("fk_sale_codes_sale_id")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["code_batches.id"], name=op.f("fk_sale_codes_batch_id")
        ),
        sa.PrimaryKeyConstraint("sale_id", "hash"),
        **OPTIONS,
    )
    op.create_index(
        op.f("ix_sale_codes_batch_id_place"), "sale_codes", ["batch_id", "place"], unique=True
    )


def create_guests() -> None:
    op.create_table(
        "sale_guests",
        sa.Column("sale_id", INT64, autoincrement=False, nullable=False),
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("code_hash", Bytes(16), nullable=True),
        sa.Column("added_at_ms", INT64, nullable=False),
        sa.ForeignKeyConstraint(["sale_id"], ["sales.id"], name=op.f("fk_sale_guests_sale_id")),
        sa.PrimaryKeyConstraint("sale_id", "buyer"),
        **OPTIONS,
    )
