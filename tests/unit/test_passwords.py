"""Passwords: the same work whoever asks, in a process of its own that cannot be asked for more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import monotonic

import pytest
from tests.polling import until as until_it_holds
from tests.support.product import _command, _descendants, until

from sluice.accounts import passwords as module
from sluice.accounts.hashing import NICENESS
from sluice.accounts.passwords import Passwords
from sluice.domain.errors import Overloaded, Unavailable

CHILD = "sluice.accounts.hashing"
CLOSE = 0.6
"""Of two medians of the same work the smaller is at least this much of the larger."""


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(threads=1, queue_max=2)
    yield made
    await made.close()


def children(of: int | None = None) -> list[int]:
    """Of this process itself: a product that runs beside these tests has such processes too."""
    parent = of or os.getpid()
    return [
        pid for pid in _descendants(parent) if CHILD in _command(pid) and _parent(pid) == parent
    ]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0


async def under_way(passwords: Passwords, count: int) -> list[asyncio.Task[str]]:
    """So many that are asked for and whose process runs."""
    await passwords.hash("the process is there")
    tasks = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_password_is_known_by_its_hash_alone(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(kept, "correct horse")
    assert not await passwords.verify(kept, "correct horse ")
    assert await passwords.hash("correct horse") != kept


async def test_a_password_may_be_of_any_signs(passwords: Passwords) -> None:
    for password in ("正确的马电池" * 40, "\0null\n", "é", "x" * 4096):
        kept = await passwords.hash(password)
        assert await passwords.verify(kept, password)
        assert not await passwords.verify(kept, password[:-1] + "y")


async def test_who_has_no_password_costs_the_same_and_never_gets_in(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    work = passwords.done
    assert not await passwords.verify(kept, "wrong")
    assert passwords.done == work + 1
    assert not await passwords.verify(None, "wrong")
    assert passwords.done == work + 2


async def test_an_unknown_name_takes_as_long(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    took: dict[str | None, list[float]] = {kept: [], None: []}

    async def is_close() -> bool:
        for _ in range(12):
            for compared, seconds in took.items():
                began = monotonic()
                await passwords.verify(compared, "wrong")
                seconds.append(monotonic() - began)
        known, unknown = median(took[kept]), median(took[None])
        return min(known, unknown) / max(known, unknown) >= CLOSE

    # A difference that is there stays; one of the machine's does not.
    for _ in range(4):
        if await is_close():
            return
    raise AssertionError(took)


async def test_a_damaged_hash_is_nobodys_password(passwords: Passwords) -> None:
    for kept in ("x", "é", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
        assert not await passwords.verify(kept, "anything")


async def test_the_process_takes_so_many_and_no_more(passwords: Passwords) -> None:
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


# --- the process ----------------------------------------------------------------------------------


async def test_it_is_there_from_the_first_password_on_until_the_end() -> None:
    passwords = Passwords(threads=2, queue_max=10)
    assert children() == []
    await asyncio.gather(*(passwords.hash("correct horse") for _ in range(3)))
    (pid,) = children()
    await passwords.close()
    assert children() == []
    assert not _exists(pid)


async def test_whatever_else_runs_goes_first(passwords: Passwords) -> None:
    """Also where the system weighs sessions before it looks at the processes in them."""
    await passwords.hash("correct horse")
    (pid,) = children()
    assert _nicenesses(pid) == {NICENESS}
    assert os.getsid(pid) == pid
    assert _nice_of_its_session(pid) in (None, NICENESS)


async def test_work_under_way_is_done_again_when_the_process_is_killed(
    passwords: Passwords,
) -> None:
    tasks = await under_way(passwords, 3)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    for kept in await asyncio.gather(*tasks):
        assert kept.startswith("$argon2id$")
    (other,) = children()
    assert other != pid
    assert await passwords.verify(await passwords.hash("after"), "after")


async def test_work_whose_process_ends_time_and_again_is_given_up(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", "pass"))
    monkeypatch.setattr(module, "START_EVERY_S", 0.05)
    ended = await asyncio.gather(
        *(passwords.hash("correct horse") for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(each, Unavailable) for each in ended), ended
    monkeypatch.undo()
    assert (await passwords.hash("correct horse")).startswith("$argon2id$")


async def test_without_a_process_there_is_an_answer(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRAM", ("/nowhere/at/all",))
    with pytest.raises(Unavailable):
        await passwords.hash("correct horse")
    monkeypatch.undo()
    await passwords.hash("correct horse")


async def test_a_process_that_stands_still_is_replaced(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    await passwords.hash("correct horse")
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(passwords.hash("correct horse"))
    await until_it_holds(lambda: pid not in children())
    monkeypatch.undo()  # the next one may be slow
    assert (await asked).startswith("$argon2id$")


async def test_a_close_answers_whoever_still_waits() -> None:
    passwords = Passwords(threads=1, queue_max=10)
    tasks = await under_way(passwords, 5)
    await passwords.close()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in ended), ended
    with pytest.raises(Unavailable):
        await passwords.hash("correct horse")
    assert children() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_outlives_a_signal_to_everybody_and_ends_with_its_parent(
    passwords: Passwords, number: signal.Signals
) -> None:
    await passwords.hash("correct horse")
    (pid,) = children()
    assert os.getpgid(pid) == pid  # a terminal's Ctrl-C is not for it
    os.kill(pid, number)
    await passwords.hash("correct horse")
    assert children() == [pid]


PARENT = """
import asyncio
from sluice.accounts.passwords import Passwords

async def main():
    passwords = Passwords(threads=2, queue_max=1000)
    await passwords.hash("correct horse")
    asks = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(1000)]
    await asyncio.sleep(0.1)
    print("there", flush=True)
    await asyncio.gather(*asks)

asyncio.run(main())
"""


def test_it_ends_when_its_parent_is_killed_however_much_is_asked_for() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        assert parent.stdout.readline() == "there\n"
        (pid,) = children(parent.pid)
        parent.kill()
        until(lambda: _is_gone(pid), within_s=30, what="the end of it")
        assert parent.stderr.read() == ""


def _is_gone(pid: int) -> bool:
    """A zombie is: to ask what became of it is the business of whoever has it now."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _nicenesses(pid: int) -> set[int]:
    """Of its threads."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


def _nice_of_its_session(pid: int) -> int | None:
    """None where the system does not group by session."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])
    except (OSError, IndexError):
        return None
