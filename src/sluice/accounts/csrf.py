"""The word that a page must say with every command that a cookie alone would authorise."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

from sluice.accounts.tokens import token_digest
from sluice.domain.purpose import purpose_key

_BYTES = 18
CHARS_MAX = 64


class Csrf:
    """Derived from the session: nothing is kept, and another session's word is worth nothing."""

    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._keys = [purpose_key(secret, b"csrf") for secret in secret_keys]

    def word(self, token: str) -> str:
        return _word(self._keys[0], token)

    def is_word(self, token: str, given: str) -> bool:
        if len(given) > CHARS_MAX or not given.isascii():
            return False
        return any(hmac.compare_digest(_word(key, token), given) for key in self._keys)


def _word(key: bytes, token: str) -> str:
    return urlsafe_b64encode(
        blake2b(token_digest(token), key=key, digest_size=_BYTES).digest()
    ).decode()
