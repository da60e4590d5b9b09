"""Passwords: the same work whoever asks, in a pool that cannot grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sluice.accounts.passwords import Passwords
from sluice.domain.errors import Overloaded


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(threads=1, queue_max=2)
    yield made
    made.close()


async def test_a_password_is_known_by_its_hash_alone(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(kept, "correct horse")
    assert not await passwords.verify(kept, "correct horse ")
    assert await passwords.hash("correct horse") != kept


async def test_who_has_no_password_costs_the_same_and_never_gets_in(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    work = passwords.done
    assert not await passwords.verify(kept, "wrong")
    assert passwords.done == work + 1
    assert not await passwords.verify(None, "wrong")
    assert passwords.done == work + 2


async def test_a_damaged_hash_is_nobodys_password(passwords: Passwords) -> None:
    for kept in ("x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
        assert not await passwords.verify(kept, "anything")


async def test_the_pool_takes_so_many_and_no_more(passwords: Passwords) -> None:
    tasks = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(10)]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [each for each in ended if isinstance(each, Overloaded)]
    assert len(refused) == 7
    assert passwords.done == 3
    await passwords.hash("correct horse")  # there is room again


async def test_who_hangs_up_does_not_make_room_for_more(passwords: Passwords) -> None:
    tasks = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await passwords.hash("correct horse")
    assert all(
        isinstance(e, asyncio.CancelledError)
        for e in await asyncio.gather(*tasks, return_exceptions=True)
    )
