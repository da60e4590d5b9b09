"""The herald: reads the outbox as it grows and tells every HTTP process whom it concerns.

One at a time, by a lease on the cache server; two at once would only tell things twice. What it
tells is a hint to look, so nothing is lost when it is: HTTP processes look at everything slowly
anyway, and at once when they hear that something may be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from sluice.cache.news import About, News
from sluice.domain.errors import Unavailable
from sluice.telemetry import get_logger

READ_MAX: Final = 200
"""Messages of the outbox in one read; one may name thousands of orders."""
NUMBERS_MAX: Final = 5000
"""Orders whose buyers are looked up in one query."""
PAUSE_S: Final = 0.1
"""Between two looks at an outbox that has been read to its end."""
SILENT_S: Final = 0.3
"""Between two looks whether anybody listens."""
STANDBY_S: Final = 1.0
RETRY_S: Final = 0.5

log = get_logger("herald")


class Told(Protocol):
    """A message of the outbox."""

    @property
    def id(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> dict[str, Any]: ...


class Outbox(Protocol):
    async def events_after(self, position: int, limit: int, /) -> Sequence[Told]: ...

    async def last_event(self) -> int: ...

    async def parties(self, numbers: Sequence[int], /) -> dict[int, Any]: ...


class Channel(Protocol):
    async def lead(self, owner: str, /) -> bool: ...

    async def resign(self, owner: str, /) -> None: ...

    async def is_listened_to(self) -> bool: ...

    async def told_until(self) -> int | None: ...

    async def tell(self, news: Sequence[News], until: int | None, /) -> None: ...


class Herald:
    """Runs until stopped. `digest` is how the processes know a buyer."""

    def __init__(
        self, owner: str, outbox: Outbox, channel: Channel, digest: Callable[[str], bytes]
    ) -> None:
        self._owner = owner
        self._outbox = outbox
        self._channel = channel
        self._digest = digest
        self._position: int | None = None
        self._silent = False
        """Nobody was connected anywhere when it last looked."""
        self._stop = asyncio.Event()
        self._away = False

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                pause_s = await self.turn()
                self._settled(None)
            except Unavailable as error:
                self._settled(error)
                pause_s = RETRY_S
            if pause_s:
                await self._pause(pause_s)
        try:
            await self._channel.resign(self._owner)
        except Unavailable as error:
            log.info("the lease will end by itself", action="resign", error=str(error))

    async def turn(self) -> float:
        """One step; how long to wait before the next. Raises `Unavailable`."""
        if not await self._channel.lead(self._owner):
            self._position = None
            return STANDBY_S
        if not await self._channel.is_listened_to():
            # Looking up whom an order concerns costs half as much as recording it, in one process.
            self._silent, self._position = True, None
            return SILENT_S
        if self._position is None:
            await self._begin()
        assert self._position is not None
        events = await self._outbox.events_after(self._position, READ_MAX)
        if not events:
            return PAUSE_S
        news = await self._news_of(events)
        if news:
            await self._channel.tell(news, events[-1].id)
        self._position = events[-1].id
        return 0.0 if len(events) == READ_MAX else PAUSE_S

    async def _begin(self) -> None:
        """Where the last herald ended. Where nobody knows that any more, or it lies ahead of the
        outbox (another ledger), or nobody listened until now, with what comes next: whoever is
        connected looks for the rest."""
        last = await self._outbox.last_event()
        told = None if self._silent else await self._channel.told_until()
        self._silent = False
        if told is None or told > last:
            await self._channel.tell([], last)
            told = last
        self._position = told
        log.info("tells the news", action="lead", position=told)

    async def _news_of(self, events: Sequence[Told]) -> list[News]:
        """Whom these events concern, each once for a fact."""
        about = _orders_in(events)
        news: dict[News, None] = {}
        numbers = list(dict.fromkeys(number for _, number in about))
        buyers: dict[int, bytes] = {}
        for start in range(0, len(numbers), NUMBERS_MAX):
            found = await self._outbox.parties(numbers[start : start + NUMBERS_MAX])
            buyers.update((number, self._digest(party.buyer)) for number, party in found.items())
        for kind, number in about:
            if number in buyers:
                news[News(kind, number, buyers[number])] = None
        for event in events:
            if event.kind.startswith("waitlist."):
                news.update(dict.fromkeys(self._line_news(event)))
        return list(news)

    def _line_news(self, event: Told) -> Iterable[News]:
        for entry in event.payload["entries"]:
            digest = self._digest(entry["buyer"])
            if event.kind == "waitlist.promoted":
                yield News(About.PROMOTED, int(entry["number"]), digest)
            else:
                yield News(About.LINE, int(entry["item_id"]), digest)

    def _settled(self, error: Unavailable | None) -> None:
        if error is not None and not self._away:
            log.warning("News waits for a store.", action="herald.away", error=str(error))
        elif error is None and self._away:
            log.info("News is told again.", action="herald.back")
        self._away = error is not None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _orders_in(events: Sequence[Told]) -> list[tuple[About, int]]:
    found = []
    for event in events:
        if event.kind.startswith(("order.", "payment.")):
            due_soon = event.kind == "order.payment_due_soon"
            about = About.PAYMENT_DUE_SOON if due_soon else About.ORDER
            found += [(about, int(number)) for number in event.payload.get("numbers", ())]
    return found
