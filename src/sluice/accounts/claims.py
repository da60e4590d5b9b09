"""What an identity token says, once its signature is known to be genuine."""

from __future__ import annotations

from binascii import a2b_base64
from typing import Annotated

import msgspec

from sluice.accounts.identity import Identity, token_identity
from sluice.domain.errors import Unauthenticated

AUDIENCE = "sluice"
NOT_BEFORE_LEEWAY_S = 5
"""The shop's clock may run this much ahead of ours; `exp` gets no leeway."""
EXPIRY_MAX_S = 1 << 40

FROM_URL = bytes.maketrans(b"-_", b"+/")
TO_URL = bytes.maketrans(b"+/", b"-_")


class Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: msgspec.Raw | None = None
    b64: msgspec.Raw | None = None


class Claims(msgspec.Struct, frozen=True, gc=False):
    sub: Annotated[str, msgspec.Meta(min_length=1)]
    exp: int | float
    aud: str | list[str]
    iss: str | None = None
    nbf: int | float | None = None


_TYPES = frozenset({None, "jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_headers = msgspec.json.Decoder(Header)
_claims = msgspec.json.Decoder(Claims)


def decode_segment(segment: bytes) -> bytes:
    """Base64url without padding. Raises ValueError."""
    return a2b_base64(segment.translate(FROM_URL) + b"==", strict_mode=False)


def read_header(segment: bytes) -> Header:
    """The token's header, if it asks nothing of us that we do not do. Raises `Unauthenticated`."""
    try:
        header = _headers.decode(decode_segment(segment))
    except (ValueError, RecursionError):
        raise Unauthenticated from None
    typ = None if header.typ is None else header.typ.lower()
    if header.crit is not None or header.b64 is not None or typ not in _TYPES:
        raise Unauthenticated
    return header


def read_claims(segment: bytes, now_s: int) -> Identity:
    """Whom a genuine token names. Raises `Unauthenticated`, and says `expired` of that alone."""
    try:
        claims = _claims.decode(decode_segment(segment))
        expires_at_s = int(claims.exp)
    except (ValueError, OverflowError, RecursionError):
        raise Unauthenticated from None
    audience = claims.aud
    if audience != AUDIENCE and (isinstance(audience, str) or AUDIENCE not in audience):
        raise Unauthenticated
    if claims.nbf is not None and claims.nbf > now_s + NOT_BEFORE_LEEWAY_S:
        raise Unauthenticated
    identity = token_identity(claims.iss or "", claims.sub, min(expires_at_s, EXPIRY_MAX_S))
    if identity is None:
        raise Unauthenticated
    if expires_at_s <= now_s:
        raise Unauthenticated(expired=True)
    return identity


__all__ = ["Header", "decode_segment", "read_claims", "read_header"]
