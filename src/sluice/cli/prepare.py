"""The step of `sluice up` before HTTP and workers start: migrate, and look at outside stores."""

from __future__ import annotations

from sluice.cli._ledger import migrate_ledger
from sluice.cli._options import Data, command, read_settings, run
from sluice.settings import Settings

app = command("Prepare the stores; a step of `sluice up`.")


@app.command()
def prepare(data: Data = None) -> None:
    """Prepare the stores; a step of `sluice up`."""
    settings = read_settings(data, "prepare")
    migrate_ledger(settings)
    run(check_outside_stores(settings))


async def check_outside_stores(settings: Settings) -> None:
    """The embedded ones start at the same time as this runs, and are the supervisor's affair."""
    if not (settings.redis_url or settings.cache_url):
        return
    from sluice import wiring
    from sluice.cli._stores import check_cache, check_gate

    async with wiring.parts(settings) as stores:
        if settings.redis_url:
            await check_gate(stores, settings)
        if settings.cache_url:
            await check_cache(stores, settings)
