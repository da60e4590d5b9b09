"""The RSGI → ASGI adapter behind a real Granian, spoken to over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.support.granian import DEADLINE_S, connection, serving

from sluice.web.adapter import Adapter, ASGIApp

BODY_MAX = 64 * 1024
BODY_SECONDS_MAX = 1.0


class Probe:
    """An ASGI app that shows what it was given."""

    def __init__(self) -> None:
        self.life: list[str] = []
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._converse(scope, receive, send)
        else:
            await getattr(self, scope["path"].partition("/")[2].partition("/")[0])(
                scope, receive, send
            )

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["begun"] = True
        self.life.append("startup")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.life.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    async def _converse(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if scope["path"] == "/refused":
            await send({"type": "websocket.close", "code": 1008})
            return
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4001})
                return
            await send(
                {"type": "websocket.send", **{k: message[k] for k in message if k != "type"}}
            )
        self.gone.set()

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        body, pieces = b"", 0
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            pieces += 1
            if not message["more_body"]:
                break
        shown = {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[n.decode(), v.decode()] for n, v in scope["headers"]],
            "client": scope["client"],
            "state": scope["state"],
            "length": len(body),
            "body": body[:100].decode("latin-1"),
        }
        await _answer(send, 200, json.dumps(shown).encode(), [(b"X-Odd", "né\n".encode())])

    async def ignoring(self, scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, 401, b"no")

    async def empty(self, scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, 204, b"")

    async def streaming(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one,", b"", b"two,"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})

    async def waiting(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        self.gone.set()
        await _answer(send, 200, b"nobody reads this")

    async def raising(self, scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("boom")

    async def silent(self, scope: Any, receive: Any, send: Any) -> None:
        return

    async def breaking(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("boom")

    async def half(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("boom")

    async def truncated(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        self.gone.set()


async def _answer(send: Any, status: int, body: bytes, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def granian(app: ASGIApp) -> AsyncIterator[str]:
    """`app` behind the adapter on a real Granian in this process; gives `http://HOST:PORT`."""
    adapter = Adapter(app, body_max=BODY_MAX, body_seconds_max=BODY_SECONDS_MAX)
    await adapter.startup()
    async with serving(adapter) as url:
        yield url
    await adapter.shutdown()


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
async def url(probe: Probe) -> AsyncIterator[str]:
    async with granian(probe) as base:
        yield base


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


async def raw(url: str, request: bytes) -> bytes:
    """What the server answers to exactly these bytes, until it closes."""
    async with connection(url) as (reader, writer), asyncio.timeout(DEADLINE_S):
        writer.write(request)
        return await reader.read()


async def test_the_app_sees_the_request_as_it_was_sent(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/echo/%C3%A4%20b?x=1&y=%20",
        content=b"hello",
        headers=[("X-Twice", "a"), ("X-Twice", "b")],
    )
    shown = answer.json()
    assert shown["method"] == "POST"
    assert shown["path"] == "/echo/ä b"
    assert shown["raw_path"] == "/echo/%C3%A4%20b"
    assert shown["query"] == "x=1&y=%20"
    assert [v for n, v in shown["headers"] if n == "x-twice"] == ["a", "b"]
    assert shown["client"][0] == "127.0.0.1"
    assert shown["body"] == "hello"


async def test_a_header_that_is_not_ascii_is_there_but_empty(url: str) -> None:
    answer = await raw(
        url, b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Key: \xff\xfe\r\nConnection: close\r\n\r\n"
    )
    assert ["x-key", ""] in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]


async def test_an_answers_odd_header_cannot_break_the_server(http: httpx.AsyncClient) -> None:
    assert (await http.get("/echo")).headers["x-odd"] == "n???"


async def test_the_lifespans_state_reaches_the_requests(
    http: httpx.AsyncClient, probe: Probe
) -> None:
    assert (await http.get("/echo")).json()["state"] == {"begun": True}
    assert probe.life == ["startup"]


async def test_the_app_is_told_when_the_server_ends(probe: Probe) -> None:
    async with granian(probe):
        pass
    assert probe.life == ["startup", "shutdown"]


async def test_a_body_in_pieces_arrives_whole(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000
            await asyncio.sleep(0)

    assert (await http.post("/echo", content=pieces())).json()["length"] == 10_000


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(http: httpx.AsyncClient, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * 1024

    answer = await http.post("/echo", content=b"x" * (80 * 1024) if declared else pieces())
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_at_the_limit_is_taken(http: httpx.AsyncClient) -> None:
    assert (await http.post("/echo", content=b"x" * BODY_MAX)).json()["length"] == BODY_MAX


async def test_an_answer_is_read_although_its_request_was_long_and_unread(
    http: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        answer = await http.post("/ignoring", content=b"x" * 4_000_000)
        assert answer.status_code == 401


async def test_a_body_without_end_does_not_hold_the_answer_back(url: str) -> None:
    head = b"POST /ignoring HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nstart"
    started = asyncio.get_running_loop().time()
    async with connection(url) as (reader, writer), asyncio.timeout(DEADLINE_S):
        writer.write(head)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    assert asyncio.get_running_loop().time() - started < 5


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(url: str, framing: bytes) -> None:
    async with connection(url) as (reader, writer), asyncio.timeout(DEADLINE_S):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"timeout"' in answer


async def test_a_truncated_body_is_a_disconnect_and_not_an_end(url: str, probe: Probe) -> None:
    async with connection(url) as (_, writer):
        writer.write(b"POST /truncated HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nstart")
        await writer.drain()
        writer.close()
    async with asyncio.timeout(DEADLINE_S):
        await probe.gone.wait()


async def test_a_client_that_leaves_is_noticed(url: str, probe: Probe) -> None:
    async with connection(url) as (_, writer):
        writer.write(b"GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        writer.close()
    async with asyncio.timeout(DEADLINE_S):
        await probe.gone.wait()


async def test_a_streamed_answer_arrives_in_order(http: httpx.AsyncClient) -> None:
    assert (await http.get("/streaming")).text == "one,two,three"


async def test_an_empty_answer_has_no_body(http: httpx.AsyncClient) -> None:
    answer = await http.get("/empty")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_head_answers_as_get_does_without_the_body(http: httpx.AsyncClient) -> None:
    answer = await http.head("/ignoring")
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize("path", ["/raising", "/silent", "/half"])
async def test_an_app_that_fails_answers_with_a_problem(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"X-Request-Id": "my-own-request"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "my-own-request"


async def test_a_begun_answer_that_fails_ends_and_the_server_lives(
    http: httpx.AsyncClient,
) -> None:
    assert (await http.get("/breaking")).text == "part"
    assert (await http.get("/empty")).status_code == 204


# --- WebSocket: a client of a few lines, to see the very frames -----------------------------------


class WebSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, path: str) -> AsyncIterator[tuple[WebSocket, int]]:
        """The socket and the status of the handshake's answer."""
        async with connection(url) as (reader, writer):
            yield cls(reader, writer), await cls._handshake(reader, writer, path)

    @staticmethod
    async def _handshake(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> int:
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    def send(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        self.writer.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    async def receive(self) -> tuple[int, bytes]:
        async with asyncio.timeout(DEADLINE_S):
            first, length = await self.reader.readexactly(2)
            return first & 0x0F, await self.reader.readexactly(length)


async def test_a_websocket_carries_text_and_bytes_both_ways(url: str) -> None:
    async with WebSocket.connect(url, "/live") as (ws, status):
        assert status == 101
        ws.send(1, "grüß dich".encode())
        assert await ws.receive() == (1, "grüß dich".encode())
        ws.send(2, b"\x00\xff")
        assert await ws.receive() == (2, b"\x00\xff")


async def test_the_app_can_close_a_websocket(url: str) -> None:
    async with WebSocket.connect(url, "/live") as (ws, _):
        ws.send(1, b"close")
        opcode, _payload = await ws.receive()
        assert opcode == 8


async def test_the_app_can_refuse_a_websocket(url: str) -> None:
    async with WebSocket.connect(url, "/refused") as (_, status):
        assert status == 403


@pytest.mark.parametrize("politely", [True, False])
async def test_a_websocket_that_ends_is_noticed(url: str, probe: Probe, politely: bool) -> None:
    async with WebSocket.connect(url, "/live") as (ws, _):
        if politely:
            ws.send(8, struct.pack("!H", 1000))
        else:
            ws.writer.transport.abort()
        async with asyncio.timeout(DEADLINE_S):
            await probe.gone.wait()


# --- lifespan -------------------------------------------------------------------------------------


async def test_an_app_that_cannot_start_says_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no ledger"})

    with pytest.raises(RuntimeError, match="no ledger"):
        await Adapter(app).startup()


async def test_an_app_that_raises_at_the_start_says_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no gate")

    with pytest.raises(RuntimeError, match="no gate"):
        await Adapter(app).startup()


async def test_an_app_without_a_lifespan_starts_and_ends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    adapter = Adapter(app)
    await adapter.startup()
    await adapter.shutdown()
