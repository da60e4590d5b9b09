"""`sluice doctor`"""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from sluice.cli._options import AsJson, Data, command, need_ledger, read_settings, run
from sluice.cli._promises import (
    Finding,
    of_addresses,
    of_cache,
    of_codes,
    of_gate,
    of_ledger,
    of_payment,
)
from sluice.settings import Settings

app = command("Say what the stores are set to, and what that means for what is promised.")

CHECK_FAILED = 1
_MARKS = {True: "ok", False: "NOT KEPT", None: "unknown"}


@app.command(epilog="Exits with 1 when a promise is not kept, and with 3 when a store is away.")
def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Say what the stores are set to, and what that means for what is promised."""
    settings = read_settings(data, "doctor")
    need_ledger(settings)
    findings = run(examine(settings))
    kept = all(finding.ok is not False for finding in findings)
    if as_json:
        print(json.dumps({"ok": kept, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        show(findings, kept=kept)
    raise typer.Exit(0 if kept else CHECK_FAILED)


async def examine(settings: Settings) -> list[Finding]:
    """Asks every store. Raises `Unavailable` where one is away."""
    from sluice import wiring
    from sluice.admission.address import OWN
    from sluice.cache.strangers import Strangers
    from sluice.cli._stores import answered, check_cache

    async with wiring.parts(settings) as stores:
        gate = await answered(
            stores.gate.server_facts(), "gate", settings.gate_url, "SLUICE_REDIS_URL"
        )
        await check_cache(stores, settings)
        strangers = Strangers(stores.cache, str)
        stranger, eviction = await strangers.told(), await strangers.eviction()
        ledger = await answered(
            stores.ledger.facts(), "ledger", settings.ledger_url, "SLUICE_DATABASE_URL"
        )
    return [
        *of_gate(gate),
        *of_cache(settings.gate_url, settings.cache_server_url, eviction),
        *of_ledger(ledger),
        *of_addresses(settings.trusted_proxies, stranger, OWN),
        *of_codes(settings.code_hook_url),
        *of_payment(settings.payment_provider),
    ]


def show(findings: list[Finding], *, kept: bool) -> None:
    for finding in findings:
        mark = "warning" if finding.warning else _MARKS[finding.ok]
        head = f"{mark:<9} {finding.store}: {finding.setting} = {finding.value}".rstrip()
        print(f"{head}\n{'':<10}{finding.means}" if finding.means else head)
    print("\nEvery promise is kept." if kept else "\nNot every promise is kept.")
