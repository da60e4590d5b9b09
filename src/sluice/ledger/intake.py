"""Taking accepted orders in: units, orders, slots and history, or else a dead letter.

The usual batch is a few statements without a savepoint (SQLite would copy every page that changes
after one, half as much work again). Where one of them fails, the transaction starts again with
care: each run in a savepoint, halved until the bad row stands alone, so that it costs its
neighbours nothing.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, select, update

from sluice.domain.log import Accepted, slots_of
from sluice.domain.number import EPOCH_S
from sluice.domain.order import OrderState, PaymentState
from sluice.ledger import bulk
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.rejects import Reason, Reject, explain
from sluice.ledger.store import Transaction
from sluice.ledger.tables import dead_letters, items, orders

LOOKUP_CHUNK = 500
"""Numbers in one query; the smallest limit on parameters in use is SQLite's old 999."""


_AWAITING = OrderState.AWAITING_PAYMENT.value
_PAID = OrderState.PAID.value
_slots = lru_cache(maxsize=1024)(slots_of)
"""Most orders are for one unit in the first slot."""


class ItemFacts(NamedTuple):
    """What an order takes from its item; fixed while the sale is live."""

    item_id: int
    sale_id: int
    price_minor: int
    currency: str
    per_buyer: int
    limit_group: int
    payment_window_ms: int
    reminder_ms: int


class _Short(Exception):  # noqa: N818 - it undoes a savepoint
    """An item has fewer units available than the run wants."""


