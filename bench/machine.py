"""What the figures were taken on: hardware, software, and how long the disk takes to promise."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path

import sluice
from bench import wrk
from bench.databases import postgres_program
from bench.gates import embedded_binary, system_redis
from bench.processes import CHECKOUT
from bench.stats import median

PACKAGES = ("granian", "uvloop", "redis", "hiredis", "msgspec", "sqlalchemy", "litestar")
FSYNCS = 50


def hardware(folder: Path) -> dict[str, str]:
    """Of this machine, and of the disk that holds `folder`."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gb:.1f} GB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "fsync of 4 KiB": f"{_fsync_us(folder):.0f} µs in the median",
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> dict[str, str]:
    found = {"sluice": _commit(), "python": platform.python_version()}
    found |= {name: metadata.version(name) for name in PACKAGES}
    embedded, system = embedded_binary(), system_redis()
    found["gate"] = f"{embedded.family} {'.'.join(map(str, embedded.version))}"
    if system is not None:
        found["redis-server"] = ".".join(map(str, system.version))
    found["wrk"] = wrk.version()
    for name, program in (
        ("postgresql", postgres_program("postgres")),
        ("mariadb", shutil.which("mariadbd")),
    ):
        if program is not None:
            found[name] = _said(program, "--version")
    return found


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _fsync_us(folder: Path) -> float:
    """What `appendfsync always` waits for, alone on the disk."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1e6)
    return median(took)


def _commit() -> str:
    commit = _said("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty")
    return f"{sluice.__version__} ({commit})" if commit else sluice.__version__


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    words = done.stdout.strip().splitlines()
    return words[0] if words else ""
