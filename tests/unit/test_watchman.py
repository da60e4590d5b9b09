"""The watchman runs in the process that records orders."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sluice.workers import tally
from sluice.workers.tally import Watchman


class Board:
    """Says what no code of ours expected."""

    def __init__(self) -> None:
        self.looked_at, self.again = 0, asyncio.Event()

    async def watched(self) -> list[int]:
        self.looked_at += 1
        if self.looked_at > 1:
            self.again.set()
        raise ValueError("a mistake of ours")

    async def to_store(self, _older_than_s: int) -> list[Any]:
        return []


class Ledger:
    async def now_ms(self) -> int:
        return 0

    async def coarsen_ticks(self, _now_s: int) -> int:
        return 0


async def test_a_mistake_in_a_look_ends_neither_the_watchman_nor_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "PAUSE_S", 0.0)
    monkeypatch.setattr(tally, "LOOK_EVERY_S", 0.0)
    board = Board()
    watchman = Watchman(cast(Any, Ledger()), cast(Any, board), cast(Any, None))
    running = asyncio.ensure_future(watchman.run())
    async with asyncio.timeout(60):
        await asyncio.wait(
            [running, again := asyncio.ensure_future(board.again.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert again.done()
        watchman.stop()
        await running
