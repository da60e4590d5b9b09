"""Keys for one purpose each, derived from the secret keys: what signs one thing signs no other."""

from __future__ import annotations

from hashlib import blake2b

KEY_BYTES = 32


def master_of(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=KEY_BYTES, person=b"sluice-master").digest()


def purpose_key(secret: bytes, purpose: bytes) -> bytes:
    """The key of a secret key for `purpose`."""
    return blake2b(purpose, key=master_of(secret), digest_size=KEY_BYTES).digest()
