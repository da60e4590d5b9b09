"""What a merchant does with a sale: the ledger first, then the gate, each step repeatable.

The ledger says what is wanted; the gate is brought in step with it. Whoever crashes in between
leaves a gate that is stricter than wanted, and `keep_in_step`, which `sluice work` calls every
second, does the rest. A sale of which an item is not loaded yet stays shut as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from sluice import waiting
from sluice.domain.errors import (
    Conflict,
    GateNotArmed,
    GateUnavailable,
    NotFound,
    SluiceError,
    Unavailable,
)
from sluice.domain.sale import Item, NewSale, Sale, SaleChange, SaleStatus
from sluice.gate.gate import EditResult, Gate, GateItem, OpenState
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Answered, Once, StockEdit
from sluice.settings import Settings
from sluice.telemetry import get_logger

LOAD_TRIES_MAX = 5
"""Tries to load a sale whose stock is being edited at the same time."""
SETTLE_POLL_S = 0.02
ASSERT_EVERY = 30
"""Every so many calls `keep_in_step` tells the gate the wanted states again, changed or not."""

log = get_logger("operator")

Epochs = Mapping[int, int]
"""Shard → the ledger's epoch; a shard that nobody has opened yet is not in it."""
Wanted = tuple[OpenState, int, int, int, Epochs]
"""State, end (ms), end of the waitlists (ms), publication, epochs: what the gate was last told."""

_STATES: dict[SaleStatus, OpenState] = {
    SaleStatus.PUBLISHED: "open",
    SaleStatus.PAUSED: "paused",
    SaleStatus.CLOSED: "closed",
}


