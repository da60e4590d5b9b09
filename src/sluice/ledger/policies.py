"""A sale's policy as one JSON document, so that a new rule needs no migration."""

from __future__ import annotations

import msgspec

from sluice.domain.sale import Policy

_decoder = msgspec.json.Decoder(Policy)


def dump(policy: Policy) -> str:
    return msgspec.json.encode(policy).decode()


def load(document: str) -> Policy:
    """Rules that the document does not name have their defaults."""
    return _decoder.decode(document)
