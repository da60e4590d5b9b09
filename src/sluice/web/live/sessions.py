"""Connections of sessions of ours: they end when their session does, wherever it was ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sluice.accounts.identity import Identity
from sluice.domain.errors import Overloaded, Unavailable
from sluice.web.live.frames import Code

if TYPE_CHECKING:
    from sluice.web.live.link import Link

LOOK_UP_MAX: Final = 500
"""Sessions that are asked for at once, after news may have been missed."""
RETRY_S: Final = 0.5


class Known(NamedTuple):
    """Who a token says is there."""

    identity: Identity
    session: bytes | None
    """The digest of a session's token; None for a token of the shop's."""
    news: int
    """As it was before the token was looked up."""


class SessionWatch:
    """`is_alive` asks the store for the session of a token's digest."""

    def __init__(self, is_alive: Callable[[bytes], Awaitable[bool]]) -> None:
        self._is_alive = is_alive
        self._links: dict[bytes, list[Link]] = {}
        self._doubtful: dict[bytes, None] = {}
        self._doubts = asyncio.Event()
        self.news = 0
        """Counts what was heard, so that whoever is let in meanwhile is looked at again."""

    def entered(self, link: Link, known: Known) -> None:
        self.left(link)
        if known.session is None:
            return
        link.session = known.session
        self._links.setdefault(known.session, []).append(link)
        if known.news != self.news:
            self._doubt([known.session])

    def left(self, link: Link) -> None:
        if link.session is None:
            return
        links = self._links[link.session]
        links.remove(link)
        if not links:
            del self._links[link.session]
        link.session = None

    def revoked(self, digest: bytes) -> None:
        self.news += 1
        for link in tuple(self._links.get(digest, ())):
            link.end(Code.UNAUTHENTICATED, "the session has ended")

    def listening(self, now: bool) -> None:
        """Whether news of what is revoked arrives. Any of it may have been missed before."""
        self.news += 1
        if now:
            self._doubt(list(self._links))

    def _doubt(self, digests: list[bytes]) -> None:
        self._doubtful.update(dict.fromkeys(digests))
        self._doubts.set()

    async def run(self) -> None:
        """Asks for the sessions that are in doubt, until it is cancelled."""
        while True:
            await self._doubts.wait()
            some = list(self._doubtful)[:LOOK_UP_MAX]
            try:
                alive = await asyncio.gather(*map(self._is_alive, some))
            except (Unavailable, Overloaded):
                await asyncio.sleep(RETRY_S)
                continue
            for digest, lives in zip(some, alive, strict=True):
                self._doubtful.pop(digest, None)
                if not lives:
                    self.revoked(digest)
            if not self._doubtful:
                self._doubts.clear()