class Operator:
    """Every method may be called again after any fault and has the effect of once.

    Raises what the ledger raises (`NotFound`, `Conflict`, `LedgerUnavailable`). `GateUnavailable`
    and `GateNotArmed` say that the ledger has taken the order and the gate will follow as soon as
    it can: the same call again tells whether it has.
    """

    def __init__(
        self,
        ledger: Ledger,
        gate: Gate,
        announce: Callable[[int], Awaitable[object]],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._announce = announce
        self._shards = settings.shards
        self._patience_s = settings.deadline_ms / 1000
        self._told: dict[int, Wanted] = {}
        self._turn = 0

    # --- what a merchant asks for ----------------------------------------------------------

    async def create(self, new: NewSale, once: Once[Sale] | None = None) -> Sale | Answered:
        """A draft, which the gate need not know of."""
        return await self._ledger.create_sale(new, shards=self._shards, once=once)

    async def change(self, sale_id: int, change: SaleChange) -> Sale:
        """What the sale's state allows; a published sale's items are loaded anew if need be."""
        sale = await self._ledger.update_sale(
            sale_id,
            title=change.title,
            starts_at_ms=change.starts_at_ms,
            ends_at_ms=change.ends_at_ms,
            policy=change.policy,
            policy_was=change.policy_was,
            item_changes=change.items,
        )
        return await self._follow(sale)

    async def publish(self, sale_id: int) -> Sale:
        return await self._follow(await self._ledger.publish(sale_id))

    async def pause(self, sale_id: int, reason: str) -> Sale:
        return await self._follow(await self._ledger.pause(sale_id, reason))

    async def resume(self, sale_id: int) -> Sale:
        return await self._follow(await self._ledger.resume(sale_id))

    async def close(self, sale_id: int) -> Sale:
        return await self._follow(await self._ledger.close_sale(sale_id))

    async def edit_stock(self, item_id: int, delta: int, reason: str, once_key: str) -> StockEdit:
        """Change an item's stock; `once_key` names this edit however often it is asked for.

        Raises `Conflict` where the units are held or sold.
        """
        edit = await self._ledger.request_edit(item_id, delta, reason, once_key)
        sale = (await self._ledger.sales_of_items([item_id])).get(item_id)
        if sale is None:
            raise NotFound()
        try:
            if edit.state == "pending":
                edit = await self._carry_out(edit, _item(sale, item_id).shard)
        finally:
            await self._announce(sale.id)
        if edit.state == "refused":
            raise Conflict("The units are held or sold.")
        return edit

    # --- what the worker does every second -------------------------------------------------

    async def keep_in_step(self) -> None:
        """Bring the gate in step with every sale that matters to it. Does all that can be done,
        then raises the first fault that it met, if any.
        """
        if self._turn % ASSERT_EVERY == 0:
            self._told.clear()
        self._turn += 1
        sales = await self._ledger.open_sales()
        epochs = await self._epochs()
        faults: list[SluiceError] = []
        for sale in sales:
            try:
                await self._step(sale, epochs)
            except SluiceError as fault:
                faults.append(fault)
        for shard, epoch in epochs.items():
            try:
                await self._apply_edits(shard, epoch)
                await waiting.keep_moving(self._gate, sales, shard, epoch)
            except SluiceError as fault:
                faults.append(fault)
        try:
            await self._ledger.announce_moments()
        except SluiceError as fault:
            faults.append(fault)
        gone = self._told.keys() - {sale.id for sale in sales}
        for sale_id in gone:
            del self._told[sale_id]
        if faults:
            raise faults[0]

    # --- one sale --------------------------------------------------------------------------

    async def _follow(self, sale: Sale) -> Sale:
        """The gate follows what the ledger has just taken; everybody is told in any case."""
        self._told.pop(sale.id, None)
        try:
            await self._step(sale, await self._epochs())
        finally:
            await self._announce(sale.id)
        return sale

    async def _step(self, sale: Sale, epochs: Epochs) -> None:
        """Load what the gate does not hold, and only then tell it the wanted state."""
        state = _STATES.get(sale.status)
        if state is None:
            return
        if state != "closed" and any(item.loaded_epoch is None for item in sale.items):
            sale = await self._load(sale, epochs)
            state = _STATES[sale.status]
            await self._announce(sale.id)
        items = [item for item in sale.items if item.loaded_epoch is not None]
        mine = {item.shard: _epoch(epochs, item) for item in items}
        until_ms = sale.waits_until_ms
        wanted: Wanted = (state, sale.ends_at_ms, until_ms, sale.publication, mine)
        if self._told.get(sale.id) == wanted:
            return
        for shard, epoch in mine.items():
            ids = [item.id for item in items if item.shard == shard]
            await self._gate.set_state(shard, epoch, ids, state, sale.ends_at_ms, until_ms)
        self._told[sale.id] = wanted

    async def _load(self, sale: Sale, epochs: Epochs) -> Sale:
        """The sale, when the gate holds all of its items. It opens none of them."""
        for _ in range(LOAD_TRIES_MAX):
            missing = [item for item in sale.items if item.loaded_epoch is None]
            if not missing:
                return sale
            edits = await self._pending(missing)
            # Read again: an edit that was settled between the two looks would else be lost.
            fresh = await self._read(sale.id)
            for item in missing:
                if fresh.publication == sale.publication and item in fresh.items:
                    await self._load_item(fresh, item, edits.get(item.id, []), epochs)
            sale = await self._read(sale.id)
        raise GateNotArmed(f"The gate could not be given all items of sale {sale.id}.")

    async def _load_item(
        self, sale: Sale, item: Item, edits: Sequence[StockEdit], epochs: Epochs
    ) -> None:
        """The item as it was before its pending edits; these follow in their order.

        An increase is in the ledger's stock as soon as it is asked for, a decrease is not.
        """
        epoch = _epoch(epochs, item)
        added = sum(edit.delta for edit in edits if edit.delta > 0)
        loaded = await self._gate.load_item(
            GateItem(
                shard=item.shard,
                epoch=epoch,
                item_id=item.id,
                stock=item.stock - added,
                available=item.available - added,
                per_buyer=item.per_buyer,
                publication=sale.publication,
                starts_at_ms=sale.starts_at_ms,
                ends_at_ms=sale.ends_at_ms,
                edit=edits[0].edit - 1 if edits else item.edit,
                limit_group=item.limit_group,
                waits_until_ms=sale.waits_until_ms,
            )
        )
        if not loaded:
            log.warning("The gate holds this item already.", action="load.open", item_id=item.id)
            return
        await waiting.restore(self._gate, self._ledger, item.shard, epoch, item.id)
        await self._ledger.mark_loaded(item.id, epoch, item.edit)

    # --- stock edits -----------------------------------------------------------------------

    async def _carry_out(self, edit: StockEdit, shard: int) -> StockEdit:
        """What the gate says of a pending edit, and the ledger after it where that is quick.

        Raises `GateUnavailable` where neither can tell yet: the edit is kept, and the same call
        again tells more.
        """
        epoch = (await self._epochs()).get(shard)
        if epoch is None:
            raise _nobody_opened(shard)
        results = await self._apply_edits(shard, epoch, edit.item_id)
        result = results.get(edit.edit)
        if result is not None and result.outcome == "refused":
            return replace(edit, state="refused", stock_after=result.stock)
        settled = await self._settled(edit)
        if settled.state != "pending":
            return settled
        if result is not None and result.outcome == "applied":
            return replace(edit, state="applied", stock_after=result.stock)
        raise GateUnavailable("The stock edit is kept, and the gate has not answered it yet.")

    async def _apply_edits(
        self, shard: int, epoch: int, only_item: int | None = None
    ) -> dict[int, EditResult]:
        """Hand pending edits to the gate, each item's in order; results by number of edit."""
        results: dict[int, EditResult] = {}
        stuck: set[int] = set()
        for edit in await self._ledger.pending_edits(shard):
            if edit.item_id in stuck or only_item not in (None, edit.item_id):
                continue
            result = await self._gate.edit_stock(shard, epoch, edit.item_id, edit.edit, edit.delta)
            if result.outcome in ("early", "unknown_item"):
                stuck.add(edit.item_id)
                log.warning(
                    "A stock edit has to wait.",
                    action="edit.wait",
                    item_id=edit.item_id,
                    edit=edit.edit,
                    why=result.outcome,
                )
            results[edit.edit] = result
        return results

    async def _settled(self, edit: StockEdit) -> StockEdit:
        """The edit when the recorder has passed it; as it is where that takes too long."""
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    found = await self._ledger.edit(edit.item_id, edit.edit)
                    if found is not None and found.state != "pending":
                        return found
                    await asyncio.sleep(SETTLE_POLL_S)
        except (TimeoutError, Unavailable):
            return edit

    # --- small parts -----------------------------------------------------------------------

    async def _epochs(self) -> dict[int, int]:
        positions = await self._ledger.positions()
        return {shard: at.epoch for shard, at in positions.items() if at.epoch > 0}

    async def _read(self, sale_id: int) -> Sale:
        found = (await self._ledger.sales([sale_id])).get(sale_id)
        if found is None:
            raise NotFound()
        return found

    async def _pending(self, items: Sequence[Item]) -> dict[int, list[StockEdit]]:
        """Item → its pending edits, in order."""
        edits: dict[int, list[StockEdit]] = {}
        for shard in {item.shard for item in items}:
            for edit in await self._ledger.pending_edits(shard):
                edits.setdefault(edit.item_id, []).append(edit)
        return edits


def _item(sale: Sale, item_id: int) -> Item:
    return next(item for item in sale.items if item.id == item_id)


def _epoch(epochs: Epochs, item: Item) -> int:
    epoch = epochs.get(item.shard)
    if epoch is None:
        raise _nobody_opened(item.shard)
    if item.loaded_epoch not in (None, epoch):
        raise GateNotArmed(f"The gate of shard {item.shard} has to be rebuilt from the ledger.")
    return epoch


def _nobody_opened(shard: int) -> GateNotArmed:
    return GateNotArmed(f"No worker has opened shard {shard} of the gate yet; is `sluice work` up?")
