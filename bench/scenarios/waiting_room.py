"""A million people wait. More join, and everybody asks for their place: both from the product with
everything switched on, the pacer at work.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

from bench.buyers import VALID_S, Prepared, buyer_name, identity_token
from bench.processes import BenchError
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.speed import WARM_UP_S, WORKERS, report, take_turns
from bench.wrk import Sample, shoot
from sluice.cache.server import CacheServer
from sluice.cache.waiting_room import RoomCells
from sluice.domain.waiting_room import RoomAsk, RoomRequest

AT_LEAST = 0.30
BYTES_MAX = 130
"""Of the cache server's memory, for each who waits."""
FILL = 1000
"""People who join in one call, while the room is filled."""
REFUSED_MAX = 0.1
"""Who is turned away because the machine is busy with something else does not count as served."""
MORE = 2.5
PER_S_MIN = 20_000.0
"""Buyers prepared for a second at least: one slow stretch must not leave the next without any."""
ROOM = {"enabled": True, "admit_per_second": 100}


def run(bench: Bench) -> Outcome:
    found = Outcome(
        notes=[
            f"Waiting room: {bench.sizes.waiting:,} people wait before the clock runs, put there "
            "by the same script that joining runs. In a stretch of joining each request is another "
            "buyer's; in one of asking tens of thousands ask in turn, anywhere in the line. 100 "
            "people a second are let in meanwhile."
        ]
    )
    for workers in WORKERS:
        _with_workers(bench, found, workers)
    return found


def _with_workers(bench: Bench, found: Outcome, workers: int) -> None:
    folder = bench.subfolder("waiting-room")
    with product(folder / f"data-{workers}", workers=workers) as shop:
        crowd = _Crowd(bench, shop, _open_room(shop), count(workers * 100))
        bench.say(f"waiting-room: {bench.sizes.waiting:,} people join")
        bytes_each = asyncio.run(_fill(shop, crowd.sale_id, bench.sizes.waiting))
        crowd.join(WARM_UP_S)
        joined = Outcome()
        with crowd.of("POST", 20_000) as requests:
            rounds = take_turns(
                *(bench, "waiting-room, join", workers),
                shot=lambda _: crowd.join(bench.sizes.seconds),
                requests=lambda: requests,
            )
            report(joined, workers, rounds, at_least=AT_LEAST)
        asked = Outcome()
        with crowd.waiting(bench.sizes.refused_buyers) as requests:
            crowd.shoot(requests, WARM_UP_S)
            rounds = take_turns(
                *(bench, "waiting-room, ask", workers),
                shot=lambda _: crowd.shoot(requests, bench.sizes.seconds),
                requests=lambda: requests,
            )
            report(asked, workers, rounds, at_least=AT_LEAST)
    for what, part in (("join", joined), ("ask", asked)):
        found.figures += [replace(each, name=f"{what}, {each.name}") for each in part.figures]
        found.details.update({f"{what}, {name}": each for name, each in part.details.items()})
    if workers == 1:
        found.figures.append(
            Figure(name="memory of one who waits", value=bytes_each, unit="B", at_most=BYTES_MAX)
        )


def _open_room(shop: Product) -> str:
    shop.open_sale()
    sale: str = shop.ask("GET", "/v1/admin/sales?limit=1")["data"][0]["id"]
    shop.ask("PATCH", f"/v1/admin/sales/{sale}", {"policy": {"waiting_room": ROOM}})
    return sale


async def _fill(shop: Product, sale_id: str, people: int) -> float:
    """So many wait; the bytes that each takes."""
    server = CacheServer.from_url(shop.settings().cache_server_url)
    cells = RoomCells(server)
    try:
        before = await _used(server)
        for _ in range(0, people, FILL):
            await cells.ask(
                [
                    RoomRequest(RoomAsk.JOIN, int(sale_id), 0, secrets.token_bytes(16))
                    for _ in range(FILL)
                ]
            )
        return (await _used(server) - before) / people
    finally:
        await server.close()


async def _used(server: CacheServer) -> int:
    found = await server.do("INFO", "memory")
    return int(found["used_memory"])


@dataclass(slots=True)
class _Crowd:
    """Buyers without end who come to one room."""

    bench: Bench
    shop: Product
    sale_id: str
    groups: Iterator[int]
    per_s: float = 0.0

    def join(self, seconds: float) -> Sample:
        """One stretch in which everybody is new."""
        buyers = round((self.per_s or self.bench.sizes.buyers_per_s) * (seconds + 1))
        with self.of("POST", buyers) as requests:
            sample = self.shoot(requests, seconds)
        if sample.asked > buyers:
            raise BenchError(f"waiting-room: {buyers:,} prepared buyers were too few.")
        self.per_s = max(sample.per_s * MORE, PER_S_MIN)
        return sample

    @contextmanager
    def waiting(self, buyers: int) -> Iterator[Prepared]:
        """Buyers who ask for the place that they have."""
        group = next(self.groups)
        with self._file("POST", group, buyers) as requests:
            deadline = time.monotonic() + 120
            asked = 0
            while asked < buyers:
                asked += self.shoot(requests, 2).answers
                if time.monotonic() > deadline:
                    raise BenchError("waiting-room: those who ask did not join in time.")
        with self._file("GET", group, buyers) as requests:
            yield requests

    @contextmanager
    def of(self, method: str, buyers: int) -> Iterator[Prepared]:
        with self._file(method, next(self.groups), buyers) as requests:
            yield requests

    @contextmanager
    def _file(self, method: str, group: int, buyers: int) -> Iterator[Prepared]:
        file = self.bench.subfolder("waiting-room") / f"requests-{method}-{group}.bin"
        widths: set[int] = set()
        request = self._request(method)
        try:
            with file.open("wb") as out:
                for index in range(buyers):
                    written = request(buyer_name(group, index))
                    widths.add(len(written))
                    out.write(written)
            assert len(widths) == 1, "requests must have one width"
            yield Prepared(file, widths.pop(), buyers)
        finally:
            file.unlink(missing_ok=True)

    def _request(self, method: str) -> Callable[[str], bytes]:
        head = f"{method} /v1/sales/{self.sale_id}/waiting-room HTTP/1.1\r\n"
        head += f"Host: 127.0.0.1:{self.shop.port}\r\n"
        if method == "POST":
            head += "Content-Length: 0\r\n"
        secret, expires_at_s = self.shop.settings().identity_secret, int(time.time()) + VALID_S

        def of(name: str) -> bytes:
            token = identity_token(secret, name, expires_at_s)
            return f"{head}Authorization: Bearer {token}\r\n\r\n".encode()

        return of

    def shoot(self, requests: Prepared, seconds: float) -> Sample:
        """One stretch, of those who got their place. Raises `BenchError` where too many did not."""
        sample = shoot(
            self.shop.url,
            "prepared.lua",
            requests.file,
            requests.width,
            seconds=seconds,
            watched=self.shop.pids(),
        )
        if sample.refused > sample.answers * REFUSED_MAX or sample.socket_errors:
            raise BenchError(
                f"waiting-room: {sample.refused:,} of {sample.answers:,} were refused, "
                f"{sample.socket_errors} got no answer."
            )
        served = sample.answers - sample.refused
        return replace(sample, answers=served, per_s=sample.per_s * served / sample.answers)
