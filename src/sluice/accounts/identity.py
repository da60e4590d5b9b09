"""Who is asking. One small object that every room may rely on."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from sluice.domain.account import buyer_of
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.text import has_control


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A verified caller.

    `buyer` is namespaced (`jwt:<issuer>:<subject>`, `acct:<id>`) and compared byte for byte;
    `digest` stands for it in 16 bytes; `binding` (16 bytes) stands for buyer and session, and is
    what a pass is bound to. It ends at `expires_at_s` (Unix seconds).
    """

    buyer: str
    digest: bytes
    binding: bytes
    expires_at_s: int


def token_identity(issuer: str, subject: str, expires_at_s: int) -> Identity | None:
    """The identity that a token of `issuer` gives; None where these names cannot be a buyer key.

    `%` and `:` of the issuer are escaped, so that no two pairs give one key. The session is the
    pair itself: a refreshed token must still go with a pass issued to the one before.
    """
    if ":" in issuer or "%" in issuer:
        issuer = issuer.replace("%", "%25").replace(":", "%3A")
    buyer = f"jwt:{issuer}:{subject}"
    if not subject or has_control(buyer):
        return None
    key = buyer.encode()
    if len(key) > BUYER_BYTES_MAX:
        return None
    return Identity(buyer, buyer_digest(key), _binding(key, b""), expires_at_s)


def session_identity(account_id: int, token_hash: bytes, expires_at_s: int) -> Identity:
    """The identity of a session: another session of the same account has another binding."""
    buyer = buyer_of(account_id)
    key = buyer.encode()
    return Identity(buyer, buyer_digest(key), _binding(key, token_hash), expires_at_s)


def buyer_digest(buyer: bytes) -> bytes:
    """Sixteen bytes that stand for a buyer key."""
    return blake2b(buyer, digest_size=16, person=b"sluice-buyer").digest()


def _binding(buyer: bytes, session: bytes) -> bytes:
    return blake2b(buyer, digest_size=16, person=b"sluice-binding", key=session).digest()
