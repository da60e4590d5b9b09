"""`sluice migrate`"""

from __future__ import annotations

from sluice.cli._ledger import migrate_ledger
from sluice.cli._options import Data, command, read_settings, working

app = command("Bring the ledger's schema up to date.")


@app.command(epilog="Safe to repeat, and safe to run while the product runs.")
def migrate(data: Data = None) -> None:
    """Bring the ledger's schema up to date."""
    settings = read_settings(data, "migrate")
    with working("Migrating the ledger"):
        changed = migrate_ledger(settings)
    print(f"The ledger's schema {'was brought' if changed else 'is'} up to date.")
