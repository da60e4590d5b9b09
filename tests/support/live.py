"""A WebSocket client for tests: raw enough to misbehave, patient enough for a slow machine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

WITHIN_S = 40.0
RECEIVE_BUFFER = 8192
"""Small, so that whoever does not read is soon found out."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HANDSHAKE = {
    "Host": "sluice.test",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What RFC 6455 answers to that key."""


class Refused(Exception):  # noqa: N818
    """The handshake was answered with this."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Closed(Exception):  # noqa: N818
    """The server ended the connection with this code; None where it said nothing."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class LiveClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answers_pings = True
        self.pings = 0

    @classmethod
    async def connect(
        cls, port: int, path: str = "/v1/live", host: str = "127.0.0.1", **headers: str | None
    ) -> LiveClient:
        """Raises `Refused`. A header that is None is left out."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, port))
        reader, writer = await asyncio.open_connection(sock=plain)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in {**HANDSHAKE, **named}.items() if value]
        writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        async with asyncio.timeout(WITHIN_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        if status != 101:
            writer.close()
            raise Refused(status)
        assert ACCEPTED in head
        return cls(reader, writer)

    async def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()

    # --- saying ----------------------------------------------------------------------------

    def say(self, message: Any) -> None:
        self.send(TEXT, json.dumps(message).encode())

    def send(self, op: int, data: bytes, *, final: bool = True, masked: bool = True) -> None:
        """One frame, as right or wrong as asked for."""
        length = len(data)
        if length < 126:
            size = bytes([length | masked << 7])
        elif length < 65536:
            size = bytes([126 | masked << 7]) + length.to_bytes(2, "big")
        else:
            size = bytes([127 | masked << 7]) + length.to_bytes(8, "big")
        mask = os.urandom(4) if masked else b""
        if masked:
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.writer.write(bytes([op | final << 7]) + size + mask + data)

    # --- hearing ---------------------------------------------------------------------------

    async def frame(self) -> tuple[int, bytes]:
        try:
            first, second = await self.reader.readexactly(2)
            length = second
            if length >= 126:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
            return first & 15, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Closed(None) from None

    async def hear(self) -> dict[str, Any]:
        """The next message; pings are answered on the way. Raises `Closed`."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                op, data = await self.frame()
                if op == TEXT:
                    heard: dict[str, Any] = json.loads(data)
                    return heard
                if op == CLOSE:
                    self.send(CLOSE, data)
                    raise Closed(int.from_bytes(data[:2]), data[2:].decode())
                if op == PING:
                    self.pings += 1
                    if self.answers_pings:
                        self.send(PONG, data)

    async def until(self, wanted: Callable[[dict[str, Any]], Any] | str) -> dict[str, Any]:
        """The first message of this type, or that is so; others are passed over."""
        while True:
            heard = await self.hear()
            if heard["type"] == wanted if isinstance(wanted, str) else wanted(heard):
                return heard

    async def ending(self) -> Closed:
        """How the server ends the connection."""
        try:
            while True:
                await self.hear()
        except Closed as closed:
            return closed


@asynccontextmanager
async def live(port: int, token: str | None = None, *topics: str) -> AsyncIterator[LiveClient]:
    """A connection that has said who it is, and what it wants to hear of."""
    client = await LiveClient.connect(port)
    try:
        if token is not None:
            client.say({"token": token})
            assert (await client.hear())["type"] == "ready"
        for topic in topics:
            client.say({"subscribe": topic})
        yield client
    finally:
        await client.close()
