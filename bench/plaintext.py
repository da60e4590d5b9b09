"""Plaintext, the measure of everything: Granian answering 202 with 30 fixed bytes.

`python -m bench.plaintext INTERFACE PORT WORKERS` serves it as `sluice serve` serves the product:
same server, loop, HTTP version, backlog and bounds.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Awaitable, Callable
from typing import Any

BODY = b'{"status":"accepted","n":1234}'
assert len(BODY) == 30

_START = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"30")],
}
_BODY = {"type": "http.response.body", "body": BODY}
_HEADERS = [("content-type", "application/json")]


async def asgi(
    _scope: Any, _receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    await send(_START)
    await send(_BODY)


async def rsgi(_scope: Any, proto: Any) -> None:
    proto.response_bytes(202, _HEADERS, BODY)


def serve(interface: str, port: int, workers: int) -> None:
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.server import Server

    from sluice.cli.serve import BACKLOG, CONNECTIONS_MAX

    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)
    Server(
        f"bench.plaintext:{'rsgi' if interface == 'rsgi' else 'asgi'}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces(interface),
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        workers=workers,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
