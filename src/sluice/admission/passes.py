"""The pass: the hidden purchase address (秒杀地址隐藏) and the name of one attempt.

Short-lived and signed; bound to publication, item, buyer and session. Its nonce identifies the
attempt in the gate, in the log and in the ledger, so the same pass can never buy twice.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

from sluice.admission.keyring import Signer

_LAYOUT = struct.Struct(">B3xIQI12s16s")
_VERSION = 1
PASS_MAX = 128
"""Characters of a pass, at most; longer text is refused unread."""
_POOL_BYTES = 8 * 512


class Pass(NamedTuple):
    publication: int
    item_id: int
    expires_at_s: int
    nonce: bytes
    """12 bytes; the last 8 are random."""
    binding: bytes
    """16 bytes that stand for the buyer and their session."""


class Passes:
    """Issues and verifies passes."""

    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._signer = Signer(secret_keys, b"pass")
        self._pool = b""
        self._at = 0

    def issue(self, publication: int, item_id: int, expires_at_s: int, binding: bytes) -> str:
        return self.sign(Pass(publication, item_id, expires_at_s, self._nonce(), binding))

    def sign(self, made: Pass) -> str:
        return self._signer.sign(_LAYOUT.pack(_VERSION, *made))

    def verify(self, text: str) -> Pass | None:
        """What a genuine pass says, expired or not; None for anything else."""
        if len(text) > PASS_MAX:
            return None
        payload = self._signer.verify(text)
        if payload is None or len(payload) != _LAYOUT.size or payload[0] != _VERSION:
            return None
        return Pass._make(_LAYOUT.unpack(payload)[1:])

    def _nonce(self) -> bytes:
        """The second of issue and eight random bytes, drawn some hundreds at a time.

        The second is not checked by anybody. It keeps nonces of one rush together in the ledger's
        index, which takes a third off what an order costs there.
        """
        if self._at >= len(self._pool):
            self._pool, self._at = secrets.token_bytes(_POOL_BYTES), 0
        random_part = self._pool[self._at : self._at + 8]
        self._at += 8
        return int(time.time()).to_bytes(4, "big") + random_part
