"""The outermost ASGI layer: names the request, adds every answer's headers, counts it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from sluice.telemetry import get_logger
from sluice.web import problems
from sluice.web.adapter import ASGIApp, Message, Receive, Send
from sluice.web.metrics import Counts
from sluice.web.overload import WorkTable
from sluice.web.routes import Routes

_DEFAULTS = [
    (name.encode(), value.encode())
    for name, value in (("cache-control", "no-store"), *problems.SECURITY_HEADERS)
]
log = get_logger("http")


class Edge:
    """`scope["state"]["request_id"]` is set for everything inside; headers in `["told"]` are added
    to the answer."""

    def __init__(self, app: ASGIApp, routes: Routes, counts: Counts, works: WorkTable) -> None:
        self._app = app
        self._routes = routes
        self._counts = counts
        self.works = works

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        began = perf_counter()
        try:
            await self._route(scope, receive, answer)
        except Exception as error:
            await answer.fail(error)
        finally:
            route = scope.get("path_template") or "none"
            self._counts.answered(route, answer.status, perf_counter() - began, "api")

    async def _route(self, scope: Any, receive: Receive, answer: _Answer) -> None:
        method = scope["method"]
        if method == "OPTIONS" and (methods := self._routes.methods(scope["path"])):
            await answer.whole(204, b"", [(b"allow", ", ".join(methods).encode())])
            return
        if method == "HEAD":
            # The server leaves the body away; what is left is exactly what GET would say.
            scope["method"] = "GET"
        await self._app(scope, receive, answer.send)


class _Answer:
    def __init__(self, scope: Any, send: Send) -> None:
        given = next((v for n, v in scope["headers"] if n == b"x-request-id"), b"")
        self._path = scope["path"]
        self._send = send
        self.request_id = problems.request_id_of(given.decode("latin-1"))
        self.status = 0
        self._state = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [header for header in _DEFAULTS if header[0] not in there]
            headers += [(n.encode(), v.encode()) for n, v in self._state.get("told", ())]
            if b"x-request-id" not in there:
                headers.append((b"x-request-id", self.request_id.encode()))
            message = {**message, "headers": headers}
        await self._send(message)

    async def whole(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def fail(self, error: Exception) -> None:
        """What the framework's own handling let through."""
        problem = problems.of(error)
        if problem.status == 500:
            log.error("A request failed.", action="http.failed", exc_info=error)
        if self.status:
            raise error
        body = problem.encode(self.request_id, self._path)
        items = [*problem.header_items(self.request_id), ("content-length", str(len(body)))]
        headers = [(name.encode(), value.encode("latin-1")) for name, value in items]
        await self.whole(problem.status, body, headers)
