"""Signatures of webhooks, ours and those sent to us: Standard Webhooks, symmetric (`v1`).

A message is `id.timestamp.body`, signed with HMAC-SHA256. Three headers carry id, timestamp and a
space-separated list of signatures; one good signature of any secret is enough, so that a secret
can be changed without a gap. https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sluice.domain.errors import SluiceError

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

TOLERANCE_S = 300
"""A message older than this, or newer, may be somebody's recording."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with, no secret
KEY_BYTES_MIN = 24
KEY_BYTES_MAX = 64
KEY_BYTES = 32
"""Of the secrets that we make."""
SIGNATURES_MAX = 16
"""In one header: each costs the receiver a comparison."""

_SCHEME = "v1"


class BadSignature(SluiceError):  # noqa: N818 - named by what happened, like the other faults
    """The message is not signed by a secret that is valid here."""


class Message(NamedTuple):
    """What a signature covers."""

    id: str
    timestamp_s: int
    body: bytes


def secret_of(key: bytes) -> str:
    """The text form of a key: what people copy from one place to another."""
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")
    return SECRET_PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """The key in `whsec_…`. Raises ValueError, whose text never holds the secret."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"a webhook secret begins with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is {SECRET_PREFIX} and base64") from None
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a webhook secret holds {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")
    return key


def signed_headers(keys: Iterable[bytes], message: Message) -> dict[str, str]:
    """The three headers, with one signature for each key; the first key's comes first."""
    content = _content(message)
    return {
        ID_HEADER: message.id,
        TIMESTAMP_HEADER: str(message.timestamp_s),
        SIGNATURE_HEADER: " ".join(f"{_SCHEME},{_signature(key, content)}" for key in keys),
    }


def verified(
    keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float
) -> Message:
    """The message, which one of `keys` signed at most five minutes from `now_s`.

    `headers` are asked by lower-case names. Raises `BadSignature`, which tells what was missing
    and never what would have been right.
    """
    message = Message(
        headers.get(ID_HEADER, ""), _timestamp(headers.get(TIMESTAMP_HEADER, "")), body
    )
    if not message.id:
        raise BadSignature(f"There is no {ID_HEADER}.")
    if abs(now_s - message.timestamp_s) > TOLERANCE_S:
        raise BadSignature("The message was signed too long ago, or by a clock that is wrong.")
    given = _signatures(headers.get(SIGNATURE_HEADER, ""))
    content = _content(message)
    expected = [_signature(key, content).encode() for key in keys]
    # Every pair is compared, so that the time taken tells nothing of which key it was.
    if not sum(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
        raise BadSignature
    return message


def _timestamp(text: str) -> int:
    """Plain digits: `int` alone would let `+1_0` and other alphabets' digits through."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise BadSignature(f"{TIMESTAMP_HEADER} is not a number of seconds.")
    return int(text)


def _signatures(text: str) -> list[bytes]:
    """Signatures of schemes that we do not know are passed over: a sender may add some."""
    parts = text.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]
    pairs = (part.partition(",") for part in parts)
    found = [value.encode() for scheme, _, value in pairs if scheme == _SCHEME and value]
    if not found:
        raise BadSignature(f"There is no {_SCHEME} signature in {SIGNATURE_HEADER}.")
    return found


def _content(message: Message) -> bytes:
    return b"%b.%d.%b" % (message.id.encode(), message.timestamp_s, message.body)


def _signature(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
