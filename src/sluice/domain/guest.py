"""Who may buy in a sale that is not for everybody, and the codes that invite them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from sluice.domain.purpose import purpose_key

PRIORITY_MAX = 9
"""The higher, the further ahead in a waiting room; 0 is nothing special."""
CODE_CHARS = (4, 64)
CODES_MAX = 10_000
"""Codes made in one go."""
GUESTS_MAX = 10_000
"""Guests added in one go."""
USES_MAX = 10_000_000
SEED_BYTES = 16
HASH_BYTES = 16

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: without letters that look like others."""
_LIKE = str.maketrans("OIL", "011", " -_.\t")
_DERIVED_BYTES = 10


class Guest(NamedTuple):
    """What a sale's list says of a buyer."""

    buyer: str
    priority: int
    added_at_ms: int


class Code(NamedTuple):
    """One code of a batch, without its text."""

    place: int
    used: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCodes:
    """Codes as the merchant asks for them; `seed` names the request."""

    seed: bytes
    hashes: tuple[bytes, ...]
    uses_max: int
    priority: int
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBatch:
    """Codes that were made together. Their texts are kept nowhere: they follow from the seed and a
    secret key, and one that the merchant chose is known to them.
    """

    id: int
    sale_id: int
    seed: bytes
    count: int
    uses_max: int
    priority: int
    chosen: bool
    revoked: bool
    created_at_ms: int
    used: int
    """Uses of all of its codes."""


def code_text(secret: bytes, sale_id: int, seed: bytes, place: int) -> str:
    """Such as `7Q3V-0M8K-X2RD-N5WA`: 80 bits that nobody can guess."""
    key = purpose_key(secret, b"invitation")
    digest = blake2b(
        b"%d:%b:%d" % (sale_id, seed, place), key=key, digest_size=_DERIVED_BYTES
    ).digest()
    number = int.from_bytes(digest)
    chars = [_ALPHABET[number >> 5 * at & 31] for at in range(16)]
    return "-".join("".join(chars[at : at + 4]) for at in range(0, 16, 4))


def code_hash(sale_id: int, text: str) -> bytes:
    """What is kept of a code. How it is written (case, dashes, O for 0) does not matter."""
    plain = text.strip().upper().translate(_LIKE)
    return blake2b(
        f"{sale_id}:{plain}".encode(), digest_size=HASH_BYTES, person=b"sluice-invite"
    ).digest()
