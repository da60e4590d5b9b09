"""`sluice audit`"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from sluice.cli._options import AsJson, Data, command, need_ledger, read_settings, run, working
from sluice.settings import Settings

app = command("Check every invariant, and repair what can be repaired.")

CHECK_FAILED = 1


@app.command(epilog="Exits with 0 when every invariant holds, and with 1 when one does not.")
def audit(
    data: Data = None,
    as_json: AsJson = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be put right without a decision.")
    ] = False,
) -> None:
    """Check every invariant, and repair what can be repaired."""
    settings = read_settings(data, "audit")
    need_ledger(settings)
    with working("Checking every invariant"):
        report = run(examine(settings, repair=repair))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    raise typer.Exit(0 if report["ok"] else CHECK_FAILED)


async def examine(settings: Settings, *, repair: bool) -> dict[str, Any]:
    """`{"ok": …, "invariants": [{"name", "ok", "detail"}]}`"""
    from sluice import wiring

    async with wiring.parts(settings) as stores:
        if repair:
            handed_back = await stores.auditor.repair()
            print(f"{handed_back} held units were handed back.", file=sys.stderr)
        return await stores.auditor.audit()


def show(report: dict[str, Any]) -> None:
    for invariant in report["invariants"]:
        mark = "ok" if invariant["ok"] else "BROKEN"
        detail = f": {invariant['detail']}" if invariant["detail"] else ""
        print(f"{mark:<7} {invariant['name']}{detail}")
    print("\nEvery invariant holds." if report["ok"] else "\nNot every invariant holds.")
