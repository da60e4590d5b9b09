"""Proof of work as ALTCHA (version 2) has it: the browser looks for a number that takes a known,
bounded time to find. PBKDF2, because browsers compute it as fast as a bot's own program would.
"""

from __future__ import annotations

import json
import secrets
from binascii import Error as BadBase64
from binascii import a2b_base64

import altcha
import msgspec

from sluice.domain.challenge import LEVEL_MAX, Made

ALGORITHM = "PBKDF2/SHA-256"
ITERATIONS = 1000
"""0.3 to 0.4 ms for each number that is tried, on a core of 2024."""
NUMBERS = 1000
"""Numbers at level 0, half of which must be tried at least."""
_KEY_HEX = 64
_TAIL_HEX = 8
PAYLOAD_MAX = 3000
"""Characters of the widget's answer."""


class _Solution(msgspec.Struct):
    derived_key: str = msgspec.field(name="derivedKey")


class _Payload(msgspec.Struct):
    solution: _Solution


_decode = msgspec.json.Decoder(_Payload).decode


def make(key: bytes, level: int) -> Made:
    """`key` signs the parameters, as ALTCHA's own libraries expect it.

    The client is shown the first half of the derived key; the answer is the end of the other half,
    which nobody knows without having found the number.
    """
    assert 0 <= level <= LEVEL_MAX
    most = NUMBERS << level
    number = most // 2 + secrets.randbelow(most // 2)
    made = altcha.create_challenge(ALGORITHM, ITERATIONS, counter=number, hmac_secret=key)
    shown = json.dumps(made.to_dict(), separators=(",", ":")).encode()
    return Made(_answer(_derived(made.parameters, number)), shown[1:-1])


def answer_of(text: str) -> int | None:
    """The answer in what the widget sends (base64 of JSON), or in a derived key in hex alone."""
    derived = text if len(text) == _KEY_HEX else _of_payload(text)
    if derived is None or len(derived) != _KEY_HEX:
        return None
    try:
        return int.from_bytes(bytes.fromhex(derived)[-_TAIL_HEX // 2 :])
    except ValueError:
        return None


def _of_payload(text: str) -> str | None:
    if len(text) > PAYLOAD_MAX:
        return None
    try:
        return _decode(a2b_base64(text.encode("ascii"))).solution.derived_key
    except (BadBase64, UnicodeEncodeError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _derived(parameters: altcha.ChallengeParameters, number: int) -> bytes:
    password = bytes.fromhex(parameters.nonce) + number.to_bytes(4)
    return altcha.derive_key_pbkdf2(parameters, bytes.fromhex(parameters.salt), password)


def _answer(derived: bytes) -> int:
    return int.from_bytes(derived[-_TAIL_HEX // 2 :])
