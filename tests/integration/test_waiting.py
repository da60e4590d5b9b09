"""Where buyers stand in line, asked for one by one and for many at once: both say the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.integration.shop import Shop, opened
from tests.polling import until_it_is
from tests.support.live_shop import identity
from tests.valkey import running

from sluice.catalog.snapshots import ItemRoute
from sluice.domain.errors import GateUnavailable, NotFound
from sluice.domain.sale import Item
from sluice.gate.waitlists import Waitlists
from sluice.gate.wire import Waiter
from sluice.waiting import InLine, Waiting, entries_of


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    with running() as valkey:
        async with opened(valkey, tmp_path) as shop:
            yield shop


def route(item: Item) -> ItemRoute:
    kept = {"item_id": item.id, "shard": item.shard, "limit_group": item.limit_group}
    return cast(ItemRoute, SimpleNamespace(publication=1, **kept))


def waiter(item: Item, name: str) -> Waiter:
    return Waiter(item.id, item.limit_group, 1, identity(name).digest, name.encode())


def of(shop: Shop) -> Waiting:
    return Waiting(
        waitlists=Waitlists(shop.gate, batch_max=100, queue_max=100, deadline_s=5),
        gate=shop.gate,
        ledger=shop.ledger,
        entries=entries_of(shop.ledger, queue_max=100, deadline_s=5),
    )


async def one_by_one(waiting: Waiting, names: Sequence[str], item: Item) -> list[InLine | None]:
    found: list[InLine | None] = []
    for name in names:
        try:
            found.append(await waiting.place(identity(name), route(item)))
        except (NotFound, GateUnavailable):
            found.append(None)
    return found


async def test_many_are_told_what_each_is_told(shop: Shop) -> None:
    """In line, gone, promoted; gone and promoted where the ledger has not heard of it; and never
    there, with and without a unit."""
    [tea] = (await shop.open(2)).items
    names = ["turn", "unheard-turn", "gone", "unheard-gone", "third", "fourth"]
    first = [decision.number for decision in await shop.buy(tea, "buys-1", "buys-2")]
    epoch = (await shop.ledger.positions())[tea.shard].epoch
    await shop.gate.join_waitlist(tea.shard, epoch, [waiter(tea, name) for name in names])
    await shop.drained()
    for number in first:
        await shop.ledger.cancel(number, f"buys-{first.index(number) + 1}", "")
    shop.wake()
    await shop.gate.leave_waitlist(tea.shard, epoch, [waiter(tea, name) for name in names[2:4]])

    async def over() -> bool:
        entries = await shop.ledger.newest_entries(tea.id, names)
        return sum(entry.state != "waiting" for entry in entries.values()) == 4

    await until_it_is(over)
    entries = await shop.ledger.newest_entries(tea.id, names)
    await shop.sql(
        "UPDATE waitlist SET ended_as = 0, state = 'waiting', reason = NULL, order_number = NULL "
        "WHERE buyer LIKE 'unheard-%'"
    )
    waiting = of(shop)
    everybody = [*names, "buys-1", "never"]

    told = await waiting.places([identity(name) for name in everybody], route(tea))

    assert told == await one_by_one(waiting, everybody, tea)
    held = await shop.gate.find_holds(tea.shard, [tea.limit_group], identity("unheard-turn").digest)
    assert told == [
        InLine(entries["turn"].id, "promoted", None, entries["turn"].order_number),
        InLine(entries["unheard-turn"].id, "promoted", None, held[0].number),
        InLine(entries["gone"].id, "left"),
        InLine(entries["unheard-gone"].id, "waiting"),
        InLine(entries["third"].id, "waiting", 0),
        InLine(entries["fourth"].id, "waiting", 1),
        None,
        None,
    ]


class Behind:
    """The ledger has not heard of the entries until they were asked for so many times, nor of the
    orders."""

    def __init__(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, *, unheard: int, unrecorded: int
    ) -> None:
        self._entries, self._orders = unheard, unrecorded
        read_entries, read_orders = shop.ledger.newest_entries, shop.ledger.orders

        async def newest_entries(item_id: int, buyers: Sequence[str]) -> object:
            self._entries -= 1
            return {} if self._entries >= 0 else await read_entries(item_id, buyers)

        async def orders(numbers: Sequence[int]) -> object:
            self._orders -= 1
            return {} if self._orders >= 0 else await read_orders(numbers)

        monkeypatch.setattr(shop.ledger, "newest_entries", newest_entries)
        monkeypatch.setattr(shop.ledger, "orders", orders)


async def promoted(shop: Shop) -> Item:
    """An item whose one unit went from `first` to `turn`, who waited for it."""
    [tea] = (await shop.open(1)).items
    [bought] = await shop.buy(tea, "first")
    epoch = (await shop.ledger.positions())[tea.shard].epoch
    await shop.gate.join_waitlist(tea.shard, epoch, [waiter(tea, "turn")])
    await shop.drained()
    await shop.ledger.cancel(bought.number, "first", "")
    shop.wake()

    async def over() -> bool:
        entries = await shop.ledger.newest_entries(tea.id, ["turn"])
        return entries["turn"].state == "promoted"

    await until_it_is(over)
    return tea


@pytest.mark.parametrize(("unheard", "unrecorded"), [(3, 2), (1, 0)])
async def test_a_turn_that_comes_before_the_ledger_heard_of_the_place_is_told_when_it_has(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, unheard: int, unrecorded: int
) -> None:
    """Also where it hears of both between the two questions."""
    tea = await promoted(shop)
    Behind(shop, monkeypatch, unheard=unheard, unrecorded=unrecorded)
    assert (await of(shop).place(identity("turn"), route(tea))).state == "promoted"


async def test_a_ledger_that_stays_behind_leaves_a_turn_unknown_and_not_denied(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tea = await promoted(shop)
    Behind(shop, monkeypatch, unheard=99, unrecorded=99)
    with pytest.raises(GateUnavailable):
        await of(shop).place(identity("turn"), route(tea))


async def test_a_crowd_that_asks_at_once_costs_one_query(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    [tea, pot] = (await shop.open(1, 1)).items
    asked: list[int] = []
    read = shop.ledger.newest_entries

    async def counted(item_id: int, buyers: Sequence[str]) -> object:
        asked.append(len(buyers))
        return await read(item_id, buyers)

    monkeypatch.setattr(shop.ledger, "newest_entries", counted)
    entries = entries_of(shop.ledger, queue_max=1000, deadline_s=5)
    futures = [entries.submit((tea.id, f"buyer-{n}")) for n in range(400)]
    futures.append(entries.submit((pot.id, "buyer-1")))
    futures.append(entries.submit((pot.id, "buyer-1")))
    assert [await future for future in futures] == [None] * 402
    assert asked == [400, 1]
    await entries.close()
