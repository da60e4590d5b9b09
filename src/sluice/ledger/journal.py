"""Rows of the stock journal, the outbox and the incidents: what the ledger tells of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import insert

from sluice.ledger.store import Transaction
from sluice.ledger.tables import incidents, outbox


def journal_row(
    item_id: int,
    kind: str,
    *,
    shard: int,
    at_ms: int,
    delta_stock: int = 0,
    delta_available: int = 0,
    quantity: int = 0,
    edit: int | None = None,
    epoch: int | None = None,
    counter: int | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """A movement of an item's units; all movements add up to its S and L."""
    return {
        "item_id": item_id,
        "kind": kind,
        "delta_stock": delta_stock,
        "delta_available": delta_available,
        "quantity": quantity,
        "edit": edit,
        "shard": shard,
        "epoch": epoch,
        "counter": counter,
        "reason": reason,
        "at_ms": at_ms,
    }


async def announce(tx: Transaction, kind: str, payload: dict[str, Any]) -> None:
    """Puts a message in the outbox: it is sent if, and only if, the transaction commits."""
    await tx.run(insert(outbox).values(kind=kind, payload=_json(payload), at_ms=tx.now_ms))


async def announce_all(tx: Transaction, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Several messages, in their order: each its kind and payload."""
    rows = [
        {"kind": kind, "payload": _json(payload), "at_ms": tx.now_ms} for kind, payload in messages
    ]
    await tx.run(insert(outbox), rows)


async def report(tx: Transaction, kind: str, detail: dict[str, Any]) -> None:
    """Writes an incident: something that must not happen did, and an operator should look."""
    await tx.run(insert(incidents).values(kind=kind, detail=_json(detail), at_ms=tx.now_ms))


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
