"""Passwords: argon2id in a process of its own (`hashing.py`), bounded on both sides.

One hash takes some 20 ms of a core and 19 MiB. The process decides how much of the machine that
may take: its threads are few, and what does not fit into their queue is refused at once. Threads of
this process would be handed the interpreter while they get no core, and the loop would wait for it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Final

from sluice.accounts.hashing import ANSWER, LANES, MEMORY_KIB, QUESTION, RIGHT, TIME_COST
from sluice.domain.errors import Overloaded, Unavailable
from sluice.telemetry import get_logger

PASSWORD_CHARS_MIN: Final = 8
PASSWORD_CHARS_MAX: Final = 256
PROGRAM: Final = (sys.executable, "-P", "-m", "sluice.accounts.hashing")
TRIES: Final = 2
"""Processes that may end over the same work before it is given up."""
START_EVERY_S: Final = 1.0
"""The process is not started more often than that, whatever ends it."""
PATIENCE_S: Final = 60.0
"""One that has work and answers nothing for so long, or twice that at most, is stuck. Where the
buying path leaves it next to nothing of the cores one hash still takes some seconds."""

log = get_logger("accounts")


class PasswordsAway(Unavailable):
    """Passwords cannot be looked at just now. Send the same request again."""

    explains = True


class Passwords:
    """Hashes and verifies. `done` counts how often the work was done, whatever came of it."""

    def __init__(self, *, threads: int, queue_max: int) -> None:
        self._threads = threads
        self._room = threads + queue_max
        self._under_way: set[asyncio.Future[bytes]] = set()
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._started_s = -START_EVERY_S
        self._closed = False
        self._nobody = _nobodys_hash()
        self.done = 0

    async def close(self) -> None:
        """Ends the process. Whoever still waits is told that it is not to be had."""
        self._closed = True
        async with self._starting:
            if self._process is not None:
                await self._process.end()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def hash(self, password: str) -> str:
        """Raises `Overloaded`, `Unavailable`."""
        return (await self._run("", password)).decode()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. Without a hash the same work is done and the answer is no.

        Raises `Overloaded`, `Unavailable`.
        """
        told = await self._run(password_hash or self._nobody, password)
        return told == RIGHT and password_hash is not None

    async def _run(self, kept: str, password: str) -> bytes:
        if len(self._under_way) >= self._room:
            raise Overloaded
        self.done += 1
        work = asyncio.ensure_future(self._answer(kept.encode(), password.encode()))
        # Counted until it has ended: who hangs up does not make room for more.
        self._under_way.add(work)
        work.add_done_callback(self._ended)
        return await asyncio.shield(work)

    def _ended(self, work: asyncio.Future[bytes]) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()

    async def _answer(self, kept: bytes, password: bytes) -> bytes:
        for _ in range(TRIES):
            process = await self._running()
            with suppress(_EndedError):
                if told := await process.ask(kept, password):
                    return told
                break
        raise PasswordsAway

    async def _running(self) -> _Process:
        async with self._starting:
            if self._closed:
                raise PasswordsAway
            if self._process is None or self._process.ended:
                await asyncio.sleep(self._started_s + START_EVERY_S - monotonic())
                self._started_s = monotonic()
                self._process = await _Process.start(self._threads)
            return self._process


class _EndedError(Exception):
    """The process ended before it answered."""


class _Process:
    """The process, for as long as it lives."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        answers: asyncio.StreamReader,
        questions: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._answers = answers
        self._questions = questions
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = count(1)
        self.ended = False
        self._told_to_end = False
        self._listener = asyncio.ensure_future(self._listen())

    @classmethod
    async def start(cls, threads: int) -> _Process:
        """Raises `PasswordsAway` where it cannot be started."""
        ours, its = socket.socketpair()
        with its:
            try:
                process = _execute(threads, its)
            except OSError as error:
                ours.close()
                log.error(
                    "The process for passwords cannot be started.",
                    action="passwords.not_started",
                    error=error.strerror,
                )
                raise PasswordsAway from None
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    async def ask(self, kept: bytes, password: bytes) -> bytes:
        """What came of it; nothing where it could not be done. Raises `_EndedError`."""
        if self.ended:
            raise _EndedError
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._questions.write(QUESTION.pack(number, len(kept), len(password)) + kept + password)
        return await answer

    async def end(self) -> None:
        """Nothing is lost that way: what it does it does in memory alone."""
        self._told_to_end = True
        self._process.kill()
        await self._listener

    async def _listen(self) -> None:
        """Hands out the answers, until there will be no more."""
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                await self._hand_out()
        finally:
            self.ended = True
            self._process.kill()
            self._questions.close()
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(_EndedError())
        code = await asyncio.to_thread(self._process.wait)
        if not self._told_to_end:
            log.warning(
                "The process for passwords ended; the next password starts another.",
                action="passwords.ended",
                exit_code=code,
            )

    async def _hand_out(self) -> None:
        quiet = False
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    head = await self._answers.readexactly(ANSWER.size)
            except TimeoutError:
                if quiet:
                    return
                quiet = bool(self._asked)
                continue
            quiet = False
            number, length = ANSWER.unpack(head)
            told = await self._answers.readexactly(length)
            waiting = self._asked.pop(number)
            if not waiting.done():
                waiting.set_result(told)


def _execute(threads: int, line: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
        [*PROGRAM, str(threads)],
        stdin=line.fileno(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is not for it; and see `stand_back`
    )


def _nobodys_hash() -> str:
    """Of the same cost as any other, and of no password that anybody knows: what unknown names are
    compared with."""
    salt, tag = (b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={LANES}${salt}${tag}"
