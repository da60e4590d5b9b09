"""Which revision the ledger's schema is at. Light enough to ask at every start."""

from __future__ import annotations

HEAD = "0010"
"""The newest revision in `migrations/versions`; a test holds the two together."""

CURRENT = "SELECT version_num FROM alembic_version"
