"""Whether the settings can work, told before anything starts."""

from __future__ import annotations

from importlib.util import find_spec

from sluice.domain.errors import Invalid, SettingsError
from sluice.payment.knobs import Knobs, read_knobs
from sluice.settings import Settings


def check(settings: Settings) -> None:
    """Raises `SettingsError` where payments could not be opened or callbacks not be verified."""
    if settings.payment_provider == "stripe":
        _check_stripe(settings)
    elif not settings.callback_keys:
        raise SettingsError(
            "There is no secret for the simulator's callbacks: set SLUICE_PAYMENT_SECRET "
            "(whsec_… and 32 random bytes in base64), or start with `sluice up`, which makes one."
        )
    if has_stripe(settings):
        _check_library()
    knobs_of(settings)


def knobs_of(settings: Settings) -> Knobs:
    try:
        return read_knobs(settings.simulator_knobs or "{}")
    except Invalid as error:
        raise SettingsError(f"SLUICE_SIMULATOR_KNOBS {error.message}.") from None


def has_stripe(settings: Settings) -> bool:
    """Whether payments of Stripe's can be asked about, even where new ones go elsewhere."""
    return bool(settings.stripe_api_key and settings.stripe_webhook_secrets)


def _check_stripe(settings: Settings) -> None:
    if not settings.stripe_api_key:
        raise SettingsError("Set SLUICE_STRIPE_API_KEY, or another SLUICE_PAYMENT_PROVIDER.")
    if not settings.stripe_webhook_secrets:
        raise SettingsError(
            "Set SLUICE_STRIPE_WEBHOOK_SECRET to the secret of the endpoint at Stripe, or another "
            "SLUICE_PAYMENT_PROVIDER."
        )
    if not settings.public_url:
        raise SettingsError(
            "Set SLUICE_PUBLIC_URL to where buyers reach Sluice: Stripe sends them back there."
        )


def _check_library() -> None:
    if find_spec("stripe") is None or find_spec("httpx") is None:
        raise SettingsError(
            "Stripe's library is missing: install sluice[stripe], or leave the "
            "settings SLUICE_STRIPE_… out."
        )
