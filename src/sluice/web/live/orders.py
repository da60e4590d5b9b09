"""Orders, to their buyers: news names an order, the ledger says what is so now, and that is pushed.

One loop for each process reads and pushes, so that no older state comes after a newer one. It also
looks at everything that its buyers have: when they connect, when news may have been missed, and
slowly all the time, since a message over the cache server may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Protocol

import msgspec

from sluice.accounts.identity import buyer_digest
from sluice.cache.news import About, News
from sluice.domain.errors import Overloaded, Unavailable
from sluice.domain.order import Order, OrderState
from sluice.telemetry import get_logger
from sluice.web.live import messages
from sluice.web.live.hub import Hub
from sluice.web.live.link import Link

READ_MAX: Final = 500
"""Orders in one query."""
BUYERS_MAX: Final = 100
"""Buyers whose orders are looked up in one query."""
NEWEST: Final = 20
"""Orders of a buyer that are told on connecting; the others are in `GET /v1/orders`."""
NEWS_MAX: Final = 100_000
"""News that may wait to be read; with more, everybody is looked at instead."""
RECONCILE_S: Final = 60.0
"""Everybody is looked at once in this time, whatever news there was."""
SLICE_S: Final = 1.0
RETRY_S: Final = 0.5

log = get_logger("live")
_encode = msgspec.json.Encoder().encode


class Ledger(Protocol):
    async def orders(self, numbers: Sequence[int], /) -> Mapping[int, Order]: ...

    async def newest_numbers(
        self, buyers: Sequence[str], each: int, /
    ) -> Mapping[str, Sequence[int]]: ...


Render = Callable[[Order], dict[str, Any]]


class OrderFeed:
    """`render` is that of `GET /v1/orders/{id}`: both must say the same."""

    def __init__(self, ledger: Ledger, render: Render, now_ms: Callable[[], int]) -> None:
        self.hub: Hub | None = None
        """Set by whoever makes both."""
        self._ledger = ledger
        self._render = render
        self._now_ms = now_ms
        self._news: dict[int, About] = {}
        self._look_at: dict[Link, None] = {}
        self._wake = asyncio.Event()

    # --- what there is to tell -------------------------------------------------------------

    def joined(self, link: Link) -> None:
        """A buyer is there: they are told how their orders stand."""
        self._look_at[link] = None
        self._wake.set()

    def heard(self, news: Sequence[News]) -> None:
        """News of buyers who are not here costs one look-up."""
        assert self.hub is not None
        for one in news:
            if one.about is not About.LINE and self.hub.has(one.digest):
                # A reminder must not be taken for a mere change of the same order, nor a promotion.
                self._news[one.id] = max(self._news.get(one.id, one.about), one.about)
        if len(self._news) > NEWS_MAX:
            self._news.clear()
            self.missed()
        if self._news:
            self._wake.set()

    def missed(self) -> None:
        """Anything may have happened unheard: everybody is looked at."""
        assert self.hub is not None
        self._look_at.update(dict.fromkeys(self.hub.known()))
        self._wake.set()

    # --- telling it ------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.tell()
            except (Unavailable, Overloaded) as error:
                log.debug("Orders cannot be read now.", action="live.orders", error=str(error))
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    async def tell(self) -> None:
        """All that is waiting to be told. What was not when a store went away waits on."""
        while self._news or self._look_at:
            if self._news:
                await self._tell_news()
            if self._look_at:
                await self._tell_present()

    async def _tell_news(self) -> None:
        chosen = dict(list(self._news.items())[:READ_MAX])
        found = await self._ledger.orders(list(chosen))
        for number, about in chosen.items():
            if self._news.get(number) == about:
                del self._news[number]
            order = found.get(number)
            if order is not None:
                self._push(order, about)

    async def _tell_present(self) -> None:
        links = list(self._look_at)[:BUYERS_MAX]
        for link in links:
            del self._look_at[link]
        try:
            await self._tell_present_to(links)
        except (Unavailable, Overloaded):
            self._look_at.update(dict.fromkeys(links))
            raise

    async def _tell_present_to(self, links: Sequence[Link]) -> None:
        buyers = {link.identity.buyer for link in links if link.identity is not None}
        numbers = await self._ledger.newest_numbers(list(buyers), NEWEST)
        wanted = [number for found in numbers.values() for number in found]
        for start in range(0, len(wanted), READ_MAX):
            part = wanted[start : start + READ_MAX]
            found = await self._ledger.orders(part)
            for number in sorted(found):
                self._push(found[number], About.ORDER)

    def _push(self, order: Order, about: About) -> None:
        assert self.hub is not None
        links = [
            link
            for link in self.hub.of_buyer(buyer_digest(order.buyer.encode()))
            if link.identity is not None and link.identity.buyer == order.buyer
        ]
        if not links:
            return
        data = self._render(order)
        state = hash(_encode(data))
        now_ms = self._now_ms()
        frames = messages.message(f"order.{order.state.value}", now_ms, data)
        for link in links:
            if about is About.PROMOTED:
                link.push(("promoted", order.number), _promoted(data, now_ms))
            link.push_news(("order", order.number), frames, state)
            if about is About.PAYMENT_DUE_SOON and order.state is OrderState.AWAITING_PAYMENT:
                due = messages.message("order.payment_due_soon", now_ms, data)
                link.push(("due", order.number), due)

    async def reconcile(self) -> None:
        """Everybody in turn, a slice a second, until it is cancelled."""
        assert self.hub is not None
        due, turn = 0.0, iter(self.hub.known())
        last = monotonic()
        while True:
            await asyncio.sleep(SLICE_S)
            now = monotonic()
            due += len(self.hub) * (now - last) / RECONCILE_S
            last = now
            while due >= 1:
                due -= 1
                link = next(turn, None)
                if link is None:
                    turn = iter(self.hub.known())
                    break
                self._look_at[link] = None
            if self._look_at:
                self._wake.set()


def _promoted(data: dict[str, Any], now_ms: int) -> bytes:
    told = {"sale_id": data["sale_id"], "item_id": data["item_id"], "order": data}
    return messages.message("waitlist.promoted", now_ms, told)
