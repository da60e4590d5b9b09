"""Frames: a message arrives whole however it is cut up, and none takes more than is allowed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.web.live.frames import (
    MESSAGE_MAX,
    Code,
    Frames,
    Op,
    ProtocolFault,
    close_code,
    close_frame,
    frame,
    texts_of,
)


def masked(op: int, data: bytes, *, final: bool = True) -> bytes:
    mask = os.urandom(4)
    length = len(data)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes([op | 0x80 * final]) + size + mask + body


@given(
    messages=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_messages_arrive_whole_however_the_bytes_are_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    sent = b"".join(masked(Op.TEXT, message) for message in messages)
    frames, got, at, turn = Frames(), [], 0, 0
    while at < len(sent):
        step = cuts[turn % len(cuts)]
        got += [received.data for received in frames.feed(sent[at : at + step])]
        at, turn = at + step, turn + 1
    assert got == messages
    assert frames._held == b""


@given(parts=st.lists(st.binary(max_size=100), min_size=2, max_size=6))
def test_a_message_in_parts_is_put_together_with_pings_in_between(parts: list[bytes]) -> None:
    sent = masked(Op.TEXT, parts[0], final=False)
    for part in parts[1:-1]:
        sent += masked(Op.PING, b"?") + masked(Op.CONTINUATION, part, final=False)
    sent += masked(Op.CONTINUATION, parts[-1])
    got = [each.data for each in Frames().feed(sent) if each.op is Op.TEXT]
    assert got == [b"".join(parts)]


def test_a_message_may_be_just_so_long() -> None:
    [received] = Frames().feed(masked(Op.TEXT, b"x" * MESSAGE_MAX))
    assert len(received.data) == MESSAGE_MAX
    for sent in (
        masked(Op.TEXT, b"x" * (MESSAGE_MAX + 1)),
        masked(Op.TEXT, b"x" * MESSAGE_MAX, final=False) + masked(Op.CONTINUATION, b"x"),
    ):
        with pytest.raises(ProtocolFault) as fault:
            list(Frames().feed(sent))
        assert fault.value.code is Code.TOO_BIG


def test_a_length_that_is_only_claimed_is_refused_before_anything_is_kept() -> None:
    frames = Frames()
    with pytest.raises(ProtocolFault):
        list(frames.feed(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4)))


@given(st.lists(st.text(max_size=70_000), max_size=3))
def test_what_we_frame_reads_back(texts: list[str]) -> None:
    frames = b"".join(frame(Op.TEXT, text.encode()) for text in texts)
    assert list(texts_of(frames)) == texts


def test_a_reason_is_cut_to_what_a_close_frame_holds() -> None:
    assert len(close_frame(1000, "x" * 500)) == 2 + 125


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", 1000),
        (b"\x03\xe9", 1001),
        (b"\x03\xec", 1002),
        (b"\x00\x01", 1002),
        (b"\x0b\xb8", 3000),
    ],
)
def test_only_codes_that_may_be_sent_are_answered_with_themselves(data: bytes, answer: int) -> None:
    assert close_code(data) == answer
