"""Alembic's migrations of the ledger; `sluice.ledger.migrate` runs them."""
