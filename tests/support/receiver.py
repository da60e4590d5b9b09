"""A merchant's server that receives webhooks: a real one, with answers to choose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web

from sluice.domain.signature import key_of, verified

DEADLINE_S = 60.0


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    """What was answered."""
    peer: tuple[str, int]
    """Where it came from: the same for what came over one connection."""

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def what(self) -> str:
        return f"{self.message['type']} {self.message['data'].get('id')}"

    def signed_by(self, secret: str) -> bool:
        """Raises `BadSignature` where it is not."""
        return bool(verified([key_of(secret)], self.headers, self.body, time.time()))


Answer = Callable[[str, dict[str, Any]], Awaitable[web.StreamResponse]]
"""Path and message; gives the answer."""


async def well(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=204)


@dataclass
class Receiver:
    """`got` is whatever came, in the order in which it was answered."""

    answer: Answer = well
    got: list[Received] = field(default_factory=list)
    at_once: int = 0
    at_once_most: int = 0
    url: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        self._changed.set()
        try:
            answer = await self.answer(request.path_qs, json.loads(body))
        finally:
            self.at_once -= 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        self.got.append(Received(request.path_qs, headers, body, answer.status, peer))
        self._changed.set()
        return answer

    async def until(
        self, holds: Callable[[], bool], what: str = "", within_s: float = DEADLINE_S
    ) -> None:
        """Returns as soon as it holds; looks whenever something came or was answered."""
        try:
            async with asyncio.timeout(within_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            got = [f"{each.what()} → {each.status}" for each in self.got]
            raise AssertionError(f"not in time: {what}; came: {got}") from None

    async def count(self, count: int) -> None:
        await self.until(lambda: len(self.got) >= count, f"{count} messages")

    def delivered(self) -> list[str]:
        """What was taken with a 2xx, in its order."""
        return [each.what() for each in self.got if 200 <= each.status < 300]


@contextlib.asynccontextmanager
async def receiving(
    answer: Answer = well, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Receiver]:
    """On a free port of 127.0.0.1, at every path."""
    receiver = Receiver(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    found = runner.addresses[0][1]
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{found}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
