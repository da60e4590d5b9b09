"""Reading what a merchant writes about endpoints: strictly, all faults at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sluice.catalog.form import Form, finish
from sluice.delivery.address import Network
from sluice.delivery.target import check_literal, parse_target
from sluice.domain.webhook import (
    DESCRIPTION_CHARS_MAX,
    EVENT_TYPES,
    FAMILIES,
    URL_CHARS_MAX,
    EndpointChange,
    EndpointState,
)

OLD_SECRET_S_MAX = 7 * 86_400
OLD_SECRET_S = 86_400
"""How long the secret before it signs as well, where nothing is said."""


class NewEndpoint(NamedTuple):
    url: str
    description: str
    events: tuple[str, ...]


def parse_endpoint(body: object, networks: Sequence[Network]) -> NewEndpoint:
    """Raises `InvalidFields`."""
    form = Form(body, "", [])
    url = _url(form, networks)
    description = _description(form) or ""
    events = _events(form) if form.has("events") else FAMILIES
    finish(form)
    return NewEndpoint(url or "", description, events or FAMILIES)


def parse_endpoint_change(body: object, networks: Sequence[Network]) -> EndpointChange:
    """Raises `InvalidFields`."""
    form = Form(body, "", [])
    change = EndpointChange(
        url=_url(form, networks) if form.has("url") else None,
        description=_description(form),
        events=_events(form) if form.has("events") else None,
        state=form.choice("state", EndpointState.ACTIVE) if form.has("state") else None,
    )
    finish(form)
    return change


def parse_rotation(body: object) -> int:
    """For how many milliseconds the old secret signs as well. Raises `InvalidFields`."""
    form = Form(body, "", [])
    seconds = form.whole("old_valid_for_seconds", 0, OLD_SECRET_S_MAX, default=OLD_SECRET_S)
    finish(form)
    return (seconds or 0) * 1000


def parse_since(body: object) -> int:
    """Unix milliseconds. Raises `InvalidFields`."""
    form = Form(body, "", [])
    since = form.time("since")
    finish(form)
    return since or 0


def _url(form: Form, networks: Sequence[Network]) -> str | None:
    url = form.text("url", URL_CHARS_MAX)
    if url is None:
        return None
    try:
        check_literal(parse_target(url), networks)
    except ValueError as error:
        form.fault("url", str(error))
    return url


def _description(form: Form) -> str | None:
    """An empty one says that there is none."""
    if not form.has("description"):
        return None
    value = form.raw("description")
    if value == "":
        return ""
    again = Form({"description": value}, form.path, form.faults)
    return again.text("description", DESCRIPTION_CHARS_MAX)


def _events(form: Form) -> tuple[str, ...] | None:
    value = form.raw("events")
    known = (*FAMILIES, *EVENT_TYPES)
    fits = (
        isinstance(value, list)
        and 1 <= len(value) <= len(known)
        and all(isinstance(each, str) and each in known for each in value)
        and len(set(value)) == len(value)
    )
    if not fits:
        form.fault("events", "must be a list of one or more of " + ", ".join(known))
        return None
    return tuple(value)
