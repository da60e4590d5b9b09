"""One client's connection, as two things can carry it: the descriptor itself, or Granian's object.

A wire takes whole frames or nothing: `send` says False while earlier ones are still on their way,
and the link keeps what is newest until `drained`. So a slow reader costs one write of memory.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Protocol

from granian.rsgi import (  # type: ignore[attr-defined]
    ProtocolClosed,
    ProtocolError,
    WebsocketMessageType,
)

from sluice.web.live.frames import (
    MESSAGE_MAX,
    Code,
    Frames,
    Op,
    ProtocolFault,
    Received,
    close_code,
    close_frame,
    frame,
    texts_of,
)

READ_MAX: Final = 65_536
SEND_BUFFER: Final = 32_768
"""Of the kernel, for each connection: its default grows to megabytes for one that does not read."""
_BUFFER = bytearray(READ_MAX)
_VIEW = memoryview(_BUFFER)
_AT_ONCE = struct.pack("ii", 1, 0)
_PING = frame(Op.PING)
HEARTBEAT = frame(Op.TEXT, b'{"type":"heartbeat"}')
"""Where no ping can be sent: what is written and never acknowledged ends a dead connection too."""


class End(Protocol):
    """What a wire tells its link."""

    def heard(self) -> None:
        """Something came from the client, so it is there."""

    def got(self, text: bytes) -> None: ...

    def end(self, code: Code, reason: str) -> None:
        """The client must be told to go; the link sees to it, and tells the wire."""

    def drained(self) -> None: ...

    def lost(self) -> None:
        """Once, at the very end."""


class Wire(Protocol):
    stuck_since: float | None
    """Since when what was written does not go out (`monotonic`)."""
    answers_pings: bool

    def send(self, frames: bytes) -> bool: ...

    def ping(self) -> None: ...

    def end(self, code: int, reason: str) -> None:
        """Say why, and wait for the client to agree; whoever waits no longer calls `cut`."""

    def cut(self) -> None:
        """At once, and whatever was not read by the client is forgotten."""


class BorrowedWire:
    """Frames on a descriptor that Granian owns and leaves alone; see `descriptors`."""

    __slots__ = (
        "_descriptor",
        "_ending",
        "_frames",
        "_left",
        "_link",
        "_loop",
        "_over",
        "stuck_since",
    )

    answers_pings = True

    def __init__(self, descriptor: int, link: End, over: Callable[[], None]) -> None:
        """`over` is called once, when the descriptor is in nobody's use here any more."""
        self._descriptor = descriptor
        self._link = link
        self._over: Callable[[], None] | None = over
        self._frames = Frames()
        self._left = b""
        self._ending = False
        self.stuck_since: float | None = None
        self._loop = asyncio.get_running_loop()
        _set_up(descriptor)
        self._loop.add_reader(descriptor, self._readable)

    def send(self, frames: bytes) -> bool:
        if self._left or self._ending or self._over is None:
            return False
        self._write(frames)
        return True

    def ping(self) -> None:
        self.send(_PING)

    def end(self, code: int, reason: str) -> None:
        if self._ending or self._over is None:
            return
        if self._left:
            self.cut()  # in the middle of a frame nothing more can be said
            return
        self._write(close_frame(code, reason))
        self._ending = True
        if self._over is not None:
            _socket(self._descriptor, lambda its: its.shutdown(socket.SHUT_WR))

    def cut(self) -> None:
        if self._over is not None:
            _socket(
                self._descriptor,
                lambda its: its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE),
            )
            self._finish()

    def _write(self, data: bytes) -> None:
        try:
            sent = os.write(self._descriptor, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._finish()
            return
        if sent == len(data):
            return
        self._left = data[sent:]
        self.stuck_since = monotonic()
        self._loop.add_writer(self._descriptor, self._writable)

    def _writable(self) -> None:
        try:
            sent = os.write(self._descriptor, self._left)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._finish()
            return
        self._left = self._left[sent:]
        if self._left:
            self.stuck_since = monotonic()
            return
        self.stuck_since = None
        self._loop.remove_writer(self._descriptor)
        self._link.drained()

    def _readable(self) -> None:
        try:
            length = os.readv(self._descriptor, (_BUFFER,))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            length = 0
        if length == 0:
            self._finish()
            return
        if self._ending:
            self._await_agreement(bytes(_VIEW[:length]))
            return
        self._link.heard()
        try:
            for received in self._frames.feed(bytes(_VIEW[:length])):
                self._take(received)
                if self._ending or self._over is None:
                    return
        except ProtocolFault as fault:
            self._link.end(fault.code, fault.reason)

    def _take(self, received: Received) -> None:
        if received.op is Op.TEXT:
            self._link.got(received.data)
        elif received.op is Op.PING:
            self.send(frame(Op.PONG, received.data))
        elif received.op is Op.CLOSE:
            self.end(close_code(received.data), "")
            self._finish()
        elif received.op is Op.BINARY:
            raise ProtocolFault(Code.UNSUPPORTED, "messages are text here")

    def _await_agreement(self, data: bytes) -> None:
        """After our close frame only theirs counts, or the end of what they send."""
        try:
            closed = any(received.op is Op.CLOSE for received in self._frames.feed(data))
        except ProtocolFault:
            closed = True
        if closed:
            self._finish()

    def _finish(self) -> None:
        """The descriptor leaves our loop before anybody else may use its number."""
        over, self._over = self._over, None
        if over is None:
            return
        self._left = b""
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        _socket(self._descriptor, lambda its: its.shutdown(socket.SHUT_RDWR))
        self._link.lost()
        over()


def _set_up(descriptor: int) -> None:
    def options(its: socket.socket) -> None:
        its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        its.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    _socket(descriptor, options)


def _socket(descriptor: int, use: Callable[[socket.socket], None]) -> None:
    """Does something to the connection; whatever it is, a client that has gone may refuse it."""
    with suppress(OSError):
        its = socket.socket(fileno=descriptor)
        try:
            with suppress(OSError):
                use(its)
        finally:
            its.detach()


class GranianWire:
    """Granian's own WebSocket: where its descriptor is not to be had."""

    __slots__ = ("_ending", "_link", "_over", "_proto", "_sending", "_transport", "stuck_since")

    answers_pings = False
    """Granian answers pings by itself, but cannot send one."""

    def __init__(self, proto: Any, transport: Any, link: End) -> None:
        self._proto = proto
        self._transport = transport
        self._link = link
        self._sending: asyncio.Task[None] | None = None
        self._ending = False
        self._over = asyncio.Event()
        self.stuck_since: float | None = None

    def send(self, frames: bytes) -> bool:
        if self._sending is not None or self._ending:
            return False
        self.stuck_since = monotonic()
        self._sending = asyncio.ensure_future(self._send(frames))
        return True

    def ping(self) -> None:
        self.send(HEARTBEAT)

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002 - RSGI has no place for it
        if not self._ending:
            self._ending = True
            self._proto.close(code)
            self._over.set()

    def cut(self) -> None:
        self._ending = True
        self._over.set()

    async def run(self) -> None:
        """Serves the connection until it ends."""
        reading = asyncio.ensure_future(self._read())
        over = asyncio.ensure_future(self._over.wait())
        await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
        self._ending = True
        for task in (reading, over, self._sending):
            if task is not None and not task.done():
                task.cancel()
        self._link.lost()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._transport.receive()
            except (ProtocolClosed, ProtocolError):
                return
            if message.kind == WebsocketMessageType.close:
                return
            self._link.heard()
            if message.kind != WebsocketMessageType.string:
                self._link.end(Code.UNSUPPORTED, "messages are text here")
                return
            text = message.data.encode()
            if len(text) > MESSAGE_MAX:
                self._link.end(Code.TOO_BIG, f"a message may have {MESSAGE_MAX} bytes")
                return
            self._link.got(text)

    async def _send(self, frames: bytes) -> None:
        try:
            for text in texts_of(frames):
                await self._transport.send_str(text)
        except (ProtocolClosed, ProtocolError):
            self._over.set()
            return
        finally:
            self._sending = None
        self.stuck_since = None
        self._link.drained()
