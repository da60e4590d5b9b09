"""Bringing the ledger up to date, with a sentence for each way in which that can fail."""

from __future__ import annotations

from sluice.cli._away import away, place_of
from sluice.domain.errors import LedgerUnavailable, SettingsError
from sluice.settings import Settings


def migrate_ledger(settings: Settings) -> bool:
    """True where something had to be done. Raises `SettingsError` or `Unavailable`."""
    from sluice.ledger.migrate import at_head, upgrade

    url = settings.ledger_url
    try:
        if at_head(url):
            return False
        upgrade(url)
    except LedgerUnavailable as error:
        raise away(error, "ledger", url, "SLUICE_DATABASE_URL") from error
    except OSError as error:
        raise SettingsError(
            f"The ledger's file {place_of(url)} cannot be made ({error.strerror}); change "
            "SLUICE_DATABASE_URL or the folder's owner."
        ) from error
    return True
