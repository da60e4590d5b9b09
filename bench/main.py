"""Runs the scenarios on the machine at hand, and tells what came of it.

`make bench`, `sluice bench`, or `python -m bench.main --quick --scenario refused` for trying.
"""

from __future__ import annotations

import argparse
import json as json_format
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from bench import machine, wrk
from bench.plot import draw
from bench.processes import BenchError
from bench.report import Report
from bench.run import QUICK, Bench, Outcome, Sizes
from bench.scenarios import (
    accepted,
    callbacks,
    drain,
    expiry,
    growth,
    logins,
    memory,
    open_loop,
    overload,
    passes,
    promotion,
    refused,
    sockets,
    up,
    waiting_room,
)
from sluice.domain.errors import SettingsError
from sluice.settings import Settings

WIDTH = 120
"""Of the table, where no terminal says how wide it is."""
RESULTS = Path(__file__).parent / "results"
SCENARIOS: dict[str, Callable[[Bench], Outcome]] = {
    "growth": growth.run,
    "memory": memory.run,
    "up": up.run,
    "refused": refused.run,
    "accepted": accepted.run,
    "open-loop": open_loop.run,
    "pass-token": passes.with_token,
    "pass-session": passes.with_session,
    "limited": passes.limited,
    "login": logins.run,
    "overload": overload.run,
    "drain": drain.run,
    "expiry": expiry.run,
    "promotion": promotion.run,
    "callbacks": callbacks.run,
    "sockets": sockets.run,
    "waiting-room": waiting_room.run,
}


def run(scenario: str | None, json: bool, quick: bool = False) -> int:
    """0 when everything was measured, whatever the figures; 1 when a scenario failed its checks.

    Raises `SettingsError` where nothing can be measured here.
    """
    if scenario is not None and scenario not in SCENARIOS:
        raise SettingsError(f"There is no scenario {scenario}; choose {', '.join(SCENARIOS)}.")
    try:
        wrk.program()
    except BenchError as error:
        raise SettingsError(str(error)) from None
    chosen = {scenario: SCENARIOS[scenario]} if scenario else SCENARIOS
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        report = _measure(chosen, quick)
    except KeyboardInterrupt:
        print("Stopped; everything that was started has ended.", file=sys.stderr)
        return 130
    _keep(report, None if scenario is None and not quick else f"{scenario or 'all'}-last")
    if json:
        print(json_format.dumps(report.document(), indent=1))
    else:
        _tell(report)
    return 1 if report.failed else 0


def _measure(chosen: dict[str, Callable[[Bench], Outcome]], quick: bool) -> Report:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name, _progress() as say:
        folder = Path(name)
        folder.chmod(0o711)  # database servers run as users of their own
        sizes = QUICK if quick else Sizes()
        bench = Bench(folder=folder, sizes=sizes, say=say)
        report = Report(
            taken_at=datetime.now(UTC).isoformat(timespec="minutes"),
            quick=quick,
            hardware=machine.hardware(folder),
            versions=machine.versions(),
            settings=_settings(sizes),
        )
        for name, measure in chosen.items():
            try:
                report.scenarios[name] = measure(bench)
            except BenchError as error:
                say(f"{name} failed: {error}")
                report.failed[name] = str(error)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _settings(sizes: Sizes) -> dict[str, str]:
    defaults = Settings()
    return {
        "load": f"wrk, {wrk.CONNECTIONS} connections, {wrk.THREADS} thread, "
        f"{sizes.rounds} rounds of {sizes.seconds:g} s in turns with plaintext, medians",
        "plaintext": "Granian, asginl, uvloop, HTTP/1.1, 202 with 30 bytes to a GET",
        "gate": "appendonly yes, appendfsync always, on a Unix socket",
        "SLUICE_BATCH_MAX": str(defaults.batch_max),
        "SLUICE_RECORD_MAX": str(defaults.record_max),
        "SLUICE_TRIM_AFTER_S": str(defaults.trim_after_s),
        "SLUICE_QUEUE_TARGET_MS": f"1000; in overload {defaults.queue_target_ms}",
    }


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on a terminal's stderr that is always about now; elsewhere a line each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    with console.status("measuring") as status:
        yield status.update


def _keep(report: Report, partial: str | None) -> None:
    """A whole run is the latest one; a part of it, or a quick one, lies beside it."""
    name = partial or "latest"
    RESULTS.mkdir(exist_ok=True)
    document = json_format.dumps(report.document(), indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(document)
    (RESULTS / f"{name}.md").write_text(report.markdown())
    if not draw(report, RESULTS / f"{name}.png"):
        print("There is no plot: matplotlib is not installed (sluice[bench]).", file=sys.stderr)


def _tell(report: Report) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(report.table())
    for title, facts in (("on", report.hardware), ("with", report.versions)):
        console.print(title, "; ".join(f"{k} {v}" for k, v in facts.items()), highlight=False)
    for note in report.notes():
        console.print(note, highlight=False)
    console.print(f"{report.seconds:.0f} s; results in {RESULTS}", highlight=False)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a few seconds each, for trying")
    options = parser.parse_args()
    try:
        return run(options.scenario, options.json, options.quick)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
