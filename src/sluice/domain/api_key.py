"""Keys with which the merchant's own systems use `/v1/admin`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

NAME_CHARS_MAX = 100
KEYS_MAX = 100
"""That count at one time; a key that is revoked or over makes room."""
ACTOR_PREFIX = "key:"
"""`key:7` names the holder of the key 7 in the trail."""
PREFIX = "slk_"
TOKEN = re.compile(r"slk_[A-Za-z0-9_-]{43}", re.ASCII)
TAIL_CHARS = 4
"""The end of a token that is kept, for people to tell keys apart by."""


class Scope(StrEnum):
    READ = "read"
    """What a merchant may look at."""
    FULL = "full"
    """What a merchant may look at and do, but for keys."""


class ApiKey(NamedTuple):
    """Times are Unix milliseconds. The token itself is nowhere: its digest is in the ledger."""

    id: int
    name: str
    scope: Scope
    tail: str
    created_by: str
    """The actor who made it: `acct:42`, `admin`."""
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    used_at_ms: int | None
    """When it was last used, give or take a minute."""

    def counts(self, now_ms: int) -> bool:
        """Whether it opens anything."""
        over = self.expires_at_ms is not None and self.expires_at_ms <= now_ms
        return self.revoked_at_ms is None and not over

    @property
    def actor(self) -> str:
        return f"{ACTOR_PREFIX}{self.id}"
