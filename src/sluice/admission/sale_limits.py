"""The limits of a route, as a sale's policy or the route itself declares them, ready to count."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from sluice.admission.address import OWN
from sluice.admission.share import MASK, Limit, Share
from sluice.domain.limit import QUOTA_MAX, Rule
from sluice.domain.sale import Limits

COMPILED_MAX = 4096
STATES_MAX = 1024
"""Headers of a route that are kept ready; most callers are at the beginning of their quota."""
BUYER = "buyer"
"""The limit whose refusals are the buyer's own doing: an address may be shared by many."""


class Route(NamedTuple):
    """A hot route, and how a sale's limits apply to it."""

    name: str
    times: int = 1
    """So many times the policy's quotas."""
    sale_wide: bool = True


PASS = Route("pass")
CHALLENGE = Route("challenge", times=2)
"""A picture that cannot be read is asked for again."""
WAIT = Route("waitlist", sale_wide=False)
"""Taking a place in line, and leaving it."""
ROOM = Route("room", times=3, sale_wide=False)
"""Joining a waiting room, which a page does whenever it is loaded, and leaving it."""
KNOCK = Route("knock", times=3, sale_wide=False)
"""Asking for a pass while one has to wait, which is a way to ask for one's place. Passes have a
limit of their own: where that is one a minute, nobody could ask often enough to hear their call."""
PLACE = Route("place", times=30, sale_wide=False)
"""Asking for one's place: as often as one is told to, in several tabs."""
BUY = Route("buy", times=200, sale_wide=False)
"""Attempts are limited where passes are given. A pass that was used always answers with its own
order, however often it is sent; this is only against a flood of them."""


class RouteLimits:
    """What one route of one sale is limited by: each route has counters of its own."""

    __slots__ = (
        "_address",
        "_buyer",
        "_quick",
        "_sale",
        "_share",
        "_states",
        "by",
        "limits",
        "policy",
        "told",
    )

    def __init__(self, route: Route, sale_id: int, limits: Limits, share: Share) -> None:
        self.limits = limits
        prefix = f"{route.name}:{sale_id}:".encode()
        buyer, address = limits.per_buyer_per_minute, limits.per_address_per_minute
        sale = limits.per_sale_per_second if route.sale_wide else None
        self._buyer = None if buyer is None else prefix + b"b:"
        self._address = None if address is None else prefix + b"a:"
        self._sale = None if sale is None else prefix + b"s"
        declared = (
            None if buyer is None else share.per_minute(BUYER, min(buyer * route.times, QUOTA_MAX)),
            None
            if address is None
            else share.per_minute("address", min(address * route.times, QUOTA_MAX)),
            None if sale is None else share.per_second("sale", sale),
        )
        self.by: Sequence[Limit] = tuple(limit for limit in declared if limit is not None)
        self.policy = policy_header([limit.rule for limit in self.by])
        """The header `RateLimit-Policy`; empty where nothing is limited."""
        self.told: dict[str, Sequence[tuple[str, str]]] = {}
        """By `state`: the headers that the edge made of it."""
        self._share = share
        self._states: dict[int, str] = {}
        self._quick: tuple[bytes, int, bytes, int] | None = None
        if self._buyer is not None and self._address is not None and self._sale is None:
            one, two = self.by
            self._quick = (self._buyer, one.free, self._address, two.free)

    def keys(self, digest: bytes, address: str) -> list[bytes]:
        """The counters of a caller, in the order of `by`; `digest` stands for the buyer."""
        keys = []
        if self._buyer is not None:
            keys.append(self._buyer + digest)
        if self._address is not None:
            keys.append(self._address + (digest if address in OWN else address.encode()))
        if self._sale is not None:
            keys.append(self._sale)
        return keys

    def free(self, digest: bytes, address: str, refused: Container[bytes]) -> str | None:
        """Count one request of a caller to whom the process can give it by itself, which are nearly
        all, in one step; what `state` says then. None, with nothing counted, where a counter is
        among the `refused`, or `Share` must be asked.

        The same as `Share.give` for each counter: a test holds the two together.
        """
        if self._quick is None:
            return None
        buyer, buyer_free, place, place_free = self._quick
        now, before = self._share.now, self._share.before
        buyer += digest
        place += digest if address in OWN else address.encode()
        if refused and (buyer in refused or place in refused):
            return None
        one, two = hash(buyer) & MASK, hash(place) & MASK
        taken = now[one] + before[one]
        of_address = now[two] + before[two]
        if taken >= buyer_free or of_address >= place_free:
            return None
        now[one] += 1
        now[two] += 1
        at = taken << 8 | of_address
        return self._states.get(at) or self._state_at(at, taken, of_address)

    def _state_at(self, at: int, taken: int, of_address: int) -> str:
        if len(self._states) >= STATES_MAX:
            self._states.clear()
        one, two = self.by
        left = (one.rule.quota - taken - 1, two.rule.quota - of_address - 1)
        state = self._states[at] = self.state(left)
        return state

    def state(
        self, left: Sequence[int | None], refused: int | None = None, retry_ms: int = 0
    ) -> str:
        """`RateLimit`: what is left of each limit in the order of `by`, and for how long."""
        by = self.by
        if refused is None and len(by) == 2:  # nearly all there are
            one, two = by
            return f"{one.head}{left[0]}{one.tail}, {two.head}{left[1]}{two.tail}"
        return ", ".join(
            f"{limit.head}{left[at]}" + (f";t={seconds(retry_ms)}" if at == refused else limit.tail)
            for at, limit in enumerate(by)
        )


class SaleLimits:
    """The compiled limits of every sale that is in use."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._compiled: dict[tuple[str, int], RouteLimits] = {}

    def of(self, route: Route, sale_id: int, limits: Limits) -> RouteLimits:
        compiled = self._compiled.get((route.name, sale_id))
        if compiled is None or compiled.limits is not limits:
            if compiled is not None and compiled.limits == limits:
                compiled.limits = limits
                return compiled
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            compiled = RouteLimits(route, sale_id, limits, self._share)
            self._compiled[(route.name, sale_id)] = compiled
        return compiled


def policy_header(rules: Sequence[Rule]) -> str:
    """`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)."""
    return ", ".join(f'"{r.name}";q={r.quota};w={seconds(r.window_ms)}' for r in rules)


def seconds(ms: int) -> int:
    """Whole ones, rounded up."""
    return -(-ms // 1000)
