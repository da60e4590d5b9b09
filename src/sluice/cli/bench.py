"""`sluice bench`"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

import sluice
from sluice.cli._options import AsJson, command
from sluice.domain.errors import SettingsError

app = command("Measure this machine.")


@app.command(
    epilog="Every figure is a ratio to plaintext, taken in one run on this machine; docs say what "
    "the scenarios are. Tables, JSON and a plot go to bench/results/."
)
def bench(
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help="Only this one.  [default: all]"),
    ] = None,
    json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small and short, to try it out; figures mean little.")
    ] = False,
) -> None:
    """Measure this machine."""
    checkout = Path(sluice.__file__).parents[2]
    if not (checkout / "bench" / "main.py").is_file():
        raise SettingsError(
            "The scenarios are not part of the installed package; run `make bench` in a checkout."
        )
    sys.path.insert(0, str(checkout))
    main = importlib.import_module("bench.main")
    raise typer.Exit(main.run(scenario, json, quick) or 0)
