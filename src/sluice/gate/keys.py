"""Every key of the gate: its pattern, type, content and lifetime. No other place makes a key.

Each carries its shard's hash tag, so that a shard lives on one node of a cluster. Identifiers are
integers by the time they get here; nothing that a client sent becomes part of a key.
"""

from __future__ import annotations

PREFIX = "sluice"


def shard(shard: int) -> str:
    """Hash: `epoch, shard, second, sequence` (last number minted), `counter` (last log entry),
    `base` (second from which the scores of the lines count; never moved).

    Lives as long as the gate's memory; its absence means that the memory is gone.
    """
    return f"{PREFIX}:{{{shard}}}:shard"


def stream(shard: int, epoch: int) -> str:
    """Stream: the gate's log of one epoch. Entry `<counter>-0` holds kind `k` and packed data `d`.

    Trimmed some time after the ledger has recorded it.
    """
    return f"{PREFIX}:{{{shard}}}:stream:{epoch}"


def item(shard: int, item_id: int) -> str:
    """Hash: `state, available, held, stock, starts, ends, limit, publication, edit`, `group` (limit
    group) and `waits` (ms until when units go to the line first; 0: nobody may wait).

    `available + held = stock` at every instant. From publication until the sale is retired.
    """
    return f"{PREFIX}:{{{shard}}}:item:{item_id}"


def attempts(shard: int, limit_group: int) -> str:
    """Hash: nonce (12 bytes) → order number (8) and quantity (1). Outlives the hold."""
    return f"{PREFIX}:{{{shard}}}:attempts:{limit_group}"


def holders(shard: int, limit_group: int) -> str:
    """Hash: buyer digest (16 bytes) → a record a hold: number (8), slots (4), item (4)."""
    return f"{PREFIX}:{{{shard}}}:holders:{limit_group}"


def line(shard: int, item_id: int) -> str:
    """Sorted set: digest (16 bytes) and key of each buyer who waits for the item. The score is the
    entry's second and sequence in one exact number, counted from the shard's `base`.

    Gone when nobody waits.
    """
    return f"{PREFIX}:{{{shard}}}:line:{item_id}"
