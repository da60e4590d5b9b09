"""Sheets that a spreadsheet takes for what they are, and that never pretend to be whole."""

from __future__ import annotations

import csv
import io
from typing import Any, cast

import pytest

from sluice.domain.errors import LedgerUnavailable
from sluice.domain.money import Money
from sluice.domain.order import HistoryEntry, Order, OrderState
from sluice.web.api import order_sheet, sheets
from sluice.web.api.order_sheet import CUT_OFF, HEAD, PAGE


def an_order(number: int) -> Order:
    return Order(
        number=number,
        sale_id=1,
        item_id=2,
        buyer="acct:1",
        quantity=1,
        amount=Money(990, "CNY"),
        state=OrderState.PAID,
        placed_at_ms=0,
        history=[HistoryEntry(state=OrderState.PAID, at_ms=1)],
    )


class Ledger:
    """So many orders; it is away for the next `away` questions about them."""

    def __init__(self, orders: int, away: int = 0) -> None:
        self.orders = orders
        self.away = away

    async def sales(self, _ids: Any) -> dict[int, Any]:
        return {}

    async def list_orders(self, *, limit: int, before_number: int, **_: Any) -> list[Order]:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable
        last = max(before_number - limit, 0)
        return [an_order(number) for number in range(before_number - 1, last, -1)]


async def rows(ledger: Ledger) -> list[list[str]]:
    first = [an_order(n) for n in range(ledger.orders, max(ledger.orders - PAGE, 0), -1)]
    sheet = order_sheet.order_sheet(cast(Any, ledger), first, sale_id=None, state=None, buyer=None)
    text = b"".join([piece async for piece in sheet])
    return list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline="")))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_sheet, "PAUSE_S", 0)


@pytest.mark.parametrize("count", [0, 1, PAGE, PAGE + 1])
async def test_every_order_is_in_it_once_newest_first(count: int) -> None:
    head, *found = await rows(Ledger(count))
    assert tuple(head) == HEAD
    assert [int(row[0]) for row in found] == list(range(count, 0, -1))


async def test_a_ledger_that_is_away_for_a_moment_costs_nothing() -> None:
    assert len(await rows(Ledger(PAGE + 7, away=3))) == 1 + PAGE + 7


async def test_a_file_that_is_not_whole_says_so_in_its_last_line() -> None:
    found = await rows(Ledger(PAGE + 7, away=1000))
    assert len(found) == 1 + PAGE + 1
    assert found[-1] == [CUT_OFF]


async def test_a_search_that_finds_too_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_sheet, "ROWS_MAX", PAGE)
    assert "narrow" in (await rows(Ledger(PAGE + 1)))[-1][0]


@pytest.mark.parametrize("risky", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_run_as_a_formula(risky: str) -> None:
    [[cell]] = csv.reader(io.StringIO(sheets.row((risky,)).decode(), newline=""))
    assert cell == "'" + risky


def test_cells_keep_commas_quotes_and_lines_and_numbers_stay_numbers() -> None:
    cells = ['a,"b"', "two\r\nlines", "", "plain", "\u8336\u58f6"]
    line = sheets.row((*cells, -5, None))
    assert line.endswith(b"\r\n")
    [found] = csv.reader(io.StringIO(line.decode(), newline=""))
    assert found == [*cells, "-5", ""]
