"""Is the port free, and is the product ready? Both without an HTTP library."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress

from sluice.domain.errors import SettingsError

ANSWER_S = 2.0
PORT_MAX = 65535
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to compare with
"""Where to reach a server that listens on every address."""


def claim_port(host: str, port: int) -> int:
    """The port to listen on: `port`, or a free one where it is 0.

    Raises `SettingsError` where it cannot be listened on.
    """
    if not 0 <= port <= PORT_MAX:
        raise SettingsError(f"--port must be from 0 to {PORT_MAX}, not {port}.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
            return int(listener.getsockname()[1])
    except socket.gaierror:
        raise SettingsError(f"--host {host} is no address of this machine; name another.") from None
    except OSError as error:
        raise SettingsError(_why_not(host, port, error)) from None


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken; choose another with --port."
    if error.errno == errno.EACCES:
        return f"Port {port} needs the rights of root; choose one from 1024 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine; name another."
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"Port {port} on {host} cannot be used ({reason}); choose another with --port."


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def status_of(host: str, port: int, path: str) -> int:
    """The status of one GET; 0 while nobody answers."""
    with suppress(OSError, TimeoutError, ValueError, IndexError, EOFError):
        async with asyncio.timeout(ANSWER_S):
            return await _get(ANYWHERE.get(host, host), port, path)
    return 0


async def _get(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
