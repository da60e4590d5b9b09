"""`sluice work`: what no shard depends on never ends the process that records orders."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sluice import lasting
from sluice.workers import main
from sluice.workers.releaser import Releaser


class Helper:
    """Makes a mistake each time it is begun, so often."""

    def __init__(self, mistakes: int, *, at_the_end: bool = False) -> None:
        self.begun = 0
        self.works = asyncio.Event()
        self._mistakes = mistakes
        self._at_the_end = at_the_end
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self._mistakes:
            raise KeyError("a mistake")
        self.works.set()
        await self._stop.wait()
        if self._at_the_end:
            raise KeyError("while it stops")


async def in_step() -> None:
    return None


async def test_a_helper_that_breaks_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting.lasting, "__defaults__", (0.0, None))
    good, bad = Helper(0), Helper(2)
    with capture_logs() as logged:
        process = asyncio.ensure_future(main.run([], in_step, [good, bad]))
        async with asyncio.timeout(30):
            await bad.works.wait()
            assert not process.done()
            os.kill(os.getpid(), signal.SIGTERM)
            await process
    assert (good.begun, bad.begun) == (1, 3)
    assert [e["loop"] for e in logged if e.get("action") == "loop.broke"] == ["Helper.run"] * 2


async def test_a_helper_that_breaks_as_it_stops_is_not_begun_again() -> None:
    helper = Helper(0, at_the_end=True)
    process = asyncio.ensure_future(main.run([], in_step, [helper]))
    async with asyncio.timeout(30):
        await helper.works.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await process
    assert helper.begun == 1


async def test_what_breaks_in_a_shard_ends_the_process() -> None:
    with pytest.raises(KeyError):
        await main.run([cast(Any, Helper(1))], in_step, [Helper(0)])


async def test_a_step_of_the_releaser_that_breaks_keeps_no_other_from_its_turn() -> None:
    async def broken(*_: object) -> list[int]:
        raise KeyError("a mistake")

    async def due() -> int:
        return 0

    expired = asyncio.Event()

    async def expire(_limit: int) -> list[int]:
        expired.set()
        return []

    async def nothing(_limit: int) -> int:
        return 0

    ledger = SimpleNamespace(
        next_deadline_ms=due, now_ms=due, remind_due=broken, expire_due=expire, apply_inbox=nothing
    )
    settlement = SimpleNamespace(void_due=broken, send_refunds=nothing)
    releaser = Releaser(
        ledger=cast(Any, ledger), settlement=cast(Any, settlement), decided=lambda: None
    )
    running = asyncio.ensure_future(releaser.run())
    async with asyncio.timeout(30):
        await expired.wait()
        assert not running.done()
        releaser.stop()
        await running
