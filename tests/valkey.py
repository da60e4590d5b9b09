"""A real server for tests: the packaged Valkey (or `redis-server`) on a socket of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sluice.embedded.binary import find_binary
from sluice.embedded.store import Store

START_S = 30


class Valkey:
    """One server that can be stopped and started again."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.store = Store(
            name="test",
            binary=find_binary(),
            socket=folder / "s",
            folder=folder,
            log=folder / "log",
            durable=durable,
        )
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.store.socket}"

    def start(self) -> None:
        self._child = subprocess.Popen(self.store.command())
        deadline = time.monotonic() + START_S
        while not self.store.answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server: {self.store.last_words()}")
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """SIGSTOP makes it hang, SIGCONT goes on."""
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


@contextlib.contextmanager
def running(*, durable: bool = False) -> Iterator[Valkey]:
    """A server in a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="slt") as folder:
        server = Valkey(Path(folder), durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.kill()
