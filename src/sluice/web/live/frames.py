"""WebSocket framing (RFC 6455), the server's side: whole frames out, bounded messages in.

No extensions and no subprotocols: messages are short JSON, and compression would keep a window of
memory for each connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

MESSAGE_MAX: Final = 8192
"""Bytes of one message from a client: an identity token is at most half of that."""
CONTROL_MAX: Final = 125
REASON_MAX: Final = 123


class Op(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Code(IntEnum):
    """Why a connection was closed; from 4000 on they are ours (docs/live.md)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    BAD_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    TRY_LATER = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    TOO_QUIET = 4408
    TOO_MANY = 4429


class ProtocolFault(Exception):  # noqa: N818 - what the client did, not what we did
    """The client broke the protocol; the connection is closed with `code`."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Received(NamedTuple):
    op: Op
    data: bytes


def frame(op: Op, data: bytes = b"") -> bytes:
    """One whole frame; a server's are not masked."""
    length = len(data)
    if length < 126:
        return bytes((0x80 | op, length)) + data
    if length < 1 << 16:
        return bytes((0x80 | op, 126)) + length.to_bytes(2, "big") + data
    return bytes((0x80 | op, 127)) + length.to_bytes(8, "big") + data


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(Op.CLOSE, code.to_bytes(2, "big") + reason.encode()[:REASON_MAX])


def close_code(data: bytes) -> int:
    """What to answer to a close frame: its own code where that is one that may be sent."""
    if not data:
        return Code.NORMAL
    code = int.from_bytes(data[:2], "big")
    known = 1000 <= code <= 1014 and code not in (1004, 1005, 1006)
    if len(data) < 2 or not (known or 3000 <= code < 5000):
        return Code.PROTOCOL_ERROR
    return code


class Frames:
    """Turns what arrives into messages. Holds at most one message and one frame of a client."""

    __slots__ = ("_held", "_message", "_op")

    def __init__(self) -> None:
        self._held = b""
        self._message = b""
        self._op = Op.CONTINUATION
        """Of the message that goes on in the next frame; CONTINUATION between messages."""

    def feed(self, data: bytes) -> Iterator[Received]:
        """Whole messages and control frames, in order. Raises `ProtocolFault`."""
        held = self._held + data if self._held else data
        at = 0
        try:
            while (ending := _end_of(held, at)) is not None:
                begin, end = ending
                if end > len(held):
                    break
                first = held[at]
                payload = _unmasked(held[begin:end], held[begin - 4 : begin])
                at = end
                received = self._take(first, payload)
                if received is not None:
                    yield received
        finally:
            self._held = held[at:]

    def _take(self, first: int, payload: bytes) -> Received | None:
        op = _op_of(first)
        final = bool(first & 0x80)
        if op >= Op.CLOSE:
            if not final:
                raise ProtocolFault(Code.PROTOCOL_ERROR, "a control frame in parts")
            return Received(op, payload)
        if (op is Op.CONTINUATION) == (self._op is Op.CONTINUATION):
            raise ProtocolFault(Code.PROTOCOL_ERROR, "a message inside of another, or of none")
        if len(self._message) + len(payload) > MESSAGE_MAX:
            raise ProtocolFault(Code.TOO_BIG, f"a message may have {MESSAGE_MAX} bytes")
        if op is not Op.CONTINUATION:
            self._op = op
        if not final:
            self._message += payload
            return None
        whole = Received(self._op, self._message + payload)
        self._message, self._op = b"", Op.CONTINUATION
        return whole


def _end_of(held: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins and ends; None while its head is not there."""
    if len(held) - at < 2:
        return None
    first, second = held[at], held[at + 1]
    if first & 0x70:
        raise ProtocolFault(Code.PROTOCOL_ERROR, "an extension that was not agreed on")
    if not second & 0x80:
        raise ProtocolFault(Code.PROTOCOL_ERROR, "a client's frames must be masked")
    length = second & 0x7F
    if first & 0x08 and length > CONTROL_MAX:
        raise ProtocolFault(Code.PROTOCOL_ERROR, "a control frame that is too long")
    wide = {126: 2, 127: 8}.get(length, 0)
    begin = at + 2 + wide + 4
    if len(held) < begin:
        return None
    if wide:
        length = int.from_bytes(held[at + 2 : at + 2 + wide], "big")
    if length > MESSAGE_MAX:
        raise ProtocolFault(Code.TOO_BIG, f"a message may have {MESSAGE_MAX} bytes")
    return begin, begin + length


def _op_of(first: int) -> Op:
    try:
        return Op(first & 0x0F)
    except ValueError:
        raise ProtocolFault(Code.PROTOCOL_ERROR, "a kind of frame that is not known") from None


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    length = len(payload)
    if not length:
        return b""
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


def texts_of(frames: bytes) -> Iterator[str]:
    """What is said in frames of our own making."""
    at = 0
    while at < len(frames):
        length, begin = frames[at + 1], at + 2
        wide = {126: 2, 127: 8}.get(length, 0)
        if wide:
            length = int.from_bytes(frames[begin : begin + wide], "big")
        begin += wide
        at = begin + length
        yield frames[begin:at].decode()
