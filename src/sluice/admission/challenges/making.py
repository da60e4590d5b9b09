"""Makes challenges of any kind, in threads of its own: never on the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from sluice.domain.challenge import Made
from sluice.domain.purpose import purpose_key
from sluice.domain.sale import Challenge


class Drawer(Protocol):
    def draw(self) -> Made: ...


class Maker:
    """Its threads start when first needed."""

    def __init__(self, secret_keys: Sequence[bytes], threads: int | None = None) -> None:
        self._work_key = purpose_key(secret_keys[0], b"altcha")
        self._threads = ThreadPoolExecutor(
            threads or max(1, (os.cpu_count() or 2) // 2), thread_name_prefix="challenges"
        )
        self._drawers = threading.local()

    async def make(self, kind: Challenge, level: int) -> Made:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.make_now, kind, level)

    def make_now(self, kind: Challenge, level: int) -> Made:
        # Drawing libraries are loaded by the processes that draw, and by them alone.
        if kind is Challenge.PROOF_OF_WORK:
            from sluice.admission.challenges import work

            return work.make(self._work_key, level)
        drawer: Drawer | None = getattr(self._drawers, kind.name, None)
        if drawer is None:
            drawer = _drawer(kind)
            setattr(self._drawers, kind.name, drawer)
        return drawer.draw()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _drawer(kind: Challenge) -> Drawer:
    if kind is Challenge.ARITHMETIC:
        from sluice.admission.challenges import arithmetic

        return arithmetic.Drawer()
    from sluice.admission.challenges import slider

    return slider.Drawer()
