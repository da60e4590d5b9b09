"""What follows from orders that were taken in: the journal, their deadlines, and word of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import insert

from sluice.domain.log import Accepted, LogBatch
from sluice.ledger.deadlines import add_deadlines, deadline_row
from sluice.ledger.intake import ItemFacts
from sluice.ledger.journal import announce, journal_row
from sluice.ledger.store import Transaction
from sluice.ledger.tables import stock_journal

Facts = Mapping[int, ItemFacts]


class _Tally(NamedTuple):
    numbers: dict[int, list[int]]
    """Item → order numbers."""
    units: dict[int, int]


async def write_down(
    tx: Transaction,
    batch: LogBatch,
    facts: Facts,
    written: Sequence[Accepted],
    given_up: Sequence[Accepted],
    dead: Sequence[int],
) -> None:
    """`written` hold their units now; `given_up` were cancelled before they were recorded."""
    taken = _tally(written)
    await _write_journal(tx, batch, taken.units, _tally(given_up).units)
    await _set_deadlines(tx, batch, facts, taken.numbers)
    priced: list[int] = []
    free: list[int] = []
    for item_id, numbers in taken.numbers.items():
        (priced if facts[item_id].price_minor else free).extend(numbers)
    for kind, numbers in (
        ("order.awaiting_payment", sorted(priced)),
        ("order.paid", sorted(free)),
        ("order.cancelled", [order.number for order in given_up]),
        ("order.rejected", list(dead)),
    ):
        if numbers:
            await announce(tx, kind, {"numbers": numbers})


def _tally(orders: Sequence[Accepted]) -> _Tally:
    numbers: dict[int, list[int]] = {}
    units: dict[int, int] = {}
    for number, item_id, quantity, _slots, _nonce, _buyer in orders:
        if item_id in units:
            units[item_id] += quantity
            numbers[item_id].append(number)
        else:
            units[item_id] = quantity
            numbers[item_id] = [number]
    return _Tally(numbers, units)


async def _write_journal(
    tx: Transaction, batch: LogBatch, taken: Mapping[int, int], passed: Mapping[int, int]
) -> None:
    """What was cancelled before it was recorded passes through, and takes nothing."""
    rows = [
        journal_row(
            item_id,
            "recorded",
            shard=batch.shard,
            epoch=batch.epoch,
            counter=batch.last,
            delta_available=-taken.get(item_id, 0),
            quantity=taken.get(item_id, 0) + passed.get(item_id, 0),
            at_ms=tx.now_ms,
        )
        for item_id in sorted({*taken, *passed})
    ]
    if rows:
        await tx.run(insert(stock_journal), rows)


async def _set_deadlines(
    tx: Transaction, batch: LogBatch, facts: Facts, numbers: Mapping[int, Sequence[int]]
) -> None:
    """The hold clock starts when this commits: one reminder and one end per sale."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    windows: dict[int, ItemFacts] = {}
    for item_id, theirs in numbers.items():
        of_item = facts[item_id]
        if of_item.price_minor:
            sale_id = of_item.sale_id
            windows[sale_id] = of_item
            lowest, highest = min(theirs), max(theirs)
            first[sale_id] = min(first.get(sale_id, lowest), lowest)
            last[sale_id] = max(last.get(sale_id, highest), highest)
    rows = []
    for sale_id, window in windows.items():
        run = (sale_id, batch.shard, first[sale_id], last[sale_id])
        rows.append(deadline_row("remind", tx.now_ms + window.reminder_ms, *run))
        rows.append(deadline_row("expire", tx.now_ms + window.payment_window_ms, *run))
    await add_deadlines(tx, rows)
