"""The installed product, started as a person would: `sluice up` in a folder of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from tests.support import patience

ADMIN_TOKEN = "test-admin-token-0123456789"
READY_MAX_S = 90.0
STOP_MAX_S = 60.0
RUN_MAX_S = 90.0
PORTS = (10_000, 32_000)


def free_port() -> int:
    """Of those that the system gives to no connection of its own accord: it is used later."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition: Any, *, within_s: float, what: str, every_s: float = 0.05) -> Any:
    """The first truthy answer of `condition`; fails with `what` where none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(every_s)


class Product:
    """One running `sluice up`. Use as a context manager."""

    def __init__(self, data: Path, *arguments: str, **environ: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = ("--no-demo", *arguments)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
        # Tests share their cores and their disk with much else, and mean what they ask for to be
        # done; what is turned away, and what took too long, are subjects of tests of their own.
        usual = {
            "SLUICE_ADMIN_TOKEN": ADMIN_TOKEN,
            "SLUICE_QUEUE_TARGET_MS": "0",
            "SLUICE_DEADLINE_MS": "5000",
            "PYTHONPATH": os.pathsep.join([patience.START, clean.get("PYTHONPATH", "")]),
        }
        self.environ = {**clean, **usual, **environ}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Product:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self._log = (self.data / "up.stderr").open("a")
        self._process = subprocess.Popen(
            [
                *self._sluice("up"),
                *("--data", str(self.data), "--port", str(self.port)),
                *self._arguments,
            ],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        deadline = time.monotonic() + READY_MAX_S
        for line in self._process.stdout:
            if line.startswith("ready "):
                return
            assert time.monotonic() < deadline, "not ready in time"
        raise AssertionError(f"`sluice up` ended early:\n{self.log()[-4000:]}")

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_MAX_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        if self._log is not None:
            self._log.close()
        return code

    def log(self) -> str:
        return (self.data / "up.stderr").read_text()

    def run(self, *words: str, check: bool = True) -> str:
        """`sluice WORDS --data …` in another process; what it printed."""
        done = subprocess.run(
            [*self._sluice(*words), "--data", str(self.data)],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=RUN_MAX_S,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"sluice {words} → {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def audit(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("audit", "--json", check=False))
        return answer

    def identity_secret(self) -> bytes:
        kept = json.loads((self.data / "secrets.json").read_text())
        return str(kept["identity_secret"]).encode()

    def ledger(self) -> closing[sqlite3.Connection]:
        """The SQLite file itself, read-only, past everything that Sluice says of it."""
        return closing(
            sqlite3.connect(f"file:{self.data / 'sluice.db'}?mode=ro", uri=True, timeout=20)
        )

    def children(self, word: str) -> list[int]:
        """Process ids below `sluice up` whose command line has this word."""
        assert self._process is not None
        return [pid for pid in _descendants(self._process.pid) if word in _command(pid)]

    def kill(self, word: str, signum: int = signal.SIGKILL) -> int:
        """Kill the one child whose command line has this word; its process id."""
        (pid,) = self.children(word)
        os.kill(pid, signum)
        return pid

    def pause(self, word: str) -> None:
        """Stop a child without ending it."""
        self.kill(word, signal.SIGSTOP)

    def resume(self, word: str) -> None:
        self.kill(word, signal.SIGCONT)

    @staticmethod
    def _sluice(*words: str) -> list[str]:
        return [sys.executable, "-m", "sluice.cli.main", *words]


def _descendants(pid: int) -> list[int]:
    """Whatever ends while we look is left out."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    found += [int(child), *_descendants(int(child))]
    return found


def _command(pid: int) -> list[str]:
    """The words of a command line, paths by their last part."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.rsplit("/", 1)[-1] for part in raw.decode(errors="replace").split("\0")]
