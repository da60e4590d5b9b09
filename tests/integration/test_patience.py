"""Bodies in the hot lane: read whole, bounded, and not waited for when they do not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.support.granian import DEADLINE_S, connection, serving

from sluice.web.patience import Patience
from sluice.web.problems import Problem

SECONDS_MAX = 0.5
BODY_MAX = 1000
FRAMINGS = [b"Content-Length: 900", b"Transfer-Encoding: chunked"]


class App:
    """Answers with the length of what it read, and notes what went wrong."""

    def __init__(self) -> None:
        self.patience = Patience(SECONDS_MAX)
        # Their codes: an error kept would keep its frames, and with them the connection.
        self.faults: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: Any, proto: Any) -> None:
        try:
            if scope.headers.get("content-length") is not None:
                body = await self.patience.whole(proto())
            else:
                body = await self.patience.bounded(proto, BODY_MAX)
        except Problem as problem:
            self.faults.put_nowait(problem.code)
            headers = problem.header_items("r")
            proto.response_bytes(problem.status, headers, problem.encode("r", scope.path))
        else:
            proto.response_bytes(200, [], str(len(body)).encode())


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def url(app: App) -> AsyncIterator[str]:
    looking = asyncio.create_task(_look(app.patience))
    async with serving(app) as base:
        yield base
    looking.cancel()


async def _look(patience: Patience) -> None:
    while True:
        patience.look()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_read_whole(url: str, app: App, chunked: bool) -> None:
    app.patience = Patience(DEADLINE_S)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 100

    content: Any = pieces() if chunked else b"x" * 900
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(url, content=content)).text == "900"


async def test_a_body_of_unknown_length_is_bounded(url: str, app: App) -> None:
    app.patience = Patience(DEADLINE_S)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * (BODY_MAX + 1)

    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(url, content=pieces())).status_code == 413


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_body_that_does_not_come_is_a_408(url: str, app: App, framing: bytes) -> None:
    async with connection(url) as (reader, writer), asyncio.timeout(DEADLINE_S):
        writer.write(b"POST /v1/buy/secret HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer
    assert b"secret" not in answer


@pytest.mark.parametrize("framing", [FRAMINGS[0]])
async def test_a_client_that_leaves_is_no_fault_of_ours(url: str, app: App, framing: bytes) -> None:
    async with connection(url) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\nstart")
        await writer.drain()
    async with asyncio.timeout(DEADLINE_S):
        assert (await app.faults.get()) == "timeout"
