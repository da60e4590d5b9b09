"""The receipt: every field of an acceptance, signed, for the day the gate has forgotten it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.admission.keyring import Signer
from sluice.admission.passes import Passes
from sluice.admission.receipts import RECEIPT_MAX, Receipt, Receipts

KEYS = (b"k" * 32, b"older" * 8)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
receipts = st.builds(
    Receipt,
    quantity=st.integers(0, 255),
    publication=u32,
    epoch=u32,
    counter=u64,
    number=u64,
    item_id=u64,
    slots=u32,
    nonce=st.binary(min_size=12, max_size=12),
    digest=st.binary(min_size=16, max_size=16),
)


@given(receipts)
def test_a_receipt_says_all_that_was_signed(receipt: Receipt) -> None:
    text = Receipts(KEYS).sign(receipt)

    assert len(text) <= RECEIPT_MAX
    assert Receipts(KEYS).verify(text) == receipt


@given(receipts, st.integers(1, 65), st.integers(1, 255))
def test_no_field_can_be_changed(receipt: Receipt, at: int, bits: int) -> None:
    signer = Signer(KEYS, b"receipt")
    kid, _, signature = Receipts(KEYS).sign(receipt).split(".")
    payload = bytearray(signer.verify(Receipts(KEYS).sign(receipt)) or b"")
    payload[at] ^= bits
    forged = Signer((b"x" * 32,), b"receipt").sign(bytes(payload)).split(".")[1]

    assert Receipts(KEYS).verify(f"{kid}.{forged}.{signature}") is None


@given(receipts)
def test_a_receipt_of_the_key_before_still_counts(receipt: Receipt) -> None:
    assert Receipts(KEYS).verify(Receipts(KEYS[1:]).sign(receipt)) == receipt
    assert Receipts(KEYS[1:]).verify(Receipts(KEYS).sign(receipt)) is None


def test_a_genuine_signature_over_anything_else_is_no_receipt() -> None:
    signer = Signer(KEYS, b"receipt")
    blank = Receipts(KEYS).sign(Receipt(1, 1, 1, 1, 1, 1, 1, b"n" * 12, b"d" * 16))
    genuine = signer.verify(blank) or b""

    assert Receipts(KEYS).verify(signer.sign(genuine)) is not None
    for payload in (b"", genuine[:-3], genuine + b"\0\0\0", b"\x02" + genuine[1:]):
        assert Receipts(KEYS).verify(signer.sign(payload)) is None


def test_longer_text_is_refused_unread() -> None:
    blank = Receipts(KEYS).sign(Receipt(1, 1, 1, 1, 1, 1, 1, b"n" * 12, b"d" * 16))

    assert Receipts(KEYS).verify(blank + "A" * RECEIPT_MAX) is None


def test_a_receipt_is_no_pass() -> None:
    blank = Receipts(KEYS).sign(Receipt(1, 1, 1, 1, 1, 1, 1, b"n" * 12, b"d" * 16))

    assert Passes(KEYS).verify(blank) is None
