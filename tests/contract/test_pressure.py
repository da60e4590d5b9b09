"""How loaded each process is, told on a real cache server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.valkey import Valkey, running

from sluice.cache import keys, pressure
from sluice.cache.pressure import LIVES_MS, Load, Pressure
from sluice.cache.server import CacheServer
from sluice.domain.errors import CacheUnavailable

CALM = Load(2.0, 25.0, 0.0, 800.0, 0.0)
STORM = Load(40.0, 25.0, 1.3, 9000.0, 700.0)


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


async def test_what_every_process_told_is_read_by_all(server: CacheServer) -> None:
    ours = Pressure(server)
    assert await ours.all() == {}
    assert await ours.tell("a", CALM) == {"a": CALM}
    assert await ours.tell("b", STORM) == {"a": CALM, "b": STORM}
    await ours.tell("a", STORM)
    assert await ours.all() == {"a": STORM, "b": STORM}


async def test_a_process_that_tells_nothing_any_more_is_forgotten(server: CacheServer) -> None:
    ours = Pressure(server)
    await ours.tell("gone", STORM)
    told = await server.do("HGET", keys.PRESSURE, "gone")
    seconds, _ = await server.do("TIME")
    told_then = b"%d000 " % (seconds - LIVES_MS // 1000 - 1) + told.partition(b" ")[2]
    await server.do("HSET", keys.PRESSURE, "gone", told_then)
    assert await ours.tell("here", CALM) == {"here": CALM}
    assert await server.do("HLEN", keys.PRESSURE) == 1, "and takes up no room"


async def test_only_so_many_processes_are_kept(
    server: CacheServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "PROCESSES_MAX", 3)
    ours = Pressure(server)
    for name in "abcde":
        await ours.tell(name, CALM)
    assert await ours.all() == dict.fromkeys("abc", CALM)
    assert (await ours.tell("a", STORM))["a"] == STORM, "those that are kept go on telling"


async def test_what_another_version_tells_is_left_out(server: CacheServer) -> None:
    ours = Pressure(server)
    await ours.tell("a", CALM)
    seconds, _ = await server.do("TIME")
    await server.do("HSET", keys.PRESSURE, "other", b'%d000 {"words":1}' % seconds)
    await server.do("HSET", keys.PRESSURE, "broken", b"not even that")
    assert await ours.all() == {"a": CALM}


async def test_a_server_that_is_away_is_said_to_be() -> None:
    client = CacheServer.from_url("unix:///nonexistent/socket")
    with pytest.raises(CacheUnavailable):
        await Pressure(client).all()
    await client.close()
