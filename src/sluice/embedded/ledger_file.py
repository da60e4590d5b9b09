"""A quick look at the ledger, so that a start on a folder in order costs no migration."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sluice.ledger.schema import CURRENT, HEAD
from sluice.settings import Settings


def nothing_to_prepare(settings: Settings) -> bool:
    """Whether every store is ours and the ledger's schema is the newest.

    Where in doubt it says no: preparing finds out what is wrong, and says it.
    """
    if settings.redis_url or settings.cache_url or settings.database_url:
        return False
    path = settings.data_dir / "sluice.db"
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
            row = ledger.execute(CURRENT).fetchone()
    except sqlite3.Error:
        return False
    return row is not None and str(row[0]) == HEAD
