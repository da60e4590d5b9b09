"""Identity tokens signed with a shared secret (HS256): verified here, with nothing in between.

This is on the way of every purchase; docs/decisions/identity.md has the figures.
"""

from __future__ import annotations

import hmac
from binascii import b2a_base64

from sluice.accounts.claims import TO_URL, read_claims, read_header
from sluice.accounts.identity import Identity
from sluice.domain.errors import Unauthenticated

HEADERS_MAX = 64
"""Headers remembered as good; a shop sends one or two."""
SIGNATURE_CHARS = 43


class SharedSecret:
    """Verifies the tokens of a shop that shares `secret` with us."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._headers: set[bytes] = set()

    def verify(self, token: bytes, now_s: int) -> Identity:
        """Raises `Unauthenticated`. `token` is ASCII with two dots."""
        signed, _, signature = token.rpartition(b".")
        header, _, payload = signed.partition(b".")
        if header not in self._headers:
            self._learn(header)
        mac = hmac.digest(self._secret, signed, "sha256")
        expected = b2a_base64(mac, newline=False)[:SIGNATURE_CHARS].translate(TO_URL)
        if not hmac.compare_digest(expected, signature):
            raise Unauthenticated
        return read_claims(payload, now_s)

    def _learn(self, header: bytes) -> None:
        if read_header(header).alg != "HS256":
            raise Unauthenticated
        if len(self._headers) < HEADERS_MAX:
            self._headers.add(header)
