"""Runs wrk (Debian's package) and reads what its scripts under load/ report."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import BenchError, cpu_seconds

CONNECTIONS = 256
THREADS = 1
LOAD = Path(__file__).parent / "load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timed stretch."""

    per_s: float
    """Answers per second."""
    answers: int
    asked: int
    """Requests that the script handed out; some may still be under way at the end."""
    refused: int
    """Answers of 400 and above."""
    socket_errors: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu: dict[str, float] = field(default_factory=dict)
    """Cores in use by each kind of process."""


def program() -> str:
    """Where wrk is. Raises `BenchError` where it is not."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk is not installed: `apt-get install wrk` (or your system's package).")
    return found


def version() -> str:
    said = subprocess.run([program(), "-v"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).split("[")[0].removeprefix("wrk").strip()


def shoot(
    url: str,
    script: str,
    *words: str | Path | int,
    seconds: float,
    watched: Mapping[str, Sequence[int]],
    connections: int = CONNECTIONS,
) -> Sample:
    """One stretch of load. `watched`: processes whose CPU time is taken, by kind."""
    command = [program(), "-t", str(THREADS), "-c", str(connections), "-d", f"{round(seconds)}s"]
    command += ["-s", str(LOAD / script), url, "--", *map(str, words)]
    before = _cpu(watched)
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, own_cpu_s = _finish(child)
    except BaseException:
        child.kill()
        child.wait()
        raise
    took = time.monotonic() - began
    cpu = {kind: (spent - before[kind]) / took for kind, spent in _cpu(watched).items()}
    return _sample(output, {**cpu, "wrk": own_cpu_s / took})


def _finish(child: subprocess.Popen[str]) -> tuple[str, float]:
    """What wrk wrote, and its CPU seconds shortly before it ended."""
    spent = 0.0
    while True:
        try:
            output, _ = child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            spent = cpu_seconds(child.pid)
            continue
        if child.returncode != 0:
            raise BenchError(f"wrk ended with code {child.returncode}: {output.strip()[-300:]}")
        return output, spent


def _cpu(watched: Mapping[str, Sequence[int]]) -> dict[str, float]:
    return {kind: sum(map(cpu_seconds, pids)) for kind, pids in watched.items()}


def _sample(output: str, cpu: dict[str, float]) -> Sample:
    line = next((x for x in reversed(output.splitlines()) if x.startswith('{"answers"')), None)
    if line is None:
        raise BenchError(f"wrk did not report: {output.strip()[-300:]}")
    said = json.loads(line)
    return Sample(
        per_s=said["answers"] / (said["duration_us"] / 1e6),
        answers=said["answers"],
        asked=said["asked"],
        refused=said["refused"],
        socket_errors=said["socket_errors"],
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        p999_ms=said["p999_us"] / 1000,
        cpu=cpu,
    )
