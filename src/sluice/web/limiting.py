"""Limits at the edge: who is counted, what a refusal says, and what every answer says of limits.

Headers as in draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` names the limits of the
route, `RateLimit` what is left of each for this caller; `Retry-After` says when it is worth while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.accounts.identity import Identity
from sluice.admission.address import Addresses
from sluice.admission.limits import FREE, Limiter, Verdict
from sluice.admission.sale_limits import BUYER as BLAMED
from sluice.admission.sale_limits import STATES_MAX, Route, RouteLimits, SaleLimits
from sluice.domain.blacklist import ADDRESS, BUYER
from sluice.domain.sale import Limits
from sluice.web.problems import Problem, encode_fast, headers_fast

Headers = Sequence[tuple[str, str]]

_CODE = "too_many_requests"
_PLAIN = [pair for pair in headers_fast(_CODE, "")[:-1] if pair[0] != "retry-after"]


class Limiting:
    """What both lanes ask before they do anything for a request."""

    def __init__(self, limiter: Limiter, addresses: Addresses) -> None:
        self._limiter = limiter
        self._blacklist = limiter.blacklist
        self.addresses = addresses
        self._sales = SaleLimits(limiter.share)

    def of_sale(self, route: Route, sale_id: int, limits: Limits) -> RouteLimits:
        return self._sales.of(route, sale_id, limits)

    def give(self, limits: RouteLimits, buyer: Identity, address: str) -> Verdict | None:
        """Count this request, or refuse it, at once; None where only `take` can tell."""
        verdict = self._kept_out(buyer.buyer, address) if self._blacklist else None
        if verdict is not None:
            return verdict
        if not limits.by:
            return FREE
        verdict = self._limiter.give(limits, buyer.digest, address)
        if verdict is not None and verdict.refused == BLAMED:
            self._limiter.blame(buyer.buyer)
        return verdict

    async def take(self, limits: RouteLimits, buyer: Identity, address: str) -> Verdict:
        """The same, together with all other processes."""
        verdict = await self._limiter.take(limits, buyer.digest, address)
        if verdict.refused == BLAMED:
            self._limiter.blame(buyer.buyer)
        return verdict

    async def take_address(self, limits: RouteLimits, address: str) -> Verdict:
        """The same for a caller who is nobody yet."""
        return (
            self._kept_out(None, address)
            or self._limiter.give(limits, b"", address)
            or await self._limiter.take(limits, b"", address)
        )

    def blame(self, buyer: Identity) -> None:
        """A refusal for another reason that counts towards the blacklist."""
        self._limiter.blame(buyer.buyer)

    def _kept_out(self, buyer: str | None, address: str) -> Verdict | None:
        left_ms = 0 if buyer is None else self._blacklist.left_ms(BUYER + buyer)
        left_ms = left_ms or self._blacklist.left_ms(ADDRESS + address)
        return Verdict("blacklist", left_ms, "") if left_ms else None


def marks(verdict: Verdict, limits: RouteLimits) -> Headers:
    """The headers that every answer of a limited route carries."""
    state = verdict.state
    told = limits.told.get(state)
    if told is None:
        if len(limits.told) >= STATES_MAX:
            limits.told.clear()
        told = limits.told[state] = _marks(state, limits.policy)
    return told


def _marks(state: str, policy: str) -> Headers:
    if not policy:
        return ()
    told = ("ratelimit-policy", policy)
    return (("ratelimit", state), told) if state else (told,)


def answer_refused(
    proto: Any, verdict: Verdict, headers: Headers, request_id: str, instance: str
) -> None:
    """A 429, joined from prepared parts. `instance` must be plain: no pass, ids checked."""
    body = encode_fast(_CODE, request_id, instance, f',"limit":"{verdict.refused}"')
    proto.response_bytes(
        429,
        [
            *_PLAIN,
            ("retry-after", str(verdict.retry_after_s)),
            *headers,
            ("x-request-id", request_id),
        ],
        body,
    )


def refusal(verdict: Verdict) -> Problem:
    """The same for the framework's lane, whose outermost layer adds the headers of limits."""
    return Problem(
        _CODE,
        extra={"limit": verdict.refused},
        headers={"retry-after": str(verdict.retry_after_s)},
    )
