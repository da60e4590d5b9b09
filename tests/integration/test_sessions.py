"""Sessions and codes on a real cache server, by two processes' worth of parts at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.polling import until_it_is
from tests.valkey import Valkey, running

from sluice.accounts.codes import TRIES_MAX, UNBOUND, Codes
from sluice.accounts.sessions import LIFE_S_MAX, SESSIONS_MAX, Sessions
from sluice.accounts.tokens import PREFIX, new_token, token_digest
from sluice.cache.codes import CodeCells
from sluice.cache.server import CacheServer
from sluice.cache.sessions import SessionCells
from sluice.domain.account import Where
from sluice.domain.errors import CacheUnavailable, Unauthenticated

TTL_S = 1000
HERE = Where("203.0.113.9", "203.0.113.9", "a browser", [])
PHONE = "+8613800138000"
KEYS = [b"k" * 32]
CROWD = 1000
AT_ONCE = 100


class Clock:
    """Unix milliseconds, moved by hand: how long a session is kept goes by it, when the server
    forgets one by the server's own time."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class Process:
    """What one process has."""

    def __init__(self, url: str, clock: Clock, ttl_s: int = TTL_S) -> None:
        self.server = CacheServer.from_url(url)
        self.cells = SessionCells(self.server)
        self.sessions = Sessions(
            self.cells, ttl_s=ttl_s, now_ms=clock, queue_max=4096, deadline_s=5.0
        )
        self.codes = Codes(CodeCells(self.server), KEYS)
        self._listener: asyncio.Task[None] | None = None
        self._door = asyncio.Semaphore(AT_ONCE)

    async def tries(self, phone: str, code: str) -> bool:
        """One of a crowd, of which so many are under way at once that none times out."""
        async with self._door:
            return await self.codes.use(phone, UNBOUND, code)

    async def listen(self) -> None:
        memory = self.sessions.memory
        heard = asyncio.Event()

        def listening(now: bool) -> None:
            memory.listening(now)
            if now:
                heard.set()

        self._listener = asyncio.create_task(self.cells.listen(memory.revoked, listening))
        await heard.wait()

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        await self.sessions.close()
        await self.server.close()


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


