"""The admin's token, known by its hash alone."""

from __future__ import annotations

import hmac

from sluice.settings import Settings, token_hash

TOKEN_CHARS_MAX = 4096


class AdminTokens:
    """Knows the admin's token when it sees it."""

    def __init__(self, settings: Settings) -> None:
        given = settings.admin_token
        self._hash = token_hash(given) if given else settings.admin_token_hash

    def verify(self, token: str) -> bool:
        if not self._hash or not token.isascii() or len(token) > TOKEN_CHARS_MAX:
            return False
        return hmac.compare_digest(token_hash(token), self._hash)
