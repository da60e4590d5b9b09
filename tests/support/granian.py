"""A real Granian in this process, and plain connections to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from granian.server.embed import Server

from tests.support.product import free_port

DEADLINE_S = 30
"""Only where something is broken is it ever waited for."""


@asynccontextmanager
async def serving(target: Any) -> AsyncIterator[str]:
    """An RSGI target behind Granian; gives `http://HOST:PORT`."""
    port = free_port()
    server = Server(target, port=port, log_enabled=False)
    running = asyncio.create_task(server.serve())
    try:
        await _listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()  # type: ignore[no-untyped-call]
        await running


@asynccontextmanager
async def connection(
    url: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection to the server, cut at the end."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _listening(port: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return
