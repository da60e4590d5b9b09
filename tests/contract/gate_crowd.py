"""One client process of the crowd around a line: many buyers who join, leave, buy and give back.

    python -m tests.contract.gate_crowd URL SHARD SEED BUYERS STEPS

Waits for a line on stdin, so that all processes start together; the buyers are the same in each.
Prints what its buyers were told: `{"joined": {entry: buyer}, "left": count, "released": count}`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass, field

from tests.contract.gate_stage import Stage, attempt, waiter

from sluice.domain.outcome import WaitOutcome
from sluice.gate.gate import Gate
from sluice.gate.wire import Hold

AT_ONCE = 16
"""Calls of one process that are under way together."""


@dataclass
class Crowd:
    stage: Stage
    chance: random.Random
    buyers: int
    seed: int
    joined: dict[int, str] = field(default_factory=dict)
    left: int = 0
    released: int = 0

    async def step(self, number: int) -> None:
        buyer = f"acct:{self.chance.randrange(self.buyers)}"
        await self.chance.choice([self.buy, self.join, self.join, self.leave, self.give_back])(
            buyer, number
        )

    async def buy(self, buyer: str, number: int) -> None:
        await self.stage.buy(attempt(buyer, nonce=(self.seed << 32) + number))

    async def join(self, buyer: str, _number: int) -> None:
        [place] = await self.stage.join(waiter(buyer))
        if place.outcome is WaitOutcome.JOINED:
            assert place.entry not in self.joined
            self.joined[place.entry] = buyer

    async def leave(self, buyer: str, _number: int) -> None:
        [left] = await self.stage.leave(waiter(buyer))
        self.left += left

    async def give_back(self, buyer: str, _number: int) -> None:
        """Another process may do so at the same time: one of them is told that it did."""
        held = await self.stage.held_by(buyer)
        digest = waiter(buyer).digest
        told = await self.stage.give_back(*(Hold(h.number, h.item_id, 1, digest) for h in held))
        self.released += sum(told)


async def crowd(url: str, shard: int, seed: int, buyers: int, steps: int) -> dict[str, object]:
    gate = Gate.from_url(url, timeout_s=10)
    await gate.time_ms()  # a cluster's driver does not bear a crowd before it knows its nodes
    people = Crowd(Stage(gate, shard), random.Random(seed), buyers, seed)
    room = asyncio.Semaphore(AT_ONCE)

    async def step(number: int) -> None:
        async with room:
            await people.step(number)

    await asyncio.gather(*map(step, range(steps)))
    await gate.close()
    return {"joined": people.joined, "left": people.left, "released": people.released}


def main() -> None:
    url, *numbers = sys.argv[1:]
    shard, seed, buyers, steps = map(int, numbers)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(crowd(url, shard, seed, buyers, steps))))


if __name__ == "__main__":
    main()
