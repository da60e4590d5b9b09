"""Signing keys: derived per purpose from the secret keys; the first signs, all verify."""

from __future__ import annotations

import hashlib
import hmac
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

from sluice.domain.purpose import master_of, purpose_key

SIGNATURE_BYTES = 18
_SIGNATURE_CHARS = 24
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
"""The plain alphabet's own last two become characters that stand for nothing."""


def encode(raw: bytes) -> str:
    """URL-safe base64 of bytes whose length is a multiple of 3, so that nothing needs padding."""
    return b2a_base64(raw, newline=False).translate(_TO_URL).decode()


def decode(text: str) -> bytes | None:
    """The bytes that `encode` makes this very text of, or None."""
    try:
        raw = a2b_base64(text.encode("ascii").translate(_FROM_URL))
    except ValueError:
        return None
    # What is foreign to the alphabet was skipped, and padding ended it: then bytes are missing.
    return raw if len(raw) * 4 == len(text) * 3 else None


def kid_of(secret: bytes) -> str:
    """Names a secret key in what it signed."""
    digest = hashlib.blake2b(master_of(secret), digest_size=6, person=b"sluice-kid").digest()
    return encode(digest)


class Signer:
    """Signs and verifies `kid.payload.signature` for one purpose with keyed BLAKE2b."""

    def __init__(self, secret_keys: Sequence[bytes], purpose: bytes) -> None:
        if not secret_keys:
            raise ValueError("at least one secret key is needed")
        self._keys: dict[str, hashlib.blake2b] = {}
        for secret in secret_keys:
            kid = kid_of(secret)
            derived = purpose_key(secret, purpose)
            # A keyed state is kept and copied: a third cheaper than keying anew each time.
            state = hashlib.blake2b(key=derived, digest_size=SIGNATURE_BYTES)
            self._keys.setdefault(kid, state)
            if len(self._keys) == 1:
                self._first = kid

    def sign(self, payload: bytes) -> str:
        """`payload` must be a multiple of 3 bytes long."""
        state = self._keys[self._first].copy()
        state.update(payload)
        return f"{self._first}.{encode(payload)}.{encode(state.digest())}"

    def verify(self, token: str) -> bytes | None:
        """The payload of a token that one of our keys signed for this purpose, else None."""
        kid, _, signed = token.partition(".")
        key = self._keys.get(kid)
        if key is None or signed[-_SIGNATURE_CHARS - 1 : -_SIGNATURE_CHARS] != ".":
            return None
        # Both parts have whole groups of four characters, so they can be decoded as one.
        raw = decode(signed[: -_SIGNATURE_CHARS - 1] + signed[-_SIGNATURE_CHARS:])
        if raw is None:
            return None
        payload, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
        state = key.copy()
        state.update(payload)
        return payload if hmac.compare_digest(state.digest(), signature) else None
