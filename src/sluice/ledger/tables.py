"""The ledger's schema as it is now; the migrations lead exactly here (a test compares them).

Times are Unix milliseconds, money is in minor units, ids and order numbers are signed 64-bit.
The letters in the comments are those of the invariants (S, L, P, D, B).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from sluice.domain.order import BUYER_BYTES_MAX, OrderState, PaymentState
from sluice.domain.payment import REFERENCE_BYTES_MAX, PaymentEventKind, RefundState
from sluice.domain.sale import SaleStatus
from sluice.ledger.columns import Blob, Bytes, BytewiseText, Document

metadata = MetaData(
    naming_convention={
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

NONCE_BYTES = 12
TITLE_CHARS = 200
REASON_CHARS = 500
CODE_CHARS = 40
"""Kinds, states and reasons that the program itself writes."""
KEY_BYTES = 200
"""Idempotency keys, hashed or namespaced by the caller."""

# SQLite numbers rows by itself only in a column that is spelt INTEGER.
Int64 = BigInteger().with_variant(Integer(), "sqlite")

# MariaDB's default collations fold case and its default engine may have been changed.
_MYSQL = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
_OPTIONS: dict[str, Any] = {
    f"{name}_{key}": value for name in ("mysql", "mariadb") for key, value in _MYSQL.items()
}


def _one_of(column: str, values: list[str]) -> CheckConstraint:
    """Spelt out: for IN with a list SQLite builds a table anew for every row (1.4 µs of them)."""
    return CheckConstraint(" OR ".join(f"{column} = '{v}'" for v in values), name=column)


sales = Table(
    "sales",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("title", String(TITLE_CHARS), nullable=False),
    Column("status", String(CODE_CHARS), nullable=False),
    Column("publication", Int64, nullable=False),
    Column("pause_reason", String(REASON_CHARS)),
    Column("starts_at_ms", Int64, nullable=False),
    Column("ends_at_ms", Int64, nullable=False),
    Column("policy", Document, nullable=False),
    Column("created_at_ms", Int64, nullable=False),
    _one_of("status", [status.value for status in SaleStatus]),
    CheckConstraint("starts_at_ms < ends_at_ms", name="window"),
    Index(None, "ends_at_ms"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)

items = Table(
    "items",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("sale_id", Int64, ForeignKey("sales.id"), nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("title", String(TITLE_CHARS), nullable=False),
    Column("price_minor", Int64, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("per_buyer", SmallInteger, nullable=False),
    Column("limit_group", Int64, nullable=False),
    Column("limit_group_label", String(TITLE_CHARS)),
    Column("shard", SmallInteger, nullable=False),
    Column("stock", Int64, nullable=False),  # S
    Column("available", Int64, nullable=False),  # L
    Column("awaiting_payment", Int64, nullable=False),  # P
    Column("paid", Int64, nullable=False),  # D
    Column("written_off", Int64, nullable=False),  # B
    Column("edit", Int64, nullable=False),  # the last stock edit's number
    Column("loaded_epoch", Int64),  # of the gate that holds this item
    CheckConstraint("available >= 0", name="never_oversold"),
    CheckConstraint("awaiting_payment >= 0 AND paid >= 0 AND written_off >= 0", name="no_debt"),
    CheckConstraint("available + awaiting_payment + paid + written_off = stock", name="balance"),
    CheckConstraint("price_minor >= 0", name="price"),
    CheckConstraint("per_buyer BETWEEN 1 AND 32", name="per_buyer"),
    UniqueConstraint("sale_id", "position"),
    Index(None, "limit_group"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)

orders = Table(
    "orders",
    metadata,
    Column("number", Int64, primary_key=True, autoincrement=False),
    Column("sale_id", Int64, nullable=False),
    Column("item_id", Int64, ForeignKey("items.id"), nullable=False),
    Column("slots", Int64, nullable=False),  # mask as in the gate, kept after the order is over
    Column("amount_minor", Int64, nullable=False),
    Column("placed_at_ms", Int64, nullable=False),
    Column("recorded_at_ms", Int64, nullable=False),
    Column("pay_by_ms", Int64),
    Column("quantity", SmallInteger, nullable=False),
    Column("refunded_quantity", SmallInteger, nullable=False),
    Column("nonce", Bytes(NONCE_BYTES), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("payment_state", String(CODE_CHARS), nullable=False),
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), nullable=False),
    CheckConstraint("number > 0", name="number"),
    CheckConstraint("quantity BETWEEN 1 AND 32", name="quantity"),
    CheckConstraint("refunded_quantity BETWEEN 0 AND quantity", name="refunded"),
    CheckConstraint("length(nonce) = 12", name="nonce"),
    _one_of("state", [state.value for state in OrderState if state is not OrderState.QUEUED]),
    UniqueConstraint("nonce"),
    Index(None, "item_id", "number"),
    **_OPTIONS,
)

order_slots = Table(
    "order_slots",
    metadata,
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), primary_key=True),
    Column("limit_group", Int64, primary_key=True, autoincrement=False),
    Column("slot", Int64, primary_key=True, autoincrement=False),
    Column("order_number", Int64, nullable=False),
    CheckConstraint("slot BETWEEN 1 AND 32 OR slot = -order_number", name="slot"),
    sqlite_with_rowid=False,
    **_OPTIONS,
)
"""The limit per buyer, in SQL: one row per unit that a buyer holds or has paid. An order that gave
its units back leaves one row, whose slot is its number negated, so that this is also the index of
a buyer's orders: one more index that grows in no order would cost a third of the recorder's speed.
"""

order_history = Table(
    "order_history",
    metadata,
    Column("order_number", Int64, primary_key=True, autoincrement=False),
    Column("ordinal", SmallInteger, primary_key=True, autoincrement=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("at_ms", Int64, nullable=False),
    CheckConstraint("ordinal > 0", name="ordinal"),
    sqlite_with_rowid=False,
    **_OPTIONS,
)
"""Append-only. `queued` is not stored: it is the order's `placed_at_ms`."""

