"""What a worker's process says of itself every few seconds."""

from __future__ import annotations

from typing import NamedTuple


class Beat(NamedTuple):
    """Times are Unix milliseconds."""

    worker: str
    """The owner's name, as in the shards' leases."""
    runs: list[str]
    """What works beside the shards: releaser, herald, deliverer, …"""
    shut: dict[str, str]
    """Shard → why its gate stays shut, where it does."""
    version: str
    since_ms: int
    at_ms: int
