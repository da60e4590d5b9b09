"""Accounts, their roles, and the trail of what admins did. Sessions and codes are not here: they
live on the cache server."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, SmallInteger, String, Table, UniqueConstraint

from sluice.domain.account import ADDRESS_CHARS_MAX, GRANTED, LOGIN_CHARS_MAX, PHONE_CHARS_MAX
from sluice.ledger.columns import BytewiseText, Document
from sluice.ledger.tables import (
    _OPTIONS,
    CODE_CHARS,
    KEY_BYTES,
    REASON_CHARS,
    Int64,
    _one_of,
    metadata,
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("created_at_ms", Int64, nullable=False),
    Column("asked_at_ms", Int64, nullable=False),
    Column("login", BytewiseText(LOGIN_CHARS_MAX)),
    Column("phone", BytewiseText(PHONE_CHARS_MAX)),
    Column("password_hash", String(REASON_CHARS)),
    UniqueConstraint("login"),
    UniqueConstraint("phone"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""One login name and one phone lead to one account; the unique keys decide races. `asked_at_ms` is
when its login name was last asked for: writing it makes a registration of a name that is taken the
same work as one that is not, down to the commit."""

account_roles = Table(
    "account_roles",
    metadata,
    Column("account_id", Int64, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("role", String(CODE_CHARS), primary_key=True),
    Column("granted_at_ms", Int64, nullable=False),
    _one_of("role", [role.value for role in GRANTED]),
    Index(None, "role", "account_id"),
    **_OPTIONS,
)
"""What goes beyond buying. Every buyer's account has no row here."""

admin_actions = Table(
    "admin_actions",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("at_ms", Int64, nullable=False),
    Column("actor", BytewiseText(KEY_BYTES), nullable=False),
    Column("action", String(KEY_BYTES), nullable=False),
    Column("target", String(KEY_BYTES), nullable=False),
    Column("address", String(ADDRESS_CHARS_MAX), nullable=False),
    Column("request_id", BytewiseText(ADDRESS_CHARS_MAX), nullable=False),
    Index(None, "actor", "id"),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
"""Append-only. Written before the command is carried out."""

admin_results = Table(
    "admin_results",
    metadata,
    Column(
        "action_id", Int64, ForeignKey("admin_actions.id"), primary_key=True, autoincrement=False
    ),
    Column("at_ms", Int64, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("detail", Document),
    **_OPTIONS,
)
"""Append-only. Written before the answer is sent; an action without a row here was cut off."""

ACCOUNT_APPEND_ONLY = (admin_actions, admin_results)
"""Like `tables.APPEND_ONLY`."""
