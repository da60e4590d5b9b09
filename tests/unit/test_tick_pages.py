"""Ticks are told page by page, each once, though several may begin in one second."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sluice.ledger.ticks import Tick
from sluice.web.api import watching

NOON = 1_800_000_000


class Watch:
    def __init__(self, *begin: tuple[int, int]) -> None:
        self.stored = sorted(Tick(7, span_s, at_s, {}) for at_s, span_s in begin)
        self.stored.sort(key=lambda tick: (tick.at_s, tick.span_s))

    async def ticks(self, _sale_id: int, since_s: int, limit: int) -> Sequence[Tick]:
        return [tick for tick in self.stored if tick.at_s >= since_s][:limit]


@pytest.mark.parametrize("late", [(NOON + 2, 60), (NOON + 3, 60), (NOON + 4, 3600)])
async def test_every_tick_is_on_one_page(
    late: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TICKS_MAX", 4)
    watch = Watch(*((NOON + n, 1) for n in range(10)), late)
    parts = cast(Any, SimpleNamespace(watch=watch))
    found: list[Tick] = []
    since_s, more = 0, True
    while more:
        page, since_s, more = await watching._page(parts, 7, since_s)
        found += page
    assert found == watch.stored
    assert await watching._page(parts, 7, since_s) == ([], since_s, False)
    assert await watching._all_ticks(parts, 7) == watch.stored


async def test_seconds_that_came_late_within_a_coarse_step_are_told() -> None:
    watch = Watch((NOON, 60), (NOON + 30, 1))
    parts = cast(Any, SimpleNamespace(watch=watch))
    _, since_s, _ = await watching._page(parts, 7, NOON)
    assert since_s == NOON + 31
