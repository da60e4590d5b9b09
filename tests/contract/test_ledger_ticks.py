"""What happened in a sale is stored once however often a worker tries, and grows coarser."""

from __future__ import annotations

from tests.contract.ledger_shop import Shop, totals, unit

from sluice.ledger.ticks import NewTick, Tick

NOON = 1_800_000_000 // 3600 * 3600
HOUR, DAY = 3600, 86_400


def second(at_s: int, accepted: int, sale_id: int = 7, **more: int) -> NewTick:
    counts = {"buys.accepted": accepted, **more}
    return NewTick(sale_id, at_s, counts, sum(counts.values()))


async def all_of(shop: Shop, sale_id: int = 7) -> list[tuple[int, int, dict[str, int]]]:
    found = await shop.ledger.ticks(sale_id, since_s=0, limit=1000)
    return [(tick.at_s, tick.span_s, tick.counts) for tick in found]


async def test_seconds_are_read_back_oldest_first(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON + 1, 2), second(NOON, 1), second(NOON, 9, 8)])
    found = await shop.ledger.ticks(7, since_s=NOON, limit=10)
    assert found == [
        Tick(7, 1, NOON, {"buys.accepted": 1}),
        Tick(7, 1, NOON + 1, {"buys.accepted": 2}),
    ]
    assert await shop.ledger.ticks(7, since_s=NOON + 1, limit=10) == found[1:]
    assert await shop.ledger.ticks(7, since_s=NOON, limit=1) == found[:1]


async def test_a_second_stored_again_is_stored_once(shop: Shop) -> None:
    """As when a worker dies between storing it and noting that it did."""
    for _ in range(3):
        await shop.ledger.store_ticks([second(NOON, 5), second(NOON + 1, 1)])
    assert await all_of(shop) == [
        (NOON, 1, {"buys.accepted": 5}),
        (NOON + 1, 1, {"buys.accepted": 1}),
    ]


async def test_the_fuller_version_of_a_second_wins_whoever_comes_last(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON, 5)])
    await shop.ledger.store_ticks([second(NOON, 5, views=2)])
    await shop.ledger.store_ticks([second(NOON, 5)])
    assert await all_of(shop) == [(NOON, 1, {"buys.accepted": 5, "views": 2})]


async def coarsened(shop: Shop, now_s: int) -> None:
    for _ in range(50):
        if not await shop.ledger.coarsen_ticks(now_s):
            return
    raise AssertionError("never done")


async def test_old_seconds_become_minutes_and_none_of_them_is_lost(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON + n, 1, views=n) for n in range(90)])
    await coarsened(shop, NOON + 2 * HOUR + 70)
    found = await all_of(shop)
    assert found[0] == (NOON, 60, {"buys.accepted": 60, "views": sum(range(60))})
    assert [(at, span) for at, span, _ in found[1:]] == [(NOON + n, 1) for n in range(60, 90)]
    await coarsened(shop, NOON + DAY)
    assert [counts["buys.accepted"] for _, _, counts in await all_of(shop)] == [60, 30]


async def test_minutes_become_hours_after_weeks(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON + 600 * n, 1) for n in range(12)])
    await coarsened(shop, NOON + 20 * DAY)
    assert await all_of(shop) == [
        (NOON, 3600, {"buys.accepted": 6}),
        (NOON + HOUR, 3600, {"buys.accepted": 6}),
    ]


async def test_what_comes_late_is_added_to_its_minute(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON, 3)])
    await coarsened(shop, NOON + DAY)
    await shop.ledger.store_ticks([second(NOON + 1, 4)])
    await coarsened(shop, NOON + DAY)
    assert await all_of(shop) == [(NOON, 60, {"buys.accepted": 7})]


async def test_what_is_very_old_is_forgotten(shop: Shop) -> None:
    await shop.ledger.store_ticks([second(NOON, 3)])
    await coarsened(shop, NOON + 500 * DAY)
    assert await all_of(shop) == []


# --- a sale's own audit and facts -----------------------------------------------------------------


async def broken(shop: Shop, sale_id: int) -> set[str]:
    checks = await shop.ledger.audit_sale(sale_id, 20_000)
    assert len(checks) > 20
    return {check.name for check in checks if not check.ok}


async def test_the_audit_of_one_sale_sees_what_is_wrong_there_and_nothing_else(shop: Shop) -> None:
    mine = await shop.item(unit(10))
    other = await shop.item(unit(10))
    await shop.sell(mine, 3)
    sold = await shop.sell(other, 2)
    assert await broken(shop, mine.sale_id) == await broken(shop, other.sale_id) == set()
    await shop.execute("UPDATE orders SET state = 'paid' WHERE number = :n", n=sold[0].number)
    assert await broken(shop, mine.sale_id) == set()
    found = await broken(shop, other.sale_id)
    assert {"units_are_those_of_orders", "state_is_the_last_of_history"} <= found
    assert found <= await shop.broken()


async def test_a_comparison_that_failed_is_in_the_audit_of_its_sale(shop: Shop) -> None:
    mine, other = await shop.item(unit(10)), await shop.item(unit(10))
    await shop.record(totals(mine, available=9), totals(other, available=10))
    assert await broken(shop, mine.sale_id) == {"gate_and_ledger_agree"}
    assert await broken(shop, other.sale_id) == set()


async def test_the_facts_of_a_sale_add_up(shop: Shop) -> None:
    item = await shop.item(unit(4))
    sold = await shop.sell(item, 4)
    place = shop.joined(item)
    await shop.record(place)
    await shop.pay(sold[0])
    await shop.pay(sold[1])
    await shop.ledger.cancel(sold[2].number, sold[2].buyer, "buyer")
    facts = await shop.ledger.sale_facts(item.sale_id, 20_000)
    states = {row["state"]: (row["orders"], row["units"]) for row in facts["states"]}
    assert states == {"paid": (2, 2), "awaiting_payment": (1, 1), "cancelled": (1, 1)}
    assert facts["opened"] == [{"orders": 2}]
    assert facts["returning"] == [{"item_id": item.id, "units": 1}]
    assert [(row["reason"], row["units"]) for row in facts["returns"]] == [("cancelled", 1)]
    assert [(row["state"], row["entries"]) for row in facts["lines"]] == [("waiting", 1)]
    assert [row["at_ms"] > 0 for row in facts["sold_out"]] == [True]
    [money] = facts["captured"]
    assert (money["currency"], money["captured"], money["refunded"]) == ("CNY", 1980, 0)
    assert facts["owed"] == []
    assert sum(row["orders"] for row in facts["deciles"]) == 4
    assert sum(row["overtaken"] for row in facts["deciles"]) == 0
    counts = await shop.ledger.sale_counts(item.sale_id, 20_000)
    assert counts["states"] == facts["states"]


async def test_the_pace_of_a_sale_is_counted_in_steps(shop: Shop) -> None:
    item = await shop.item(unit(10))
    await shop.sell(item, 3)
    pace = await shop.ledger.sale_pace(item.sale_id, 60_000, 100, 20_000)
    assert [row["orders"] for row in pace["placed"]] == [3]
    assert all(row["at_ms"] % 60_000 == 0 for row in (*pace["placed"], *pace["moved"]))
    assert [(row["state"], row["orders"]) for row in pace["moved"]] == [("awaiting_payment", 3)]
