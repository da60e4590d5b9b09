"""Session tokens: opaque, and known to the stores by their hash alone."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import blake2b

PREFIX = "st_"
"""So that a leaked token is found by whoever looks for secrets; and no JWT begins like this."""
_SECRET_BYTES = 32
TOKEN_CHARS = len(PREFIX) + 43
HASH_BYTES = 32


def new_token() -> str:
    secret = secrets.token_bytes(_SECRET_BYTES)
    return PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def is_session_token(token: str) -> bool:
    """Whether this could be one; whether it is, the store knows."""
    return len(token) == TOKEN_CHARS and token.startswith(PREFIX) and token.isascii()


def token_digest(token: str) -> bytes:
    """What is kept of a token. It is random, so a fast hash is enough."""
    return blake2b(token.encode(), digest_size=HASH_BYTES, person=b"sluice-session").digest()
