"""The sentence for a store that does not answer."""

from __future__ import annotations

from urllib.parse import urlsplit

from sluice.domain.errors import Unavailable


def away(error: Unavailable, name: str, url: str, setting: str) -> Unavailable:
    return Unavailable(
        f"The {name} at {place_of(url)} does not answer ({reason_of(error)}); start it or change "
        f"{setting}."
    )


def place_of(url: str) -> str:
    """Where a URL points to, without the password that may be in it."""
    parts = urlsplit(url)
    if not parts.hostname:
        return parts.path.removeprefix("/") if parts.scheme == "sqlite" else parts.path
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname


def reason_of(error: BaseException) -> str:
    """The driver's own words, without what a toolkit wraps around them."""
    cause = error.__cause__ or error
    told = getattr(cause, "orig", None) or cause
    return str(told).strip().rstrip(".") or type(told).__name__
