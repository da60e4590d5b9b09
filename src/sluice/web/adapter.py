"""RSGI → ASGI: lets the framework's app run behind the hot lane's server object.

Exact where RSGI allows it. Where it does not: header values that are not ASCII arrive empty, the
path arrives decoded (bad UTF-8 as U+FFFD), a WebSocket cannot answer with a subprotocol, headers
or a close code, and a streamed answer knows no back-pressure.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from granian.rsgi import (  # type: ignore[attr-defined]
    ProtocolClosed,
    ProtocolError,
    WebsocketMessageType,
)

from sluice.telemetry import get_logger
from sluice.web import problems

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol, Scope, WebsocketProtocol  # type: ignore[attr-defined]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]

BODY_MAX: Final = 1 << 20
"""Bytes of a request's body; a route may allow less."""
BODY_SECONDS_MAX: Final = 10.0
"""How long the whole body may take to arrive."""
DRAIN_MAX: Final = 8 << 20
DRAIN_SECONDS_MAX: Final = 1.0
"""A refused body is read on, within these bounds, so that its sender comes to read the answer."""

WS_NORMAL: Final = 1000
WS_ABNORMAL: Final = 1006
WS_INTERNAL: Final = 1011

_ASGI_VERSION = {"version": "3.0", "spec_version": "2.4"}
_NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e]")
log = get_logger("http")


