"""Payments, refunds, deadlines, cancellations and the waitlist.

Revision: 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sluice.ledger.columns import Blob, BytewiseText, Document

revision = "0002"
down_revision = "0001"
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
    give_the_outbox_positions()
    create_deadlines()
    create_payments()
    create_waitlist()
    carry_over()


def give_the_outbox_positions() -> None:
    op.add_column("outbox", sa.Column("position", INT64, nullable=True))
    op.create_index(op.f("ix_outbox_position"), "outbox", ["position"], unique=True)
    op.create_table(
        "outbox_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **OPTIONS,
    )


def create_deadlines() -> None:
    op.create_table(
        "deadlines",
        sa.Column("id", INT64, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("due_at_ms", INT64, nullable=False),
        sa.Column("sale_id", INT64, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("first_number", INT64, nullable=False),
        sa.Column("last_number", INT64, nullable=False),
        sa.CheckConstraint("kind = 'remind' OR kind = 'expire'", name=op.f("ck_deadlines_kind")),
        sa.CheckConstraint("first_number <= last_number", name=op.f("ck_deadlines_numbers")),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_deadlines_kind_due_at_ms"), "deadlines", ["kind", "due_at_ms"])
    op.create_table(
        "cancellations",
        sa.Column("number", INT64, autoincrement=False, nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("at_ms", INT64, nullable=False),
        sa.Column("applied_at_ms", INT64, nullable=True),
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        **OPTIONS,
    )


def create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", INT64, nullable=False),
        sa.Column("order_number", INT64, nullable=False),
        sa.Column("amount_minor", INT64, nullable=False),
        sa.Column("captured_minor", INT64, nullable=True),
        sa.Column("refunded_minor", INT64, nullable=False),
        sa.Column("expires_at_ms", INT64, nullable=True),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("ask_at_ms", INT64, nullable=True),
        sa.Column("open_for", INT64, nullable=True),
        sa.Column("pays_for", INT64, nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("captured_currency", sa.String(3), nullable=True),
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(40), nullable=True),
        sa.Column("reference", BytewiseText(255), nullable=True),
        sa.Column("capture_reference", BytewiseText(255), nullable=True),
        sa.Column("checkout_url", Document, nullable=True),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'captured' OR state = 'refunding' "
            "OR state = 'refunded' OR state = 'failed' OR state = 'void'",
            name=op.f("ck_payments_state"),
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND refunded_minor <= COALESCE(captured_minor, 0)",
            name=op.f("ck_payments_refunded"),
        ),
        sa.CheckConstraint(
            "open_for IS NULL OR open_for = order_number", name=op.f("ck_payments_open_for")
        ),
        sa.CheckConstraint(
            "pays_for IS NULL OR pays_for = order_number", name=op.f("ck_payments_pays_for")
        ),
        sa.ForeignKeyConstraint(
            ["order_number"], ["orders.number"], name=op.f("fk_payments_order_number")
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("open_for", name=op.f("uq_payments_open_for")),
        sa.UniqueConstraint("pays_for", name=op.f("uq_payments_pays_for")),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_payments_order_number"), "payments", ["order_number"])
    op.create_index(op.f("ix_payments_ask_at_ms"), "payments", ["ask_at_ms"])
    op.create_table(
        "refunds",
        sa.Column("id", INT64, nullable=False),
        sa.Column("payment_id", INT64, nullable=True),
        sa.Column("order_number", INT64, nullable=False),
        sa.Column("amount_minor", INT64, nullable=False),
        sa.Column("created_at_ms", INT64, nullable=False),
        sa.Column("due_at_ms", INT64, nullable=True),
        sa.Column("closed_at_ms", INT64, nullable=True),
        sa.Column("quantity", sa.SmallInteger(), nullable=False),
        sa.Column("restock", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("error", sa.String(500), nullable=True),
        sa.Column("reference", BytewiseText(255), nullable=True),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'sent' OR state = 'completed' OR state = 'failed'",
            name=op.f("ck_refunds_state"),
        ),
        sa.CheckConstraint("amount_minor >= 0", name=op.f("ck_refunds_amount")),
        sa.CheckConstraint("quantity BETWEEN 0 AND 32", name=op.f("ck_refunds_quantity")),
        sa.ForeignKeyConstraint(
            ["order_number"], ["orders.number"], name=op.f("fk_refunds_order_number")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_refunds_payment_id")
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        **OPTIONS,
    )
    op.create_index(op.f("ix_refunds_payment_id"), "refunds", ["payment_id"])
    op.create_index(op.f("ix_refunds_order_number"), "refunds", ["order_number"])
    op.create_index(op.f("ix_refunds_due_at_ms"), "refunds", ["due_at_ms"])
    op.create_index(op.f("ix_refunds_closed_at_ms_id"), "refunds", ["closed_at_ms", "id"])
    op.create_table(
        "inbox",
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("event_id", BytewiseText(255), nullable=False),
        sa.Column("payment_id", INT64, nullable=False),
        sa.Column("amount_minor", INT64, nullable=True),
        sa.Column("refund_id", INT64, nullable=True),
        sa.Column("received_at_ms", INT64, nullable=False),
        sa.Column("applied_at_ms", INT64, nullable=True),
        sa.Column("retry_at_ms", INT64, nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("reference", BytewiseText(255), nullable=True),
        sa.Column("error", sa.String(500), nullable=True),
        sa.Column("body", Blob, nullable=False),
        sa.CheckConstraint(
            "kind = 'captured' OR kind = 'failed' OR kind = 'voided' "
            "OR kind = 'refund_completed' OR kind = 'refund_failed'",
            name=op.f("ck_inbox_kind"),
        ),
        sa.CheckConstraint(
            "(applied_at_ms IS NULL) <> (retry_at_ms IS NULL)", name=op.f("ck_inbox_applied")
        ),
        sa.PrimaryKeyConstraint("provider", "event_id"),
        **OPTIONS,
    )
    op.create_index(op.f("ix_inbox_retry_at_ms"), "inbox", ["retry_at_ms"])


def create_waitlist() -> None:
    op.create_table(
        "waitlist",
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("item_id", INT64, nullable=False),
        sa.Column("ended_as", INT64, nullable=False),
        sa.Column("order_number", INT64, nullable=True),
        sa.Column("joined_at_ms", INT64, nullable=False),
        sa.Column("ended_at_ms", INT64, nullable=True),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(40), nullable=True),
        sa.Column("buyer", BytewiseText(255), nullable=False),
        sa.CheckConstraint(
            "state = 'waiting' OR state = 'promoted' OR state = 'left' OR state = 'closed'",
            name=op.f("ck_waitlist_state"),
        ),
        sa.CheckConstraint("ended_as = 0 OR ended_as = id", name=op.f("ck_waitlist_ended_as")),
        sa.CheckConstraint(
            "(state = 'waiting') = (ended_as = 0)", name=op.f("ck_waitlist_waiting")
        ),
        sa.CheckConstraint(
            "(state = 'promoted') = (order_number IS NOT NULL)",
            name=op.f("ck_waitlist_promoted"),
        ),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_waitlist_item_id")),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("item_id", "buyer", "ended_as", name=op.f("uq_waitlist_item_id")),
        sa.UniqueConstraint("order_number", name=op.f("uq_waitlist_order_number")),
        **OPTIONS,
    )
    op.create_index(
        op.f("ix_waitlist_item_id_ended_as_id"), "waitlist", ["item_id", "ended_as", "id"]
    )


def carry_over() -> None:
    """A deadline for the orders that are there already. They are few or none: this version is the
    first that expires any."""
    op.execute(
        "INSERT INTO deadlines (kind, due_at_ms, sale_id, shard, first_number, last_number) "
        "SELECT 'expire', pay_by_ms, sale_id, (number >> 24) & 255, number, number "
        "FROM orders WHERE state = 'awaiting_payment'"
    )
