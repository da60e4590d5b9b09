"""Places in line, to those who wait and are connected: asked of the gate some at a time, at a pace
that leaves it to its work, and pushed where they have changed.

Who waits is found by asking: somebody who has just connected or joined at once, all others slowly.
Whoever waits no more is told how that ended, by the ledger; so is whoever was away when it ended,
on connecting again. Everything is asked of many buyers at once: when a line of thousands ends, they
all ask for themselves as well. Nobody is forgotten before they have been told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

from sluice.accounts.identity import Identity
from sluice.cache.news import About, News
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.errors import Overloaded, Unavailable
from sluice.domain.log import ItemTotals
from sluice.domain.outcome import WaitOutcome
from sluice.gate.wire import Place, Waiter
from sluice.telemetry import get_logger
from sluice.waiting import InLine
from sluice.web.live import messages
from sluice.web.live.hub import Hub
from sluice.web.live.link import Link

LOOK_S: Final = 2.0
"""How often a place is told at most."""
ASK_MAX: Final = 500
"""Places in one call to the gate."""
ASKS_MAX: Final = 5000
"""Places asked for in one look: the rest has its turn in the next."""
SEEK_MAX: Final = 500
"""Connected buyers of whom it is asked, in one look, whether they wait for anything."""
TELL_MAX: Final = 5000
"""Of whom it is asked, in one look, how their waiting ended."""
PRESENT_MAX: Final = 20_000
"""Those who have just come, times the items with a line, in one look."""
ENDED_S: Final = 600.0
"""A line that has ended is remembered for this long, for those who were away."""
BEGAN_MAX: Final = 50_000
"""News of joining that may wait; whoever is not told of is found by asking, in the end."""
ITEMS_MAX: Final = 200
"""Items with a line that are looked at."""

log = get_logger("live")
T = TypeVar("T")


class Gate(Protocol):
    async def totals(self, shard: int, item_ids: Sequence[int], /) -> list[ItemTotals]: ...

    async def waitlist_places(self, shard: int, waiters: list[Waiter], /) -> list[Place]: ...


class Waiting(Protocol):
    async def places(
        self, buyers: Sequence[Identity], route: ItemRoute, /
    ) -> list[InLine | None]: ...

    async def waited_for(self, item_ids: Sequence[int], /) -> set[int]: ...


class Channel(Protocol):
    async def tell(self, news: Sequence[News], until: int | None, /) -> None: ...


class PlaceFeed:
    """`waiting` and `render` are those of `GET …/waitlist`: both must say the same."""

    def __init__(
        self,
        gate: Gate,
        channel: Channel,
        routes: Callable[[], Sequence[ItemRoute]],
        route_of: Callable[[int], ItemRoute | None],
        waiting: Waiting,
        render: Callable[[InLine], dict[str, Any]],
        now_ms: Callable[[], int],
    ) -> None:
        self.hub: Hub | None = None
        """Set by whoever makes both."""
        self._gate = gate
        self._channel = channel
        self._routes = routes
        self._known_route = route_of
        self._waiting = waiting
        self._render = render
        self._now_ms = now_ms
        self._waiters: dict[int, dict[bytes, None]] = {}
        """By item: those who were seen in its line, whose turn to be asked for was longest ago
        first."""
        self._over: dict[int, dict[bytes, None]] = {}
        """By item: those who were, and are in it no more; to be told how that ended."""
        self._turn = 0
        self._route_of: dict[int, ItemRoute] = {}
        """Of these items: what has ended may not be on show any more."""
        self._ended: dict[int, tuple[ItemRoute, float]] = {}
        """By item: a line that has ended, and when by the monotonic clock; oldest first."""
        self._had_line: set[int] = set()
        """Items on show that somebody is known to have waited for."""
        self._new: dict[bytes, None] = {}
        """Buyers who have come or may have begun to wait, and are to be told how things stand."""
        self._said: dict[tuple[int, bytes], None] = {}
        """Item and buyer: who is said to have joined its line, or left it."""
        self._began: dict[News, None] = {}
        """Who has joined a line by a request to this process, and may be connected to another."""
        self._round: Iterator[Link] = iter(())

    # --- what there is to tell -------------------------------------------------------------

    def joined(self, link: Link) -> None:
        """A buyer is there, and may be in any line."""
        if link.identity is not None:
            self._new[link.identity.digest] = None

    def began(self, item_id: int, digest: bytes) -> None:
        """Somebody took a place in line; all processes are told with the next look."""
        if len(self._began) < BEGAN_MAX:
            self._began[News(About.LINE, item_id, digest)] = None

    def heard(self, news: Sequence[News]) -> None:
        assert self.hub is not None
        for one in news:
            if one.about in (About.LINE, About.PROMOTED) and self.hub.has(one.digest):
                self._new[one.digest] = None
                if one.about is About.LINE:
                    self._said[one.id, one.digest] = None

    def missed(self) -> None:
        """Somebody may have joined and left unheard: everybody is looked at."""
        assert self.hub is not None
        for link in self.hub.known():
            self.joined(link)

    # --- telling it ------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for step in (self._tell_began, self.look):
                try:
                    await step()
                except (Unavailable, Overloaded) as error:
                    _away(error)

    async def _tell_began(self) -> None:
        began = list(self._began)
        if began:
            await self._channel.tell(began, None)
            for news in began:
                del self._began[news]

    async def look(self) -> None:
        """Once over every line: those who are known to wait, and some who may. What cannot be
        asked now is asked in the next look."""
        assert self.hub is not None
        if not len(self.hub):
            for kept in (self._waiters, self._over, self._new, self._said):
                kept.clear()
            return
        self._believe()
        self._turn += 1  # another line is first each time, and all have their turn
        lines = await self._lines()
        await self._ask_all(lines)
        await self._tell_ends()
        await self._tell_present(lines)
        for item_id in self._route_of.keys() - self._waiters.keys() - self._over.keys():
            del self._route_of[item_id]

    def _believe(self) -> None:
        """Who is said to have joined a line counts as seen in it: so its end is told them even
        where it comes before they were asked about."""
        said, self._said = self._said, {}
        for item_id, digest in said:
            route = self._route_of.get(item_id) or self._known_route(item_id)
            if route is not None:
                self._route_of[item_id] = route
                self._waiters.setdefault(item_id, {})[digest] = None

    async def _lines(self) -> list[ItemRoute]:
        """Items on show in whose line somebody stands; where none does any more, it has ended."""
        by_shard: dict[int, dict[int, ItemRoute]] = {}
        for route in self._routes():
            by_shard.setdefault(route.shard, {})[route.item_id] = route
        found, silent = [], set()
        for shard, routes in by_shard.items():
            ids = list(routes)
            try:
                for start in range(0, len(ids), ITEMS_MAX):
                    totals = await self._gate.totals(shard, ids[start : start + ITEMS_MAX])
                    found += [routes[each.item_id] for each in totals if each.waiting]
            except (Unavailable, Overloaded) as error:
                _away(error)
                silent.add(shard)
        stand = {route.item_id for route in found}
        for item_id in self._waiters.keys() - stand:
            if self._route_of[item_id].shard not in silent:
                self._end(item_id)
        return _turned(found, self._turn)[:ITEMS_MAX]

    def _end(self, item_id: int) -> None:
        """The line has come to its end: each of them is told how."""
        self._over.setdefault(item_id, {}).update(self._waiters.pop(item_id))
        self._ended.pop(item_id, None)
        self._ended[item_id] = self._route_of[item_id], monotonic()
        if len(self._ended) > ITEMS_MAX:
            del self._ended[next(iter(self._ended))]

    # --- those who wait --------------------------------------------------------------------

    async def _ask_all(self, lines: Sequence[ItemRoute]) -> None:
        sought = self._sought()
        budget = ASKS_MAX
        for route in lines:
            known = self._waiters.setdefault(route.item_id, {})
            self._route_of[route.item_id] = route
            asked = list(dict.fromkeys((*sought, *known)))[:budget]
            budget -= len(asked)
            try:
                await self._ask(route, asked)
            except (Unavailable, Overloaded) as error:
                _away(error)

    def _sought(self) -> list[bytes]:
        """The next few of all who are connected."""
        assert self.hub is not None
        sought: dict[bytes, None] = {}
        for _ in range(SEEK_MAX):
            link = next(self._round, None)
            if link is None:
                self._round = iter(self.hub.known())
                break
            if link.identity is not None:
                sought[link.identity.digest] = None
        return list(sought)

    async def _ask(self, route: ItemRoute, digests: Sequence[bytes]) -> None:
        known = self._waiters[route.item_id]
        for part in _parts(digests):
            buyers = self._here(part, known)
            waiters = [_waiter(buyer, route) for buyer in buyers]
            places = await self._gate.waitlist_places(route.shard, waiters) if waiters else []
            for buyer, place in zip(buyers, places, strict=True):
                was_known = buyer.digest in known
                known.pop(buyer.digest, None)
                if place.outcome is WaitOutcome.WAITING:
                    known[buyer.digest] = None  # to the end: others have their turn first
                    self._push(buyer, route, InLine(place.entry, "waiting", place.ahead))
                elif was_known:
                    self._over.setdefault(route.item_id, {})[buyer.digest] = None

    # --- those who wait no more ------------------------------------------------------------

    async def _tell_ends(self) -> None:
        budget = TELL_MAX
        for item_id in _turned(list(self._over), self._turn):
            digests = list(self._over[item_id])[:budget]
            budget -= len(digests)
            try:
                for part in _parts(digests):
                    await self._tell(self._route_of[item_id], part)
            except (Unavailable, Overloaded) as error:
                _away(error)
            if not self._over[item_id]:
                del self._over[item_id]

    async def _tell(self, route: ItemRoute, digests: Sequence[bytes]) -> None:
        """How they stand to this line now. Whoever joined and left at once is not found, until the
        recorder has come so far; and so is asked about again who is known to have waited."""
        over = self._over.get(route.item_id, {})
        buyers = self._here(digests, over)
        entries = await self._waiting.places(buyers, route) if buyers else []
        for buyer, entry in zip(buyers, entries, strict=True):
            was_known = buyer.digest in over
            over.pop(buyer.digest, None)
            if entry is not None:
                self._push(buyer, route, entry)
            waits = was_known if entry is None else entry.state == "waiting"
            if waits:
                self._keep(route, buyer.digest, entry)

    def _keep(self, route: ItemRoute, digest: bytes, entry: InLine | None) -> None:
        """To be asked about again: by place, or by how it has ended."""
        in_line = entry is not None and entry.ahead is not None
        kept = self._waiters if in_line and route.item_id in self._waiters else self._over
        self._route_of.setdefault(route.item_id, route)
        kept.setdefault(route.item_id, {})[digest] = None

    # --- those who have just come ----------------------------------------------------------

    async def _tell_present(self, lines: Sequence[ItemRoute]) -> None:
        """Where they stand, and how it ended for them while they were away."""
        assert self.hub is not None
        self._new = {digest: None for digest in self._new if self.hub.has(digest)}
        if not self._new:
            return
        routes = await self._with_past(lines)
        digests = list(self._new)[: PRESENT_MAX // max(len(routes), 1)]
        for digest in digests:
            del self._new[digest]
        away = False
        for route in routes:
            try:
                for part in _parts(digests):
                    await self._tell(route, part)
            except (Unavailable, Overloaded) as error:
                _away(error)
                away = True
        if away:
            self._new.update(dict.fromkeys(digests))

    async def _with_past(self, lines: Sequence[ItemRoute]) -> list[ItemRoute]:
        """Items with a line, or of which it is known that they had one. Raises `Unavailable`."""
        found = {route.item_id: route for route in lines}
        long_ago = monotonic() - ENDED_S
        for item_id, (route, ended) in list(self._ended.items()):
            if ended < long_ago:
                del self._ended[item_id]
            else:
                found.setdefault(item_id, route)
        on_show = {route.item_id: route for route in self._routes()}
        self._had_line = (self._had_line | found.keys()) & on_show.keys()
        unknown = [item_id for item_id in on_show if item_id not in self._had_line]
        for start in range(0, len(unknown), ITEMS_MAX):
            part = unknown[start : start + ITEMS_MAX]
            self._had_line |= await self._waiting.waited_for(part)
        for item_id in self._had_line:
            found.setdefault(item_id, on_show[item_id])
        return list(found.values())[:ITEMS_MAX]

    # --- whom, and what --------------------------------------------------------------------

    def _here(self, digests: Sequence[bytes], kept: dict[bytes, None]) -> list[Identity]:
        """Those of them who are connected. The others are no more kept: they are told how things
        stand when they are back."""
        here = self._links(digests)
        for gone in set(digests) - {buyer.digest for buyer in here}:
            kept.pop(gone, None)
        return here

    def _links(self, digests: Sequence[bytes]) -> list[Identity]:
        assert self.hub is not None
        found = []
        for digest in digests:
            links = self.hub.of_buyer(digest)
            identity = next((link.identity for link in links if link.identity is not None), None)
            if identity is not None:
                found.append(identity)
        return found

    def _push(self, identity: Identity, route: ItemRoute, entry: InLine) -> None:
        assert self.hub is not None
        data = {
            "sale_id": str(route.sale_id),
            "item_id": str(route.item_id),
            "entry": self._render(entry),
        }
        frames = messages.message("waitlist.position", self._now_ms(), data)
        for link in self.hub.of_buyer(identity.digest):
            link.push_news(("place", route.item_id), frames, hash(entry))


def _waiter(buyer: Identity, route: ItemRoute) -> Waiter:
    return Waiter(
        route.item_id, route.limit_group, route.publication, buyer.digest, buyer.buyer.encode()
    )


def _parts(digests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(digests), ASK_MAX):
        yield digests[start : start + ASK_MAX]


def _turned(whole: list[T], turn: int) -> list[T]:
    """The same, begun at another place each turn."""
    first = turn % len(whole) if whole else 0
    return whole[first:] + whole[:first]


def _away(error: Exception) -> None:
    log.debug("Places are not known now.", action="live.places", error=str(error))
