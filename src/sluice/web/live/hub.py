"""All live connections of one HTTP process: who they are, what they hear, when they end.

Everything is bounded: connections in all and for each buyer, the time until the first message, what
waits for a slow reader, what a client may say, and how long a dead connection is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from sluice.accounts.identity import Identity
from sluice.accounts.tokens import is_session_token, token_digest
from sluice.domain import number
from sluice.domain.errors import Overloaded, Unauthenticated, Unavailable
from sluice.telemetry import get_logger
from sluice.web.live import messages
from sluice.web.live.frames import Code
from sluice.web.live.link import Link
from sluice.web.live.sessions import Known, SessionWatch
from sluice.web.metrics import Counts

PER_BUYER_MAX: Final = 8
"""Connections of one buyer to one process: tabs and devices."""
TOPICS_MAX: Final = 16
"""Sales that one connection may subscribe to."""
GREETING_S: Final = 10.0
"""How long a client may take to say who it is."""
PING_S: Final = 25.0
"""Each connection is pinged this often; below what proxies take for idle (60 s and more)."""
DEAD_S: Final = 60.0
"""One that was not heard of for this long is dropped: it has left two pings unanswered."""
STUCK_S: Final = 15.0
"""A reader that takes nothing for this long is dropped."""
GOODBYE_S: Final = 2.0
"""How long a close frame is waited for."""
TICK_S: Final = 1.0

log = get_logger("live")


class Identities(Protocol):
    def of_bearer(self, token: str, now_s: int, /) -> Identity | None: ...

    async def of_bearer_slow(self, token: str, now_s: int, /) -> Identity: ...


class Hub:
    """`joined` is told of a connection whose buyer is known, `asked` of a subscription."""

    def __init__(
        self,
        identities: Identities,
        now_ms: Callable[[], int],
        *,
        connections_max: int,
        joined: Callable[[Link], None],
        asked: Callable[[Link, int], None],
        watch: SessionWatch,
        counts: Counts,
    ) -> None:
        self._identities = identities
        self._now_ms = now_ms
        self._connections_max = connections_max
        self._joined = joined
        self._asked = asked
        self._watch = watch
        self._counts = counts
        self._links: dict[Link, None] = {}
        self._greeting: dict[Link, None] = {}
        """Oldest first: who has not said yet who they are."""
        self._leaving: dict[Link, float] = {}
        """Until when each may take to agree to its end."""
        self._of_buyer: dict[bytes, list[Link]] = {}
        self._of_sale: dict[int, dict[Link, None]] = {}
        self._round: Iterator[Link] = iter(())
        self._due = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._links)

    # --- coming and going ------------------------------------------------------------------

    def admit(self) -> Link | None:
        """A place for a connection; None where there is none."""
        if self._closing or len(self._links) >= self._connections_max:
            return None
        link = Link(self)
        self._links[link] = None
        self._counts.live_connections = len(self._links)
        self._greeting[link] = None
        return link

    def said(self, link: Link, text: bytes) -> None:
        said = messages.heard(text)
        if said is None:
            link.end(Code.BAD_MESSAGE, "this is no message that is known here")
            return
        if said.token is not None:
            self._authenticate(link, said)
        elif link.identity is None:
            link.end(Code.UNAUTHENTICATED, "the first message is the token")
        else:
            self._subscribe(link, said)

    def leaves(self, link: Link) -> None:
        """No more facts for this one; it is cut when it does not end by itself."""
        self._forget(link)
        self._leaving.setdefault(link, monotonic() + GOODBYE_S)

    def gone(self, link: Link) -> None:
        self._forget(link)
        self._leaving.pop(link, None)
        self._links.pop(link, None)
        self._counts.live_connections = len(self._links)
        if self._closing and not self._links:
            self._empty.set()

    def drop(self, link: Link, why: str) -> None:
        """Cut at once: nobody is there, or nobody who reads."""
        self._counts.happened("live_dropped")
        log.debug("A live connection was dropped.", action="live.drop", why=why)
        if link.wire is not None:
            link.wire.cut()
        else:  # in the middle of its handshake
            link.end(Code.TRY_LATER, why)
            self.gone(link)

    def _forget(self, link: Link) -> None:
        self._greeting.pop(link, None)
        self._watch.left(link)
        for sale_id in link.topics:
            self._unsubscribe(link, sale_id)
        link.topics = ()
        if link.identity is not None:
            links = self._of_buyer.get(link.identity.digest, [])
            if link in links:
                links.remove(link)
            if not links:
                self._of_buyer.pop(link.identity.digest, None)

    # --- who they are ----------------------------------------------------------------------

    def _authenticate(self, link: Link, said: messages.Said) -> None:
        assert said.token is not None
        now_s = self._now_ms() // 1000
        try:
            identity = self._identities.of_bearer(said.token, now_s)
        except Unauthenticated as error:
            link.end(Code.UNAUTHENTICATED, str(error))
            return
        if identity is not None:
            known = Known(identity, _session_of(said.token), self._watch.news)
            self._welcome(link, known, said)
            return
        task = asyncio.ensure_future(self._authenticate_slowly(link, said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _authenticate_slowly(self, link: Link, said: messages.Said) -> None:
        assert said.token is not None
        try:
            known = await self.recognise(said.token)
        except Unauthenticated as error:
            link.end(Code.UNAUTHENTICATED, str(error))
            return
        except (Unavailable, Overloaded):
            link.end(Code.TRY_LATER, "sessions cannot be looked up now")
            return
        if link in self._links and link not in self._leaving:
            self._welcome(link, known, said)

    async def recognise(self, token: str) -> Known:
        """Raises `Unauthenticated`; for sessions `Unavailable` and `Overloaded` as well."""
        news = self._watch.news
        identity = await self._identities.of_bearer_slow(token, self._now_ms() // 1000)
        return Known(identity, _session_of(token), news)

    def _welcome(self, link: Link, known: Known, said: messages.Said) -> None:
        self.enter(link, known)
        if link not in self._leaving:
            self._subscribe(link, said)

    def enter(self, link: Link, known: Known) -> None:
        """A first identity lets somebody in; a later one of the same buyer keeps them in."""
        identity = known.identity
        if link.identity is not None:
            if link.identity.buyer != identity.buyer:
                link.end(Code.POLICY, "this connection is another buyer's")
                return
            link.identity = identity
            self._watch.entered(link, known)
        else:
            links = self._of_buyer.setdefault(identity.digest, [])
            if len(links) >= PER_BUYER_MAX:
                link.end(Code.TOO_MANY, f"{PER_BUYER_MAX} connections of this buyer are open")
                return
            self._greeting.pop(link, None)
            links.append(link)
            link.identity = identity
            self._watch.entered(link, known)
            self._ready(link)

    def _ready(self, link: Link) -> None:
        now_ms = self._now_ms()
        link.push("ready", messages.message("ready", now_ms, {"ping_seconds": int(PING_S)}))
        self._joined(link)

    # --- what they want to hear ------------------------------------------------------------

    def _subscribe(self, link: Link, said: messages.Said) -> None:
        if said.subscribe is not None:
            sale_id = self._topic(link, said.subscribe)
            if sale_id is not None:
                if sale_id not in link.topics and len(link.topics) >= TOPICS_MAX:
                    detail = f"A connection may subscribe to {TOPICS_MAX} sales."
                    self.refuse(link, "too_many_requests", detail, said.subscribe)
                else:
                    self._asked(link, sale_id)
        if said.unsubscribe is not None:
            sale_id = self._topic(link, said.unsubscribe)
            if sale_id is not None and sale_id in link.topics:
                link.topics = tuple(each for each in link.topics if each != sale_id)
                self._unsubscribe(link, sale_id)

    def _topic(self, link: Link, topic: str) -> int | None:
        name, _, text = topic.partition(":")
        sale_id = number.parse(text) if name == "sale" else None
        if sale_id is None:
            self.refuse(link, "not_found", 'A topic is "sale:ID".', topic)
        return sale_id

    def refuse(self, link: Link, code: str, detail: str, topic: str) -> None:
        frames = messages.error(self._now_ms(), code, detail, topic=topic[:100])
        link.push(("error", topic[:100]), frames)

    def subscribe(self, link: Link, sale_id: int) -> None:
        """From now on; for whoever has been found to ask for a sale that there is."""
        if link in self._links and link not in self._leaving and sale_id not in link.topics:
            link.topics = (*link.topics, sale_id)
            self._of_sale.setdefault(sale_id, {})[link] = None

    def _unsubscribe(self, link: Link, sale_id: int) -> None:
        links = self._of_sale.get(sale_id)
        if links is not None:
            links.pop(link, None)
            if not links:
                del self._of_sale[sale_id]

    # --- whom a fact is for ----------------------------------------------------------------

    @property
    def sales(self) -> list[int]:
        """Those that somebody is subscribed to."""
        return list(self._of_sale)

    def of_sale(self, sale_id: int) -> Iterable[Link]:
        return tuple(self._of_sale.get(sale_id, ()))

    def of_buyer(self, digest: bytes) -> Iterable[Link]:
        return tuple(self._of_buyer.get(digest, ()))

    def has(self, digest: bytes) -> bool:
        return digest in self._of_buyer

    def known(self) -> list[Link]:
        """Everybody whose buyer is known."""
        return [link for links in self._of_buyer.values() for link in links]

    def push_sale(self, sale_id: int, key: Hashable, frames: bytes) -> None:
        for link in self.of_sale(sale_id):
            link.push(key, frames)

    # --- looking after them ----------------------------------------------------------------

    async def run(self) -> None:
        """Looks after a part of them each second, until it is cancelled."""
        while True:
            self.look_after(monotonic())
            await asyncio.sleep(TICK_S)

    def look_after(self, now: float) -> None:
        self._end_the_unknown(now)
        for link, until in list(self._leaving.items()):
            if until <= now:
                self.drop(link, "does not say goodbye")
        # The pings of a round are spread over it: ten thousand at once would be a flood.
        self._due += len(self._links) * TICK_S / PING_S
        while self._due >= 1:
            self._due -= 1
            due = self._next()
            if due is None:
                return
            self._look_at(due, now)

    def _next(self) -> Link | None:
        """The next of this round that is still here; a new round where there is none."""
        for _ in range(2):
            for link in self._round:
                if link in self._links:
                    return link
            self._round = iter(list(self._links))
        return None

    def _look_at(self, link: Link, now: float) -> None:
        wire = link.wire
        if wire is None or link in self._leaving or link in self._greeting:
            return
        assert link.identity is not None
        link.said = 0
        if wire.stuck_since is not None and wire.stuck_since <= now - STUCK_S:
            self.drop(link, "stuck")
        elif wire.answers_pings and link.last_heard <= now - DEAD_S:
            self.drop(link, "dead")
        elif link.identity.expires_at_s * 1000 <= self._now_ms():
            link.end(Code.UNAUTHENTICATED, "the token has expired")
        else:
            wire.ping()

    def _end_the_unknown(self, now: float) -> None:
        for link in list(self._greeting):
            if link.since > now - GREETING_S:
                return
            link.end(Code.TOO_QUIET, "nothing was said in time")

    async def close(self) -> None:
        """Everybody is told that the server goes away (1001), and may come to another one."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for link in list(self._links):
            link.end(Code.GOING_AWAY, "the server goes away")
        if self._links:
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S / 2):
                    await self._empty.wait()
        for link in list(self._links):
            self.drop(link, "closing")


def _session_of(token: str) -> bytes | None:
    return token_digest(token) if is_session_token(token) else None
