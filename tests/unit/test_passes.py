"""The pass: says what was signed, binds whom it was signed for, and cannot be made by others."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sluice.admission.keyring import Signer
from sluice.admission.passes import PASS_MAX, Pass, Passes
from sluice.admission.receipts import Receipts

KEYS = (b"k" * 32,)
BINDING = b"buyer and sessio"

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
binding = st.binary(min_size=16, max_size=16)


@given(u32, u64, u32, binding)
def test_a_pass_says_what_it_was_issued_for(
    publication: int, item: int, expires_at_s: int, whose: bytes
) -> None:
    passes = Passes(KEYS)

    said = passes.verify(passes.issue(publication, item, expires_at_s, whose))

    assert said is not None
    assert (said.publication, said.item_id, said.expires_at_s) == (publication, item, expires_at_s)
    assert said.binding == whose
    assert len(said.nonce) == 12


def test_no_two_passes_have_one_nonce_over_many_pools_and_processes() -> None:
    makers = [Passes(KEYS), Passes(KEYS)]
    nonces = set()
    for number in range(2000):
        said = makers[number % 2].verify(makers[number % 2].issue(1, 1, 1, BINDING))
        assert said is not None
        nonces.add(said.nonce)

    assert len(nonces) == 2000


def test_a_pass_fits_an_address_and_needs_no_escaping() -> None:
    text = Passes(KEYS).issue(2**32 - 1, 2**64 - 1, 2**32 - 1, b"\xff" * 16)

    assert len(text) <= PASS_MAX
    assert text.replace(".", "").replace("-", "").replace("_", "").isalnum()


@given(st.integers(0, 47), st.integers(1, 255))
def test_no_field_can_be_changed(at: int, bits: int) -> None:
    """Whoever changes a byte of the payload has to sign it anew."""
    passes, signer = Passes(KEYS), Signer(KEYS, b"pass")
    kid, _, signature = passes.issue(7, 8, 9, BINDING).split(".")
    payload = bytearray(signer.verify(passes.issue(7, 8, 9, BINDING)) or b"")
    payload[at] ^= bits
    forged = Signer((b"x" * 32,), b"pass").sign(bytes(payload)).split(".")[1]

    assert passes.verify(f"{kid}.{forged}.{signature}") is None


def test_a_genuine_signature_over_anything_else_is_no_pass() -> None:
    signer = Signer(KEYS, b"pass")
    passes = Passes(KEYS)
    genuine = signer.verify(passes.issue(7, 8, 9, BINDING)) or b""

    assert passes.verify(signer.sign(genuine)) is not None
    for payload in (b"", genuine[:-3], genuine + b"\0\0\0", b"\x02" + genuine[1:]):
        assert passes.verify(signer.sign(payload)) is None


def test_longer_text_is_refused_unread() -> None:
    passes = Passes(KEYS)

    assert passes.verify(passes.issue(1, 1, 1, BINDING) + "A" * PASS_MAX) is None
    assert passes.verify("A" * 1_000_000) is None
    assert passes.verify("." * PASS_MAX) is None


def test_a_receipt_is_no_pass_and_a_pass_no_receipt() -> None:
    text = Passes(KEYS).issue(1, 1, 1, BINDING)

    assert Receipts(KEYS).verify(text) is None
    assert Passes((b"other" * 8,)).verify(text) is None


def test_an_expired_pass_is_still_genuine() -> None:
    """It can replay what it bought; who uses it looks at the time."""
    passes = Passes(KEYS)

    said = passes.verify(passes.issue(1, 2, 0, BINDING))

    assert isinstance(said, Pass)
    assert said.expires_at_s == 0


def test_keys_are_rotated_one_process_after_the_other_without_a_gap() -> None:
    """In each round some processes have what stood before and some what stands now."""
    old, new = b"o" * 32, b"n" * 32
    rounds = [[old], [old, new], [new, old], [new]]
    for before, after in pairwise(rounds):
        for signs, verifies in ((before, after), (after, before)):
            assert Passes(verifies).verify(Passes(signs).issue(1, 2, 3, bytes(16))) is not None
    assert Passes(rounds[-1]).verify(Passes(rounds[0]).issue(1, 2, 3, bytes(16))) is None
