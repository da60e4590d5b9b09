"""What a sale does because its time has come is announced once, whoever looks at the clock."""

from __future__ import annotations

import asyncio

from sqlalchemy import update
from tests.contract.ledger_servers import opened
from tests.contract.ledger_shop import HOUR_MS, Shop

from sluice.ledger.moments import NEWS_MS
from sluice.ledger.tables import sales


async def told(shop: Shop) -> list[str]:
    events = await shop.ledger.events_after(0, 1000)
    moments = ("sale.started", "sale.ended")
    return [f"{e.kind} {e.payload['sale_id']}" for e in events if e.kind in moments]


async def ends(shop: Shop, sale_id: int, at_ms: int) -> None:
    """Moves a sale in time, which nobody may do who comes by the front door."""
    async with shop._engine.begin() as connection:
        await connection.execute(
            update(sales)
            .where(sales.c.id == sale_id)
            .values(starts_at_ms=at_ms - 1000, ends_at_ms=at_ms)
        )


async def test_a_sale_that_starts_and_ends_is_announced_once_each(shop: Shop) -> None:
    sale = await shop.sale()
    assert await shop.ledger.announce_moments() == 1
    assert await shop.ledger.announce_moments() == 0
    assert await told(shop) == [f"sale.started {sale.id}"]
    await ends(shop, sale.id, shop.now_ms)
    assert await shop.ledger.announce_moments() == 1
    assert await shop.ledger.announce_moments() == 0
    assert await told(shop) == [f"sale.started {sale.id}", f"sale.ended {sale.id}"]


async def test_a_paused_sale_ends_as_well(shop: Shop) -> None:
    sale = await shop.sale()
    await shop.ledger.pause(sale.id, "price check")
    await ends(shop, sale.id, shop.now_ms)
    assert await shop.ledger.announce_moments() == 2
    assert await told(shop) == [f"sale.started {sale.id}", f"sale.ended {sale.id}"]


async def test_nothing_is_said_of_what_has_not_come_or_came_long_ago(shop: Shop) -> None:
    await shop.draft()
    await shop.sale(starts_in_ms=HOUR_MS)
    closed, forgotten = await shop.sale(), await shop.sale()
    await shop.ledger.close_sale(closed.id)
    await ends(shop, closed.id, shop.now_ms)
    await ends(shop, forgotten.id, shop.now_ms - NEWS_MS - HOUR_MS)
    assert await shop.ledger.announce_moments() == 0
    assert await told(shop) == []


async def test_workers_that_look_at_once_announce_it_once(shop: Shop, ledger_url: str) -> None:
    fresh = [await shop.sale() for _ in range(5)]
    async with opened(ledger_url, 60_000) as other:
        looks = (each.announce_moments() for each in (shop.ledger, other) * 4)
        assert sum(await asyncio.gather(*looks)) == len(fresh)
    assert sorted(await told(shop)) == sorted(f"sale.started {sale.id}" for sale in fresh)
