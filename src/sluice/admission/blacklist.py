"""Who is kept out for a while: known here at once, shared with all, seen by operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from sluice.domain.blacklist import Blacklisted
from sluice.domain.errors import CacheUnavailable
from sluice.telemetry import get_logger

RELOAD_S = 5.0
"""A lost broadcast is made good within this time."""

log = get_logger("limits")


class Store(Protocol):
    """What is shared; `cache.blacklist.BlacklistStore` does it. Raises `CacheUnavailable`."""

    async def add(self, entry: Blacklisted, /) -> None: ...

    async def remove(self, who: str, /) -> bool: ...

    async def until(self, now_ms: int, /) -> dict[str, int]: ...

    async def entries(self, offset: int, count: int, /) -> list[Blacklisted]: ...

    async def follow(self, heard: Callable[[Any], None], /) -> None: ...


class Blacklist:
    """`follow` and `reload_often` must be running for it to hold in every process."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._until: dict[str, int] = {}
        self._wake = asyncio.Event()

    def left_ms(self, who: str) -> int:
        """For how long `buyer:…` or `address:…` is still kept out; 0: not at all."""
        until = self._until.get(who)
        return 0 if until is None else max(0, until - self._now_ms())

    def __bool__(self) -> bool:
        """Whether anybody is on it."""
        return bool(self._until)

    async def add(self, who: str, seconds: int, reason: str) -> Blacklisted:
        """Holds here at once. Raises `CacheUnavailable` where the others could not be told."""
        now = self._now_ms()
        entry = Blacklisted(who, now + seconds * 1000, now, reason)
        self._until[who] = entry.until_ms
        log.warning("Blacklisted.", action="limits.blacklisted", who=who, reason=reason)
        await self._store.add(entry)
        return entry

    async def lift(self, who: str) -> bool:
        """Whether it was on it. Raises `CacheUnavailable`: then nothing is lifted."""
        lifted = await self._store.remove(who)
        self._until.pop(who, None)
        return lifted

    async def entries(self, offset: int, count: int) -> list[Blacklisted]:
        """Those that last longest first. Raises `CacheUnavailable`."""
        await self.reload()
        return await self._store.entries(offset, count)

    async def reload(self) -> None:
        """Raises `CacheUnavailable`; what was known stays."""
        self._until = await self._store.until(self._now_ms())

    def hear(self, change: Any) -> None:
        """One change that some process made; None: any number of them."""
        if change is None:
            self._wake.set()
        elif change.until_ms:
            self._until[change.who] = change.until_ms
        else:
            self._until.pop(change.who, None)

    async def follow(self) -> None:
        """Until cancelled."""
        await self._store.follow(self.hear)

    async def reload_often(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(CacheUnavailable):
                await self.reload()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(RELOAD_S):
                    await self._wake.wait()
