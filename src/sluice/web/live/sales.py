"""States of sales and items, to whoever subscribed: what `GET /v1/sales/{sale}` would say, when it
changes. They come from the same snapshots, which are read anew at most a few times a second, and so
these messages are no more than that for each item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from sluice.catalog.snapshots import Shown
from sluice.domain.errors import Overloaded, Unavailable
from sluice.telemetry import get_logger
from sluice.web.live import messages
from sluice.web.live.hub import Hub
from sluice.web.live.link import Link

LOOK_S: Final = 0.2
"""How often what is shown is compared with what was pushed."""
ASKED_MAX: Final = 50_000
PUSHED_AT_ONCE: Final = 500
"""Sockets that are written before others of this process have their turn."""

log = get_logger("live")


class Snapshots(Protocol):
    async def shown(self, sale_id: int, /) -> Shown | None: ...


class _Pushed(NamedTuple):
    """What the subscribers of a sale were told last."""

    etag: str
    facts: dict[Hashable, Any]
    frames: dict[Hashable, bytes]


class SaleFeed:
    def __init__(self, snapshots: Snapshots, now_ms: Callable[[], int]) -> None:
        self.hub: Hub | None = None
        """Set by whoever makes both."""
        self._snapshots = snapshots
        self._now_ms = now_ms
        self._pushed: dict[int, _Pushed] = {}
        self._asked: dict[tuple[Link, int], None] = {}
        self._wake = asyncio.Event()

    def asked(self, link: Link, sale_id: int) -> None:
        """Somebody subscribes; the answer is the present state."""
        if len(self._asked) < ASKED_MAX:
            self._asked[link, sale_id] = None
            self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
                await self._answer()
            except (Unavailable, Overloaded) as error:
                log.debug("Sales are not known right now.", action="live.sales", error=str(error))
            await self._pause()

    async def _pause(self) -> None:
        """A moment; a subscription ends it, and is answered with others that came with it."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        await asyncio.sleep(0.01)

    async def look(self) -> None:
        """Push what has changed since the last look."""
        assert self.hub is not None
        sales = self.hub.sales
        for sale_id in self._pushed.keys() - set(sales):
            del self._pushed[sale_id]
        for sale_id in sales:
            await self._look_at(sale_id)

    async def _look_at(self, sale_id: int) -> _Pushed | None:
        """What is known now, pushed to everybody where it is new; None where there is no sale."""
        assert self.hub is not None
        shown = await self._snapshots.shown(sale_id)
        before = self._pushed.get(sale_id)
        if shown is None:
            return before
        if before is not None and before.etag == shown.etag:
            return before
        facts = facts_of(msgspec.json.decode(shown.head + b"}"))
        told = {} if before is None else before.facts
        news = {key: fact for key, fact in facts.items() if told.get(key) != fact}
        now_ms = self._now_ms()
        fresh = {key: messages.message(f"{key[0]}.state", now_ms, facts[key]) for key in news}
        frames = {key: fresh.get(key) or before.frames[key] for key in facts}  # type: ignore[union-attr]
        now = self._pushed[sale_id] = _Pushed(shown.etag, facts, frames)
        for key, frame in fresh.items():
            await self._push(sale_id, key, frame)
        return now

    async def _push(self, sale_id: int, key: Hashable, frame: bytes) -> None:
        assert self.hub is not None
        links = list(self.hub.of_sale(sale_id))
        for start in range(0, len(links), PUSHED_AT_ONCE):
            for link in links[start : start + PUSHED_AT_ONCE]:
                if sale_id in link.topics:
                    link.push(key, frame)
            await asyncio.sleep(0)

    async def _answer(self) -> None:
        """The present state to those who have just subscribed; from then on they hear changes."""
        assert self.hub is not None
        asked, self._asked = self._asked, {}
        for link, sale_id in asked:
            now = await self._look_at(sale_id)
            if now is None:
                self.hub.refuse(link, "not_found", "There is no such sale.", f"sale:{sale_id}")
                continue
            self.hub.subscribe(link, sale_id)
            if sale_id in link.topics:
                link.push(("present", sale_id), b"".join(now.frames.values()))


def facts_of(shown: dict[str, Any]) -> dict[Any, Any]:
    """`("sale", id)` and `("item", id)` with what is pushed of each, of a public snapshot."""
    sale = {key: shown[key] for key in ("id", "state", "starts_at", "ends_at")}
    if "pause_reason" in shown:
        sale["pause_reason"] = shown["pause_reason"]
    facts: dict[Any, Any] = {("sale", shown["id"]): sale}
    for item in shown["items"]:
        data = {key: item[key] for key in ("id", "state", "stock", "remaining_hint")}
        facts["item", item["id"]] = {"sale_id": shown["id"], **data}
    return facts