class Adapter:
    """Runs one ASGI app: `http` for each request, `ws` for each WebSocket, lifespan around all."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_max: int = BODY_MAX,
        body_seconds_max: float = BODY_SECONDS_MAX,
    ) -> None:
        self._app = app
        self._body_max = body_max
        self._body_seconds_max = body_seconds_max
        self._lifespan = Lifespan(app)
        self.in_hand = 0
        """Requests that are not answered yet."""

    async def startup(self) -> None:
        """Raises RuntimeError with the app's message where the app cannot start."""
        await self._lifespan.startup()

    async def shutdown(self) -> None:
        await self._lifespan.shutdown()

    async def __call__(self, scope: Scope, proto: Any) -> None:
        await (self.http if scope.proto == "http" else self.ws)(scope, proto)

    async def http(self, scope: Scope, proto: HTTPProtocol) -> None:
        exchange = _Exchange(scope, proto, self._body_max, self._body_seconds_max)
        self.in_hand += 1
        try:
            # Granian may drive this coroutine without an asyncio task; timeouts need one.
            await asyncio.ensure_future(self._answer(scope, exchange))
        finally:
            self.in_hand -= 1

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(self._scope(scope, "http"), exchange.receive, exchange.send)
        except Exception as error:
            await exchange.fail(error)
        else:
            if not exchange.started:
                await exchange.fail(RuntimeError("the app ended without an answer"))

    async def ws(self, scope: Scope, proto: WebsocketProtocol) -> None:
        await asyncio.ensure_future(self._converse(scope, _Socket(proto)))

    async def _converse(self, scope: Scope, socket: _Socket) -> None:
        try:
            await self._app(self._scope(scope, "websocket"), socket.receive, socket.send)
        except Exception:
            path = problems.instance_of(scope.path)
            log.exception("A WebSocket failed.", action="http.ws_failed", path=path)
            socket.close(WS_INTERNAL)
        else:
            socket.close(WS_NORMAL)

    def _scope(self, scope: Scope, kind: str) -> dict[str, Any]:
        scheme = scope.scheme
        if kind == "websocket":
            scheme = "wss" if scheme == "https" else "ws"
        asgi: dict[str, Any] = {
            "type": kind,
            "asgi": _ASGI_VERSION,
            "http_version": scope.http_version,
            "scheme": scheme,
            "path": scope.path,
            "raw_path": quote(scope.path).encode(),
            "query_string": scope.query_string.encode(),
            "root_path": "",
            "headers": _headers_in(scope),
            "client": _address(scope.client),
            "server": _address(scope.server),
            "state": self._lifespan.state.copy(),
            "extensions": {},
        }
        if kind == "http":
            asgi["method"] = scope.method
        else:
            offered = scope.headers.get("sec-websocket-protocol", "")
            asgi["subprotocols"] = [p.strip() for p in offered.split(",") if p.strip()]
        return asgi


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, scope: Scope, proto: HTTPProtocol, body_max: int, body_seconds_max: float
    ) -> None:
        self._scope = scope
        self._proto = proto
        self._body_max = body_max
        self._body_until = asyncio.get_running_loop().time() + body_seconds_max
        self._declared = _content_length(scope)
        self._received = 0
        self._chunks: AsyncIterator[bytes] | None = None
        self._body_ended = self._declared == 0
        self._told_empty = False
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._stream: Any = None
        self._finished = False
        self._gone = False

    @property
    def started(self) -> bool:
        return self._head is not None

    async def receive(self) -> Message:
        """The body in pieces, then `http.disconnect` when the client has gone.

        Raises `Problem` where the body is too large or too slow.
        """
        if self._body_ended:
            if self._declared == 0 and not self._told_empty:
                self._told_empty = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if not self._gone and not self._finished:
                await self._proto.client_disconnect()
            return {"type": "http.disconnect"}
        if (self._declared or 0) > self._body_max:
            raise problems.Problem("too_large")
        try:
            async with asyncio.timeout_at(self._body_until):
                chunk = await self._next_chunk()
        except TimeoutError:
            self._gone = True
            raise problems.Problem("timeout", headers={"connection": "close"}) from None
        if self._received > self._body_max:
            raise problems.Problem("too_large")
        if self._body_ended and self._received < (self._declared or 0):
            self._gone = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": not self._body_ended}

    async def _next_chunk(self) -> bytes:
        """The next piece of the body; the end is an empty piece or the end of the iteration."""
        if self._chunks is None:
            self._chunks = aiter(self._proto)
        try:
            chunk = bytes(await anext(self._chunks))
        except (StopAsyncIteration, ProtocolClosed, ProtocolError):
            chunk = b""
        self._received += len(chunk)
        self._body_ended = not chunk or self._received == self._declared
        return chunk

    async def _drain(self) -> None:
        if self._body_ended or self._gone or (self._declared or 0) > DRAIN_MAX:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                while not self._body_ended and self._received <= DRAIN_MAX:
                    await self._next_chunk()
        except TimeoutError:
            self._gone = True

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("the answer has begun already")
            self._head = int(message["status"]), _headers_out(message.get("headers", ()))
        elif kind == "http.response.body":
            if self._head is None or self._finished:
                raise RuntimeError("a body outside of an answer")
            await self._send_body(bytes(message.get("body", b"")), message.get("more_body", False))
        else:
            raise RuntimeError(f"a message that HTTP does not know: {kind}")

    async def _send_body(self, body: bytes, more: bool) -> None:
        assert self._head is not None
        self._finished = not more
        if self._stream is None:
            await self._drain()
            status, headers = self._head
            if not more:
                self._respond(status, headers, body)
                return
            self._stream = self._proto.response_stream(status, headers)
        if body and not self._gone:
            try:
                await self._stream.send_bytes(body)
            except (ProtocolClosed, ProtocolError):
                self._gone = True
        if not more:
            self._stream = None

    def _respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if body and self._scope.method != "HEAD":
            self._proto.response_bytes(status, headers, body)
        else:
            self._proto.response_empty(status, headers)

    async def fail(self, error: Exception) -> None:
        """The app did not answer. A begun answer cannot be taken back; it ends where it is."""
        problem = problems.of(error)
        path = self._scope.path
        if problem.status == 500:
            log.error(
                "A request failed.",
                action="http.failed",
                path=problems.instance_of(path),
                exc_info=error,
            )
        if self._stream is None and not self._finished:
            request_id = problems.request_id_of(self._scope.headers.get("x-request-id"))
            await self._drain()
            headers = problem.header_items(request_id)
            self._respond(problem.status, headers, problem.encode(request_id, path))
        self._finished = True
        self._stream = None


