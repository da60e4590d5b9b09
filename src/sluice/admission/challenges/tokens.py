"""The name of a given challenge: signed, bound to buyer and sale, its answer sealed inside.

Nothing is kept of a challenge that was given, so giving one costs no call; only that it was
answered is remembered.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Sequence
from typing import NamedTuple

from sluice.admission.keyring import Signer, kid_of
from sluice.domain.purpose import purpose_key
from sluice.domain.sale import Challenge

_LAYOUT = struct.Struct(">BBxxQI12s16sI")
_VERSION = 1
ID_MAX = 128
_KINDS = (Challenge.ARITHMETIC, Challenge.SLIDER, Challenge.PROOF_OF_WORK)
_NONCE_BYTES = 12


class Given(NamedTuple):
    """What a genuine challenge id says."""

    kind: Challenge
    sale_id: int
    expires_at_s: int
    nonce: bytes
    binding: bytes
    answer: int


class Tokens:
    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._signer = Signer(secret_keys, b"challenge")
        self._seals = {
            kid_of(secret): hashlib.blake2b(
                key=purpose_key(secret, b"challenge-seal"), digest_size=4
            )
            for secret in reversed(secret_keys)
        }
        self._first = kid_of(secret_keys[0])

    def sign(
        self, kind: Challenge, sale_id: int, expires_at_s: int, binding: bytes, answer: int
    ) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._signer.sign(
            _LAYOUT.pack(
                _VERSION,
                _KINDS.index(kind),
                sale_id,
                expires_at_s,
                nonce,
                binding,
                answer ^ self._mask(self._first, nonce),
            )
        )

    def open(self, text: str) -> Given | None:
        """None for everything that we did not give."""
        if len(text) > ID_MAX:
            return None
        payload = self._signer.verify(text)
        if payload is None or len(payload) != _LAYOUT.size or payload[0] != _VERSION:
            return None
        _, kind, sale_id, expires_at_s, nonce, binding, sealed = _LAYOUT.unpack(payload)
        answer = sealed ^ self._mask(text.partition(".")[0], nonce)
        return Given(_KINDS[kind], sale_id, expires_at_s, nonce, binding, answer)

    def _mask(self, kid: str, nonce: bytes) -> int:
        """Four bytes that only we can know, and that no other nonce has."""
        state = self._seals[kid].copy()
        state.update(nonce)
        return int.from_bytes(state.digest())
