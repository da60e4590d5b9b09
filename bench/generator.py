"""Runs the open-loop generator in a process of its own, and takes its CPU time."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

from bench.openloop import PATIENCE_S, Plan, Seen
from bench.processes import BenchError, end, environment, python

SLACK_S = 30.0


def generate(plan: Plan, log: Path) -> Seen:
    """Raises `BenchError` where the generator failed or an answer is missing."""
    command = python("bench.openloop", json.dumps(asdict(plan)))
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(),
            start_new_session=True,
        )
    try:
        out, _ = child.communicate(timeout=plan.count / plan.rate + PATIENCE_S + SLACK_S)
    except subprocess.TimeoutExpired:
        raise BenchError("The generator did not end in time.") from None
    finally:
        end(child)
    if child.returncode != 0:
        raise BenchError(f"The generator failed: {log.read_text(errors='replace')[-300:]}")
    seen = Seen(**json.loads(out))
    if seen.answered != plan.count:
        raise BenchError(f"{plan.count - seen.answered} of {plan.count} requests had no answer.")
    return seen
