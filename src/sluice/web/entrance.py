"""What a sale asks of a buyer before it gives a pass: to be on its list, to answer a challenge."""

from __future__ import annotations

from hashlib import blake2b

from sluice.accounts.identity import Identity
from sluice.admission.challenges import difficulty
from sluice.admission.challenges.challenges import Challenges, Offered
from sluice.admission.guests import GuestLists
from sluice.admission.limits import Limiter
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.challenge import ALTERNATIVES
from sluice.domain.sale import Challenge, Policy
from sluice.domain.times import render_time
from sluice.web.problems import Problem

NOT_A_GUEST = "This sale is for invited buyers; redeem your invitation's code first."


class Entrance:
    def __init__(self, challenges: Challenges, guests: GuestLists, limiter: Limiter) -> None:
        self._challenges = challenges
        self._guests = guests
        self._limiter = limiter

    @staticmethod
    def is_open(policy: Policy) -> bool:
        """Whether everybody may come in as they are."""
        return policy.challenge is Challenge.NONE and not policy.invite_only

    async def check(
        self,
        buyer: Identity,
        route: ItemRoute,
        challenge_id: str | None,
        answer: str | None,
        *,
        for_line: bool = False,
    ) -> None:
        """Raises `Problem`: `not_allowed` or `challenge_failed`. Uses up the challenge. `for_line`:
        for a place in line, for which one counts that was given while the sale is paused."""
        await self.check_guest(buyer, route)
        policy = route.policy
        if policy.challenge is Challenge.NONE:
            return
        bindings = [buyer.binding, line_binding(buyer)] if for_line else [buyer.binding]
        for binding in bindings:  # a challenge is used up under its own binding alone
            if await self._challenges.passes(
                policy.challenge, route.sale_id, binding, challenge_id, answer
            ):
                break
        else:
            if challenge_id is not None:
                self._limiter.blame(buyer.buyer)
            raise Problem("challenge_failed")

    async def check_guest(self, buyer: Identity, route: ItemRoute) -> None:
        """Raises `Problem`."""
        if route.policy.invite_only:
            priority = await self._guests.priority(route.sale_id, buyer.buyer)
            if priority is None:
                raise Problem("not_allowed", NOT_A_GUEST)

    async def offer(
        self,
        buyer: Identity,
        route: ItemRoute,
        address: str,
        alternative: bool,
        *,
        for_line: bool = False,
    ) -> bytes:
        """A challenge of the kind that the policy asks, or of its alternative, as JSON. `for_line`:
        good for a place in line, and for no pass."""
        asked = route.policy.challenge
        kind = ALTERNATIVES[asked] if alternative else asked
        level = 0
        if kind is Challenge.PROOF_OF_WORK:
            checks = difficulty.checks(buyer.digest, address)
            level = difficulty.level_of(*await self._limiter.used(checks))
        binding = line_binding(buyer) if for_line else buyer.binding
        offered = await self._challenges.offer(asked, alternative, route.sale_id, binding, level)
        return _encode(offered, route.sale_id, alternative)


def line_binding(buyer: Identity) -> bytes:
    """What a challenge is bound to that is given while its sale is paused: whoever collects answers
    during a pause has none for the moment in which it ends."""
    return blake2b(buyer.binding, digest_size=16, person=b"line").digest()


def _encode(offered: Offered, sale_id: int, alternative: bool) -> bytes:
    other = "" if alternative else "?alternative=true"
    return (
        (
            f'{{"challenge_id":"{offered.id}","kind":"{offered.kind.value}",'
            f'"expires_at":"{render_time(offered.expires_at_s * 1000)}",'
            f'"alternative":{{"kind":"{offered.alternative.value}",'
            f'"url":"/v1/sales/{sale_id}/challenge{other}"}},'
        ).encode()
        + offered.shown
        + b"}"
    )
