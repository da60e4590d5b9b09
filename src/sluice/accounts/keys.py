"""API keys of the merchant's systems: opaque, and known to the ledger by their hash alone."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from hashlib import blake2b, sha256

from sluice.domain.api_key import PREFIX, TAIL_CHARS, TOKEN

_SECRET_BYTES = 32
DIGEST_BYTES = 32


def new_key() -> str:
    return _key(secrets.token_bytes(_SECRET_BYTES))


def key_for(secret: bytes, command: str) -> str:
    """The key that one command makes, so that a repeated command makes no other. Without `secret`
    nobody can tell it."""
    return _key(hmac.digest(secret, b"sluice-api-key\0" + command.encode(), sha256))


def _key(random: bytes) -> str:
    return PREFIX + urlsafe_b64encode(random).rstrip(b"=").decode()


def is_key(token: str) -> bool:
    """Whether this could be one; whether it is, the ledger knows."""
    return TOKEN.fullmatch(token) is not None


def key_digest(token: str) -> bytes:
    """What is kept of a key. It is random, so a fast hash is enough."""
    return blake2b(token.encode(), digest_size=DIGEST_BYTES, person=b"sluice-key").digest()


def key_tail(token: str) -> str:
    return token[-TAIL_CHARS:]
