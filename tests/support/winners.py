"""Buyers after the win: they pay, or not, or late, or twice; they cancel, wait, leave the line.

Each has a live connection and remembers the last that was pushed of every order and every line. At
a word on stdin each asks by polling, and says where the two do not agree. Until then one line after
another says how many are `busy`.

    python -m tests.support.winners '{"url": ..., "sale": ..., "item": ...}' < word > found.jsonl
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from tests.support.tokens import identity_token

DEFINITE = frozenset({200, 201, 202, 204, 303, 401, 403, 404, 409, 410, 422})
OVER = frozenset({"paid", "expired", "cancelled", "rejected", "refunded"})
MIX = {
    "pays": 40,
    "never": 20,
    "opens": 13,  # a checkout, and goes away: never pays either
    "cancels": 8,
    "cancels_at_once": 4,
    "cancels_paying": 3,
    "late": 6,
    "short": 3,  # the provider takes less than was asked for
    "twice": 3,
}
"""What a buyer does with an order, in percent."""
TROUBLE: dict[str, Any] = {"repeat": 0.3, "reorder": 0.2, "forge": 0.3, "drop": 0.1}
"""What happens to the callbacks of any checkout."""
PAUSE_MAX_S = 2.0
AGREE_S = 40.0
"""How long what was pushed may take to say what polling says."""


@dataclass(kw_only=True)
class Plan:
    url: str
    secret: str
    sale: str
    item: str
    first: int
    count: int
    waiting: float
    """Share of those who would wait when it is sold out."""
    refund_fail: float = 0.0
    """Chance that a refund fails, and is for the operator to try again."""
    at_once: int = 60
    patience_s: float = 60.0
    seed: int = 1


@dataclass(kw_only=True)
class Found:
    """What one buyer has seen."""

    buyer: str
    acts: list[str] = field(default_factory=list)
    orders: dict[str, str] = field(default_factory=dict)
    """Order → its state by polling."""
    line: str = ""
    """State of the entry, or nothing."""
    wrong: list[str] = field(default_factory=list)
    pushed: int = 0
    problems: list[str] = field(default_factory=list)


class Pause:
    """Grows, and is random: who asks as often on a slow machine as on a quick one floods it, and is
    refused for that in the end."""

    def __init__(self, dice: random.Random, first_s: float) -> None:
        self._dice = dice
        self._next_s = first_s

    async def sleep(self) -> None:
        await asyncio.sleep(self._next_s * self._dice.uniform(1, 2))
        self._next_s = min(self._next_s * 1.5, PAUSE_MAX_S)


class Winner:
    def __init__(self, plan: Plan, http: aiohttp.ClientSession, name: str, dice: random.Random):
        self._plan = plan
        self._http = http
        self._dice = dice
        self._token = identity_token(plan.secret.encode(), name)
        self._deadline = time.monotonic() + plan.patience_s
        self._news = asyncio.Event()
        self._pushed: dict[str, dict[str, Any]] = {}
        """Order → what was last pushed of it."""
        self._place: dict[str, Any] | None = None
        self._promoted = ""
        self._began: dict[str, asyncio.Task[None]] = {}
        self._trying = True
        self.found = Found(buyer=name)

    @property
    def busy(self) -> bool:
        """Whether something is still under way of this buyer's own."""
        return self._trying or not all(task.done() for task in self._began.values())

    # --- the story -------------------------------------------------------------------------

    async def live(self, stop: asyncio.Event) -> None:
        """Buys, waits, and deals with every order that comes, until told to stop."""
        line = asyncio.ensure_future(self._listen())
        try:
            await self._try_to_buy()
            self._trying = False
            while not stop.is_set():
                self._news.clear()
                for order in [*self._pushed]:
                    self._begin(order)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._news.wait()
            await asyncio.gather(*self._began.values())
            await self._finish()
        finally:
            for task in (line, *self._began.values()):
                task.cancel()
            await asyncio.gather(line, *self._began.values(), return_exceptions=True)

    async def _try_to_buy(self) -> None:
        plan = self._plan
        item = f"/v1/sales/{plan.sale}/items/{plan.item}"
        status, body = await self._ask("POST", f"{item}/pass", {})
        if status == 200:
            status, body = await self._ask("POST", f"/v1/buy/{body['pass']}", {"quantity": 1})
        if status == 202:
            self._begin(body["order"]["id"])
        elif body.get("code") == "sold_out" and self._dice.random() < plan.waiting:
            await self._wait(f"{item}/waitlist")

    async def _wait(self, path: str) -> None:
        status, body = await self._ask("POST", path, {})
        if status == 409 and body["code"] == "available":
            await self._try_to_buy()
            return
        if status not in (200, 201):
            return
        again, same = await self._ask("POST", path, {})
        if again == 200 and same["entry"]["id"] != body["entry"]["id"]:
            self.found.wrong.append("joined twice")
        self.found.line = "waiting"
        if self._dice.random() < 0.1:
            self.found.acts.append("leaves")
            await self._ask("DELETE", path, None)

    def _begin(self, order: str) -> None:
        """Deal with an order; each once."""
        if order in self._began:
            return
        act = self._dice.choices([*MIX], [*MIX.values()])[0]
        self.found.acts.append(act)
        self._began[order] = asyncio.ensure_future(getattr(self, f"_{act}")(order))

    # --- what one does with an order -----------------------------------------------------------

    async def _pays(self, order: str) -> None:
        await self._pay(await self._checkout(order), TROUBLE)

    async def _never(self, _order: str) -> None:
        pass

    async def _opens(self, order: str) -> None:
        await self._checkout(order)

    async def _cancels(self, order: str) -> None:
        await self._until(order, {"awaiting_payment"})
        await self._cancel(order)

    async def _cancels_at_once(self, order: str) -> None:
        await self._cancel(order)

    async def _cancels_paying(self, order: str) -> None:
        """Pays and cancels in the same moment: one of them counts."""
        checkout = await self._checkout(order)
        await asyncio.gather(self._pay(checkout, TROUBLE), self._cancel(order))

    async def _late(self, order: str) -> None:
        checkout = await self._checkout(order)
        await self._turn(checkout, {**TROUBLE, "pay_after_close": True, "drop": 0})
        await self._until(order, OVER)
        await self._pay(checkout, None)

    async def _short(self, order: str) -> None:
        knobs = {"wrong_amount": 1, "refund_fail": self._plan.refund_fail}
        await self._pay(await self._checkout(order), knobs)

    async def _twice(self, order: str) -> None:
        """Gives up one checkout, pays at another, and then at the first all the same."""
        first = await self._checkout(order)
        await self._turn(first, {"pay_after_close": True})
        await self._settle(first, "cancel")
        second = await self._until_other(order, first)
        await self._pay(second, {**TROUBLE, "drop": 0})
        await self._until(order, OVER)
        await self._pay(first, None)

    # --- steps -----------------------------------------------------------------------------

    async def _checkout(self, order: str) -> str:
        """Where to pay, once the ledger has the order; nothing where it is over by then."""
        pause = Pause(self._dice, 0.1)
        while not self._late_now():
            status, body = await self._ask("POST", f"/v1/orders/{order}/payment", {})
            if status == 200:
                return str(body["checkout_url"])
            state = (await self._order(order)).get("state", "")
            if state in OVER:
                return ""
            await pause.sleep()
        return ""

    async def _until_other(self, order: str, first: str) -> str:
        pause = Pause(self._dice, 0.1)
        while not self._late_now():
            second = await self._checkout(order)
            if second != first:
                return second
            await pause.sleep()
        return ""

    async def _pay(self, checkout: str, knobs: dict[str, Any] | None) -> None:
        if checkout:
            if knobs is not None:
                await self._turn(checkout, knobs)
            await self._settle(checkout, "pay")
            if knobs and "drop" in knobs:
                # What becomes of a refund is asked for again after minutes, and the test is over.
                await self._turn(checkout, {**knobs, "drop": 0})

    async def _turn(self, checkout: str, knobs: dict[str, Any]) -> None:
        if checkout:
            await self._at(checkout + "/knobs", json=knobs)

    async def _settle(self, checkout: str, action: str) -> None:
        if checkout:
            await self._at(checkout, data={"action": action})

    async def _cancel(self, order: str) -> None:
        status, body = await self._ask("POST", f"/v1/orders/{order}/cancel", {})
        if status not in (200, 409):
            self.found.wrong.append(f"cancel {order}: {status} {body}")

    async def _until(self, order: str, states: frozenset[str] | set[str]) -> None:
        pause = Pause(self._dice, 0.2)
        while not self._late_now():
            state = (await self._order(order)).get("state", "")
            if state in states or state in OVER:
                return
            await pause.sleep()

    async def _order(self, order: str) -> dict[str, Any]:
        status, body = await self._ask("GET", f"/v1/orders/{order}", None)
        if status != 200:
            return {}
        body.pop("poll_after_ms", None)
        return dict(body)

    # --- pushed and polled -----------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._http.ws_connect(
                    self._plan.url + "/v1/live", timeout=aiohttp.ClientWSTimeout(ws_close=1)
                ) as line:
                    await line.send_str(json.dumps({"token": self._token}))
                    async for message in line:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            self._heard(json.loads(message.data))
            await asyncio.sleep(self._dice.uniform(0.2, 1.0))

    def _heard(self, message: dict[str, Any]) -> None:
        kind, data = message["type"], message["data"]
        self.found.pushed += 1
        if kind.startswith("order."):
            self._pushed[data["id"]] = data
        elif kind == "waitlist.promoted":
            self._promoted = data["order"]["id"]
            self._pushed.setdefault(self._promoted, data["order"])
        elif kind == "waitlist.position":
            self._place = data["entry"]
        self._news.set()

    async def _finish(self) -> None:
        """Ask by polling, until what was pushed says the same or had long enough to. A thousand
        ask at once, so each asks less and less often, as clients do."""
        deadline = time.monotonic() + AGREE_S
        pause = Pause(self._dice, 0.3)
        while True:
            wrong = [*await self._compare_orders(), *await self._compare_line()]
            if not wrong or time.monotonic() > deadline:
                break
            await pause.sleep()
        self.found.wrong += wrong

    async def _compare_orders(self) -> list[str]:
        wrong = []
        for order in {*self._began, *self._pushed}:
            polled = await self._order(order)
            self.found.orders[order] = polled.get("state", "gone")
            if self._pushed.get(order) != polled:
                wrong.append(f"{order}: pushed {self._pushed.get(order)}, polled {polled}")
        return wrong

    async def _compare_line(self) -> list[str]:
        if not self.found.line:
            return []
        plan = self._plan
        status, body = await self._ask(
            "GET", f"/v1/sales/{plan.sale}/items/{plan.item}/waitlist", None
        )
        if status != 200:
            return [f"the line says {status} {body}"]
        entry = body["entry"]
        self.found.line = entry["state"]
        if entry["state"] == "promoted":
            told = {self._promoted, (self._place or {}).get("order_id")}
            return [] if entry["order_id"] in told else [f"promoted {entry}, pushed {told}"]
        if self._place is None and entry["state"] == "left":
            return []  # gone before the first look at the line
        return [] if self._place == entry else [f"the line: pushed {self._place}, polled {entry}"]

    # --- asking ----------------------------------------------------------------------------

    def _late_now(self) -> bool:
        return time.monotonic() > self._deadline

    async def _ask(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Again until the answer is definite: 503 and a cut line are not."""
        headers = {"Authorization": f"Bearer {self._token}"}
        pause = Pause(self._dice, 0.1)
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._http.request(
                    method, self._plan.url + path, json=body, headers=headers
                ) as answer:
                    raw = await answer.read()
                    if answer.status in DEFINITE:
                        return answer.status, json.loads(raw) if raw else {}
                    if answer.status != 503:
                        self.found.problems.append(f"{method} {path} → {answer.status}")
            if time.monotonic() > self._deadline + AGREE_S:
                raise AssertionError(f"nobody told the truth about {method} {path[:60]} in time")
            await pause.sleep()

    async def _at(self, url: str, **content: Any) -> None:
        """At the provider's page."""
        while not self._late_now():
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._http.post(url, allow_redirects=False, **content) as answer:
                    if answer.status in DEFINITE:
                        if answer.status not in (200, 303):
                            self.found.problems.append(f"{url} → {answer.status}")
                        return
            await asyncio.sleep(self._dice.uniform(0.1, 0.5))


async def main(plan: Plan) -> None:
    stop = asyncio.Event()
    word = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    word.add_done_callback(lambda _done: stop.set())
    timeout = aiohttp.ClientTimeout(total=15)
    connector = aiohttp.TCPConnector(limit=0)
    dice = random.Random(plan.seed * 1_000_003 + plan.first)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        winners = [
            Winner(plan, http, f"winner-{n:05d}", random.Random(dice.random()))
            for n in range(plan.first, plan.first + plan.count)
        ]
        living = asyncio.gather(*(winner.live(stop) for winner in winners))
        while not living.done() and not stop.is_set():
            print(json.dumps({"busy": sum(winner.busy for winner in winners)}), flush=True)
            await asyncio.wait([living], timeout=0.5)
        await living
    for winner in winners:
        print(json.dumps(asdict(winner.found)))
    print(Counter(act for w in winners for act in w.found.acts), file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
