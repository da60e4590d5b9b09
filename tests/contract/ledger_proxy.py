"""A wire between the ledger and its server that a test can cut, or leave hanging."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url
from tests.support.product import free_port


class Proxy:
    """Forwards bytes both ways until it is told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Who tries to connect while nobody listens is not given this very port for its own end.
        self.port = free_port()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Nobody listens any more and every connection is gone, as when a server was killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hang(self) -> None:
        """Connections stay open and nothing comes through, as when a cable was pulled."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flowing.wait()
            server, forth = await asyncio.open_connection(self._host, self._port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(client, forth))
                    group.create_task(self._pump(server, back))
            finally:
                forth.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            back.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError("the other side is gone")


@asynccontextmanager
async def between(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the server of `url`, and the URL that goes through it."""
    parsed = make_url(url)
    default = 5432 if parsed.drivername == "postgresql" else 3306
    proxy = Proxy(parsed.host or "127.0.0.1", parsed.port or default)
    await proxy.start()
    through = parsed.set(host="127.0.0.1", port=proxy.port)
    try:
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        with contextlib.suppress(OSError):
            await proxy.cut()
