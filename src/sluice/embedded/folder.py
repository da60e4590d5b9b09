"""The data folder: one owner, one supervisor at a time, one kind of server that wrote it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sluice.domain.errors import SettingsError
from sluice.embedded.binary import Binary
from sluice.embedded.store import shut_down
from sluice.settings import Settings

STRAGGLERS_S = 5.0
"""How long the stores of a supervisor that was killed may take to end."""


@dataclass(frozen=True, slots=True)
class HeldFolder:
    """A data folder that this process holds alone, as long as its context is open."""

    data_dir: Path
    store_lock: int
    """A descriptor that the stores inherit: the folder stays locked until the last has ended."""

    @property
    def gate_dir(self) -> Path:
        return self.data_dir / "gate"

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"


@contextmanager
def hold(settings: Settings) -> Iterator[HeldFolder]:
    """Make the data folder where it is missing, and hold it.

    Raises `SettingsError` where it cannot be written or another `sluice up` runs on it.
    """
    data_dir = settings.data_dir
    make_folders(settings)
    with _lock(data_dir / "up.lock") as up, _lock(data_dir / "store.lock") as store:
        if not _try(up):
            raise SettingsError(
                f"Another `sluice up` runs on {data_dir}; stop it or choose another --data."
            )
        _wait_for_stragglers(store, settings)
        try:
            yield HeldFolder(data_dir=data_dir, store_lock=store)
        finally:
            if not settings.run_dir.is_relative_to(data_dir):
                shutil.rmtree(settings.run_dir, ignore_errors=True)


def make_folders(settings: Settings) -> None:
    data_dir = settings.data_dir
    try:
        for folder in (data_dir, data_dir / "gate", data_dir / "cache", data_dir / "log"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data_dir / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
        make_private(settings.run_dir)
    except OSError as error:
        raise SettingsError(
            f"{data_dir} cannot be written ({error.strerror}); choose another folder with --data "
            "or change its owner."
        ) from None


def make_private(folder: Path) -> None:
    """A folder that only this user can look into. In a shared place like /tmp it may be a trap."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsError(
            f"{folder} belongs to somebody else; remove it or choose a shorter --data, "
            "which keeps its sockets inside the folder."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def check_stamp(gate_dir: Path, binary: Binary) -> None:
    """Let a server load only what its own kind wrote, and leave its mark.

    Redis cannot read Valkey's files nor an older server a newer one's: it would refuse to start or,
    worse, start without what was accepted. Raises `SettingsError`.
    """
    stamp_file = gate_dir / "server"
    if not stamp_file.exists():
        if (gate_dir / "appendonlydir").exists():
            raise SettingsError(
                f"{gate_dir} was written by an unknown server, as its file `server` is missing; "
                "restore that file or move the folder away."
            )
        stamp_file.write_text(binary.stamp + "\n")
        return
    if not can_load(gate_dir, binary):
        stamp = stamp_file.read_text().strip()
        raise SettingsError(
            f"{gate_dir} was written by {stamp} and cannot be loaded by {binary.stamp} "
            f"({binary.path}); install the former or move the folder away."
        )
    stamp_file.write_text(binary.stamp + "\n")


def can_load(gate_dir: Path, binary: Binary) -> bool:
    """Whether a server is of the family that wrote the folder, and not older."""
    stamp_file = gate_dir / "server"
    if not stamp_file.exists():
        return True
    family, _, major = stamp_file.read_text().strip().partition(" ")
    return family == binary.family and major.isdigit() and int(major) <= binary.version[0]


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _wait_for_stragglers(store_lock: int, settings: Settings) -> None:
    """Two servers on one append-only file would ruin it: wait until the old ones have ended.

    On Linux they die with their supervisor. Elsewhere they are asked to, over their own sockets,
    which cannot hit a stranger as a kept process id could.
    """
    deadline = time.monotonic() + STRAGGLERS_S
    while not _try(store_lock):
        for name in ("gate.sock", "cache.sock"):
            shut_down(settings.run_dir / name)
        if time.monotonic() > deadline:
            raise SettingsError(
                f"The stores of an earlier `sluice up` still run on {settings.data_dir}; end them "
                "and start again."
            )
        time.sleep(0.02)
