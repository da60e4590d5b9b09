"""Connections that go where they were checked to go.

A name is looked up once, all its addresses are checked, and one of *those addresses* is connected
to: nobody can answer the check with one address and the connection with another. The name stays
in the request and in the TLS handshake, whose certificate has to be good for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import certifi
import httpcore
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from sluice.delivery.address import Address, Network
from sluice.delivery.target import check_addresses

Resolve = Callable[[str], Awaitable[Sequence[Address]]]

LOOKUPS_MAX = 16
"""At once. A name server that hangs keeps a thread for each name, and these are no one else's."""
ADDRESSES_MAX = 4
"""Of one host, tried in order."""


class Resolver:
    """Asks the system, one question a name at a time: many deliveries share the answer."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="resolve")
        self._asked: dict[str, asyncio.Task[list[Address]]] = {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, host: str) -> Sequence[Address]:
        """Raises OSError where the name leads nowhere."""
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = asyncio.ensure_future(self._ask(host))
            asked.add_done_callback(lambda _: self._asked.pop(host, None))
        # One that has waited long enough must not end the question for the others.
        return await asyncio.shield(asked)

    async def _ask(self, host: str) -> list[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _getaddrinfo, host)
        return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def _getaddrinfo(host: str) -> list[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


class Pinned(AsyncNetworkBackend):
    """Connects to a host's checked addresses. `scheme` is of all that come through it."""

    def __init__(self, scheme: str, networks: Sequence[Network], resolve: Resolve) -> None:
        self._scheme = scheme
        self._networks = networks
        self._resolve = resolve
        self._backend: AsyncNetworkBackend = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """Raises `Forbidden`, and httpcore's `ConnectError` and `ConnectTimeout`."""
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name was not resolved in time") from None
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from None
        check_addresses(self._scheme, found, self._networks)
        failed: Exception | None = None
        for address in found[:ADDRESSES_MAX]:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def trusted() -> ssl.SSLContext:
    """The system's certificates, to which operators add their own; a slim image has none, and
    then Mozilla's."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        context.load_verify_locations(certifi.where())
    return context
