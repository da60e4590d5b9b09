"""Very many requests in little time: prepared bytes over connections that stay open."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import islice

CONNECTIONS = 24
TOGETHER = 16
"""Requests that one connection sends before it reads their answers."""


async def rush(host: str, port: int, source: str, requests: Iterator[bytes]) -> Counter[int]:
    """How often each status was answered. `requests` are whole HTTP/1.1 requests."""
    counted: Counter[int] = Counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
        try:
            while batch := list(islice(requests, TOGETHER)):
                writer.write(b"".join(batch))
                for _ in batch:
                    counted[await _answer(reader)] += 1
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return counted


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    await reader.readexactly(length)
    return int(head[9:12])
