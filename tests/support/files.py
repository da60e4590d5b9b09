"""SQLite ledgers for tests: migrated once, and copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sluice.ledger import migrate


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory(prefix="slt") as folder:
        path = Path(folder) / "ledger.db"
        migrate.upgrade(f"sqlite:///{path}")
        return path.read_bytes()


def make_ledger(path: Path) -> str:
    """A ledger without any row at `path`; its URL. Blocks; the migrations run in the first call
    of a process alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"
