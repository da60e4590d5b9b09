"""`sluice work`"""

from __future__ import annotations

from sluice.cli._options import Data, Supervised, command, read_settings, run, stores_first

app = command("Run the recorder, releaser, auditor and pacer only.")


@app.command(
    epilog="Run two or more on different machines: one owns a shard at a time, and another takes "
    "over within seconds. SIGTERM hands everything over."
)
def work(
    data: Data = None,
    supervised: Supervised = False,
) -> None:
    """Run the recorder, releaser, auditor and pacer only."""
    settings = read_settings(data, "work")

    from sluice import wiring

    stores_first(settings, supervised=supervised)
    run(wiring.run_work(settings))
