"""Passes: given to buyers of the shop's, to sessions of ours, and refused by a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

from bench.buyers import Prepared, Target, for_passes, tokens_of_the_shop, written
from bench.processes import BenchError
from bench.product import Product, product
from bench.run import Bench, Outcome
from bench.speed import WARM_UP_S, WORKERS, report, take_turns
from bench.wrk import Sample, shoot
from sluice.accounts.tokens import new_token, token_digest
from sluice.cache.server import CacheServer
from sluice.cache.sessions import SessionCells
from sluice.domain.account import Alive, Where

TOKEN_AT_LEAST = 0.35
SESSION_AT_LEAST = 0.25
LIMITED_AT_LEAST = 0.60
EXHAUSTED = 200
"""Buyers who have used up their limit, in turn: few, since a limit of ten a minute lets each of
them through again now and then."""
LET_THROUGH_MAX = 0.02
TURNED_AWAY_MAX = 0.10
AT_ONCE = 200
"""Sessions that are opened together."""
_WEEK_MS = 7 * 86_400_000
_FREE: dict[str, int | None] = {"per_buyer_per_minute": 10, "per_address_per_minute": None}
_ADDRESS: dict[str, int | None] = {"per_buyer_per_minute": None, "per_address_per_minute": 10}


def with_token(bench: Bench) -> Outcome:
    """Each request is of another buyer, whose token is seen for the first time."""
    found = Outcome(
        notes=[
            "Pass with an identity token: new buyers in every stretch, so each token is verified "
            "and not remembered, and each buyer is counted for the first time."
        ]
    )
    for workers in WORKERS:
        folder = bench.subfolder("pass-token")
        with product(folder / f"data-{workers}", workers=workers) as shop:
            target = shop.open_sale()
            groups = count(6000 + workers * 100)

            @contextmanager
            def new_buyers(
                shop: Product = shop, target: Target = target, groups: Iterator[int] = groups
            ) -> Iterator[Prepared]:
                group = next(groups)
                tokens = tokens_of_the_shop(shop.data_dir, group, bench.sizes.pass_buyers)
                with written(bench.subfolder("pass-token"), group, for_passes(target, tokens)) as r:
                    yield r

            def shot(_index: int, seconds: float = bench.sizes.seconds) -> Sample:
                with new_buyers() as requests:
                    return _given(_shoot(shop, requests, seconds))

            shot(0, WARM_UP_S)
            with new_buyers() as same:
                rounds = take_turns(bench, "pass-token", workers, shot=shot, requests=lambda: same)
        report(found, workers, rounds, at_least=TOKEN_AT_LEAST)
    return found


def with_session(bench: Bench) -> Outcome:
    """Each request is of another session, which the store is asked for."""
    found = Outcome(
        notes=[
            f"Pass with a session: {bench.sizes.sessions:,} sessions in turn, so that none is "
            "remembered from the request before: each is looked up on the cache server."
        ]
    )
    for workers in WORKERS:
        folder = bench.subfolder("pass-session")
        with product(folder / f"data-{workers}", workers=workers) as shop:
            target = shop.open_sale(limits=_FREE | {"per_buyer_per_minute": 1000})
            tokens = asyncio.run(_sessions(shop, bench.sizes.sessions))
            with written(folder, 7000 + workers, for_passes(target, tokens)) as requests:
                _shoot(shop, requests, WARM_UP_S)

                def shot(_index: int) -> Sample:
                    return _given(_shoot(shop, requests, bench.sizes.seconds))

                rounds = take_turns(
                    bench, "pass-session", workers, shot=shot, requests=lambda: requests
                )
        report(found, workers, rounds, at_least=SESSION_AT_LEAST)
    return found


def limited(bench: Bench) -> Outcome:
    """Each request comes from who has used up the limit of an address: 429."""
    found = Outcome(
        notes=[
            f"Limited: {EXHAUSTED} callers in turn who may ask ten times a minute; at most "
            f"{LET_THROUGH_MAX:.0%} of the answers may be anything but a 429."
        ]
    )
    for workers in WORKERS:
        folder = bench.subfolder("limited")
        with product(folder / f"data-{workers}", workers=workers) as shop:
            target = shop.open_sale(limits=_ADDRESS)
            tokens = list(tokens_of_the_shop(shop.data_dir, 8000 + workers, EXHAUSTED))
            with written(folder, 8000 + workers, for_passes(target, tokens)) as requests:
                _shoot(shop, requests, WARM_UP_S)

                def shot(_index: int) -> Sample:
                    sample = _shoot(shop, requests, bench.sizes.seconds)
                    if sample.answers - sample.refused > sample.answers * LET_THROUGH_MAX:
                        raise BenchError(
                            f"limited: {sample.answers - sample.refused} of {sample.answers} "
                            "answers were no refusals."
                        )
                    return sample

                rounds = take_turns(bench, "limited", workers, shot=shot, requests=lambda: requests)
                _check_limited(shop, sum(sample.refused for sample in rounds.product))
        report(found, workers, rounds, at_least=LIMITED_AT_LEAST)
    return found


def _check_limited(shop: Product, refused: int) -> None:
    """What was refused was refused by a limit, and not for load. HTTP workers post their counts
    once a second."""
    deadline = time.monotonic() + 10
    while True:
        text: str = shop.ask("GET", "/metrics")
        counted = sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("sluice_http_requests_total{")
            and 'route="pass"' in line
            and 'status="429"' in line
        )
        if counted >= refused:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"limited: {refused} refusals, of which limits count {counted:.0f}.")
        time.sleep(0.5)


async def _sessions(shop: Product, wanted: int) -> Sequence[str]:
    """So many sessions, as log-ins would have opened them."""
    server = CacheServer.from_url(shop.settings().cache_server_url)
    cells = SessionCells(server)
    now_ms = int(time.time() * 1000)
    tokens = [new_token() for _ in range(wanted)]

    async def open_one(account: int, token: str) -> None:
        alive = Alive(account, f"s{account:011d}", now_ms, now_ms + _WEEK_MS)
        await cells.open(token_digest(token), alive, Where("", "", "bench", []), 50)

    try:
        for first in range(0, wanted, AT_ONCE):
            some = list(enumerate(tokens))[first : first + AT_ONCE]
            await asyncio.gather(*(open_one(n + 1, token) for n, token in some))
    finally:
        await server.close()
    return tokens


def _shoot(shop: Product, requests: Prepared, seconds: float) -> Sample:
    sample = shoot(
        shop.url,
        "prepared.lua",
        requests.file,
        requests.width,
        seconds=seconds,
        watched=shop.pids(),
    )
    if sample.socket_errors:
        raise BenchError(f"{sample.socket_errors} connections failed.")
    return sample


def _given(sample: Sample) -> Sample:
    """The passes of a stretch. A few may be turned away where so many connections ask without a
    pause; those are not counted. Raises `BenchError` where it is more than a few."""
    if sample.refused > sample.answers * TURNED_AWAY_MAX:
        raise BenchError(f"{sample.refused} of {sample.answers} answers were no passes.")
    passes = sample.answers - sample.refused
    return replace(sample, per_s=sample.per_s * passes / sample.answers)
