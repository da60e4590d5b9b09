"""Giving challenges and judging answers: bound to buyer and sale, answered once, right or wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import NamedTuple

from sluice.admission.challenges import answers
from sluice.admission.challenges.stock import Stock
from sluice.admission.challenges.tokens import Tokens
from sluice.batching import Batcher
from sluice.domain.challenge import ALTERNATIVE_LEVEL, ALTERNATIVES, LEVEL_MAX
from sluice.domain.errors import Unavailable
from sluice.domain.sale import Challenge

TTL_S = 120
"""Seconds from giving to answering."""
BATCH_MAX = 500
DEADLINE_S = 0.5
OWN_MAX = 100_000

Spend = Callable[[Sequence[tuple[bytes, int]]], Awaitable[list[bool]]]


class Offered(NamedTuple):
    """A challenge as it is told. `shown` are members of a JSON object."""

    id: str
    kind: Challenge
    shown: bytes
    expires_at_s: int
    alternative: Challenge


class Challenges:
    def __init__(
        self,
        tokens: Tokens,
        stock: Stock,
        spend: Spend,
        now_ms: Callable[[], int],
        *,
        queue_max: int,
    ) -> None:
        self._tokens = tokens
        self.stock = stock
        self._now_ms = now_ms
        self._spends: Batcher[tuple[bytes, int], bool] = Batcher(
            _listed(spend), batch_max=BATCH_MAX, queue_max=queue_max, deadline_s=DEADLINE_S
        )
        self._own: OrderedDict[bytes, float] = OrderedDict()
        """Answered here while the cache server was away."""
        self.alone = 0

    async def offer(
        self, asked: Challenge, alternative: bool, sale_id: int, binding: bytes, level: int
    ) -> Offered:
        """`level`: how much harder than usual work is to be. Raises `Overloaded`."""
        kind = ALTERNATIVES[asked] if alternative else asked
        if kind is Challenge.PROOF_OF_WORK:
            level = min(LEVEL_MAX, level + (ALTERNATIVE_LEVEL if alternative else 0))
        else:
            level = 0
        made = await self.stock.take(kind, level)
        expires_at_s = self._now_ms() // 1000 + TTL_S
        text = self._tokens.sign(kind, sale_id, expires_at_s, binding, made.answer)
        other = asked if alternative else ALTERNATIVES[asked]
        return Offered(text, kind, made.shown, expires_at_s, other)

    async def passes(
        self,
        asked: Challenge,
        sale_id: int,
        binding: bytes,
        challenge_id: str | None,
        answer: str | None,
    ) -> bool:
        """Whether this answers a challenge of this buyer for this sale. It is used up by that."""
        if challenge_id is None or answer is None:
            return False
        given = self._tokens.open(challenge_id)
        now_ms = self._now_ms()
        if (
            given is None
            or given.sale_id != sale_id
            or given.binding != binding
            or given.kind not in (asked, ALTERNATIVES[asked])
            or given.expires_at_s * 1000 <= now_ms
        ):
            return False
        # First used up, then looked at: nobody learns from many answers at once which is right.
        if not await self._spend(given.nonce, given.expires_at_s * 1000 - now_ms + 1000):
            return False
        return answers.right(given.kind, answer, given.answer)

    async def close(self) -> None:
        await self._spends.close()

    async def _spend(self, nonce: bytes, left_ms: int) -> bool:
        if nonce in self._own:
            return False
        try:
            return await self._spends.submit((nonce, left_ms))
        except Unavailable:
            self.alone += 1
        return self._spend_alone(nonce, left_ms)

    def _spend_alone(self, nonce: bytes, left_ms: int) -> bool:
        """Each process answers for itself: a challenge is worth at most one pass of each."""
        if nonce in self._own:
            return False
        now = monotonic()
        while self._own and (len(self._own) >= OWN_MAX or next(iter(self._own.values())) <= now):
            self._own.popitem(last=False)
        self._own[nonce] = now + left_ms / 1000
        return True


def _listed(spend: Spend) -> Callable[[list[tuple[bytes, int]]], Awaitable[list[bool]]]:
    async def spend_all(answered: list[tuple[bytes, int]]) -> list[bool]:
        return await spend(answered)

    return spend_all
