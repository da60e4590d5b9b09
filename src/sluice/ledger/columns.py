"""Column types that mean the same on the three databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_MYSQL_NAMES = ("mysql", "mariadb")


def is_mysql(dialect: Dialect) -> bool:
    return dialect.name in _MYSQL_NAMES


class BytewiseText(TypeDecorator[str]):
    """Text compared byte for byte, at most `length` bytes of UTF-8.

    MariaDB's binary collations still ignore trailing spaces, so there it is VARBINARY; PostgreSQL
    gets the collation "C", which is also its fastest index.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if is_mysql(dialect):
            return dialect.type_descriptor(mysql.VARBINARY(self.length))
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(self.length, collation="C"))
        return dialect.type_descriptor(String(self.length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value.encode() if value is not None and is_mysql(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return value.decode() if isinstance(value, bytes) else value


def Bytes(length: int) -> LargeBinary:  # noqa: N802 - it stands where a type stands
    """At most `length` bytes; can be indexed everywhere."""
    return LargeBinary(length).with_variant(mysql.VARBINARY(length), *_MYSQL_NAMES)


Document = Text().with_variant(mysql.MEDIUMTEXT(), *_MYSQL_NAMES)
"""Text without a limit to speak of (MariaDB's TEXT ends at 64 KiB)."""

Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MYSQL_NAMES)
"""Bytes without a limit to speak of."""
