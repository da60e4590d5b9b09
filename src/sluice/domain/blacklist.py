"""Who is kept out for a while, and why."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

BLACKLIST_MAX = 100_000
"""Entries; beyond that, those that end first make room."""
BUYER = "buyer:"
ADDRESS = "address:"


class Blacklisted(NamedTuple):
    who: str
    """`buyer:<buyer key>` or `address:<address>`."""
    until_ms: int
    since_ms: int
    reason: str

    @property
    def id(self) -> str:
        return entry_id(self.who)


def entry_id(who: str) -> str:
    """Names an entry where a buyer key, which may hold anything, could not stand."""
    return blake2b(who.encode(), digest_size=8, person=b"sluice-black").hexdigest()
