"""Who is on a sale's list: asked of the ledger in batches, remembered for a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from sluice.batching import Batcher
from sluice.domain.errors import Overloaded, Unavailable

REMEMBER_S = 10.0
"""Whoever is taken off the list can get passes for so long at most."""
KNOWN_MAX = 50_000
"""Guests in one of the two generations of the memory."""
BATCH_MAX = 200

SALES_MAX = 1000

Read = Callable[[Sequence[tuple[int, str]]], Awaitable[list[int | None]]]
"""For each (sale, buyer) the priority; None: not on the list. Raises `LedgerUnavailable`."""


class GuestLists:
    """One for each HTTP process. Who is not on a list is asked for anew each time: they may have
    redeemed a code in another process a moment ago.
    """

    def __init__(
        self,
        read: Read,
        has_priorities: Callable[[int], Awaitable[bool]],
        *,
        queue_max: int,
        deadline_s: float,
    ) -> None:
        """`has_priorities` tells whether anybody in a sale has one; it raises as `read` does."""
        self._has_priorities = has_priorities
        self._plain: dict[int, float] = {}
        """Sales in which nobody comes before others, and until when that is believed."""
        self._young: dict[tuple[int, str], tuple[int, float]] = {}
        self._old: dict[tuple[int, str], tuple[int, float]] = {}
        self._asked: Batcher[tuple[int, str], int | None] = Batcher(
            read, batch_max=BATCH_MAX, queue_max=queue_max, deadline_s=deadline_s
        )

    async def priority(self, sale_id: int, buyer: str) -> int | None:
        """The waiting room's priority of a guest; None: not on the list.

        Raises `Unavailable` where the ledger is away and nothing is remembered, `Overloaded`.
        """
        key = (sale_id, buyer)
        known = self._young.get(key) or self._old.get(key)
        if known is not None and known[1] > monotonic():
            return known[0]
        found = await self._asked.submit(key)
        if found is not None:
            self.learn(sale_id, buyer, found)
        return found

    def is_plain(self, sale_id: int) -> bool:
        """Whether it is known that nobody in this sale comes before others."""
        return self._plain.get(sale_id, 0.0) > monotonic()

    async def rank(self, sale_id: int, buyer: str) -> int:
        """The priority of anybody, on the list or not. Costs nothing in most sales, where nobody
        has one; 0 where the ledger is away: whoever has a higher one can ask again.
        """
        if self.is_plain(sale_id):
            return 0
        try:
            if not await self._has_priorities(sale_id):
                if len(self._plain) >= SALES_MAX:
                    self._plain.clear()
                self._plain[sale_id] = monotonic() + REMEMBER_S
                return 0
            return await self.priority(sale_id, buyer) or 0
        except (Unavailable, Overloaded):
            return 0

    def learn(self, sale_id: int, buyer: str, priority: int) -> None:
        """This buyer is on the list."""
        if len(self._young) >= KNOWN_MAX:
            self._old, self._young = self._young, {}
        self._young[(sale_id, buyer)] = (priority, monotonic() + REMEMBER_S)

    async def close(self) -> None:
        await self._asked.close()
