"""The inbox for development: the latest log-in codes, for an admin to read, of all processes."""

from __future__ import annotations

import msgspec

from sluice.cache import keys
from sluice.cache.server import CacheServer
from sluice.domain.account import NewCode

KEPT_MAX = 100
KEPT_S = 600


class InboxEntry(msgspec.Struct, frozen=True):
    id: str
    phone: str
    code: str
    expires_at_ms: int


_entries = msgspec.json.Decoder(InboxEntry)


class CodeInbox:
    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def deliver(self, code: NewCode) -> None:
        """Raises `CacheUnavailable`."""
        entry = InboxEntry(code.message_id, code.phone, code.code, code.expires_at_ms)
        await self._server.do_all(
            [
                ("LPUSH", keys.INBOX, msgspec.json.encode(entry)),
                ("LTRIM", keys.INBOX, 0, KEPT_MAX - 1),
                ("EXPIRE", keys.INBOX, KEPT_S),
            ]
        )

    async def latest(self) -> list[InboxEntry]:
        """Newest first. Raises `CacheUnavailable`."""
        return [_entries.decode(raw) for raw in await self._server.do("LRANGE", keys.INBOX, 0, -1)]
