"""The first schema.

Revision: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Blob, Bytes, BytewiseText, Document

revision = "0001"
down_revision = None
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
APPEND_ONLY = ("order_history", "stock_journal")


def upgrade() -> None:
    create_tables()
    dialect = op.get_bind().dialect.name
    for table in APPEND_ONLY:
        for statement in append_only(table, dialect):
            op.execute(statement)


def append_only(table: str, dialect: str) -> list[str]:
    """Triggers that refuse to change or remove a row."""
    if dialect == "postgresql":
        return [
            f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"EXECUTE FUNCTION {table}_append_only()",
        ]
    refuse = (
        f"SELECT RAISE(ABORT, '{table} is append-only')"
        if dialect == "sqlite"
        else f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{table} is append-only'"
    )
    return [
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} FOR EACH ROW "
        f"BEGIN {refuse}; END"
        for verb in ("update", "delete")
    ]


def create_tables() -> None:
    op.create_table(
        "audit_marks",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("item_id", INT64, autoincrement=False, nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("counter", INT64, nullable=False),
        sa.Column("gate_available", INT64, nullable=False),
        sa.Column("gate_held", INT64, nullable=False),
        sa.Column("gate_stock", INT64, nullable=False),
        sa.Column("ledger_available", INT64, nullable=False),
        sa.Column("decided_not_applied", INT64, nullable=False),
        sa.Column("ok", sa.SmallInteger(), nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.PrimaryKeyConstraint("shard", "item_id"),
        **OPTIONS,
    )
    op.create_table(
        "closed_epochs",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", INT64, autoincrement=False, nullable=False),
        sa.Column("counter", INT64, nullable=False),
        sa.Column("closed_at_ms", INT64, nullable=False),
        sa.PrimaryKeyConstraint("shard", "epoch"),
        **OPTIONS,
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", INT64, nullable=False),
        sa.Column("number", INT64, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("quantity", INT64, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.Column("nonce", Bytes(12), nullable=False),
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number", name=op.f("uq_dead_letters_number")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_dead_letters_buyer_number"), "dead_letters", ["buyer", "number"])
    op.create_index(op.f("ix_dead_letters_nonce"), "dead_letters", ["nonce"])
    op.create_table(
        "idempotency_keys",
        sa.Column("key", BytewiseText(200), nullable=False),
        sa.Column("body_hash", Bytes(64), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("response", Blob, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        **OPTIONS,
    )
    op.create_index(op.f("ix_idempotency_keys_at_ms"), "idempotency_keys", ["at_ms"])
    op.create_table(
        "incidents",
        sa.Column("id", INT64, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("detail", Document, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_table(
        "order_history",
        sa.Column("order_number", INT64, autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.CheckConstraint("ordinal > 0", name=op.f("ck_order_history_ordinal")),
        sa.PrimaryKeyConstraint("order_number", "ordinal"),
        sqlite_with_rowid=False,
        **OPTIONS,
    )
    op.create_table(
        "order_slots",
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.Column("limit_group", INT64, autoincrement=False, nullable=False),
        sa.Column("slot", INT64, autoincrement=False, nullable=False),
        sa.Column("order_number", INT64, nullable=False),
        sa.CheckConstraint(
            "slot BETWEEN 1 AND 32 OR slot = -order_number", name=op.f("ck_order_slots_slot")
        ),
        sa.PrimaryKeyConstraint("buyer", "limit_group", "slot"),
        sqlite_with_rowid=False,
        **OPTIONS,
    )
    op.create_table(
        "outbox",
        sa.Column("id", INT64, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("payload", Document, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_table(
        "releases",
        sa.Column("number", INT64, autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("limit_group", INT64, nullable=False),
        sa.Column("quantity", INT64, nullable=False),
        sa.Column("decided_at_ms", INT64, nullable=False),
        sa.Column("applied_at_ms", INT64, nullable=True),
        sa.Column("buyer", Document, nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        **OPTIONS,
    )
    op.create_index(
        op.f("ix_releases_item_id_applied_at_ms"), "releases", ["item_id", "applied_at_ms"]
    )
    op.create_index(
        op.f("ix_releases_shard_applied_at_ms_number"),
        "releases",
        ["shard", "applied_at_ms", "number"],
    )
    op.create_table(
        "sales",
        sa.Column("id", INT64, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("publication", INT64, nullable=False),
        sa.Column("pause_reason", sa.String(500), nullable=True),
        sa.Column("starts_at_ms", INT64, nullable=False),
        sa.Column("ends_at_ms", INT64, nullable=False),
        sa.Column("policy", Document, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.CheckConstraint(
            "status = 'draft' OR status = 'published' OR status = 'paused' OR status = 'closed'",
            name=op.f("ck_sales_status"),
        ),
        sa.CheckConstraint("starts_at_ms < ends_at_ms", name=op.f("ck_sales_window")),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_sales_ends_at_ms"), "sales", ["ends_at_ms"])
    op.create_table(
        "shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("counter", INT64, nullable=False),
        sa.Column("fence", INT64, nullable=False),
        sa.Column("owner", BytewiseText(200), nullable=False),
        sa.Column("lease_until_ms", INT64, nullable=False),
        sa.Column("highest_number", INT64, nullable=False),
        sa.PrimaryKeyConstraint("shard"),
        **OPTIONS,
    )
    op.create_table(
        "items",
        sa.Column("id", INT64, nullable=False),
        sa.Column("sale_id", INT64, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("price_minor", INT64, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("per_buyer", sa.SmallInteger(), nullable=False),
        sa.Column("limit_group", INT64, nullable=False),
        sa.Column("limit_group_label", sa.String(200), nullable=True),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("stock", INT64, nullable=False),
        sa.Column("available", INT64, nullable=False),
        sa.Column("awaiting_payment", INT64, nullable=False),
        sa.Column("paid", INT64, nullable=False),
        sa.Column("written_off", INT64, nullable=False),
        sa.Column("edit", INT64, nullable=False),
        sa.Column("loaded_epoch", INT64, nullable=True),
        sa.CheckConstraint(
            "available + awaiting_payment + paid + written_off = stock",
            name=op.f("ck_items_balance"),
        ),
        sa.CheckConstraint("available >= 0", name=op.f("ck_items_never_oversold")),
        sa.CheckConstraint(
            "awaiting_payment >= 0 AND paid >= 0 AND written_off >= 0",
            name=op.f("ck_items_no_debt"),
        ),
        sa.CheckConstraint("per_buyer BETWEEN 1 AND 32", name=op.f("ck_items_per_buyer")),
        sa.CheckConstraint("price_minor >= 0", name=op.f("ck_items_price")),
        sa.ForeignKeyConstraint(["sale_id"], ["sales.id"], name=op.f("fk_items_sale_id")),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sale_id", "position", name=op.f("uq_items_sale_id")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_items_limit_group"), "items", ["limit_group"])
    op.create_table(
        "orders",
        sa.Column("number", INT64, autoincrement=False, nullable=False),
        sa.Column("sale_id", INT64, nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("slots", INT64, nullable=False),
        sa.Column("amount_minor", INT64, nullable=False),
        sa.Column("placed_at_ms", INT64, nullable=False),
        sa.Column("recorded_at_ms", INT64, nullable=False),
        sa.Column("pay_by_ms", INT64, nullable=True),
        sa.Column("quantity", sa.SmallInteger(), nullable=False),
        sa.Column("refunded_quantity", sa.SmallInteger(), nullable=False),
        sa.Column("nonce", Bytes(12), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("payment_state", sa.String(40), nullable=False),
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.CheckConstraint(
            "state = 'awaiting_payment' OR state = 'paid' OR state = 'cancelled' "
            "OR state = 'expired' OR state = 'rejected' OR state = 'refunding' "
            "OR state = 'refunded'",
            name=op.f("ck_orders_state"),
        ),
        sa.CheckConstraint("length(nonce) = 12", name=op.f("ck_orders_nonce")),
        sa.CheckConstraint("number > 0", name=op.f("ck_orders_number")),
        sa.CheckConstraint("quantity BETWEEN 1 AND 32", name=op.f("ck_orders_quantity")),
        sa.CheckConstraint(
            "refunded_quantity BETWEEN 0 AND quantity", name=op.f("ck_orders_refunded")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_orders_item_id")),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("nonce", name=op.f("uq_orders_nonce")),
        **OPTIONS,
    )
    op.create_index(op.f("ix_orders_item_id_number"), "orders", ["item_id", "number"])
    op.create_table(
        "stock_edits",
        sa.Column("item_id", INT64, autoincrement=False, nullable=False),
        sa.Column("edit", INT64, autoincrement=False, nullable=False),
        sa.Column("delta", INT64, nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("stock_after", INT64, nullable=True),
        sa.Column("requested_at_ms", INT64, nullable=False),
        sa.Column("once_key", BytewiseText(200), nullable=True),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'applied' OR state = 'refused'",
            name=op.f("ck_stock_edits_state"),
        ),
        sa.CheckConstraint("delta <> 0", name=op.f("ck_stock_edits_delta")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_stock_edits_item_id")),
        sa.PrimaryKeyConstraint("item_id", "edit"),
        sa.UniqueConstraint("once_key", name=op.f("uq_stock_edits_once_key")),
        **OPTIONS,
    )
    op.create_index(op.f("ix_stock_edits_state"), "stock_edits", ["state"])
    op.create_table(
        "stock_journal",
        sa.Column("id", INT64, nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("delta_stock", INT64, nullable=False),
        sa.Column("delta_available", INT64, nullable=False),
        sa.Column("quantity", INT64, nullable=False),
        sa.Column("edit", INT64, nullable=True),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("epoch", INT64, nullable=True),
        sa.Column("counter", INT64, nullable=True),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_stock_journal_item_id")),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_stock_journal_item_id_id"), "stock_journal", ["item_id", "id"])
