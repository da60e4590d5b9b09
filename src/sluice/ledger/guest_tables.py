"""Who may buy in which sale, and the codes that invite. Codes themselves are not kept."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    UniqueConstraint,
)

from sluice.domain.guest import HASH_BYTES, SEED_BYTES
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.ledger.columns import Bytes, BytewiseText
from sluice.ledger.tables import _OPTIONS, Int64, metadata

code_batches = Table(
    "code_batches",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("sale_id", Int64, ForeignKey("sales.id"), nullable=False),
    Column("seed", Bytes(SEED_BYTES), nullable=False),
    Column("count", Integer, nullable=False),
    Column("uses_max", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("created_at_ms", Int64, nullable=False),
    UniqueConstraint("sale_id", "seed"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""The seed names the request that made them, so the same request makes them once."""

sale_codes = Table(
    "sale_codes",
    metadata,
    Column("sale_id", Int64, ForeignKey("sales.id"), primary_key=True, autoincrement=False),
    Column("hash", Bytes(HASH_BYTES), primary_key=True),
    Column("batch_id", Int64, ForeignKey("code_batches.id"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("uses_max", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    CheckConstraint("used >= 0 AND used <= uses_max", name="uses"),
    Index(None, "batch_id", "place", unique=True),
    **_OPTIONS,
)

sale_guests = Table(
    "sale_guests",
    metadata,
    Column("sale_id", Int64, ForeignKey("sales.id"), primary_key=True, autoincrement=False),
    Column("buyer", BytewiseText(BUYER_BYTES_MAX), primary_key=True),
    Column("priority", SmallInteger, nullable=False),
    Column("code_hash", Bytes(HASH_BYTES)),
    Column("added_at_ms", Int64, nullable=False),
    **_OPTIONS,
)
"""One row a buyer: two codes redeemed at once by one buyer cannot both count."""
