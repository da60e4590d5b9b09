"""Bots and honest buyers against a running product, from addresses of their own choice."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp

from sluice.admission.challenges.tokens import Given, Tokens
from sluice.settings import Settings
from tests.support.http import TOLD_LATER, may_go_again
from tests.support.product import ADMIN_TOKEN, Product
from tests.support.tokens import identity_token

PROXY = "127.0.0.2"
"""Connections from here are a trusted proxy's where the product is told so."""
PARALLEL_MAX = 200
ATTEMPTS_MAX = 20
"""Of one request that is turned away for load."""


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        return str(self.body["code"]) if isinstance(self.body, dict) and "code" in self.body else ""


class Street:
    """Where everybody comes from: one client for each local address."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._clients: dict[str, aiohttp.ClientSession] = {}
        keys = "SLUICE_SECRET_KEYS"
        given = {keys: product.environ[keys]} if keys in product.environ else {}
        settings = Settings.read(given, product.data)
        self._secret = settings.identity_secret
        self._tokens = Tokens(settings.secret_keys)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    def _client(self, source: str) -> aiohttp.ClientSession:
        if source not in self._clients:
            connector = aiohttp.TCPConnector(local_addr=(source, 0), limit=PARALLEL_MAX)
            self._clients[source] = aiohttp.ClientSession(self._product.url, connector=connector)
        return self._clients[source]

    def token(self, who: str) -> str:
        return identity_token(self._secret, who)

    async def ask(
        self,
        method: str,
        path: str,
        who: str = "",
        body: Any = None,
        *,
        source: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        """`who` is a buyer of the shop; nobody, or `admin`. Whoever is told that the product has
        too much to do, or that nobody knows what came of it, asks again, as everybody should."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                answer = await self._ask(method, path, who, body, source, headers)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A kept connection may have been ended by the refusal before.
                if attempt == ATTEMPTS_MAX or not may_go_again(method, path, headers, None):
                    raise
                continue
            if answer.status != 503 or answer.code not in TOLD_LATER:
                break
            if not may_go_again(method, path, headers, answer.code):
                break
            await asyncio.sleep(int(answer.headers["retry-after"]) * random.uniform(0.5, 1.0))
        return answer

    async def _ask(
        self,
        method: str,
        path: str,
        who: str,
        body: Any,
        source: str,
        headers: dict[str, str],
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who:
            token = ADMIN_TOKEN if who == "admin" else identity_token(self._secret, who)
            sent["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self._client(source).request(method, path, data=data, headers=sent) as answer:
            raw = await answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
        whole = json.loads(raw) if raw and "json" in told.get("content-type", "") else raw
        return Answer(answer.status, whole, told)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, f"/v1/admin{path}", "admin", body)
        assert answer.status < 300, answer
        return answer.body

    async def sale(self, *, starts_in_s: float = -60, stock: int = 5000, **policy: Any) -> Sale:
        """One that is on, of one item."""
        now = datetime.now(UTC)
        made = await self.admin(
            "POST",
            "/sales",
            {
                "title": "Drop",
                "starts_at": (now + timedelta(seconds=starts_in_s)).isoformat(),
                "ends_at": (now + timedelta(hours=1)).isoformat(),
                "items": [
                    {
                        "title": "Unit",
                        "price": {"amount": "1.00", "currency": "CNY"},
                        "stock": stock,
                    }
                ],
                "policy": policy,
            },
        )
        await self.admin("POST", f"/sales/{made['id']}/publish")
        return Sale(self, made["id"], made["items"][0]["id"])

    def given(self, challenge: Any) -> Given:
        """What is sealed in a challenge's id; its answer, that is."""
        found = self._tokens.open(challenge["challenge_id"])
        assert found is not None
        return found


class Sale(NamedTuple):
    street: Street
    id: str
    item: str

    async def a_pass(self, who: str, body: Any = None, **how: str) -> Answer:
        path = f"/v1/sales/{self.id}/items/{self.item}/pass"
        return await self.street.ask("POST", path, who, body if body is not None else {}, **how)

    async def a_place(self, who: str, body: Any = None) -> Answer:
        """In line, where it is sold out."""
        path = f"/v1/sales/{self.id}/items/{self.item}/waitlist"
        return await self.street.ask("POST", path, who, body if body is not None else {})

    async def sell_out(self, who: str, body: Any = None) -> None:
        """The only unit, to somebody who may have it."""
        passed = (await self.a_pass(who, body)).body["pass"]
        assert (await self.buy(who, passed)).status == 202

    async def challenge(self, who: str, query: str = "", **how: str) -> Answer:
        return await self.street.ask("GET", f"/v1/sales/{self.id}/challenge{query}", who, **how)

    async def buy(self, who: str, text: str, **how: str) -> Answer:
        return await self.street.ask("POST", f"/v1/buy/{text}", who, {"quantity": 1}, **how)


@asynccontextmanager
async def honest_buyers(sale: Sale, network: str) -> AsyncIterator[list[int]]:
    """People who buy one after the other for as long as the block lasts, each from an address of
    their own in `network` (two numbers, such as `198.18`): the statuses of their purchases. Each
    of them must have an order, and there is one at least when the block has ended."""
    bought: list[int] = []
    over = asyncio.Event()

    async def buy_on() -> None:
        while not over.is_set() or not bought:
            n = len(bought)
            who = f"honest {network} {n}"
            how = {"source": PROXY, "X_Forwarded_For": f"{network}.{n // 250}.{n % 250}"}
            passed = await sale.a_pass(who, **how)
            assert passed.status == 200, passed
            bought.append((await sale.buy(who, passed.body["pass"], **how)).status)
            with suppress(TimeoutError):  # one after the other, and units are left for the last
                await asyncio.wait_for(over.wait(), 0.02)

    buying = asyncio.ensure_future(buy_on())
    try:
        yield bought
    finally:
        over.set()
        await buying
    assert set(bought) == {202}, bought


async def together(asked: Iterable[Any]) -> list[Answer]:
    return list(await asyncio.gather(*asked))


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


@asynccontextmanager
async def street(product: Product) -> AsyncIterator[Street]:
    found = Street(product)
    try:
        yield found
    finally:
        await found.close()
