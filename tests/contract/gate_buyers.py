"""One client process of the fight for an item: many buyers, each impatient, over one connection.

    python -m tests.contract.gate_buyers URL SHARD SEED BUYERS

Waits for a line on stdin, so that all processes start together. Prints what its buyers were told:
`{"accepted": {nonce: number}, "replayed": [[nonce, number], ...], "refused": {outcome: count}}`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter

from tests.contract.gate_stage import attempt

from sluice.domain.outcome import Outcome
from sluice.gate.gate import Gate
from sluice.gate.reservations import Reservations
from sluice.gate.wire import Attempt

TRIES = 3
"""Passes of each buyer in this process; each is sent twice."""


def tries(seed: int, buyers: int) -> list[Attempt]:
    """In a random order; the same buyers in every process, each with passes of its own."""
    passes = [
        attempt(f"acct:{buyer}", nonce=(seed << 32) + buyer * TRIES + number)
        for buyer in range(buyers)
        for number in range(TRIES)
    ]
    both = passes * 2
    random.Random(seed).shuffle(both)
    return both


async def fight(url: str, shard: int, seed: int, buyers: int) -> dict[str, object]:
    gate = Gate.from_url(url, timeout_s=10)
    reservations = Reservations(gate, batch_max=32, queue_max=10_000, deadline_s=20)
    sent = tries(seed, buyers)
    decisions = await asyncio.gather(*(reservations.submit(shard, one) for one in sent))
    await reservations.close()
    await gate.close()
    accepted: dict[str, str] = {}
    replayed: list[tuple[str, str]] = []
    refused: Counter[str] = Counter()
    for one, decision in zip(sent, decisions, strict=True):
        if decision.outcome is Outcome.ACCEPTED:
            assert one.nonce.hex() not in accepted
            accepted[one.nonce.hex()] = str(decision.number)
        elif decision.outcome is Outcome.REPLAYED:
            replayed.append((one.nonce.hex(), str(decision.number)))
        else:
            refused[decision.outcome.name] += 1
    return {"accepted": accepted, "replayed": replayed, "refused": refused}


def main() -> None:
    url, shard, seed, buyers = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(fight(url, int(shard), int(seed), int(buyers)))))


if __name__ == "__main__":
    main()
