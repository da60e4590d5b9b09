"""One client for one server or a whole cluster; the rest of the gate sees no difference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sluice.domain.errors import GateUnavailable, SettingsError

T = TypeVar("T")

CONNECTIONS_MAX = 512
"""To one server. A blocking read of each of up to 256 shards' logs keeps one to itself."""
FAULTS = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)
"""A cluster that cannot be reached is no `RedisError` to the driver."""


class Client(Protocol):
    """What the gate uses of redis-py; `Redis` and `RedisCluster` both offer it."""

    async def execute_command(self, *args: Any, **options: Any) -> Any: ...

    async def aclose(self) -> None: ...


class _Cluster(RedisCluster):
    """Finds the node of a call by itself, and tells a lost connection as one.

    While the driver learns its nodes anew it closes connections under calls that are about to use
    them, and those trip over what is left (redis-py 8.1: `AttributeError`). Their outcome is
    unknown, as with any connection that breaks.

    For a function's call or a read of a stream the driver would ask a server which of the words
    are keys, twice a call and always the same server, which then nobody could do without.
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().execute_command(*args, **options)
        except AttributeError as error:
            raise exceptions.ConnectionError("the connection was closed under a call") from error

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command == "FCALL":
            return int(self.keyslot(args[2]))
        if command == "XREAD":
            return int(self.keyslot(args[args.index("STREAMS") + 1]))
        return int(await super()._determine_slot(command, *args))


def connect(url: str, *, timeout_s: float) -> Client:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+cluster://`; connects when used.

    No retries inside: a batch whose connection broke is unknown, and must say so at once.
    Raises `SettingsError` for a URL that can never work; its text, and so a password, is not told.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme.endswith("+cluster"):
            plain = urlunsplit(parts._replace(scheme=parts.scheme.removesuffix("+cluster")))
            return _Cluster.from_url(
                plain,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 1),  # one more try, for a moved slot
                max_connections=CONNECTIONS_MAX,
                protocol=2,
            )
        client = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS_MAX,
            protocol=2,
        )
        # Connects to nothing yet, but trips over an option that the driver does not know.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, exceptions.RedisClusterException):
        raise SettingsError(
            "SLUICE_REDIS_URL cannot be used: check its host, port, database and options, "
            "and percent-encode what is special in a password."
        ) from None
    return client


def primaries(client: Client) -> list[Callable[..., Awaitable[Any]]]:
    """`execute_command` of every server that holds keys."""
    if isinstance(client, RedisCluster):
        return [node.execute_command for node in client.get_primaries()]
    return [client.execute_command]


async def translated(call: Awaitable[T]) -> T:
    """The driver's faults as the gate's."""
    try:
        return await call
    except FAULTS as error:
        raise GateUnavailable(f"{type(error).__name__}: {error}") from error
