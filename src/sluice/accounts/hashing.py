"""The process that does the work of passwords, for one HTTP worker (`passwords.py`).

`python -m sluice.accounts.hashing THREADS`, with a stream socket as its stdin. A question is the
head `QUESTION` (number, lengths of hash and password) and both in UTF-8; without a hash, one is
made. The answer is the head `ANSWER` (number, length) and what came of it: the hash, `RIGHT`,
`WRONG`, or nothing where it could not be done. Answers come as they are ready.

It ends when its parent does, whatever ended that, and for nothing less: a Ctrl-C or SIGTERM that
reaches everybody must leave it there for those log-ins which are still answered. It says nothing:
what it knows is passwords.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from argon2 import PasswordHasher

QUESTION: Final = struct.Struct("!III")
ANSWER: Final = struct.Struct("!II")
RIGHT: Final = b"right"
WRONG: Final = b"wrong"

MEMORY_KIB: Final = 19_456
TIME_COST: Final = 2
LANES: Final = 1
"""OWASP's second recommendation (2024): m=19 MiB, t=2, p=1."""
NICENESS: Final = 19
AUTOGROUP: Final = Path("/proc/self/autogroup")
AUTOGROUP_TRIES: Final = 5
AUTOGROUP_WAIT_S: Final = 0.11


def make_hasher() -> PasswordHasher:
    """Imported here: who only asks need not have it in memory."""
    from argon2 import PasswordHasher, Type

    return PasswordHasher(
        time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
    )


def stand_back() -> None:
    """The buying path goes first wherever a core is short, here and in every thread made later.

    Where the system groups processes by session (autogroup, on Linux outside of containers), each
    session gets the same share whatever the niceness of those in it: so it takes a session of its
    own, whose group is made as small. In that of the HTTP worker it would eat the worker's share.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    if os.getsid(0) == os.getpid():
        _make_session_small()


def _make_session_small() -> None:
    for _ in range(AUTOGROUP_TRIES):
        try:
            AUTOGROUP.write_text(str(NICENESS))
        except BlockingIOError:  # the kernel takes ten of these a second, of all processes
            time.sleep(AUTOGROUP_WAIT_S)
        except OSError:
            return
        else:
            return


class Desk:
    """Where all threads take their questions from and leave their answers. What nobody has taken
    yet waits in the socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._questions: BinaryIO = line.makefile("rb")
        self._taking = threading.Lock()
        self._answering = threading.Lock()
        self._hasher = make_hasher()

    def work(self) -> None:
        """Until the parent is gone; then the process ends, with whatever it was doing."""
        try:
            while True:
                number, kept, password = self._take()
                told = self._hash(password) if not kept else self._compare(kept, password)
                with self._answering:
                    self._line.sendall(ANSWER.pack(number, len(told)) + told)
        except (EOFError, OSError):
            os._exit(0)

    def _take(self) -> tuple[int, bytes, bytes]:
        with self._taking:
            number, kept, password = QUESTION.unpack(self._read(QUESTION.size))
            return number, self._read(kept), self._read(password)

    def _read(self, length: int) -> bytes:
        raw = self._questions.read(length)
        if len(raw) < length:
            raise EOFError
        return raw

    def _hash(self, password: bytes) -> bytes:
        from argon2.exceptions import HashingError

        try:
            return self._hasher.hash(password).encode()
        except HashingError:
            return b""

    def _compare(self, kept: bytes, password: bytes) -> bytes:
        from argon2.exceptions import Argon2Error, InvalidHashError

        try:
            self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            return WRONG
        return RIGHT


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    stand_back()
    desk = Desk(socket.socket(fileno=sys.stdin.fileno()))
    for _ in range(int(sys.argv[1]) - 1):
        threading.Thread(target=desk.work, daemon=True).start()
    desk.work()


if __name__ == "__main__":
    main()
