"""Tokens: what we signed for a purpose verifies, whichever key signed it; nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.admission.keyring import Signer, decode, encode

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32
PAYLOAD = b"payload of 21 bytes.."
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def signer(*keys: bytes, purpose: bytes = b"pass") -> Signer:
    return Signer(keys, purpose)


# --- keys -----------------------------------------------------------------------------------------


def test_keys_rotate_without_a_gap() -> None:
    before = signer(OLD)
    learned = signer(OLD, NEW)  # first every process learns to verify the new key ...
    signing = signer(NEW, OLD)  # ... then they begin to sign with it, one after the other ...
    after = signer(NEW)  # ... and when the last old token has expired, the old key goes.

    for one, other in ((before, learned), (learned, signing), (signing, after)):
        assert other.verify(one.sign(PAYLOAD)) == PAYLOAD
        assert one.verify(other.sign(PAYLOAD)) == PAYLOAD
    assert after.verify(before.sign(PAYLOAD)) is None


def test_the_first_key_signs() -> None:
    assert signer(NEW, OLD).sign(PAYLOAD) == signer(NEW).sign(PAYLOAD)
    assert signer(NEW, OLD).sign(PAYLOAD) != signer(OLD).sign(PAYLOAD)


def test_a_token_names_its_key_without_telling_it() -> None:
    kid = signer(OLD).sign(PAYLOAD).split(".")[0]

    assert kid == signer(OLD, purpose=b"receipt").sign(PAYLOAD).split(".")[0]
    assert kid != signer(NEW).sign(PAYLOAD).split(".")[0]
    assert encode(OLD)[:8] != kid


def test_a_token_of_one_purpose_is_nothing_for_another() -> None:
    assert signer(OLD, purpose=b"receipt").verify(signer(OLD).sign(PAYLOAD)) is None


def test_a_token_of_somebody_elses_key_is_refused_under_our_name_too() -> None:
    ours = signer(OLD).sign(PAYLOAD).split(".")[0]
    _, payload, signature = signer(FOREIGN).sign(PAYLOAD).split(".")

    assert signer(OLD).verify(f"{ours}.{payload}.{signature}") is None


def test_no_keys_cannot_sign() -> None:
    with pytest.raises(ValueError):
        signer()


# --- forgeries ------------------------------------------------------------------------------------


def test_every_single_changed_character_voids_a_token() -> None:
    keys = signer(OLD, NEW)
    token = keys.sign(PAYLOAD)

    for at, character in enumerate(token):
        for other in ("A", "z", "-", ".", "=", "+", "\n"):
            if other != character:
                assert keys.verify(token[:at] + other + token[at + 1 :]) is None


def test_parts_of_two_tokens_make_no_third() -> None:
    keys = signer(OLD, NEW)
    one = keys.sign(PAYLOAD).split(".")
    two = keys.sign(PAYLOAD[::-1]).split(".")
    three = signer(NEW).sign(PAYLOAD).split(".")

    for parts in (
        [one[0], one[1], two[2]],
        [one[0], two[1], one[2]],
        [three[0], one[1], one[2]],
        [one[0], one[1], three[2]],
        [one[0], one[2], one[1]],
    ):
        assert keys.verify(".".join(parts)) is None


@pytest.mark.parametrize(
    "mangle",
    [
        lambda t: t[:-1],
        lambda t: t[:-4],
        lambda t: t + "A",
        lambda t: t + "AAAA",
        lambda t: t + "====",
        lambda t: t + ".",
        lambda t: "." + t,
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t.replace(".", ".."),
        lambda t: t.replace(".", ""),
        lambda t: t.split(".")[1],
        lambda t: t.rsplit(".", 1)[0] + ".",
        lambda t: t.rsplit(".", 1)[0],
        lambda t: t.split(".")[0] + "..",
        lambda t: t.lower(),
        lambda t: t.replace(".", "．"),
        lambda t: t + "é",
        lambda t: "\udcff" + t,
        lambda t: "",
        lambda t: "..",
        lambda t: ".",
    ],
)
def test_mangled_text_is_no_token(mangle: Callable[[str], str]) -> None:
    keys = signer(OLD)

    assert keys.verify(mangle(keys.sign(PAYLOAD))) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_check_or_passes_it(text: str) -> None:
    keys = signer(OLD)
    kid = keys.sign(PAYLOAD).split(".")[0]

    assert keys.verify(text) is None
    assert keys.verify(f"{kid}.{text}") is None
    assert keys.verify(f"{kid}.{encode(PAYLOAD)}.{text}") is None


# --- base64 ---------------------------------------------------------------------------------------


@given(st.binary(max_size=60).map(lambda raw: raw[: len(raw) // 3 * 3]))
def test_bytes_go_through_text_and_back(raw: bytes) -> None:
    text = encode(raw)

    assert set(text) <= set(ALPHABET)
    assert decode(text) == raw


@given(st.text(max_size=40) | st.text(ALPHABET + "+/=\n .", max_size=40))
def test_bytes_have_one_text_only(text: str) -> None:
    raw = decode(text)

    assert raw is None or encode(raw) == text


@pytest.mark.parametrize(
    "text",
    [
        "ab",
        "abc",
        "ab==",
        "abc=",
        "a\nbcd",
        "abcd\n",
        "ab\tcd",
        "ab+/",
        "-_-_=",
        "ab.cd",
        "ÄBCD",
        "abcd=",
        "=abc",
        "ab=c",
    ],
)
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    assert decode(text) is None
