"""Accounts, their roles, and the trail of what admins did.

Revision: 0005
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import BytewiseText, Document
from sluice.ledger.migrations.versions.v0001_first_schema import append_only

BEFORE = "0004"

revision = "0005"
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
    create_accounts()
    create_trail()
    dialect = op.get_bind().dialect.name
    for table in ("admin_actions", "admin_results"):
        for statement in append_only(table, dialect):
            op.execute(statement)


def create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", INT64, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("asked_at_ms", INT64, nullable=False),
        sa.Column("login", BytewiseText(64), nullable=True),
        sa.Column("phone", BytewiseText(16), nullable=True),
        sa.Column("password_hash", sa.String(500), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("login", name=op.f("uq_accounts_login")),
        sa.UniqueConstraint("phone", name=op.f("uq_accounts_phone")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_table(
        "account_roles",
        sa.Column("account_id", INT64, autoincrement=False, nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("granted_at_ms", INT64, nullable=False),
        sa.CheckConstraint(
            "role = 'merchant' OR role = 'admin'", name=op.f("ck_account_roles_role")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_account_roles_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "role"),
        **OPTIONS,
    )
    op.create_index(
        op.f("ix_account_roles_role_account_id"), "account_roles", ["role", "account_id"]
    )


def create_trail() -> None:
    op.create_table(
        "admin_actions",
        sa.Column("id", INT64, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.Column("actor", BytewiseText(200), nullable=False),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("request_id", BytewiseText(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_admin_actions_actor_id"), "admin_actions", ["actor", "id"])
    op.create_table(
        "admin_results",
        sa.Column("action_id", INT64, autoincrement=False, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("detail", Document, nullable=True),
        sa.ForeignKeyConstraint(
            ["action_id"], ["admin_actions.id"], name=op.f("fk_admin_results_action_id")
        ),
        sa.PrimaryKeyConstraint("action_id"),
        **OPTIONS,
    )