class _Socket:
    """One WebSocket."""

    def __init__(self, proto: WebsocketProtocol) -> None:
        self._proto = proto
        self._transport: Any = None
        self._connected = False
        self._closed = False

    async def receive(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._transport is None or self._closed:
            return {"type": "websocket.disconnect", "code": WS_ABNORMAL}
        try:
            message = await self._transport.receive()
        except (ProtocolClosed, ProtocolError):
            self._closed = True
            return {"type": "websocket.disconnect", "code": WS_ABNORMAL}
        if message.kind == WebsocketMessageType.close:
            self._closed = True
            return {"type": "websocket.disconnect", "code": WS_NORMAL}
        if message.kind == WebsocketMessageType.bytes:
            return {"type": "websocket.receive", "bytes": message.data}
        return {"type": "websocket.receive", "text": message.data}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._transport = await self._proto.accept()
        elif kind == "websocket.close":
            self.close(message.get("code", WS_NORMAL))
        elif kind == "websocket.send":
            if self._transport is None or self._closed:
                raise OSError("the WebSocket is closed")
            try:
                if message.get("text") is not None:
                    await self._transport.send_str(message["text"])
                else:
                    await self._transport.send_bytes(message["bytes"])
            except (ProtocolClosed, ProtocolError) as error:
                self._closed = True
                raise OSError("the WebSocket is closed") from error
        else:
            raise RuntimeError(f"a message that WebSockets do not know: {kind}")

    def close(self, code: int) -> None:
        """Before `accept` this refuses the handshake with 403."""
        if not self._closed:
            self._closed = True
            self._proto.close(403 if self._transport is None else code)


class Lifespan:
    """The app's life, told by ASGI's lifespan messages. An app that knows none of it is fine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        self._task = asyncio.create_task(self._run())
        await self._say("lifespan.startup")

    async def shutdown(self) -> None:
        if self._task is None:
            return
        if not self._task.done():
            await self._say("lifespan.shutdown")
        await self._task
        self._task = None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _ASGI_VERSION, "state": self.state}
        await self._app(scope, self._inbox.get, self._answers.put)

    async def _say(self, word: str) -> None:
        assert self._task is not None
        await self._inbox.put({"type": word})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            failure = self._task.exception()
            if failure is not None:
                raise RuntimeError(f"{word} failed: {failure}") from failure
            return
        said = answer.result()
        if said["type"] == f"{word}.failed":
            raise RuntimeError(said.get("message") or f"{word} failed")


def _headers_in(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Names in lower case. A value that RSGI cannot give is there, but empty."""
    given = [(name.encode(), value.encode()) for name, value in scope.headers.items()]
    readable = {name for name, _ in given}
    names = (name.encode() for name in scope.headers.keys())  # noqa: SIM118 - not a mapping
    return given + [(name, b"") for name in names if name not in readable]


def _headers_out(headers: Any) -> list[tuple[str, str]]:
    """Granian takes visible ASCII alone, and its worker panics on anything else."""
    return [
        (name.decode("latin-1").lower(), _NOT_IN_A_HEADER.sub("?", value.decode("latin-1")))
        for name, value in headers
    ]


def _content_length(scope: Scope) -> int | None:
    """Bytes that the client says will come; None where it does not say (chunked, HTTP/2)."""
    declared = scope.headers.get("content-length")
    if declared is not None and declared.isascii() and declared.isdigit() and len(declared) < 20:
        return int(declared)
    chunked = scope.headers.get("transfer-encoding") is not None
    return None if chunked or scope.http_version not in ("1", "1.1") else 0


def _address(text: str) -> tuple[str, int] | None:
    """`"127.0.0.1:80"` or `"[::1]:80"`; None for a Unix socket."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        return None
    return host.strip("[]"), int(port)
