"""What happens to a sale because its time has come is announced once.

Revision: 0009
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

BEFORE = "0008"

revision = "0009"
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
        "sale_moments",
        sa.Column("sale_id", INT64, autoincrement=False, nullable=False),
        sa.Column("moment", sa.String(40), nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.CheckConstraint(
            "moment = 'started' OR moment = 'ended'", name=op.f("ck_sale_moments_moment")
        ),
        sa.ForeignKeyConstraint(["sale_id"], ["sales.id"], name=op.f("fk_sale_moments_sale_id")),
        sa.PrimaryKeyConstraint("sale_id", "moment"),
        **OPTIONS,
    )
