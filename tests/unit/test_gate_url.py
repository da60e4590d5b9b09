"""Addresses of the gate: what can work makes a client, what cannot is said in one sentence."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from sluice.domain.errors import SettingsError
from sluice.gate.client import connect


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://localhost", Redis),
        ("redis://user:p%40ss@localhost:7000/3", Redis),
        ("rediss://localhost:7000", Redis),
        ("unix:///tmp/gate.sock", Redis),
        ("redis+cluster://localhost:7000", RedisCluster),
        ("rediss+cluster://localhost:7000", RedisCluster),
    ],
)
async def test_an_address_makes_the_client_that_it_names(url: str, kind: type) -> None:
    assert isinstance(connect(url, timeout_s=1), kind)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://:hunter2/x@localhost",
        "redis://localhost?db=x",
        "redis://localhost?socket_timeout=x",
        "redis://localhost?nonsense=1",
        "redis://[::1",
        "http://localhost",
        "redis+cluster://",
        "redis+cluster://localhost:port",
        "redis+cluster://localhost?nonsense=1",
    ],
)
async def test_an_address_that_cannot_work_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        connect(url, timeout_s=1)

    assert str(refused.value).startswith("SLUICE_REDIS_URL cannot be used")
    assert "hunter" not in str(refused.value)
    assert refused.value.__cause__ is None
