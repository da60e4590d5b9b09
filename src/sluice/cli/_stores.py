"""Looking at the stores before anything is started on them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from sluice import wiring
from sluice.cli._away import away
from sluice.domain.errors import SettingsError, Unavailable
from sluice.settings import Settings

T = TypeVar("T")

VERSION_MIN = (7, 0)


async def check_stores(settings: Settings) -> None:
    """Raises `SettingsError` or `Unavailable` with one sentence that says what to change."""
    async with wiring.parts(settings) as stores:
        await check_gate(stores, settings)
        await check_cache(stores, settings)
        await answered(
            stores.ledger.check_ready(), "ledger", settings.ledger_url, "SLUICE_DATABASE_URL"
        )


async def check_gate(stores: wiring.Stores, settings: Settings) -> None:
    facts = await answered(
        stores.gate.server_facts(), "gate", settings.gate_url, "SLUICE_REDIS_URL"
    )
    for server in facts:
        if version_of(server["version"]) < VERSION_MIN:
            raise SettingsError(
                f"The gate's server is {server['server']} {server['version']}; point "
                "SLUICE_REDIS_URL at Redis or Valkey 7.0 or newer."
            )


async def check_cache(stores: wiring.Stores, settings: Settings) -> None:
    await answered(stores.cache.ping(), "cache", settings.cache_server_url, "SLUICE_CACHE_URL")


async def answered(call: Awaitable[T], name: str, url: str, setting: str) -> T:
    try:
        return await call
    except Unavailable as error:
        raise away(error, name, url, setting) from error


def version_of(text: str) -> tuple[int, ...]:
    """`(7, 0)` of "7.0.15"; letters end it."""
    numbers = []
    for part in text.split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
