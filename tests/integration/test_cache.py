"""Processes tell each other through the cache server, and get over its absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from tests.polling import until
from tests.valkey import Valkey, running

from sluice.cache import keys
from sluice.cache.news import BATCH_MAX, About, News
from sluice.cache.server import CacheServer
from sluice.domain.errors import CacheUnavailable, SettingsError


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


@pytest.fixture
async def cache(valkey: Valkey) -> AsyncIterator[CacheServer]:
    client = CacheServer.from_url(valkey.url)
    yield client
    await client.close()


@pytest.fixture
async def heard(cache: CacheServer) -> AsyncIterator[list[int | None]]:
    """What a listener was told, its first connection already made."""
    told: list[int | None] = []
    listening = asyncio.create_task(cache.listen(told.append))
    await until(lambda: told == [None])
    yield told
    listening.cancel()
    await asyncio.wait([listening])


async def test_an_announced_sale_is_heard(cache: CacheServer, heard: list[int | None]) -> None:
    assert await cache.announce(7)
    await until(lambda: heard == [None, 7])


async def test_what_is_no_sale_is_not_heard(
    valkey: Valkey, cache: CacheServer, heard: list[int | None]
) -> None:
    with redis.Redis.from_url(valkey.url) as other:
        for rubbish in (b"", b"\xff", b"-1", b"seven"):
            other.publish(keys.CATALOG, rubbish)
    await cache.announce(8)
    await until(lambda: heard == [None, 8])


async def test_a_listener_comes_back_with_its_server_and_says_so(
    valkey: Valkey, cache: CacheServer, heard: list[int | None]
) -> None:
    valkey.kill()
    assert not await cache.announce(7)
    valkey.start()
    await until(lambda: heard == [None, None])
    assert await cache.announce(9)
    await until(lambda: heard == [None, None, 9])


async def test_outcomes_of_all_processes_are_one_rate(valkey: Valkey, cache: CacheServer) -> None:
    second = 0
    with redis.Redis.from_url(valkey.url) as other:
        while True:
            assert await cache.count({"accepted": 30, "sold_out": 0})
            assert await cache.count({"accepted": 12, "refused": 5})
            [key] = other.keys("sluice:rates:*") or [b""]
            second = int(key.rpartition(b":")[2] or 0)
            counted = other.hgetall(key)
            if counted == {b"accepted": b"42", b"refused": b"5"}:
                break
            other.flushall()  # the second turned in between
        assert 0 < other.ttl(keys.rates(second)) <= keys.RATES_EXPIRE_S
        other.rename(keys.rates(second), keys.rates(second - 3))
    assert await cache.rates(10) == {"accepted": 4.2, "refused": 0.5}


async def test_without_the_server_counting_goes_on_and_reading_says_so(
    valkey: Valkey, cache: CacheServer
) -> None:
    valkey.kill()
    assert not await cache.count({"accepted": 1})
    assert await cache.count({})
    with pytest.raises(CacheUnavailable):
        await cache.rates()
    with pytest.raises(CacheUnavailable):
        await cache.ping()
    assert cache.failures == 3
    valkey.start()
    await cache.ping()
    assert await cache.count({"accepted": 1})


def test_a_url_that_cannot_work_is_said_at_the_start() -> None:
    with pytest.raises(SettingsError, match="SLUICE_CACHE_URL"):
        CacheServer.from_url("redis://localhost:port")


# --- news for buyers ------------------------------------------------------------------------------


async def test_news_is_heard_and_where_it_is_from_is_remembered(cache: CacheServer) -> None:
    told: list[list[News] | None] = []
    listening = asyncio.create_task(cache.listen(lambda _sale: None, told.append))
    await until(lambda: told == [None])
    many = [News(About.ORDER, number, b"d" * 16) for number in range(1, BATCH_MAX + 2)]
    await cache.tell(many, 77)
    await until(lambda: len(told) == 3)
    assert [each for part in told[1:] for each in part or ()] == many
    assert await cache.told_until() == 77
    await cache.tell([], None)
    await until(lambda: told[-1] is None)
    assert await cache.told_until() == 77
    listening.cancel()
    await asyncio.wait([listening])


async def test_one_listener_hears_of_sales_and_of_news_without_losing_its_connection(
    cache: CacheServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two channels are confirmed by two messages, which are no answer to a ping."""
    monkeypatch.setattr("sluice.cache.server.HEARTBEAT_S", 0.02)
    sales: list[int | None] = []
    listening = asyncio.create_task(cache.listen(sales.append, lambda _news: None))
    await until(lambda: sales == [None])
    await asyncio.sleep(0.2)  # some heartbeats; each would make a new connection if it failed
    await cache.announce(7)
    await until(lambda: sales == [None, 7])
    assert cache.failures == 0
    listening.cancel()
    await asyncio.wait([listening])


async def test_one_leads_until_it_resigns_or_is_silent(valkey: Valkey, cache: CacheServer) -> None:
    assert await cache.lead("one")
    assert not await cache.lead("two")
    assert await cache.lead("one")
    await cache.resign("two")
    assert not await cache.lead("two")
    await cache.resign("one")
    assert await cache.lead("two")
    with redis.Redis.from_url(valkey.url) as other:
        assert 0 < other.pttl(keys.HERALD) <= keys.HERALD_LEASE_MS
        other.pexpire(keys.HERALD, 1)
        await until(lambda: not other.exists(keys.HERALD))
    assert await cache.lead("one")
    assert await cache.told_until() is None
