"""Which descriptor of this process is a client's connection, to read it without Granian.

**Why.** Granian's WebSocket zero-fills a read buffer of 128 KiB for each connection the first time
that it reads (tungstenite's default, which Granian does not let us set): 10,000 idle connections
are 1.5 GB. Nothing else of it is needed after the handshake: frames are simple.

**How.** Granian does the handshake and goes on owning the connection. We find its descriptor by the
two addresses of the connection, put it into our event loop, and read and write it ourselves. It is
borrowed, not taken: no copy of it, so one open file a connection, and nothing of Granian's is
touched.

**Why that is sound.**
- A TCP connection is named by its two addresses; no other descriptor of this process has both.
  The peer's is compared in full, and our own port, so that a connection *to* the client's address
  which we opened is not taken for one *from* it.
- Granian reads a WebSocket when `receive` is called and writes it when `send_*` or `close` is. We
  call none of them while we have the descriptor, so no byte is read or written by both. A client
  must not send before it has the handshake's answer (RFC 6455, 4.1), so none was read too early.
- Granian closes the descriptor when the coroutine that serves the connection has ended and the
  protocol object is gone. That coroutine waits for us: first the descriptor leaves our loop, then
  the connection is shut down (so that the close frame which Granian then sends goes nowhere), and
  only then does it end. So the number cannot be another file's while it is in our loop.

**Where not.** On a system without these calls, behind TLS that Granian itself ends (the bytes would
be ciphertext), on a Unix socket, or where the search finds nothing, the answer is None, and what
Granian offers is used: it works, and costs memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

HOLES_MAX = 256
"""So many closed numbers in a row, above all that were seen, are taken for the end."""
_ADDRESS_BYTES = 128
_MAPPED = bytes(10) + b"\xff\xff"
"""In front of an IPv4 address in an IPv6 one."""


class Endpoint(NamedTuple):
    address: bytes
    """4 bytes, or 16 where it is an IPv6 one that stands for no IPv4 one."""
    port: int


class Descriptors:
    """Finds them for everybody who asks in the same turn of the loop, in one walk over the numbers.

    The walk leaves out the descriptors that were found and not given back, so its length is that of
    the other connections of this process, however many WebSockets there are.
    """

    def __init__(self) -> None:
        self._peer_of: Callable[[int], Endpoint | None] | None = _system_call("getpeername")
        self._own_of: Callable[[int], Endpoint | None] | None = _system_call("getsockname")
        self._borrowed: set[int] = set()
        self._highest = 0
        self._wanted: dict[Endpoint, tuple[int, asyncio.Future[int | None]]] = {}

    async def borrow(self, scope: Any) -> int | None:
        """The descriptor of a WebSocket's connection, until `give_back`; None where it is not to
        be had. `scope` is RSGI's; nothing of the connection may have been closed yet.
        """
        client, server = endpoint(scope.client), endpoint(scope.server)
        if (
            self._peer_of is None
            or client is None
            or server is None
            or scope.scheme not in ("http", "ws")
            or client in self._wanted
        ):
            return None
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._walk)
        found: asyncio.Future[int | None] = loop.create_future()
        self._wanted[client] = (server.port, found)
        return await found

    def give_back(self, descriptor: int) -> None:
        self._borrowed.discard(descriptor)

    def _walk(self) -> None:
        assert self._peer_of is not None
        assert self._own_of is not None
        wanted, self._wanted = self._wanted, {}
        number, holes = 3, 0
        while wanted and holes < HOLES_MAX:
            if number in self._borrowed:
                holes = 0
            else:
                peer = self._peer_of(number)
                asked = None if peer is None else wanted.get(peer)
                own = None if asked is None else self._own_of(number)
                if asked is not None and own is not None and own.port == asked[0]:
                    assert peer is not None
                    del wanted[peer]
                    self._lend(number, asked[1])
                if peer is not None:
                    self._highest = max(self._highest, number)
                holes = holes + 1 if peer is None and number > self._highest else 0
            number += 1
        for _, found in wanted.values():
            if not found.done():
                found.set_result(None)

    def _lend(self, number: int, found: asyncio.Future[int | None]) -> None:
        if not found.done():
            self._borrowed.add(number)
            found.set_result(number)


def endpoint(text: str) -> Endpoint | None:
    """`127.0.0.1:80` or `[::1]:80`; None for anything else."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]")).packed
    except ValueError:
        return None
    return Endpoint(_plain(address), int(port)) if port.isdecimal() else None


def _plain(address: bytes) -> bytes:
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def _system_call(name: str) -> Callable[[int], Endpoint | None] | None:
    """`getpeername` and `getsockname` of a bare number: a socket object for each one that is looked
    at would cost ten times as much, and would close it. None where the layout is not Linux's.
    """
    if sys.platform != "linux":
        return None
    call = getattr(ctypes.CDLL(None), name)
    buffer = ctypes.create_string_buffer(_ADDRESS_BYTES)
    length = ctypes.c_uint32()
    to_length = ctypes.byref(length)
    families = {int(socket.AF_INET): slice(4, 8), int(socket.AF_INET6): slice(8, 24)}

    def ask(number: int) -> Endpoint | None:
        length.value = _ADDRESS_BYTES
        if call(number, buffer, to_length):
            return None
        raw = buffer.raw
        where = families.get(int.from_bytes(raw[:2], sys.byteorder))
        return where and Endpoint(_plain(raw[where]), int.from_bytes(raw[2:4], "big"))

    return ask
