"""A shard has one owner at a time; each new one counts the fence up."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.ledger_servers import opened
from tests.polling import until_it_is

from sluice.domain.errors import FenceLost
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Lease

LONG_MS = 60_000


async def claimed(ledger: Ledger, owner: str = "one", lease_ms: int = LONG_MS) -> Lease:
    lease = await ledger.claim_shard(0, owner, lease_ms)
    assert lease is not None
    return lease


async def test_of_many_who_claim_a_shard_one_gets_it(ledger: Ledger) -> None:
    claims = await asyncio.gather(*(ledger.claim_shard(0, f"owner {n}", LONG_MS) for n in range(8)))
    assert len([lease for lease in claims if lease is not None]) == 1


async def test_an_owner_who_claims_again_keeps_the_fence(ledger: Ledger) -> None:
    first = await claimed(ledger)
    again = await claimed(ledger)
    assert again.fence == first.fence
    assert again.lease_until_ms >= first.lease_until_ms


async def test_a_lease_that_ran_out_is_anybodys_and_the_fence_counts_up(ledger: Ledger) -> None:
    first = await claimed(ledger, lease_ms=1)
    taken: list[Lease] = []

    async def take() -> bool:
        lease = await ledger.claim_shard(0, "two", LONG_MS)
        taken.extend([lease] if lease else [])
        return lease is not None

    await until_it_is(take)
    assert taken[0].fence == first.fence + 1
    with pytest.raises(FenceLost):
        await ledger.renew(first, LONG_MS)
    with pytest.raises(FenceLost):
        await ledger.begin_epoch(first)
    assert await ledger.claim_shard(0, "one", LONG_MS) is None


async def test_a_lease_that_is_renewed_stays_its_owners(ledger: Ledger) -> None:
    lease = await claimed(ledger, lease_ms=1)
    renewed = await ledger.renew(lease, LONG_MS)
    assert renewed.fence == lease.fence
    assert renewed.lease_until_ms > lease.lease_until_ms
    assert await ledger.claim_shard(0, "two", LONG_MS) is None


async def test_a_shard_that_is_yielded_is_free_at_once(ledger: Ledger) -> None:
    lease = await claimed(ledger)
    await ledger.yield_shard(lease)
    taken = await claimed(ledger, "two")
    assert taken.fence == lease.fence + 1
    await ledger.yield_shard(lease)
    assert await ledger.claim_shard(0, "three", LONG_MS) is None, "an old lease yields nothing"


async def test_an_epoch_begins_at_counter_0_and_keeps_the_highest_number(ledger: Ledger) -> None:
    lease = await claimed(ledger)
    assert lease.epoch == 0
    first = await ledger.begin_epoch(lease)
    second = await ledger.begin_epoch(first)
    assert (first.epoch, second.epoch, second.fence) == (1, 2, lease.fence)
    position = (await ledger.positions())[0]
    assert (position.epoch, position.counter) == (2, 0)
    with pytest.raises(FenceLost):
        await ledger.begin_epoch(first)


async def test_shards_do_not_know_of_each_other(ledger: Ledger) -> None:
    zero = await claimed(ledger)
    seven = await ledger.claim_shard(7, "two", LONG_MS)
    assert seven is not None
    await ledger.begin_epoch(seven)
    positions = await ledger.positions()
    assert {shard: p.epoch for shard, p in positions.items()} == {0: zero.epoch, 7: 1}


async def test_on_sqlite_the_gates_clock_decides(database: str, ledger_url: str) -> None:
    if database != "sqlite":
        pytest.skip("the database's own clock decides")
    now_ms = 1_000_000

    async def clock() -> int:
        return now_ms

    ledger = Ledger.from_url(ledger_url, deadline_ms=5000, clock=clock)
    first = await claimed(ledger, lease_ms=5000)
    assert first.lease_until_ms == 1_005_000
    assert await ledger.claim_shard(0, "two", 5000) is None
    now_ms += 5001
    assert (await claimed(ledger, "two")).fence == 2
    assert await ledger.now_ms() == now_ms
    await ledger.close()


async def test_elsewhere_the_databases_clock_decides(database: str, ledger_url: str) -> None:
    if database == "sqlite":
        pytest.skip("the gate's clock decides")

    async def clock() -> int:
        raise AssertionError("nobody should ask")

    async with opened(ledger_url) as one:
        two = Ledger.from_url(ledger_url, deadline_ms=5000, clock=clock)
        assert abs(await one.now_ms() - await two.now_ms()) < 5000
        await claimed(two)
        await two.close()