def has_units(taken: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that holds the line: the ledger itself has what the gate gave away."""
    return items.c.available >= taken


class NeedsCare(Exception):  # noqa: N818 - it undoes the transaction
    """A row or an item's stock does not allow the run as a whole."""


class Intake:
    """One transaction's accepted orders. `written` and `rejects` grow with every `take`.

    Without `care`, what cannot be taken as a whole raises `NeedsCare`.
    """

    def __init__(self, tx: Transaction, facts: dict[int, ItemFacts], *, care: bool) -> None:
        self._tx = tx
        self._facts = facts
        self._care = care
        self.written: list[Accepted] = []
        self.rejects: list[Reject] = []
        self._short: list[Accepted] = []

    async def take(self, run: Sequence[Accepted]) -> None:
        """`run` in the order of the log; every item of it is known."""
        await self._take(run)
        seen = 0
        while self._short and len(self.rejects) > seen:
            # A row that was rejected for itself left its units to those that came too late.
            seen, short, self._short = len(self.rejects), sorted(self._short), []
            await self._take(short)
        for order in self._short:
            group = self._facts[order.item_id].limit_group
            self.rejects.append(Reject(order, Reason.SOLD_OUT, "", group))

    async def _take(self, run: Sequence[Accepted]) -> None:
        if not run:
            return
        try:
            async with self._tx.savepoint() if self._care else nullcontext():
                await self._take_units(run)
                await self._insert(run)
            self.written.extend(run)
        except _Short as short:
            self._must_care(short)
            await self._take_what_fits(run)
        except Exception as error:
            if fault_of(error) is not Fault.BROKEN_ROW:
                raise
            self._must_care(error)
            await self._bisect(run, error)

    def _must_care(self, error: Exception) -> None:
        if not self._care:
            raise NeedsCare from error

    async def _bisect(self, run: Sequence[Accepted], error: Exception) -> None:
        if len(run) == 1:
            self.rejects.append(await explain(self._tx, self._facts, run[0], error))
            return
        middle = len(run) // 2
        await self._take(run[:middle])
        await self._take(run[middle:])

    async def _take_units(self, run: Sequence[Accepted]) -> None:
        """Every item has its units, or none moves."""
        wanted = _units(run)
        taken = case(wanted, value=items.c.id)
        free = [item_id for item_id in wanted if self._facts[item_id].price_minor == 0]
        statement = update(items).where(items.c.id.in_(list(wanted)), has_units(taken))
        if len(free) < len(wanted):
            priced = {i: 0 if i in free else units for i, units in wanted.items()}
            awaiting = items.c.awaiting_payment + case(priced, value=items.c.id)
            statement = statement.values(awaiting_payment=awaiting)
        if free:
            given = {i: units if i in free else 0 for i, units in wanted.items()}
            statement = statement.values(paid=items.c.paid + case(given, value=items.c.id))
        met = await self._tx.changed(statement.values(available=items.c.available - taken))
        if met != len(wanted):
            raise _Short

    async def _take_what_fits(self, run: Sequence[Accepted]) -> None:
        """Leaves out the highest numbers of an item that has too few units."""
        wanted = select(items.c.id, items.c.available).where(items.c.id.in_(list(_units(run))))
        rows = await self._tx.run(wanted.with_for_update())
        left: dict[int, int] = {row.id: row.available for row in rows}
        excess: set[int] = set()
        for order in sorted(run):
            left[order.item_id] -= order.quantity
            if left[order.item_id] < 0:
                excess.add(order.number)
        if not excess:
            raise RuntimeError("the units that were short are there")
        self._short += [order for order in run if order.number in excess]
        await self._take([order for order in run if order.number not in excess])

    async def _insert(self, run: Sequence[Accepted]) -> None:
        with _garbage_waits():
            rows, slots, history = self._rows_of(run)
        await bulk.write_rows(self._tx, "orders", bulk.ORDER_COLUMNS, rows)
        await bulk.write_rows(self._tx, "order_slots", bulk.SLOT_COLUMNS, slots)
        await bulk.write_rows(self._tx, "order_history", bulk.HISTORY_COLUMNS, history)

    def _rows_of(self, run: Sequence[Accepted]) -> tuple[list[bulk.Row], ...]:
        """What each order costs, as tuples in the order of the columns in `bulk`."""
        now_ms = self._tx.now_ms
        unpaid = PaymentState.NONE.value
        rows: list[bulk.Row] = []
        slots: list[bulk.Row] = []
        history: list[bulk.Row] = []
        for number, item_id, quantity, mask, nonce, buyer in run:
            _, sale_id, price_minor, currency, _, group, window_ms, _ = self._facts[item_id]
            state = _AWAITING if price_minor else _PAID
            rows.append(
                (
                    number,
                    sale_id,
                    item_id,
                    mask,
                    price_minor * quantity,
                    ((number >> 32) + EPOCH_S) * 1000,
                    now_ms,
                    now_ms + window_ms if price_minor else None,
                    quantity,
                    0,
                    nonce,
                    currency,
                    state,
                    unpaid,
                    buyer,
                )
            )
            for slot in _slots(mask):  # mostly one, so no generator
                slots.append((buyer, group, slot, number))  # noqa: PERF401
            history.append((number, 1, state, now_ms))
        slots.sort()  # neighbours in the index that has no order of its own
        return rows, slots, history


@contextmanager
def _garbage_waits() -> Iterator[None]:
    """Building a batch's rows would run the collector dozens of times over what is no garbage:
    a seventh of the recorder's time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _units(run: Iterable[Accepted]) -> dict[int, int]:
    wanted: Counter[int] = Counter()
    for order in run:
        wanted[order.item_id] += order.quantity
    return wanted


async def known_numbers(tx: Transaction, numbers: Sequence[int]) -> dict[int, bytes | None]:
    """Those that the ledger has: order number → nonce, or None for a dead letter."""
    known: dict[int, bytes | None] = {}
    for start in range(0, len(numbers), LOOKUP_CHUNK):
        chunk = numbers[start : start + LOOKUP_CHUNK]
        dead = select(dead_letters.c.number).where(dead_letters.c.number.in_(chunk))
        known.update(dict.fromkeys((await tx.run(dead)).scalars()))
        stored = select(orders.c.number, orders.c.nonce).where(orders.c.number.in_(chunk))
        known.update({number: bytes(nonce) for number, nonce in await tx.run(stored)})
    return known
