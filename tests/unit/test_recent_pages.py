"""A crowd that looks at the list of sales costs one query, and sees no more than a moment back."""

from __future__ import annotations

import asyncio

import pytest

from sluice.catalog.snapshots import Shown
from sluice.domain.errors import LedgerUnavailable
from sluice.web.api.recent import FRESH_S, PAGES_MAX, RecentPages


class Reader:
    def __init__(self) -> None:
        self.reads = 0
        self.away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, limit: int, after: int | None) -> tuple[list[Shown], int | None]:
        self.reads += 1
        await self.may_answer.wait()
        if self.away:
            raise LedgerUnavailable()
        return [Shown(b"{", str(self.reads), b"")], after


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_all_who_ask_at_once_share_one_read() -> None:
    reader = Reader()
    reader.may_answer.clear()
    recent = RecentPages(reader)
    asked = [asyncio.ensure_future(recent.page(20, None)) for _ in range(100)]
    await asyncio.sleep(0)
    asked[0].cancel()
    reader.may_answer.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert reader.reads == 1
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.sales[0].etag for answer in answers[1:]} == {"1"}  # type: ignore[union-attr]


async def test_a_page_is_read_again_when_it_is_no_longer_fresh() -> None:
    reader, clock = Reader(), Clock()
    recent = RecentPages(reader, clock)
    await recent.page(20, None)
    clock.now += FRESH_S * 0.9
    await recent.page(20, None)
    assert reader.reads == 1
    clock.now += FRESH_S
    await recent.page(20, None)
    assert reader.reads == 2


async def test_different_pages_are_different() -> None:
    reader = Reader()
    recent = RecentPages(reader)
    await recent.page(20, None)
    await recent.page(20, 7)
    await recent.page(10, None)
    assert reader.reads == 3


async def test_a_fault_is_told_and_not_kept() -> None:
    reader = Reader()
    reader.away = True
    recent = RecentPages(reader)
    with pytest.raises(LedgerUnavailable):
        await recent.page(20, None)
    reader.away = False
    assert (await recent.page(20, None)).sales


async def test_no_crowd_of_cursors_fills_the_memory() -> None:
    recent = RecentPages(Reader())
    for after in range(3 * PAGES_MAX):
        await recent.page(20, after)
    assert len(recent._kept) <= PAGES_MAX
