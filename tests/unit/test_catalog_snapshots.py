"""What a process knows of sales: fresh while the stores answer, the last known when they do not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence

import pytest

from sluice.catalog import snapshots as module
from sluice.catalog.snapshots import Shown, Snapshots
from sluice.domain.errors import GateUnavailable, LedgerUnavailable
from sluice.domain.log import ItemTotals
from sluice.domain.money import Money
from sluice.domain.sale import Item, Policy, Sale, SaleState, SaleStatus

START_MS = 1_800_000_000_000


def sale(sale_id: int = 1, status: SaleStatus = SaleStatus.PUBLISHED) -> Sale:
    item = Item(
        id=sale_id * 10,
        sale_id=sale_id,
        title="Tea",
        price=Money(990, "CNY"),
        stock=10,
        available=10,
        awaiting_payment=0,
        paid=0,
        per_buyer=1,
        limit_group=sale_id * 10,
        limit_group_label=None,
        shard=0,
        loaded_epoch=1,
    )
    return Sale(
        id=sale_id,
        title="Drop",
        status=status,
        publication=1,
        pause_reason=None,
        starts_at_ms=START_MS,
        ends_at_ms=START_MS + 3_600_000,
        policy=Policy(),
        items=(item,),
        created_at_ms=0,
    )


class Stores:
    """The two stores as snapshots see them, in memory, with a switch for each."""

    def __init__(self) -> None:
        self.known = {1: sale()}
        self.gate = {10: 10}
        self.ledger_away = self.gate_away = False
        self.queries: list[tuple[str, list[int]]] = []
        self.in_flight = self.most_in_flight = 0
        self.now_ms = START_MS
        self.snapshots = Snapshots(self, self.totals, lambda: self.now_ms, deadline_s=30)

    async def sales(self, ids: Sequence[int], /) -> dict[int, Sale]:
        await self._ask("sales", ids)
        return {i: self.known[i] for i in ids if i in self.known}

    async def sales_of_items(self, item_ids: Sequence[int], /) -> dict[int, Sale]:
        await self._ask("items", item_ids)
        return {i: self.known[i // 10] for i in item_ids if i // 10 in self.known}

    async def open_sales(self) -> list[Sale]:
        await self._ask("open", [])
        return [s for s in self.known.values() if s.status is SaleStatus.PUBLISHED]

    async def list_sales(self, *, drafts: bool, limit: int, after_id: int | None) -> list[Sale]:
        await self._ask("list", [])
        found = sorted(self.known.values(), key=lambda s: -s.id)
        return [
            s
            for s in found
            if (drafts or s.status is not SaleStatus.DRAFT)
            and (after_id is None or s.id < after_id)
        ][:limit]

    async def totals(self, shard: int, item_ids: Sequence[int]) -> list[ItemTotals]:
        if self.gate_away:
            raise GateUnavailable
        return [ItemTotals(i, self.gate[i], 10 - self.gate[i], 10) for i in item_ids]

    async def _ask(self, kind: str, ids: Sequence[int]) -> None:
        if self.ledger_away:
            raise LedgerUnavailable
        self.queries.append((kind, list(ids)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1

    def sell(self, units: int) -> None:
        """In the gate, and recorded and paid for in the ledger."""
        self.gate[10] -= units
        [item] = self.known[1].items
        item = dataclasses.replace(item, available=item.available - units, paid=item.paid + units)
        self.known[1] = dataclasses.replace(self.known[1], items=(item,))


@pytest.fixture
def stores() -> Stores:
    return Stores()


async def shown(stores: Stores, sale_id: int = 1) -> Shown:
    found = await stores.snapshots.shown(sale_id)
    assert found is not None
    return found


async def test_a_route_is_loaded_once_and_then_known(stores: Stores) -> None:
    assert stores.snapshots.item_route(10) is None
    route = await stores.snapshots.load_route(10)
    assert route is not None
    assert (route.sale_id, route.shard, route.publication, route.pass_ttl_s) == (1, 0, 1, 60)
    assert route.state_at(START_MS - 1) is SaleState.SCHEDULED
    assert stores.snapshots.item_route(10) is route
    assert stores.queries == [("items", [10])]


async def test_the_first_refresh_knows_the_open_sales_unasked(stores: Stores) -> None:
    await stores.snapshots.refresh()
    assert stores.snapshots.item_route(10)
    assert stores.snapshots.limit_groups(0) == [10]
    assert stores.snapshots.limit_groups(1) == []


async def test_a_thousand_unknown_ids_have_one_query_in_flight(stores: Stores) -> None:
    asking = [stores.snapshots.load_route(i) for i in range(100_000, 101_000)]
    asking += [stores.snapshots.load_route(7) for _ in range(1000)]
    assert not any(await asyncio.gather(*asking))
    assert stores.most_in_flight == 1
    assert len(stores.queries) <= 1001 / module.IDS_MAX + 2


async def test_nothing_is_remembered_of_ids_that_do_not_exist(stores: Stores) -> None:
    assert await stores.snapshots.shown(2) is None
    stores.known[2] = sale(2)
    stores.gate[20] = 10
    assert await stores.snapshots.shown(2) is not None


async def test_a_draft_is_nobodys_business(stores: Stores) -> None:
    stores.known[1] = sale(status=SaleStatus.DRAFT)
    assert await stores.snapshots.shown(1) is None
    assert await stores.snapshots.load_route(10) is None
    assert (await stores.snapshots.page(20, None)) == ([], None)


async def test_a_snapshot_tells_the_time_anew_and_its_facts_once(stores: Stores) -> None:
    first = await shown(stores)
    stores.now_ms += 5
    second = await shown(stores)
    assert first.etag == second.etag
    assert json.loads(first.body(stores.now_ms))["server_time"] == "2027-01-15T08:00:00.005Z"
    assert json.loads(second.body(stores.now_ms))["items"][0]["remaining_hint"] == 10


async def test_a_snapshot_changes_its_etag_with_the_state_and_with_the_stock(
    stores: Stores,
) -> None:
    etags = set()
    stores.now_ms = START_MS - 1
    etags.add((await shown(stores)).etag)
    stores.now_ms = START_MS
    etags.add((await shown(stores)).etag)
    stores.sell(3)
    await stores.snapshots.refresh()
    last = await shown(stores)
    etags.add(last.etag)
    assert len(etags) == 3
    assert json.loads(last.body(START_MS))["items"][0]["remaining_hint"] == 7


async def test_sold_out_is_known_for_a_moment(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: time)
    await stores.snapshots.refresh()
    assert not stores.snapshots.known_sold_out(10)
    stores.gate[10] = 0
    await stores.snapshots.refresh()
    assert stores.snapshots.known_sold_out(10)
    assert stores.snapshots.may_return(10)
    time += module.SOLD_OUT_S + 0.1
    assert not stores.snapshots.known_sold_out(10)


async def test_what_is_paid_for_does_not_return(stores: Stores) -> None:
    stores.sell(10)
    await stores.snapshots.refresh()
    assert stores.snapshots.known_sold_out(10)
    assert not stores.snapshots.may_return(10)
    assert not stores.snapshots.may_return(99)


async def test_a_refusal_of_the_gate_is_believed_until_it_has_units_again(stores: Stores) -> None:
    stores.snapshots.note_sold_out(10)
    assert not stores.snapshots.known_sold_out(10), "an item that nobody knows is not remembered"
    await stores.snapshots.refresh()
    stores.snapshots.note_sold_out(10)
    assert stores.snapshots.known_sold_out(10)
    await stores.snapshots.refresh()
    assert not stores.snapshots.known_sold_out(10)


async def test_with_the_ledger_away_the_last_known_is_shown_with_its_age(stores: Stores) -> None:
    await shown(stores)
    stores.ledger_away = True
    stores.now_ms += 60_000
    with pytest.raises(LedgerUnavailable):
        await stores.snapshots.refresh()
    body = json.loads((await shown(stores)).body(stores.now_ms))
    assert body["as_of"] == "2027-01-15T08:00:00.000Z"
    assert body["server_time"] == "2027-01-15T08:01:00.000Z"
    with pytest.raises(LedgerUnavailable):
        await stores.snapshots.shown(2)


async def test_with_the_gate_away_what_it_last_said_still_counts(stores: Stores) -> None:
    stores.gate[10] = 4
    await shown(stores)
    stores.gate_away = True
    stores.now_ms += 60_000
    await stores.snapshots.refresh()
    body = json.loads((await shown(stores)).body(stores.now_ms))
    assert body["items"][0]["remaining_hint"] == 4
    assert body["as_of"] == "2027-01-15T08:00:00.000Z"


async def test_a_sale_that_nobody_looks_at_is_left_alone_but_not_forgotten(
    stores: Stores,
) -> None:
    stores.known[1] = dataclasses.replace(stores.known[1], status=SaleStatus.CLOSED)
    await stores.snapshots.load_route(10)
    for _ in range(module.IDLE_MAX + 2):
        await stores.snapshots.refresh()
    assert stores.snapshots.item_route(10) is None
    stores.queries.clear()
    await stores.snapshots.refresh()
    assert stores.queries == []
    stores.ledger_away = True
    assert (await stores.snapshots.load_route(10)) is not None


async def test_an_open_sale_stays_fresh_though_nobody_looks(stores: Stores) -> None:
    for _ in range(module.IDLE_MAX + 2):
        await stores.snapshots.refresh()
    assert stores.snapshots.item_route(10)


async def test_a_sale_that_is_gone_is_forgotten(stores: Stores) -> None:
    await stores.snapshots.refresh()
    del stores.known[1]
    await stores.snapshots.refresh()
    assert stores.snapshots.item_route(10) is None
    assert await stores.snapshots.shown(1) is None


async def test_an_announced_change_is_read_at_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 3600)
    running = asyncio.create_task(stores.snapshots.run())
    async with asyncio.timeout(30):
        while stores.snapshots.item_route(10) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stores.known[1] = dataclasses.replace(
            stores.known[1], status=SaleStatus.PAUSED, pause_reason="check"
        )
        stores.snapshots.invalidate(1)
        route = stores.snapshots.item_route(10)
        while route is None or route.pause_reason is None:
            await asyncio.sleep(0)
            route = stores.snapshots.item_route(10)
    assert route.state_at(START_MS) is SaleState.PAUSED
    running.cancel()
    await asyncio.wait([running])


async def test_what_is_known_is_bounded_and_the_open_stay(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SALES_MAX", 3)
    await stores.snapshots.refresh()
    for sale_id in range(2, 8):
        stores.known[sale_id] = sale(sale_id, SaleStatus.CLOSED)
        stores.gate[sale_id * 10] = 0
        await shown(stores, sale_id)
    assert stores.snapshots.item_route(10)
    assert len([i for i in range(1, 8) if stores.snapshots.item_route(i * 10)]) == 3


async def test_published_sales_are_listed_newest_first_page_by_page(stores: Stores) -> None:
    for sale_id in (2, 3, 4):
        stores.known[sale_id] = sale(sale_id, SaleStatus.CLOSED)
        stores.gate[sale_id * 10] = 0
    stores.known[5] = sale(5, SaleStatus.DRAFT)
    first, after = await stores.snapshots.page(3, None)
    rest, end = await stores.snapshots.page(3, after)
    ids = [json.loads(one.body(START_MS))["id"] for one in (*first, *rest)]
    assert ids == ["4", "3", "2", "1"]
    assert (after, end) == (2, None)