@pytest.fixture
async def raw(valkey: Valkey) -> AsyncIterator[Any]:
    """The server itself, emptied."""
    client = Redis.from_url(valkey.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(valkey: Valkey, raw: Any, clock: Clock) -> AsyncIterator[Process]:
    process = Process(valkey.url, clock)
    yield process
    await process.close()


@pytest.fixture
async def there(valkey: Valkey, raw: Any, clock: Clock) -> AsyncIterator[Process]:
    process = Process(valkey.url, clock)
    yield process
    await process.close()


# --- sessions -------------------------------------------------------------------------------------


async def test_a_session_counts_in_every_process(here: Process, there: Process) -> None:
    opened = await here.sessions.open(42, HERE)
    for process in (here, there):
        identity = await process.sessions.identity(opened.token)
        assert identity.buyer == "acct:42"
        assert identity.expires_at_s == opened.expires_at_ms // 1000


async def test_two_sessions_of_one_buyer_are_bound_apart(here: Process) -> None:
    one, other = [await here.sessions.open(42, HERE) for _ in range(2)]
    first, second = [await here.sessions.identity(each.token) for each in (one, other)]
    assert first.digest == second.digest
    assert first.binding != second.binding


async def test_the_store_holds_no_token(here: Process, raw: Any) -> None:
    opened = await here.sessions.open(42, HERE)
    secret = opened.token.removeprefix(PREFIX).encode()
    for key in await raw.keys("*"):
        kind = await raw.type(key)
        value = await (raw.get(key) if kind == b"string" else raw.hgetall(key))
        assert secret not in key
        assert secret not in repr(value).encode()


@pytest.mark.parametrize("forged", ["", "x", "flip", "hash", "other"])
async def test_what_is_no_token_of_ours_is_nobodys(here: Process, forged: str) -> None:
    opened = await here.sessions.open(42, HERE)
    tokens = {
        "flip": opened.token[:-1] + ("A" if opened.token[-1] != "A" else "B"),
        "hash": PREFIX + token_digest(opened.token).hex()[:43],
        "other": new_token(),
    }
    with pytest.raises(Unauthenticated):
        await here.sessions.identity(tokens.get(forged, forged))


async def test_a_session_that_was_ended_is_nobodys_at_once_in_every_process(
    here: Process, there: Process
) -> None:
    await there.listen()
    opened = await here.sessions.open(42, HERE)
    await there.sessions.identity(opened.token)
    assert there.sessions.remembered(opened.token, 0) is not None
    assert await here.sessions.end(42, opened.session_id)
    for process in (here, there):
        with pytest.raises(Unauthenticated):
            await process.sessions.identity(opened.token)

    async def forgotten() -> bool:
        return there.sessions.remembered(opened.token, 0) is None

    await until_it_is(forgotten)
    assert not await there.sessions.end(42, opened.session_id)


async def test_a_process_whose_news_is_cut_off_remembers_nobody(here: Process, raw: Any) -> None:
    await here.listen()
    opened = await here.sessions.open(42, HERE)
    await here.sessions.identity(opened.token)
    news = here.sessions.memory.news
    await raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    async def noticed() -> bool:
        return here.sessions.memory.news > news

    await until_it_is(noticed)
    assert here.sessions.remembered(opened.token, 0) is None


async def test_nobody_ends_a_session_of_somebody_else(here: Process) -> None:
    opened = await here.sessions.open(42, HERE)
    assert not await here.sessions.end(43, opened.session_id)
    assert (await here.sessions.identity(opened.token)).buyer == "acct:42"


async def test_a_session_is_renewed_when_less_than_half_is_left(
    here: Process, clock: Clock, raw: Any
) -> None:
    opened = await here.sessions.open(42, HERE)
    clock.now_ms += TTL_S * 500 - 1
    identity = await here.sessions.identity(opened.token)
    assert identity.expires_at_s == opened.expires_at_ms // 1000
    clock.now_ms += 2
    renewed = await here.sessions.identity(opened.token)
    assert renewed.expires_at_s * 1000 // 1000 == (clock.now_ms + TTL_S * 1000) // 1000
    [facts] = await here.sessions.of_account(42)
    assert facts.expires_at_ms == clock.now_ms + TTL_S * 1000
    [key] = await raw.keys("sluice:session:*")
    assert TTL_S * 1000 - 60_000 < await raw.pttl(key) <= TTL_S * 1000


async def test_no_session_lives_for_ever(valkey: Valkey, raw: Any, clock: Clock) -> None:
    month_s = LIFE_S_MAX // 3
    process = Process(valkey.url, clock, ttl_s=month_s)
    opened = await process.sessions.open(42, HERE)
    end_s = clock.now_ms // 1000 + LIFE_S_MAX
    seen = []
    for _ in range(4):
        clock.now_ms += month_s * 600
        seen.append((await process.sessions.identity(opened.token)).expires_at_s)
    assert seen == sorted(seen)
    assert seen[0] < end_s
    assert seen[-1] == end_s
    await process.close()


async def test_a_renewal_does_not_bring_back_what_was_ended(here: Process, clock: Clock) -> None:
    opened = await here.sessions.open(42, HERE)
    digest = token_digest(opened.token)
    [alive] = await here.cells.alive([digest])
    assert alive is not None
    await here.sessions.end(42, opened.session_id)
    assert not await here.cells.renew(digest, alive, 60_000)
    assert await here.cells.alive([digest]) == [None]


async def test_sessions_are_listed_for_their_owner_newest_first(
    here: Process, clock: Clock
) -> None:
    opened = []
    for label in ("a phone", "a laptop"):
        opened.append(await here.sessions.open(42, HERE._replace(label=label)))
        clock.now_ms += 1
    await here.sessions.open(43, HERE)
    found = await here.sessions.of_account(42)
    assert [facts.label for facts in found] == ["a laptop", "a phone"]
    assert [facts.id for facts in found] == [each.session_id for each in reversed(opened)]
    assert await here.sessions.end_all(42, but=opened[0].session_id) == 1
    assert [facts.label for facts in await here.sessions.of_account(42)] == ["a phone"]


async def test_there_is_room_for_so_many_sessions_and_the_oldest_go_first(
    here: Process, clock: Clock
) -> None:
    opened = []
    for _ in range(SESSIONS_MAX + 2):
        opened.append(await here.sessions.open(42, HERE))
        clock.now_ms += 1
    assert len(await here.sessions.of_account(42)) == SESSIONS_MAX
    for gone in opened[:2]:
        with pytest.raises(Unauthenticated):
            await here.sessions.identity(gone.token)
    await here.sessions.identity(opened[2].token)


async def test_sessions_that_ran_out_make_room_without_ending_others(
    here: Process, clock: Clock, raw: Any
) -> None:
    for _ in range(SESSIONS_MAX):
        await here.sessions.open(42, HERE)
    gone = await raw.keys("sluice:session:*")
    await raw.delete(*gone[:10])
    await here.sessions.open(42, HERE)
    assert len(await here.sessions.of_account(42)) == SESSIONS_MAX - 10 + 1
    assert await raw.hlen("sluice:sessions:42") == SESSIONS_MAX - 10 + 1


async def test_a_crowd_that_comes_at_once_costs_a_few_calls(here: Process, raw: Any) -> None:
    opened = [await here.sessions.open(n, HERE) for n in range(1, 201)]
    before = (await raw.info("commandstats")).get("cmdstat_mget", {}).get("calls", 0)
    found = await asyncio.gather(*(here.sessions.identity(each.token) for each in opened))
    assert [each.buyer for each in found] == [f"acct:{n}" for n in range(1, 201)]
    after = (await raw.info("commandstats"))["cmdstat_mget"]["calls"]
    assert after - before <= 4


async def test_one_session_may_be_used_a_thousand_times_at_once(here: Process) -> None:
    opened = await here.sessions.open(42, HERE)
    found = await asyncio.gather(*(here.sessions.identity(opened.token) for _ in range(CROWD)))
    assert {each.buyer for each in found} == {"acct:42"}


async def test_while_the_store_is_away_nobody_is_told_that_their_token_is_bad(
    tmp_path: Any, clock: Clock
) -> None:
    process = Process(f"unix://{tmp_path}/nobody", clock)
    with pytest.raises(CacheUnavailable):
        await process.sessions.identity(new_token())
    with pytest.raises(CacheUnavailable):
        await process.codes.use(PHONE, UNBOUND, "042117")
    await process.close()


# --- codes ----------------------------------------------------------------------------------------


def wrong(code: str, n: int = 1) -> str:
    return f"{(int(code) + n) % 1_000_000:06}"


async def test_a_code_is_good_once(here: Process, there: Process) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    assert issued.code.isdigit()
    assert len(issued.code) == 6
    assert await there.codes.use(PHONE, UNBOUND, issued.code)
    assert not await here.codes.use(PHONE, UNBOUND, issued.code)


async def test_of_a_thousand_uses_of_one_code_one_counts(here: Process, there: Process) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    uses = [
        process.tries(PHONE, issued.code) for _ in range(CROWD // 2) for process in (here, there)
    ]
    assert sum(await asyncio.gather(*uses)) == 1


async def test_a_code_has_five_tries(here: Process) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    for n in range(1, TRIES_MAX):
        assert not await here.codes.use(PHONE, UNBOUND, wrong(issued.code, n))
    assert await here.codes.use(PHONE, UNBOUND, issued.code)

    issued = await here.codes.issue(PHONE, bound=False)
    for n in range(1, TRIES_MAX + 1):
        assert not await here.codes.use(PHONE, UNBOUND, wrong(issued.code, n))
    assert not await here.codes.use(PHONE, UNBOUND, issued.code)


async def test_a_thousand_guesses_at_once_are_five_tries(here: Process) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    guesses = [wrong(issued.code, n) for n in range(1, CROWD)] + [issued.code]
    used = await asyncio.gather(*(here.tries(PHONE, each) for each in guesses))
    assert not any(used)


async def test_a_code_is_of_its_phone_and_of_its_request(here: Process) -> None:
    other = "+8613800138001"
    old = await here.codes.issue(PHONE, bound=False)
    await here.codes.issue(other, bound=False)
    assert not await here.codes.use(other, UNBOUND, old.code)
    new = await here.codes.issue(PHONE, bound=False)
    assert old.code == new.code or not await here.codes.use(PHONE, UNBOUND, old.code)
    assert await here.codes.use(PHONE, UNBOUND, new.code)


async def test_nobody_without_its_word_can_use_up_a_bound_requests_tries(here: Process) -> None:
    bound = await here.codes.issue(PHONE, bound=True)
    assert bound.request
    for n in range(2 * TRIES_MAX):
        assert not await here.codes.use(PHONE, UNBOUND, wrong(bound.code, n))
        assert not await here.codes.use(PHONE, "a guess", bound.code)
    await here.codes.issue(PHONE, bound=False)  # another request does not replace it
    assert await here.codes.use(PHONE, bound.request, bound.code)
    assert not await here.codes.use(PHONE, bound.request, bound.code)


async def test_the_store_holds_neither_phone_nor_code(here: Process, raw: Any) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    [key] = await raw.keys("sluice:code:*")
    kept = await raw.hgetall(key)
    assert b"13800138000" not in key
    assert set(kept) == {b"mac", b"tries"}
    assert issued.code.encode() not in kept[b"mac"]
    assert 0 < await raw.ttl(key) <= 600


async def test_a_code_counts_while_the_secret_keys_are_changed(
    here: Process, there: Process
) -> None:
    issued = await here.codes.issue(PHONE, bound=False)
    changed = Codes(CodeCells(there.server), [b"n" * 32, *KEYS])
    assert await changed.use(PHONE, UNBOUND, issued.code)


async def test_a_code_that_is_read_and_then_removed_would_count_more_than_once(
    here: Process,
) -> None:
    """The planted bug: two steps instead of one."""

    both_have_read = asyncio.Barrier(2)

    class TwoSteps(CodeCells):
        async def use(self, name: str, mac: bytes, tries_max: int) -> bool:
            kept = await here.server.do("HGET", f"sluice:code:{name}", "mac")
            await both_have_read.wait()
            await here.server.do("DEL", f"sluice:code:{name}")
            return bool(kept == mac)

    codes = Codes(TwoSteps(here.server), KEYS)
    issued = await codes.issue(PHONE, bound=False)
    uses = await asyncio.gather(*(codes.use(PHONE, UNBOUND, issued.code) for _ in range(2)))
    assert sum(uses) == 2