stock_journal = Table(
    "stock_journal",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("item_id", Int64, ForeignKey("items.id"), nullable=False),
    Column("kind", String(CODE_CHARS), nullable=False),
    Column("delta_stock", Int64, nullable=False),
    Column("delta_available", Int64, nullable=False),
    Column("quantity", Int64, nullable=False),  # units that moved
    Column("edit", Int64),
    Column("shard", SmallInteger, nullable=False),
    Column("epoch", Int64),
    Column("counter", Int64),  # of the log entry up to which this is
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("at_ms", Int64, nullable=False),
    Index(None, "item_id", "id"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Append-only: its deltas add up to each item's S and L."""

stock_edits = Table(
    "stock_edits",
    metadata,
    Column("item_id", Int64, ForeignKey("items.id"), primary_key=True, autoincrement=False),
    Column("edit", Int64, primary_key=True, autoincrement=False),
    Column("delta", Int64, nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("stock_after", Int64),
    Column("requested_at_ms", Int64, nullable=False),
    Column("once_key", BytewiseText(KEY_BYTES)),
    _one_of("state", ["pending", "applied", "refused"]),
    CheckConstraint("delta <> 0", name="delta"),
    UniqueConstraint("once_key"),
    Index(None, "state"),
    **_OPTIONS,
)

releases = Table(
    "releases",
    metadata,
    Column("number", Int64, primary_key=True, autoincrement=False),
    Column("shard", SmallInteger, nullable=False),
    Column("item_id", Int64, nullable=False),
    Column("limit_group", Int64, nullable=False),
    Column("quantity", Int64, nullable=False),
    Column("decided_at_ms", Int64, nullable=False),
    Column("applied_at_ms", Int64),
    Column("buyer", Document, nullable=False),  # as the gate spells it, however long
    Column("reason", String(CODE_CHARS), nullable=False),
    Index(None, "shard", "applied_at_ms", "number"),
    Index(None, "item_id", "applied_at_ms"),
    **_OPTIONS,
)
"""Holds that the ledger decided to give back; the primary key says: at most once."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("number", Int64, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("item_id", Int64, nullable=False),  # may be unknown: no foreign key
    Column("quantity", Int64, nullable=False),
    Column("at_ms", Int64, nullable=False),
    Column("nonce", Bytes(NONCE_BYTES), nullable=False),
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), nullable=False),
    Column("reason", String(CODE_CHARS), nullable=False),
    Column("detail", String(REASON_CHARS), nullable=False),
    UniqueConstraint("number"),
    Index(None, "buyer", "number"),
    Index(None, "nonce"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Accepted orders that could not be recorded; each reads as an order in the state `rejected`."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("kind", String(CODE_CHARS), nullable=False),
    Column("payload", Document, nullable=False),
    Column("at_ms", Int64, nullable=False),
    Column("position", Int64),
    Index(None, "position", unique=True),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""`position` is the order in which the messages can be read without gaps, given out after they were
committed: where several transactions write at once, ids commit in no order. SQLite has one writer,
so there the id is the position and this stays NULL."""

outbox_head = Table(
    "outbox_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", Int64, nullable=False),
    **_OPTIONS,
)
"""One row: the last position that was given out. Who gives out positions holds it."""

deadlines = Table(
    "deadlines",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("kind", String(CODE_CHARS), nullable=False),
    Column("due_at_ms", Int64, nullable=False),
    Column("sale_id", Int64, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("first_number", Int64, nullable=False),
    Column("last_number", Int64, nullable=False),
    _one_of("kind", ["remind", "expire"]),
    CheckConstraint("first_number <= last_number", name="numbers"),
    Index(None, "kind", "due_at_ms"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""When a run of orders is due: one row per recorded batch and sale, which share their window, in
place of an index on every order. It goes when all of its orders have been looked at."""

cancellations = Table(
    "cancellations",
    metadata,
    Column("number", Int64, primary_key=True, autoincrement=False),
    Column("item_id", Int64, nullable=False),
    Column("at_ms", Int64, nullable=False),
    Column("applied_at_ms", Int64),
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    **_OPTIONS,
)
"""Orders that were cancelled while the gate alone had them; applied when they are recorded."""

payments = Table(
    "payments",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("order_number", Int64, ForeignKey("orders.number"), nullable=False),
    Column("amount_minor", Int64, nullable=False),
    Column("captured_minor", Int64),
    Column("refunded_minor", Int64, nullable=False),
    Column("expires_at_ms", Int64),
    Column("created_at_ms", Int64, nullable=False),
    Column("ask_at_ms", Int64),  # NULL once it is no longer open
    Column("open_for", Int64),  # the order's number while it is open
    Column("pays_for", Int64),  # the order's number where it is what paid it
    Column("currency", String(3), nullable=False),
    Column("captured_currency", String(3)),
    Column("provider", String(CODE_CHARS), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("reason", String(CODE_CHARS)),
    Column("reference", BytewiseText(REFERENCE_BYTES_MAX)),
    Column("capture_reference", BytewiseText(REFERENCE_BYTES_MAX)),
    Column("checkout_url", Document),
    _one_of("state", [state.value for state in PaymentState if state is not PaymentState.NONE]),
    CheckConstraint(
        "refunded_minor >= 0 AND refunded_minor <= COALESCE(captured_minor, 0)", name="refunded"
    ),
    CheckConstraint("open_for IS NULL OR open_for = order_number", name="open_for"),
    CheckConstraint("pays_for IS NULL OR pays_for = order_number", name="pays_for"),
    UniqueConstraint("open_for"),
    UniqueConstraint("pays_for"),
    Index(None, "order_number"),
    Index(None, "ask_at_ms"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Attempts to be paid. The unique columns say: one open at a time, and one that pays the order."""

refunds = Table(
    "refunds",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("payment_id", Int64, ForeignKey("payments.id")),  # NULL for a free order
    Column("order_number", Int64, ForeignKey("orders.number"), nullable=False),
    Column("amount_minor", Int64, nullable=False),
    Column("created_at_ms", Int64, nullable=False),
    Column("due_at_ms", Int64),  # when it is sent, or asked for again
    Column("closed_at_ms", Int64),
    Column("quantity", SmallInteger, nullable=False),
    Column("restock", SmallInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("error", String(REASON_CHARS)),
    Column("reference", BytewiseText(REFERENCE_BYTES_MAX)),
    _one_of("state", [state.value for state in RefundState]),
    CheckConstraint("amount_minor >= 0", name="amount"),
    CheckConstraint("quantity BETWEEN 0 AND 32", name="quantity"),
    Index(None, "payment_id"),
    Index(None, "order_number"),
    Index(None, "due_at_ms"),
    Index(None, "closed_at_ms", "id"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Money on its way back. `closed_at_ms` is set where nothing more has to happen: it is completed,
or a later refund stands in for one that failed."""

inbox = Table(
    "inbox",
    metadata,
    Column("provider", String(CODE_CHARS), primary_key=True),
    Column("event_id", BytewiseText(REFERENCE_BYTES_MAX), primary_key=True),
    Column("payment_id", Int64, nullable=False),
    Column("amount_minor", Int64),
    Column("refund_id", Int64),
    Column("received_at_ms", Int64, nullable=False),
    Column("applied_at_ms", Int64),
    Column("retry_at_ms", Int64),  # NULL once it is applied
    Column("attempts", SmallInteger, nullable=False),
    Column("kind", String(CODE_CHARS), nullable=False),
    Column("currency", String(3)),
    Column("reference", BytewiseText(REFERENCE_BYTES_MAX)),
    Column("error", String(REASON_CHARS)),
    Column("body", Blob, nullable=False),
    _one_of("kind", [kind.value for kind in PaymentEventKind]),
    CheckConstraint("(applied_at_ms IS NULL) <> (retry_at_ms IS NULL)", name="applied"),
    Index(None, "retry_at_ms"),
    **_OPTIONS,
)
"""What providers told us; the primary key says: each event counts once."""

waitlist = Table(
    "waitlist",
    metadata,
    Column("id", Int64, primary_key=True, autoincrement=False),
    Column("item_id", Int64, ForeignKey("items.id"), nullable=False),
    Column("ended_as", Int64, nullable=False),  # 0 while waiting, then its own id
    Column("order_number", Int64),
    Column("joined_at_ms", Int64, nullable=False),
    Column("ended_at_ms", Int64),
    Column("state", String(CODE_CHARS), nullable=False),
    Column("reason", String(CODE_CHARS)),
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), nullable=False),
    _one_of("state", ["waiting", "promoted", "left", "closed"]),
    CheckConstraint("ended_as = 0 OR ended_as = id", name="ended_as"),
    CheckConstraint("(state = 'waiting') = (ended_as = 0)", name="waiting"),
    CheckConstraint("(state = 'promoted') = (order_number IS NOT NULL)", name="promoted"),
    UniqueConstraint("item_id", "buyer", "ended_as"),
    UniqueConstraint("order_number"),
    Index(None, "item_id", "ended_as", "id"),
    **_OPTIONS,
)
"""The line of each item, as the gate's log tells it. A buyer waits once per item at a time."""

shards = Table(
    "shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", Int64, nullable=False),
    Column("counter", Int64, nullable=False),
    Column("fence", Int64, nullable=False),
    Column("owner", BytewiseText(KEY_BYTES), nullable=False),
    Column("lease_until_ms", Int64, nullable=False),
    Column("highest_number", Int64, nullable=False),
    **_OPTIONS,
)
"""How far each shard's log has been recorded, and who may record it."""

closed_epochs = Table(
    "closed_epochs",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", Int64, primary_key=True, autoincrement=False),
    Column("counter", Int64, nullable=False),
    Column("closed_at_ms", Int64, nullable=False),
    **_OPTIONS,
)
"""How far the log of an epoch had been recorded when the next epoch began."""

audit_marks = Table(
    "audit_marks",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("item_id", Int64, primary_key=True, autoincrement=False),
    Column("epoch", Int64, nullable=False),
    Column("counter", Int64, nullable=False),
    Column("gate_available", Int64, nullable=False),
    Column("gate_held", Int64, nullable=False),
    Column("gate_stock", Int64, nullable=False),
    Column("ledger_available", Int64, nullable=False),
    Column("decided_not_applied", Int64, nullable=False),
    Column("ok", SmallInteger, nullable=False),
    Column("at_ms", Int64, nullable=False),
    Column("differs_since_ms", Int64),
    **_OPTIONS,
)
"""The latest comparison of gate and ledger, per item, and since when they have not agreed."""

incidents = Table(
    "incidents",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("kind", String(CODE_CHARS), nullable=False),
    Column("detail", Document, nullable=False),
    Column("at_ms", Int64, nullable=False),
    sqlite_autoincrement=True,
    **_OPTIONS,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", BytewiseText(KEY_BYTES), primary_key=True),
    Column("body_hash", Bytes(64), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("response", Blob, nullable=False),
    Column("at_ms", Int64, nullable=False),
    Index(None, "at_ms"),
    **_OPTIONS,
)

APPEND_ONLY = (order_history, stock_journal)
"""Tables whose rows are never changed or removed; triggers say so to raw SQL as well."""
