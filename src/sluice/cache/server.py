"""The client of the cache server. It may be away: that is said once, counted, and got over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from sluice.breaker import Breaker, Breakers
from sluice.cache import keys
from sluice.cache.news import BATCH_MAX, News, pack, unpack
from sluice.cache.scripts import Script
from sluice.domain import number
from sluice.domain.errors import CacheAway, CacheUnavailable, SettingsError
from sluice.telemetry import get_logger

T = TypeVar("T")
Tell = Callable[[bytes | None], None]
"""Told what came on a channel, and None where something may have been missed."""
Key = str | bytes

TIMEOUT_S = 0.5
TURN_S_MAX = 2.0
"""Longer than this nobody waits for a connection."""
CONNECTIONS_MAX = 16
"""Of one process, at once; calls are short, and nearly all come in batches."""
HEARTBEAT_S = 5.0
"""A listener that heard nothing for this long asks whether its connection still stands."""
BACKOFF_S = (0.1, 5.0)
OUTCOMES_MAX = 64
"""Different outcomes in one count."""

log = get_logger("cache")


class CacheServer:
    """One client a process. `failures` counts the calls that the server did not answer."""

    def __init__(self, redis: Any, listener: Any) -> None:
        self._redis = redis
        self._listener = listener
        self.failures = 0
        self._away = False
        self._breaker: Breaker | None = None

    @classmethod
    def from_url(cls, url: str) -> CacheServer:
        """Nothing connects before it is used. Raises `SettingsError`."""
        try:
            # A listener waits for as long as nothing happens; it sees to its own connection.
            return cls(_client(url, TIMEOUT_S), _client(url, None))
        except ValueError as error:
            raise SettingsError(f"SLUICE_CACHE_URL cannot be used: {error}.") from None

    def guard(self, breakers: Breakers) -> None:
        """From now on calls end at once while the server does not answer."""
        self._breaker = breakers.of("cache", CacheAway, _is_fault)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._listener.aclose()

    async def ping(self) -> None:
        """Raises `CacheUnavailable`."""
        await self._asked(self._redis.ping())

    # --- what the rooms' own stores are made of ------------------------------------------

    async def run(self, script: Script, keys_: Sequence[Key], arguments: Sequence[Any]) -> Any:
        """What the script answers. Raises `CacheUnavailable`."""
        numbered = (len(keys_), *keys_, *arguments)
        return await self._asked(self._run(script, numbered))

    async def _run(self, script: Script, numbered: Sequence[Any]) -> Any:
        try:
            return await self._redis.execute_command("EVALSHA", script.digest, *numbered)
        except NoScriptError:  # the server was started anew
            return await self._redis.execute_command("EVAL", script.text, *numbered)

    async def do(self, *command: Any) -> Any:
        """What one command answers. Raises `CacheUnavailable`."""
        return await self._asked(self._redis.execute_command(*command))

    async def do_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """What each of some commands answers, sent together. Raises `CacheUnavailable`."""
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return await self._asked(pipe.execute())

    async def delete(self, *names: Key) -> None:
        """Raises `CacheUnavailable`."""
        await self._asked(self._redis.delete(*names))

    def pubsub(self) -> Any:
        """A connection that waits for messages; subscriptions are confirmed as messages too."""
        return self._listener.pubsub()

    def note_failure(self, error: Exception) -> None:
        """Whoever listens by itself says so when its connection broke."""
        self._failed(error)

    # --- news of the catalogue -------------------------------------------------------------

    async def announce(self, sale_id: int) -> bool:
        """Tell every process that a sale has changed. A lost announcement is made good by the
        next refresh of their snapshots, so it is no error; False where it was not sent.
        """
        try:
            await self._asked(self._redis.publish(keys.CATALOG, str(sale_id)))
        except CacheUnavailable:
            return False
        return True

    async def listen(
        self,
        heard: Callable[[int | None], None],
        heard_news: Callable[[list[News] | None], None] | None = None,
    ) -> None:
        """Call `heard` with every announced sale and `heard_news` with news for buyers, and
        otherwise as `follow` does."""
        told = {keys.CATALOG: _sale_to(heard)}
        if heard_news is not None:
            told[keys.LIVE] = _news_to(heard_news)
        await self._follow(told)

    async def follow(self, channel: str, heard: Callable[[bytes | None], None]) -> None:
        """Call `heard` with every message of a channel, until cancelled; with None after each time
        that the connection was made, and wherever else anything may have been missed.
        """
        await self._follow({channel: heard})

    async def _follow(self, told: Mapping[str, Tell]) -> None:
        backoff_s = BACKOFF_S[0]
        while True:
            try:
                async with self._listener.pubsub() as pubsub:
                    async with asyncio.timeout(TIMEOUT_S):
                        await pubsub.subscribe(*told)
                    self._answered()
                    backoff_s = BACKOFF_S[0]
                    for tell in told.values():
                        tell(None)
                    await _deliver(pubsub, {name.encode(): tell for name, tell in told.items()})
            except (RedisError, OSError) as error:
                self._failed(error)
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    # --- news for buyers -------------------------------------------------------------------

    async def lead(self, owner: str) -> bool:
        """Whether `owner` is the herald for the next `keys.HERALD_LEASE_MS`. Two may believe it
        for a moment: news told twice does no harm. Raises `CacheUnavailable`.
        """
        lease: Any = {"px": keys.HERALD_LEASE_MS}
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.HERALD, owner, nx=True, **lease)
        pipe.get(keys.HERALD)
        is_new, holder = await self._asked(pipe.execute())
        if holder == owner.encode() and not is_new:
            await self._asked(self._redis.set(keys.HERALD, owner, **lease))
        return bool(holder == owner.encode())

    async def resign(self, owner: str) -> None:
        """Let another herald begin at once. Raises `CacheUnavailable`."""
        if await self._asked(self._redis.get(keys.HERALD)) == owner.encode():
            await self._asked(self._redis.delete(keys.HERALD))

    async def listen_on(self) -> None:
        """Say that somebody is connected here and wants to hear news, for `PRESENT_EXPIRE_S`.

        Raises `CacheUnavailable`.
        """
        await self._asked(self._redis.set(keys.PRESENT, 1, ex=keys.PRESENT_EXPIRE_S))

    async def is_listened_to(self) -> bool:
        """Whether anybody is connected anywhere. Raises `CacheUnavailable`."""
        return bool(await self._asked(self._redis.exists(keys.PRESENT)))

    async def told_until(self) -> int | None:
        """The position of the outbox up to which news was told; None where nobody knows any more.

        Raises `CacheUnavailable`.
        """
        position = await self._asked(self._redis.get(keys.HERALD_POSITION))
        return None if position is None else int(position)

    async def tell(self, news: Sequence[News], until: int | None) -> None:
        """Tell every process; where there is nothing to tell they hear that they may have missed
        some. `until` is the position of the outbox that this is up to, or None: it does not come
        from there. Raises `CacheUnavailable`.
        """
        pipe = self._redis.pipeline(transaction=False)
        for start in range(0, max(len(news), 1), BATCH_MAX):
            pipe.publish(keys.LIVE, pack(news[start : start + BATCH_MAX]))
        if until is not None:
            pipe.set(keys.HERALD_POSITION, until, ex=keys.HERALD_POSITION_EXPIRE_S)
        await self._asked(pipe.execute())

    # --- rates -----------------------------------------------------------------------------

    async def count(self, outcomes: Mapping[str, int]) -> bool:
        """Add what this process counted in its last second. False where the server was away:
        rates are for looking at, and that second is then missing from them.
        """
        counted = {name: n for name, n in list(outcomes.items())[:OUTCOMES_MAX] if n}
        if not counted:
            return True
        try:
            key = keys.rates(await self._second())
            pipe = self._redis.pipeline(transaction=False)
            for name, n in counted.items():
                pipe.hincrby(key, name, n)
            pipe.expire(key, keys.RATES_EXPIRE_S)
            await self._asked(pipe.execute())
        except CacheUnavailable:
            return False
        return True

    async def rates(self, seconds: int = 10) -> dict[str, float]:
        """Outcomes per second of all processes, over the last whole `seconds`.

        Raises `CacheUnavailable`.
        """
        now = await self._second()
        pipe = self._redis.pipeline(transaction=False)
        # The running second is left out, and the one before: its counts are still arriving.
        for second in range(now - 1 - seconds, now - 1):
            pipe.hgetall(keys.rates(second))
        total: Counter[str] = Counter()
        for counted in await self._asked(pipe.execute()):
            for name, n in counted.items():
                total[name.decode()] += int(n)
        return {name: n / seconds for name, n in sorted(total.items())}

    async def _second(self) -> int:
        seconds, _ = await self._asked(self._redis.time())
        return int(seconds)

    # --- being away ------------------------------------------------------------------------

    async def _asked(self, call: Awaitable[T]) -> T:
        if self._breaker is None:
            return await self._answer_to(call)
        try:
            return await self._breaker.run(self._answer_to(call))
        except CacheAway:
            if asyncio.iscoroutine(call):
                call.close()
            raise

    async def _answer_to(self, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except (RedisError, OSError) as error:
            self._failed(error)
            raise CacheUnavailable from error
        self._answered()
        return answer

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._away:
            self._away = True
            log.warning("The cache server is away.", action="cache.away", detail=str(error))

    def _answered(self) -> None:
        if self._away:
            self._away = False
            log.info("The cache server is back.", action="cache.back")


def _is_fault(error: Exception) -> bool:
    """Whatever the server says, even that it may not: it is there."""
    return isinstance(error, CacheUnavailable) and not isinstance(error.__cause__, ResponseError)


def _client(url: str, timeout_s: float | None) -> Redis:
    """Where more calls come at once than there are connections, they wait for their turn."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=TURN_S_MAX,
        socket_timeout=timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


async def _deliver(pubsub: Any, told: Mapping[bytes, Tell]) -> None:
    """Hand on what arrives on each channel until the connection breaks."""
    while True:
        message = await pubsub.get_message(timeout=HEARTBEAT_S)
        if message is None:
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.ping()
            message = await pubsub.get_message(timeout=TIMEOUT_S)
            if message is None:
                raise TimeoutError("no answer to a ping")
        if message["type"] == "message":
            told[message["channel"]](message["data"])


def _sale_to(heard: Callable[[int | None], None]) -> Tell:
    def tell(data: bytes | None) -> None:
        sale_id = None if data is None else number.parse(data.decode("ascii", "replace"))
        if data is None or sale_id is not None:
            heard(sale_id)

    return tell


def _news_to(heard: Callable[[list[News] | None], None]) -> Tell:
    def tell(data: bytes | None) -> None:
        heard(unpack(data) if data else None)

    return tell
