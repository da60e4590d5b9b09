"""Keys that somebody made up cost the ledger two connections, however many come at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from sluice.accounts.keys import is_key, key_digest, new_key
from sluice.domain.errors import Unauthenticated
from sluice.web.api.callers import KEYS_AT_ONCE, KEYS_WAITING_MAX, Callers
from sluice.web.problems import Problem

FORGED = 200


class SlowLedger:
    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0

    async def api_key_of(self, _digest: bytes) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1


async def test_a_crowd_of_forged_keys_waits_in_a_short_line() -> None:
    ledger = SlowLedger()
    credentials = SimpleNamespace(token=lambda *_: new_key())
    parts = SimpleNamespace(
        ledger=ledger,
        admin=SimpleNamespace(verify=lambda _token: False),
        clock=SimpleNamespace(now_ms=lambda: 0),
        entry=SimpleNamespace(credentials=credentials),
    )
    callers = Callers(cast(Any, parts))
    connection = cast(Any, SimpleNamespace(scope={"method": "GET"}, headers={}))

    async def ask() -> str:
        try:
            await callers.admit(connection, cast(Any, SimpleNamespace(opt={})))
        except Unauthenticated:
            return "unknown"
        except Problem as problem:
            return problem.code
        return "let in"

    answers = await asyncio.gather(*(ask() for _ in range(FORGED)))

    assert ledger.most == KEYS_AT_ONCE
    assert answers.count("unknown") == KEYS_WAITING_MAX
    assert answers.count("overloaded") == FORGED - KEYS_WAITING_MAX
    assert await ask() == "unknown"


def test_keys_are_told_from_session_tokens_and_from_each_other() -> None:
    one, other = new_key(), new_key()
    assert is_key(one)
    assert not is_key("st_" + one[4:])
    assert not is_key(one + "=")
    assert not is_key(one[:-1] + "\n")
    assert key_digest(one) != key_digest(other)
