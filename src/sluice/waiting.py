"""The line for an item that is gone: join → ask for one's place → promoted, or leave.

The gate keeps the line and decides; the ledger hears of it by the gate's log and remembers who
stood where, so that the line outlives the gate's memory. A promotion is an order like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from sluice.accounts.identity import Identity, buyer_digest
from sluice.batching import Batcher
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.errors import GateUnavailable, NotFound
from sluice.domain.outcome import WaitOutcome
from sluice.domain.sale import Sale
from sluice.gate.gate import Gate
from sluice.gate.waitlists import Waitlists
from sluice.gate.wire import Held, Place, Waiter
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import WaitEntry

ENTRIES_MAX = 500
"""Buyers whose entries are read together."""
RESTORE_MAX = 1000
"""Entries handed back to the gate in one call."""
CLOSE_MAX = 1000
"""Entries that one call ends."""
LOOK_MAX = 500
"""Items that are looked at in one call."""
HEAR_S = (0.02, 0.04, 0.08, 0.16, 0.0)
"""Pauses in which the ledger may hear of what the gate decided a moment ago; it is well behind a
request's deadline then, and the buyer is told to ask again."""

Entries = Batcher[tuple[int, str], WaitEntry | None]


class InLine(NamedTuple):
    """A buyer's entry as it is now. `ahead` is None for whoever is not, or not yet again, in line;
    `order_number` is of the order that it became."""

    id: int
    state: str
    """waiting, promoted, left or closed."""
    ahead: int | None = None
    order_number: int | None = None


