"""How often: every limited request takes from counters that all processes share.

What was refused a moment ago is refused from memory, without asking anybody; everything else is
asked for in batches. While the cache server is away each process counts for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from time import monotonic
from typing import Protocol

import msgspec

from sluice.admission.blacklist import Blacklist
from sluice.admission.sale_limits import RouteLimits, seconds
from sluice.admission.share import Share
from sluice.batching import Batcher
from sluice.domain.blacklist import BUYER
from sluice.domain.errors import CacheUnavailable, Overloaded, Unavailable
from sluice.domain.limit import Check, Taken, per_minute
from sluice.telemetry import get_logger

BATCH_MAX = 512
DEADLINE_S = 0.3
"""Longer than this nobody waits for the shared counters."""
AWAY_S = 1.0
"""After a failure the shared counters are left alone for this long."""
KNOWN_MAX = 100_000
REFUSALS_EVERY_S = 0.2
REFUSALS_OF_MAX = 10_000
"""Buyers whose refusals are counted in one go."""

log = get_logger("limits")


class Counters(Protocol):
    """Counting; shared on the cache server, or in this process alone."""

    async def take(self, requests: Sequence[Sequence[Check]], /) -> list[Taken]: ...

    async def forget(self, counters: Sequence[bytes], /) -> None: ...


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What came of a request. `refused` names the limit that said no; None: go on."""

    refused: str | None
    retry_ms: int
    state: str
    """The header `RateLimit`: what is left of each limit, as far as this process knows."""

    @property
    def retry_after_s(self) -> int:
        return max(1, seconds(self.retry_ms))


FREE = Verdict(None, 0, "")
"""Of a request that no limit is declared for."""


