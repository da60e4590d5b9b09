"""A comparison of gate and ledger that fails says since when.

Revision: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

BEFORE = "0009"

revision = "0010"
down_revision = BEFORE
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("audit_marks", sa.Column("differs_since_ms", INT64, nullable=True))
    op.execute("UPDATE audit_marks SET differs_since_ms = at_ms WHERE ok = 0")
