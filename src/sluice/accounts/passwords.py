"""Passwords: argon2id in a pool of its own, bounded on both sides, off the event loop.

One hash takes some 20 ms of a core and 19 MiB. The pool decides how much of the machine that may
take: its threads are few, and what does not fit into its queue is refused at once.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from sluice.domain.errors import Overloaded

T = TypeVar("T")

MEMORY_KIB = 19_456
TIME_COST = 2
LANES = 1
"""OWASP's second recommendation (2024): m=19 MiB, t=2, p=1."""
NICENESS = 10
"""The buying path goes first where a core is short; log-ins then still get a tenth of it. No more:
a thread that waits too long for a core while it is handed the interpreter holds up everybody."""
PASSWORD_CHARS_MIN = 8
PASSWORD_CHARS_MAX = 256


class Passwords:
    """Hashes and verifies. `done` counts how often the work was done, whatever came of it."""

    def __init__(self, *, threads: int, queue_max: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(threads, "argon2", initializer=be_nice)
        self._room = threads + queue_max
        self._under_way = 0
        self.done = 0
        # Nobody knows the password of this hash: it is what unknown names are compared with.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Raises `Overloaded`."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. Without a hash the same work is done and the answer is no.

        Raises `Overloaded`.
        """
        compared = password_hash or self._nobody
        right = await self._run(lambda: self._matches(compared, password))
        return right and password_hash is not None

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._room:
            raise Overloaded
        self._under_way += 1
        self.done += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Counted until it has ended: who hangs up does not make room for more.
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()


def be_nice() -> None:
    """For this thread alone, where the system can (Linux)."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (AttributeError, OSError):
        return
