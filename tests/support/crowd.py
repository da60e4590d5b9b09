"""Buyers as they are: one process of a crowd that fights for a sale over real HTTP.

Each asks for a pass, clicks twice at once, and tries again with the same pass until somebody has
told them the truth. What each was told is written down, one JSON object a line.

    python -m tests.support.crowd '{"url": ..., "sale": ..., "items": [...], ...}' > told.jsonl
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from tests.support.tokens import identity_token

DEFINITE = frozenset({200, 202, 403, 404, 409, 410, 422})


@dataclass(kw_only=True)
class Plan:
    url: str
    secret: str
    sale: str
    items: list[str]
    weights: list[int]
    first: int
    """Buyers `first` to `first + count - 1`, each an identity of the shop."""
    count: int
    at_once: int = 100
    passes_each: int = 2
    seed: int = 1
    patience_s: float = 90.0


@dataclass(kw_only=True)
class Told:
    """What one buyer was told about one pass."""

    buyer: str
    item: str
    text: str
    answers: list[tuple[int, str, str]] = field(default_factory=list)
    """`(status, code or order state, order number or "")`, in the order they came."""
    receipt: str = ""

    def order(self) -> str:
        numbers = {number for status, _, number in self.answers if status == 202}
        assert len(numbers) <= 1, f"one pass, two orders: {numbers}"
        return next(iter(numbers), "")


class Crowd:
    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._session = session
        self._random = random.Random(plan.seed * 1_000_003 + plan.first)
        self._deadline = time.monotonic() + plan.patience_s

    async def fight(self) -> list[Told]:
        buyers = list(range(self._plan.first, self._plan.first + self._plan.count))
        self._random.shuffle(buyers)
        queue = iter(buyers)
        told: list[Told] = []

        async def one_after_another() -> None:
            for buyer in queue:
                told.extend(await self._buyer(f"buyer-{buyer:06d}"))

        await asyncio.gather(*(one_after_another() for _ in range(self._plan.at_once)))
        return told

    async def _buyer(self, name: str) -> list[Told]:
        plan = self._plan
        token = identity_token(plan.secret.encode(), name)
        item = self._random.choices(plan.items, plan.weights)[0]
        path = f"/v1/sales/{plan.sale}/items/{item}/pass"
        told = []
        for _ in range(plan.passes_each):
            status, body = await self._until_told("POST", path, token, {})
            if status == 200:
                told.append(Told(buyer=name, item=item, text=body["pass"]))
        # Two tabs, and a double click in each.
        await asyncio.gather(*(self._click(t, token) for t in told for _ in range(2)))
        return told

    async def _click(self, told: Told, token: str) -> None:
        status, body = await self._until_told(
            "POST", f"/v1/buy/{told.text}", token, {"quantity": 1}
        )
        if status == 202:
            told.answers.append((status, body["order"]["state"], body["order"]["id"]))
            told.receipt = body["receipt"]
        else:
            told.answers.append((status, body.get("code", ""), ""))

    async def _until_told(
        self, method: str, path: str, token: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Send the same request until the answer is definite: 503 and a cut line are not."""
        while True:
            try:
                async with self._session.request(
                    method,
                    self._plan.url + path,
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                ) as answer:
                    content = await answer.json(content_type=None)
                    if answer.status in DEFINITE:
                        return answer.status, content
                    if answer.status != 503:
                        raise AssertionError(f"{method} {path[:20]} → {answer.status}: {content}")
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            if time.monotonic() > self._deadline:
                raise AssertionError(f"nobody told the truth about {path[:24]} in time")
            await asyncio.sleep(self._random.uniform(0.05, 0.3))


async def main(plan: Plan) -> None:
    connector = aiohttp.TCPConnector(limit=plan.at_once)
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        for told in await Crowd(plan, session).fight():
            print(json.dumps(asdict(told)))


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
