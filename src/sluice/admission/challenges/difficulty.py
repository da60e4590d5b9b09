"""How hard work is to be: it rises with how much a buyer and an address asked for of late."""

from __future__ import annotations

from sluice.domain.challenge import LEVEL_MAX
from sluice.domain.limit import QUOTA_MAX, Check, per_minute

RATE = per_minute("rate", QUOTA_MAX)
"""Counts, and refuses nobody."""
BUYERS_FREE = 2
"""Challenges a minute that cost a buyer no more than usual; each two more double the work."""
ADDRESS_STEP = 50
"""From so many a minute on the work of an address doubles, and again at each doubling of that."""


def checks(digest: bytes, address: str) -> list[Check]:
    return [Check(RATE, b"work:b:" + digest), Check(RATE, b"work:a:" + address.encode())]


def level_of(by_buyer: int, by_address: int) -> int:
    """From what `checks` counted within the last minute, this request included."""
    of_buyer = max(0, by_buyer - BUYERS_FREE + 1) // 2
    of_address = (by_address // ADDRESS_STEP).bit_length()
    return min(LEVEL_MAX, of_buyer + of_address)