class Limiter:
    """`run` must be running for refusals to be counted."""

    def __init__(
        self,
        shared: Counters,
        own: Counters,
        share: Share,
        blacklist: Blacklist,
        *,
        refusals_max: int,
        blacklist_s: int,
        queue_max: int,
    ) -> None:
        self.shared = shared
        self._own = own
        self.share = share
        self.blacklist = blacklist
        self._blacklist_s = blacklist_s
        # The last refusal that is allowed is the one before the one that blacklists.
        self._refusals_rule = per_minute("refusals", max(1, refusals_max - 1))
        self._refusals: dict[str, int] = {}
        self._known: dict[bytes, float] = {}
        self._away_until = 0.0
        self.alone = 0
        """Requests that were decided by this process's own counters."""
        self._batches: Batcher[Sequence[Check], Taken] = Batcher(
            shared.take,
            batch_max=BATCH_MAX,
            queue_max=queue_max,
            deadline_s=DEADLINE_S,
        )

    # --- asked by requests -----------------------------------------------------------------

    def give(self, limits: RouteLimits, digest: bytes, address: str) -> Verdict | None:
        """Count one request of a caller, or refuse it, from what this process knows; None where
        `take` must be asked. A refusal of a moment ago stands until its time.
        """
        state = limits.free(digest, address, self._known)
        if state is not None:
            return Verdict(None, 0, state)
        keys = limits.keys(digest, address)
        verdict = self._known_refusal(limits, keys) if self._known else None
        if verdict is not None:
            return verdict
        given = self._given(limits, keys)
        if None in given:
            for limit, key, left in zip(limits.by, keys, given, strict=True):
                if left is not None:
                    self.share.take_back(limit, key)
            return None
        return Verdict(None, 0, limits.state(given))

    async def take(self, limits: RouteLimits, digest: bytes, address: str) -> Verdict:
        """The same for what `give` could not tell: what this process cannot give by itself is
        taken from what all share."""
        keys = limits.keys(digest, address)
        given = self._given(limits, keys)
        if None not in given:
            return Verdict(None, 0, limits.state(given))
        asked = [at for at, left in enumerate(given) if left is None]
        units = [self.share.units_to_ask(limits.by[at], keys[at]) for at in asked]
        taken = None
        try:
            taken = await self._ask(limits, keys, asked, units)
        finally:
            for place, at in enumerate(asked):
                left = None if taken is None or taken.refused >= 0 else taken.left[place].remaining
                self.share.asked(limits.by[at], keys[at], units[place], left)
        if taken.refused >= 0 and max(units) > 1:
            # Less than a chunk is left, which may be enough for this one.
            units = [1] * len(asked)
            taken = await self._ask(limits, keys, asked, units)
        for at, told in zip(asked, taken.left, strict=True):
            given[at] = told.remaining
        if taken.refused < 0:
            return Verdict(None, 0, limits.state(given))
        return self._refused(limits, keys, asked, taken, given)

    async def _ask(
        self,
        limits: RouteLimits,
        keys: Sequence[bytes],
        asked: Sequence[int],
        units: Sequence[int],
    ) -> Taken:
        return await self._taken(
            [Check(limits.by[at].shared, keys[at], n) for at, n in zip(asked, units, strict=True)]
        )

    def _refused(
        self,
        limits: RouteLimits,
        keys: Sequence[bytes],
        asked: Sequence[int],
        taken: Taken,
        given: list[int | None],
    ) -> Verdict:
        for at, (limit, key) in enumerate(zip(limits.by, keys, strict=True)):
            if at not in asked:
                self.share.take_back(limit, key)
        refused = asked[taken.refused]
        self._remember(keys[refused], taken.retry_ms)
        given[refused] = 0
        name = limits.by[refused].rule.name
        return Verdict(name, taken.retry_ms, limits.state(given, refused, taken.retry_ms))

    def _given(self, limits: RouteLimits, keys: Sequence[bytes]) -> list[int | None]:
        return list(map(self.share.give, limits.by, keys))

    def _known_refusal(self, limits: RouteLimits, keys: Sequence[bytes]) -> Verdict | None:
        known = self._known
        for limit, key in zip(limits.by, keys, strict=True):
            until = known.get(key)
            if until is not None:
                left_ms = ceil((until - monotonic()) * 1000)
                if left_ms > 0:
                    state = f"{limit.head}0;t={seconds(left_ms)}"
                    return Verdict(limit.rule.name, left_ms, state)
                del known[key]
        return None

    async def used(self, checks: Sequence[Check]) -> list[int]:
        """Count one for each, and tell how many there were within its window. None is refused
        where its quota is out of reach."""
        taken = await self._taken(checks)
        return [c.rule.quota - left.remaining for c, left in zip(checks, taken.left, strict=True)]

    def blame(self, buyer: str) -> None:
        """A refusal that is this buyer's own doing; ten in a minute blacklist them."""
        count = self._refusals.get(buyer)
        if count is not None:
            self._refusals[buyer] = count + 1
        elif len(self._refusals) < REFUSALS_OF_MAX:
            self._refusals[buyer] = 1

    # --- asked by operators ----------------------------------------------------------------

    async def lift(self, who: str) -> bool:
        """Off the blacklist, its refusals forgotten. Raises `CacheUnavailable`."""
        if who.startswith(BUYER):
            buyer = who.removeprefix(BUYER)
            self._refusals.pop(buyer, None)
            await self.shared.forget([_refusals_key(buyer)])
            await self._own.forget([_refusals_key(buyer)])
        return await self.blacklist.lift(who)

    # --- behind the requests ---------------------------------------------------------------

    async def run(self) -> None:
        """Counts refusals until cancelled."""
        while True:
            await asyncio.sleep(REFUSALS_EVERY_S)
            self.share.turn()
            await self.count_refusals()

    async def count_refusals(self) -> None:
        """Adds what this process refused since the last time to what the others did."""
        if not self._refusals:
            return
        refusals, self._refusals = self._refusals, {}
        rule = self._refusals_rule
        buyers = [buyer for buyer in refusals if not self.blacklist.left_ms(BUYER + buyer)]
        requests = [
            [Check(rule, _refusals_key(buyer), min(refusals[buyer], rule.quota + 1))]
            for buyer in buyers
        ]
        for buyer, taken in zip(buyers, await self._take_all(requests), strict=True):
            if taken.refused >= 0:
                await self._blacklist(buyer)

    async def close(self) -> None:
        await self._batches.close()

    async def _blacklist(self, buyer: str) -> None:
        try:
            await self.blacklist.add(
                BUYER + buyer,
                self._blacklist_s,
                f"{self._refusals_rule.quota + 1} refusals in a minute",
            )
        except CacheUnavailable:
            log.warning("Only this process knows.", action="limits.blacklist_alone")

    async def _taken(self, checks: Sequence[Check]) -> Taken:
        if monotonic() >= self._away_until:
            try:
                return await self._batches.submit(checks)
            except Overloaded:
                pass
            except Unavailable:
                self._gone()
        self.alone += 1
        return (await self._own.take([checks]))[0]

    async def _take_all(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        if monotonic() >= self._away_until:
            try:
                return await self.shared.take(requests)
            except Unavailable:
                self._gone()
        return await self._own.take(requests)

    def _gone(self) -> None:
        self._away_until = monotonic() + AWAY_S

    def _remember(self, key: bytes, retry_ms: int) -> None:
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[key] = monotonic() + retry_ms / 1000


def _refusals_key(buyer: str) -> bytes:
    return b"refusals:" + buyer.encode()
