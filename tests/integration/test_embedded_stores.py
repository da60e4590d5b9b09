"""The embedded servers as real processes: they answer, keep what they must, and end with us."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sluice.domain.errors import SettingsError
from sluice.embedded import folder as folder_module
from sluice.embedded.binary import find_binary
from sluice.embedded.child import Child
from sluice.embedded.folder import hold
from sluice.embedded.store import Store, ask, shut_down
from sluice.settings import Settings

PATIENCE_S = 30.0


def poll(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def store_in(settings: Settings, name: str = "gate") -> Store:
    return Store(
        name=name,
        binary=find_binary(),
        socket=settings.run_dir / f"{name}.sock",
        folder=settings.data_dir / name,
        log=settings.data_dir / "log" / f"{name}.log",
        durable=name == "gate",
    )


@contextmanager
def running(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(store.command(), cwd=store.folder) as server:
        try:
            poll("the server answers", store.answers)
            yield server
        finally:
            server.kill()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.read({}, tmp_path / "data")


def test_what_the_gate_confirmed_is_there_after_it_was_killed(settings: Settings) -> None:
    with hold(settings):
        store = store_in(settings)
        with running(store) as server:
            assert ask(store.socket, b"SET", b"held", b"1") == b"+OK"
            server.kill()
            server.wait()
        with running(store):
            assert ask(store.socket, b"EXISTS", b"held") == b":1"


def test_the_cache_keeps_nothing_on_disk(settings: Settings) -> None:
    with hold(settings):
        store = store_in(settings, "cache")
        with running(store):
            ask(store.socket, b"SET", b"seen", b"1")
            shut_down(store.socket)
        assert list(store.folder.iterdir()) == []


def test_a_store_opens_no_port(settings: Settings) -> None:
    with hold(settings):
        store = store_in(settings)
        with running(store):
            assert ask(store.socket, b"CONFIG", b"GET", b"port") == b"*2"
            sockets = Path("/proc/net/tcp").read_text()
            inodes = _socket_inodes_of(int(_field_of(store, b"process_id")))
        assert not any(f" {inode} " in sockets for inode in inodes)


def test_only_the_owner_can_reach_a_store(settings: Settings) -> None:
    with hold(settings):
        store = store_in(settings)
        with running(store):
            assert store.socket.stat().st_mode & 0o077 == 0
            assert store.socket.parent.stat().st_mode & 0o077 == 0


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "data"
    settings = Settings.read({}, deep)
    with hold(settings), running(store_in(settings)):
        assert not settings.run_dir.is_relative_to(deep)
    assert not settings.run_dir.exists()


def test_a_server_that_refuses_its_file_says_why(settings: Settings) -> None:
    with hold(settings):
        store = store_in(settings)
        parts = store.folder / "appendonlydir"
        parts.mkdir()
        (parts / "appendonly.aof.manifest").write_text("nonsense\n")
        subprocess.run(store.command(), cwd=store.folder, timeout=PATIENCE_S)
        assert "manifest" in store.last_words().lower()


def test_a_child_dies_when_its_parent_is_killed(settings: Settings, tmp_path: Path) -> None:
    """The parent is another process; SIGKILL gives it no chance to clean up."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        "from sluice import telemetry\n"
        "from sluice.embedded.child import Child\n"
        "telemetry.configure('test')\n"
        "async def main():\n"
        "    child = Child(name='sleeper', command=['sleep', '600'])\n"
        "    await child.start()\n"
        "    print(child.process.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            assert runs(child)
        finally:
            parent.kill()
    poll("the child died", lambda: not runs(child))


async def test_a_child_that_dies_is_started_again() -> None:
    child = Child(name="sleeper", command=["sleep", "600"])
    await child.start()
    child.keep_running()
    first = child.process
    assert first is not None
    first.kill()
    await _until("another process", lambda: child.process is not first)
    assert child.process is not None
    assert child.process.returncode is None
    await child.stop(1.0)
    assert child.exit_code == -signal.SIGTERM


async def test_a_child_that_said_what_to_change_is_not_started_again() -> None:
    child = Child(name="refuses", command=["sh", "-c", "exit 2"], final=frozenset({2}))
    await child.start()
    child.keep_running()
    await _until("it gave up", lambda: child.gave_up)
    assert child.exit_code == 2


async def test_a_child_that_does_not_listen_is_killed_in_time(tmp_path: Path) -> None:
    script = "trap '' TERM; touch deaf; sleep 600 & wait; wait"
    child = Child(name="stubborn", command=["sh", "-c", script], cwd=tmp_path)
    await child.start()
    await _until("it does not listen", (tmp_path / "deaf").exists)
    began = time.monotonic()
    await child.stop(0.2)
    assert time.monotonic() - began < 20
    assert child.exit_code == -signal.SIGKILL


async def test_a_program_that_is_missing_is_said_in_one_sentence() -> None:
    with pytest.raises(SettingsError, match="/no/such/program cannot be run"):
        await Child(name="missing", command=["/no/such/program"]).start()


async def _until(what: str, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - another process's doing gives no event
            await asyncio.sleep(0.01)


def test_the_folder_stays_held_until_the_stores_have_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that was killed may leave a store for a moment; two would ruin one file."""
    with hold(settings) as folder:
        lock = os.dup(folder.store_lock)
        store = store_in(settings)
        server = subprocess.Popen(store.command(), cwd=store.folder, pass_fds=(lock,))
        os.close(lock)
        poll("the server answers", store.answers)
    with server, hold(settings):
        assert server.wait(PATIENCE_S) == 0

    monkeypatch.setattr(folder_module, "STRAGGLERS_S", 0.1)
    with hold(settings) as folder:
        stuck = subprocess.Popen(["sleep", "600"], pass_fds=(folder.store_lock,))
    try:
        with pytest.raises(SettingsError, match="still run on"), hold(settings):
            pass
    finally:
        stuck.kill()
        stuck.wait()


def _field_of(store: Store, name: bytes) -> str:
    """One field of INFO server; `ask` returns first lines only."""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(store.socket))
        connection.sendall(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n")
        answer = connection.recv(65536)
    return answer.split(name + b":")[1].split(b"\r\n")[0].decode()


def _socket_inodes_of(pid: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            found.append(target[8:-1])
    return found
