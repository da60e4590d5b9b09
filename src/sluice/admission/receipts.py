"""The receipt: our signed word that the gate accepted an order, for the day the gate forgets it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from sluice.admission.keyring import Signer

_LAYOUT = struct.Struct(">BBIIQQQI12s16s")
_VERSION = 1
RECEIPT_MAX = 160


class Receipt(NamedTuple):
    quantity: int
    publication: int
    epoch: int
    counter: int
    """Log entry of the acceptance in that epoch; 0 where the answer was a replay."""
    number: int
    item_id: int
    slots: int
    nonce: bytes
    digest: bytes
    """16 bytes that stand for the buyer."""


class Receipts:
    """Signs and verifies receipts."""

    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._signer = Signer(secret_keys, b"receipt")

    def sign(self, receipt: Receipt) -> str:
        return self._signer.sign(_LAYOUT.pack(_VERSION, *receipt))

    def verify(self, text: str) -> Receipt | None:
        if len(text) > RECEIPT_MAX:
            return None
        payload = self._signer.verify(text)
        if payload is None or len(payload) != _LAYOUT.size or payload[0] != _VERSION:
            return None
        return Receipt._make(_LAYOUT.unpack(payload)[1:])