class Promoted(Exception):  # noqa: N818 - an answer, not a fault
    """The buyer is no longer in line, but holds a unit: this is the order's number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Waiting:
    """What a buyer does about the line for an item.

    `entries` answers for an item and a buyer what `Ledger.waitlist_entry` does, many at once: when
    a line ends, everybody asks.
    """

    def __init__(
        self, *, waitlists: Waitlists, gate: Gate, ledger: Ledger, entries: Entries
    ) -> None:
        self._waitlists = waitlists
        self._gate = gate
        self._ledger = ledger
        self._entries = entries

    async def join(self, buyer: Identity, route: ItemRoute) -> Place:
        """A place in line, or why there is none; see `WaitOutcome`."""
        return await self._waitlists.join(route.shard, _waiter(buyer, route))

    async def leave(self, buyer: Identity, route: ItemRoute) -> None:
        """Whoever is not in line has left already. Raises `Promoted` where the buyer's turn came
        first: whoever thinks to have left must not find out by a reminder to pay."""
        if await self._waitlists.leave(route.shard, _waiter(buyer, route)):
            return
        held = await self._held(buyer, route)
        if held is not None:
            raise Promoted(held.number)

    async def place(self, buyer: Identity, route: ItemRoute) -> InLine:
        """The entry as it is now. Raises `NotFound` where the buyer never was in this line, and
        `GateUnavailable` where that cannot be told, as the ledger is behind."""
        place = await self._waitlists.place(route.shard, _waiter(buyer, route))
        if place.outcome is WaitOutcome.WAITING:
            return InLine(place.entry, "waiting", place.ahead)
        # The gate knows only who stands in line now; how it ended for the others is in the ledger.
        heard = False
        for pause_s in HEAR_S:
            entry = await self._entries.submit((route.item_id, buyer.buyer))
            if entry is not None and entry.state != "waiting":
                return _over(entry)
            held = await self._held(buyer, route)
            if entry is not None:
                return _unheard(entry, held)
            if held is None or heard:
                raise NotFound()
            # Whoever joined and was promoted within the recorder's delay is in neither yet. The
            # order comes after the entry, so once it is there, the entry is too, or never was.
            heard = bool(await self._ledger.orders([held.number]))
            if not heard:
                await asyncio.sleep(pause_s)
        raise GateUnavailable("The ledger has not heard yet how this hold came about.")

    async def places(self, buyers: Sequence[Identity], route: ItemRoute) -> list[InLine | None]:
        """As `place`, of many buyers in a few calls; None for whoever never was in this line, as
        far as the ledger has heard. Raises `Unavailable`."""
        waiters = [_waiter(buyer, route) for buyer in buyers]
        places = await self._gate.waitlist_places(route.shard, waiters)
        found = {
            buyer.digest: InLine(place.entry, "waiting", place.ahead)
            for buyer, place in zip(buyers, places, strict=True)
            if place.outcome is WaitOutcome.WAITING
        }
        names = {each.buyer: each.digest for each in buyers if each.digest not in found}
        entries = await self._ledger.newest_entries(route.item_id, list(names))
        found.update((names[n], _over(e)) for n, e in entries.items() if e.state != "waiting")
        unheard = [entry for entry in entries.values() if entry.state == "waiting"]
        digests = [names[entry.buyer] for entry in unheard]
        holds = await self._gate.holds_of(route.shard, route.limit_group, digests)
        for entry, digest, held in zip(unheard, digests, holds, strict=True):
            found[digest] = _unheard(entry, _of_item(held, route))
        return [found.get(buyer.digest) for buyer in buyers]

    async def waited_for(self, item_ids: Sequence[int]) -> set[int]:
        """Those of these items that somebody waits for, or has waited for."""
        return await self._ledger.waited_for(item_ids)

    async def _held(self, buyer: Identity, route: ItemRoute) -> Held | None:
        holds = await self._gate.find_holds(route.shard, [route.limit_group], buyer.digest)
        return _of_item(holds, route)


def entries_of(ledger: Ledger, *, queue_max: int, deadline_s: float) -> Entries:
    """One for each process."""
    return Batcher(
        partial(_read_entries, ledger),
        batch_max=ENTRIES_MAX,
        queue_max=queue_max,
        deadline_s=deadline_s,
    )


async def _read_entries(
    ledger: Ledger, wanted: Sequence[tuple[int, str]]
) -> list[WaitEntry | None]:
    """One query for each item."""
    buyers: dict[int, list[str]] = {}
    for item_id, buyer in dict.fromkeys(wanted):
        buyers.setdefault(item_id, []).append(buyer)
    found = {
        item_id: await ledger.newest_entries(item_id, names) for item_id, names in buyers.items()
    }
    return [found[item_id].get(buyer) for item_id, buyer in wanted]


def _over(entry: WaitEntry) -> InLine:
    return InLine(entry.id, entry.state, None, entry.order_number)


def _unheard(entry: WaitEntry, held: Held | None) -> InLine:
    """Of whom the gate says that they do not wait, and the ledger has not heard yet why."""
    if held is None:
        return InLine(entry.id, "waiting")
    return InLine(entry.id, "promoted", None, held.number)


def _of_item(holds: Iterable[Held], route: ItemRoute) -> Held | None:
    return next((hold for hold in holds if hold.item_id == route.item_id), None)


def _waiter(buyer: Identity, route: ItemRoute) -> Waiter:
    return Waiter(
        route.item_id, route.limit_group, route.publication, buyer.digest, buyer.buyer.encode()
    )


# --- the worker's half ----------------------------------------------------------------------------


async def restore(gate: Gate, ledger: Ledger, shard: int, epoch: int, item_id: int) -> int:
    """Give the gate the line that the ledger remembers, in its order; how many the gate took.

    For an item that is loaded and not yet open. Done again, it changes nothing.
    """
    after = taken = 0
    while True:
        entries = await ledger.waitlist(item_id, RESTORE_MAX, after)
        rows = [
            (each.id, each.buyer.encode(), buyer_digest(each.buyer.encode())) for each in entries
        ]
        if rows:
            taken += await gate.load_waitlist(shard, epoch, item_id, rows)
        if len(entries) < RESTORE_MAX:
            return taken
        after = entries[-1].id


async def keep_moving(gate: Gate, sales: Iterable[Sale], shard: int, epoch: int) -> None:
    """Nobody waits while there are units to give, and nobody waits for what will not come.

    The gate itself gives units on; this is for what it had to leave, and for lines that are over.
    """
    until_ms = {
        item.id: sale.waits_until_ms
        for sale in sales
        for item in sale.items
        if item.shard == shard and item.loaded_epoch == epoch
    }
    ids = list(until_ms)
    lines = [
        totals
        for start in range(0, len(ids), LOOK_MAX)
        for totals in await gate.totals(shard, ids[start : start + LOOK_MAX])
        if totals.waiting
    ]
    now_ms = await gate.time_ms() if lines else 0
    stuck = []
    for line in lines:
        if now_ms >= until_ms[line.item_id]:
            while await gate.close_waitlist(shard, epoch, line.item_id, CLOSE_MAX):
                pass
        elif line.available > 0:
            stuck.append(line.item_id)
    await gate.promote_waitlist(shard, epoch, stuck)
