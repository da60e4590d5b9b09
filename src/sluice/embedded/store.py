"""The two embedded servers: how they are set, and how one finds out that they answer."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sluice.embedded.binary import Binary
from sluice.settings import Settings

ANSWER_S = 0.5
"""How long a server on a local socket may take to answer a PING."""
POLL_S = 0.01
CACHE_MEMORY = "512mb"

_COMMON = {
    "port": "0",  # the socket alone: nothing to collide with, nobody else on the machine gets in
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "loglevel": "notice",
    "latency-tracking": "no",
}
_GATE = {
    "appendonly": "yes",
    "appendfsync": "always",  # accepted means on disk; batches make it a group commit
    "maxmemory-policy": "noeviction",  # a hold that is evicted would be sold twice
}
_CACHE = {
    "appendonly": "no",
    "maxmemory": CACHE_MEMORY,
    # When full, what is about to expire anyway goes first: counters and challenges live for
    # minutes, sessions for days, so a flood of the former cannot log people out (LRU could).
    "maxmemory-policy": "volatile-ttl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One embedded server. `durable` is the gate; the cache may forget."""

    name: str
    binary: Binary
    socket: Path
    folder: Path
    log: Path
    durable: bool

    def command(self) -> list[str]:
        options = {
            **_COMMON,
            **(_GATE if self.durable else _CACHE),
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "logfile": str(self.log),
        }
        words = [str(self.binary.path)]
        for name, value in options.items():
            words += [f"--{name}", value]
        return words

    def answers(self) -> bool:
        """Whether it is up and has loaded its file."""
        return ask(self.socket, b"PING") == b"+PONG"

    def last_words(self) -> str:
        """The last line of its log, for the sentence that says why it did not start."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].split("#", 1)[-1].strip()
        return "it left no log"


def ask(path: Path, *words: bytes) -> bytes:
    """The first line of a server's answer to one command; empty where there is no answer."""
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(4096).partition(b"\r\n")[0]
    except OSError:
        return b""


def wait_for_ours(settings: Settings) -> None:
    """Return when those servers answer that `sluice up` runs for these settings."""
    waited_for = [("gate", settings.redis_url), ("cache", settings.cache_url)]
    for path in [settings.run_dir / f"{name}.sock" for name, url in waited_for if not url]:
        while ask(path, b"PING") != b"+PONG":
            time.sleep(POLL_S)


def shut_down(path: Path) -> None:
    """Ask the server behind this socket to end, keeping what it has."""
    ask(path, b"SHUTDOWN", b"NOSAVE")
