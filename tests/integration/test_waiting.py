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
    shop.sql(
        "UPDATE waitlist SET ended_as = 0, state = 'waiting', reason = NULL, order_number = NULL "
        "WHERE buyer LIKE 'unheard-%'"
    )
    waiting = Waiting(
        waitlists=Waitlists(shop.gate, batch_max=100, queue_max=100, deadline_s=5),
        gate=shop.gate,
        ledger=shop.ledger,
        entries=entries_of(shop.ledger, queue_max=100, deadline_s=5),
    )
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
