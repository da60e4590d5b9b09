"""Challenges on a real cache server: bounded, taken once, answered once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from tests.valkey import Valkey, running

from sluice.admission.challenges.artist import Artist
from sluice.admission.challenges.making import Maker
from sluice.cache import challenges
from sluice.cache.challenges import ChallengePool
from sluice.cache.scripts import Script
from sluice.cache.server import CacheServer
from sluice.domain.challenge import Made, Shelf
from sluice.domain.sale import Challenge

SHELF = Shelf(Challenge.PROOF_OF_WORK, 0, 20)
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[CacheServer]:
    client = CacheServer.from_url(valkey.url)
    await client.do("FLUSHALL")
    yield client
    await client.close()


@pytest.fixture
def pool(server: CacheServer) -> ChallengePool:
    return ChallengePool(server)


def some(count: int, first: int = 0) -> list[Made]:
    return [Made(n, b'"image":"%d"' % n) for n in range(first, first + count)]


async def test_a_pool_holds_no_more_than_its_shelf(pool: ChallengePool) -> None:
    await pool.put(SHELF, some(15))
    assert await pool.missing([SHELF]) == [5]
    await pool.put(SHELF, some(15, first=15))
    assert await pool.missing([SHELF]) == [0]
    taken = await pool.take(SHELF, 100)
    assert [made.answer for made in taken] == list(range(10, 30)), "the oldest had to go"
    assert await pool.take(SHELF, 1) == []


async def test_what_one_process_took_no_other_gets(pool: ChallengePool, valkey: Valkey) -> None:
    await pool.put(SHELF, some(20))
    clients = [CacheServer.from_url(valkey.url) for _ in range(4)]
    taken = await asyncio.gather(*(ChallengePool(c).take(SHELF, 6) for c in clients))
    assert sorted(made.answer for part in taken for made in part) == list(range(20))
    await asyncio.gather(*(client.close() for client in clients))


async def first_answers(pools: Sequence[ChallengePool]) -> int:
    """How many of a hundred answers to one challenge are told that they are the first."""
    asked = [pools[n % len(pools)].spend([(b"nonce", MINUTE_MS)] * 2) for n in range(50)]
    return sum(sum(each) for each in await asyncio.gather(*asked))


async def test_one_of_a_hundred_answers_is_the_first(pool: ChallengePool, valkey: Valkey) -> None:
    other = CacheServer.from_url(valkey.url)
    assert await first_answers([pool, ChallengePool(other)]) == 1
    assert await pool.spend([(b"another", MINUTE_MS), (b"nonce", MINUTE_MS)]) == [True, False]
    await other.close()


async def test_without_its_guard_that_test_would_fail(
    pool: ChallengePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = challenges._SPEND.text.replace(", 'NX'", "")
    assert text != challenges._SPEND.text
    monkeypatch.setattr(challenges, "_SPEND", Script(text, "0" * 40))
    assert await first_answers([pool]) == 100


async def test_marks_go_when_the_challenge_could_not_be_used_any_more(
    pool: ChallengePool, server: CacheServer
) -> None:
    await pool.spend([(b"nonce", 5000)])
    [key] = await server.do("KEYS", "sluice:spent:*")
    assert 0 < await server.do("PTTL", key) <= 5000


async def test_the_artist_fills_what_sales_need_and_no_more(pool: ChallengePool) -> None:
    wanted: list[Shelf] = [SHELF]

    async def shelves() -> list[Shelf]:
        return wanted

    artist = Artist(pool, Maker([b"k" * 32], threads=1), shelves)
    while await artist.refill():
        pass
    assert await pool.missing([SHELF]) == [0]
    assert len({made.shown for made in await pool.take(SHELF, 100)}) == SHELF.size
    wanted.clear()
    assert not await artist.refill()
    assert await pool.missing([SHELF]) == [SHELF.size]


async def test_an_artist_ends_when_told() -> None:
    class Away(ChallengePool):
        def __init__(self) -> None:
            pass

        async def missing(self, shelves: Sequence[Shelf]) -> list[int]:
            from sluice.domain.errors import CacheUnavailable

            raise CacheUnavailable

    async def shelves() -> list[Shelf]:
        return [SHELF]

    artist = Artist(Away(), Maker([b"k" * 32], threads=1), shelves)
    running_ = asyncio.ensure_future(artist.run())
    await asyncio.sleep(0)
    artist.stop()
    async with asyncio.timeout(30):
        await running_
