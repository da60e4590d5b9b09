"""Child processes of a run: started on loopback, measured from /proc, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sluice.embedded.child import tie_to_parent

CHECKOUT = Path(__file__).resolve().parents[1]
STOP_S = 12.0
"""`sluice up` promises to stop within 10 s."""
POLL_S = 0.005


class BenchError(Exception):
    """The scenario could not be measured, or what it measured was not right. One sentence."""


def python(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", *words]


def environment(**changes: str) -> dict[str, str]:
    """Ours without any SLUICE_ setting, so that every run measures the same, and `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    paths = [str(CHECKOUT), str(CHECKOUT / "src"), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **changes}


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    stop_with: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose output goes to `log`; it ends, with its own children, when the context does."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            cwd=cwd,
            user=user,
            start_new_session=True,  # Ctrl-C reaches the bench alone, which ends them in order
            preexec_fn=tie_to_parent(stop_with),
        )
    try:
        yield child
    finally:
        end(child, stop_with)


def end(child: subprocess.Popen[bytes], stop_with: signal.Signals = signal.SIGTERM) -> None:
    if child.poll() is None:
        child.send_signal(stop_with)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def wait_until(
    what: str,
    true: Callable[[], bool],
    *,
    seconds: float,
    child: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
    every_s: float = POLL_S,
) -> None:
    """Poll until it is true. Raises `BenchError` when the time is up or the child has ended."""
    deadline = time.monotonic() + seconds
    while not true():
        if child is not None and child.poll() is not None:
            raise BenchError(f"{what}: it ended with code {child.returncode}. {last_words(log)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:g} s. {last_words(log)}")
        time.sleep(every_s)


def last_words(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


# --- what processes cost, from /proc (Linux; elsewhere there are no such columns) -----------------


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


def processes() -> list[Process]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            stat = (entry / "stat").read_text()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(Process(int(entry.name), int(stat.rpartition(")")[2].split()[1]), words))
    return found


def descendants(pid: int) -> list[Process]:
    """Everything below a process, itself first."""
    everyone = processes()
    family = [p for p in everyone if p.pid == pid]
    for member in family:
        family += [p for p in everyone if p.parent == member.pid]
    return family


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 where it cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident megabytes (10⁶ bytes), pages shared with other processes counted in full."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
