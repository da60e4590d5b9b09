"""All orders of a search as one CSV file, read from the ledger page by page while it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sluice.domain.errors import Unavailable
from sluice.domain.order import Order, OrderState
from sluice.domain.sale import Sale
from sluice.domain.times import render_time
from sluice.ledger.ledger import Ledger
from sluice.web.api import sheets

T = TypeVar("T")
TRIES_MAX = 5
PAUSE_S = 1.0
CUT_OFF = "Not all: the ledger did not answer any more. Download it again."
PAGE = 500
"""Orders in memory at one time."""
ROWS_MAX = 1_000_000
"""More than a spreadsheet shows; whoever has more narrows the search down."""
HEAD = (
    "order",
    "sale",
    "sale_title",
    "item",
    "item_title",
    "buyer",
    "quantity",
    "refunded_quantity",
    "amount",
    "currency",
    "state",
    "payment_state",
    "placed_at",
    "pay_by",
    "paid_at",
)


async def order_sheet(
    ledger: Ledger,
    first: list[Order],
    *,
    sale_id: int | None,
    state: OrderState | None,
    buyer: str | None,
) -> AsyncIterator[bytes]:
    """`first` is the first page of `PAGE`: so a ledger that is away is told before the file has
    begun. One that goes away later is asked again, and then the last line says that it is not all:
    the answer's status has long been sent, and half a file looks like a whole one."""
    sales: dict[int, Sale] = {}
    yield sheets.MARK + sheets.row(HEAD)
    page, told = first, 0

    async def titles() -> dict[int, Sale]:
        return await ledger.sales([*{order.sale_id for order in page} - sales.keys()])

    async def after() -> list[Order]:
        last = page[-1].number
        return await ledger.list_orders(
            sale_id=sale_id, state=state, buyer=buyer, limit=PAGE, before_number=last
        )

    try:
        while page and told < ROWS_MAX:
            sales |= await _patiently(titles)
            yield b"".join(sheets.row(_cells(order, sales.get(order.sale_id))) for order in page)
            told += len(page)
            page = await _patiently(after) if len(page) == PAGE else []
    except Unavailable:
        yield sheets.row((CUT_OFF,))
    else:
        if page:
            yield sheets.row((f"There are more than {ROWS_MAX} orders: narrow the search down.",))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES_MAX - 1):
        with suppress(Unavailable):
            return await ask()
        await asyncio.sleep(PAUSE_S)
    return await ask()


def _cells(order: Order, sale: Sale | None) -> tuple[object, ...]:
    item = next((each for each in sale.items if each.id == order.item_id), None) if sale else None
    amount = order.amount
    paid = next((step.at_ms for step in order.history if step.state is OrderState.PAID), None)
    return (
        order.number,
        order.sale_id,
        sale.title if sale else None,
        order.item_id,
        item.title if item else None,
        order.buyer,
        order.quantity,
        order.refunded_quantity,
        None if amount is None else amount.amount,
        None if amount is None else amount.currency,
        order.state.value,
        order.payment_state.value,
        render_time(order.placed_at_ms),
        None if order.pay_by_ms is None else render_time(order.pay_by_ms),
        None if paid is None else render_time(paid),
    )
