"""Fixtures of the contract suites."""

from tests.contract.gate_servers import gate, gate_server, own_library, stage
from tests.contract.ledger_servers import (
    database,
    databases,
    empty_url,
    ledger,
    ledger_url,
    shop,
)

__all__ = [
    "database",
    "databases",
    "empty_url",
    "gate",
    "gate_server",
    "ledger",
    "ledger_url",
    "own_library",
    "shop",
    "stage",
]
