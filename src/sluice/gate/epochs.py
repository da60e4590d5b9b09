"""Which epoch each shard is in, as far as this process has learned it from the gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sluice.domain.errors import GateNotArmed
from sluice.gate.gate import Gate, LostEpoch

A = TypeVar("A")


class Epochs:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._known: dict[int, int] = {}

    def known(self, shard: int) -> int:
        """The epoch in which this process last got a decision; 0 before the first."""
        return self._known.get(shard, 0)

    async def decide(
        self,
        shard: int,
        call: Callable[[int], Awaitable[list[A]]],
        refused: Callable[[A], bool],
    ) -> list[A]:
        """What `call(epoch)` answers. Raises `GateNotArmed` where the shard has no epoch.

        Where all of it was `refused` for the epoch's sake, or the gate has lost that epoch, either
        nobody may decide now, or this process still names the epoch before: it is asked again in
        the epoch that the gate holds. Where anything else was decided, the epoch was right, so
        nothing is sent twice.
        """
        epoch = self._known.get(shard)
        if epoch is None:
            epoch = await self._learn(shard)
        try:
            decided = await call(epoch)
        except LostEpoch:
            decided = None
        if decided is not None and not all(map(refused, decided)):
            return decided
        learned = await self._learn(shard)
        if learned != epoch:
            return await call(learned)
        if decided is None:
            raise LostEpoch
        return decided

    async def _learn(self, shard: int) -> int:
        status = await self._gate.status(shard)
        if status.epoch is None:
            raise GateNotArmed()
        self._known[shard] = status.epoch
        return status.epoch
