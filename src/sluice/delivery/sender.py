"""One attempt: sign the message, POST it, and say what became of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import httpcore

import sluice
from sluice.delivery.address import Network
from sluice.delivery.connect import Pinned, Resolve, Resolver, trusted
from sluice.delivery.schedule import ATTEMPT_S_MAX
from sluice.delivery.target import Forbidden, Target, parse_target
from sluice.domain.signature import Message, signed_headers
from sluice.domain.webhook import ERROR_CHARS_MAX

CONNECT_S_MAX = 5.0
ANSWER_BYTES_MAX = 65_536
"""Read so that the connection can be used again; of a longer answer it is cut."""
IDLE_S_MAX = 3.0
"""Less than servers commonly keep an idle connection, or a request would meet its end."""


POOLS_SPARE = 20
"""Pools without a connection that are kept: endpoints rest between two bursts."""

Origin = tuple[str, str, int]
"""Scheme, host, port."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Tests have less patience."""

    attempt_s: float = ATTEMPT_S_MAX
    connect_s: float = CONNECT_S_MAX


class Outcome(NamedTuple):
    """What one attempt came to. `status` is None where there was no answer; then `error` says why.

    Of the answer's body nothing is kept: an endpoint inside the operator's network would otherwise
    be read through the delivery log.
    """

    status: int | None
    error: str | None = None
    retry_after_s: int | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == 410


class Sender:
    """Sends to any number of endpoints. Redirects are answers like others; no proxy is used, no
    cookie is kept. `networks` are those the operator allows besides the public ones."""

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._networks = networks
        self._limits = limits or Limits()
        self._resolver = Resolver()
        self._resolve = resolve or self._resolver
        self._tls = tls or trusted()
        self._pools: dict[Origin, httpcore.AsyncConnectionPool] = {}

    @property
    def attempt_ms_max(self) -> int:
        """After this an attempt is over, whatever the other side does."""
        return round(self._limits.attempt_s * 1000)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._resolver.close()

    async def send(self, url: str, keys: Sequence[bytes], message: Message) -> Outcome:
        """Never raises for what the other side does."""
        try:
            target = parse_target(url)
            async with asyncio.timeout(self._limits.attempt_s):
                return await self._post(target, keys, message)
        except TimeoutError:
            return Outcome(None, f"no answer within {self._limits.attempt_s:g} s")
        except httpcore.TimeoutException as error:
            return Outcome(None, _brief(error, "no connection in time"))
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            return Outcome(None, _brief(error, "the connection failed"))
        except Forbidden as refused:
            return Outcome(None, _brief(refused, "forbidden"))
        except ValueError as error:
            return Outcome(None, _brief(error, "the URL cannot be used"))

    async def _post(self, target: Target, keys: Sequence[bytes], message: Message) -> Outcome:
        limits = self._limits
        extensions = {
            "timeout": {
                "connect": limits.connect_s,
                "pool": limits.attempt_s,
                "read": limits.attempt_s,
                "write": limits.attempt_s,
            }
        }
        # An URL object, so that nobody reads the address another time and differently.
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        pool = await self._pool((target.scheme, target.host, target.port))
        async with pool.stream(
            "POST",
            url,
            headers=_headers(target, keys, message),
            content=message.body,
            extensions=extensions,
        ) as answer:
            await _drain(answer)
            return Outcome(answer.status, retry_after_s=_retry_after(answer.headers))

    async def _pool(self, origin: Origin) -> httpcore.AsyncConnectionPool:
        """One for each origin: a pool looks through all its connections for every request."""
        pool = self._pools.get(origin)
        if pool is None:
            unused = [each for each, pool in self._pools.items() if not pool.connections]
            over = [self._pools.pop(each) for each in unused[:-POOLS_SPARE]]
            pool = self._pools[origin] = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=None,
                keepalive_expiry=IDLE_S_MAX,
                network_backend=Pinned(origin[0], self._networks, self._resolve),
            )
            for each in over:
                await each.aclose()
        return pool


def _headers(
    target: Target, keys: Sequence[bytes], message: Message
) -> list[tuple[bytes | str, bytes | str]]:
    return [
        ("host", target.host_header),
        ("user-agent", f"sluice/{sluice.__version__}"),
        ("content-type", "application/json"),
        ("content-length", str(len(message.body))),
        ("accept", "*/*"),
        *signed_headers(keys, message).items(),
    ]


async def _drain(answer: httpcore.Response) -> None:
    """The answer is its status; what else it says is read within bounds and thrown away."""
    read = 0
    async for part in answer.aiter_stream():
        read += len(part)
        if read > ANSWER_BYTES_MAX:
            return


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Seconds; its other form, a date, is not worth a parser of ours."""
    given: Mapping[bytes, bytes] = {name.lower(): value for name, value in headers}
    text = given.get(b"retry-after", b"")
    return int(text) if text.isdigit() and len(text) <= 6 else None


def _brief(error: Exception, otherwise: str) -> str:
    """One line for the log that people read."""
    text = " ".join(str(error).split()) or otherwise
    return text if len(text) <= ERROR_CHARS_MAX else text[: ERROR_CHARS_MAX - 1] + "…"
