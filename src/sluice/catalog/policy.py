"""A sale's policy as a merchant writes it, over what holds already."""

from __future__ import annotations

import math

from sluice.catalog.form import Form
from sluice.domain.sale import Limits, Policy, WaitingRoom

PASS_TTL_S = (5, 3600)
PAYMENT_WINDOW_S = (2, 7 * 86_400)
"""Seconds will do where the shop charges a stored card by itself."""
PER_BUYER_PER_MINUTE = (1, 6000)
PER_ADDRESS_PER_MINUTE = (1, 10_000_000)
PER_SALE_PER_SECOND = (1, 1_000_000)
ADMIT_PER_SECOND = (0.1, 1_000_000.0)
ACTIVE_MAX = (1, 100_000_000)
OPENS_BEFORE_S = (0, 86_400)
FACTOR = (1.0, 100.0)


def read_policy(form: Form, before: Policy, starts: int | None) -> Policy:
    """What `form` names replaces what was `before`; everything else stays.

    `starts` is the sale's start in ms, None where it is at fault itself.
    """
    window = form.whole(
        "payment_window_seconds", *PAYMENT_WINDOW_S, default=before.payment_window_seconds
    )
    assert window is not None
    policy = Policy(
        challenge=form.choice("challenge", before.challenge),
        pass_ttl_seconds=_whole(form, "pass_ttl_seconds", PASS_TTL_S, before.pass_ttl_seconds),
        payment_window_seconds=window,
        payment_reminder_seconds=_reminder(form, before, window),
        waitlist=form.truth("waitlist", before.waitlist),
        waitlist_until_ms=_waitlist_until(form, before, starts),
        invite_only=form.truth("invite_only", before.invite_only),
        limits=_limits(form.form("limits"), before.limits),
        waiting_room=_waiting_room(form.form("waiting_room"), before.waiting_room),
    )
    form.done()
    return policy


def _reminder(form: Form, before: Policy, window: int) -> int:
    """Half of the payment window where nothing was said of it and the old one no longer fits."""
    default = before.payment_reminder_seconds
    if window != before.payment_window_seconds or default >= window:
        default = window // 2
    return _whole(form, "payment_reminder_seconds", (1, window - 1), default)


def _waitlist_until(form: Form, before: Policy, starts: int | None) -> int | None:
    name = "waitlist_until"
    if form.null(name):
        return None
    until = form.time(name) if form.has(name) else before.waitlist_until_ms
    if until is not None and starts is not None and until <= starts:
        form.fault(name, "must be after starts_at")
    return until


def _limits(form: Form, before: Limits) -> Limits:
    limits = Limits(
        per_buyer_per_minute=_quota(
            form, "per_buyer_per_minute", PER_BUYER_PER_MINUTE, before.per_buyer_per_minute
        ),
        per_address_per_minute=_quota(
            form, "per_address_per_minute", PER_ADDRESS_PER_MINUTE, before.per_address_per_minute
        ),
        per_sale_per_second=_quota(
            form, "per_sale_per_second", PER_SALE_PER_SECOND, before.per_sale_per_second
        ),
    )
    form.done()
    return limits


def _quota(form: Form, name: str, bounds: tuple[int, int], before: int | None) -> int | None:
    """A whole number, or null: no limit."""
    if form.null(name):
        return None
    return form.whole(name, *bounds) if form.has(name) else before


def _waiting_room(form: Form, before: WaitingRoom) -> WaitingRoom:
    room = WaitingRoom(
        enabled=form.truth("enabled", before.enabled),
        admit_per_second=read_admit_per_second(form, before.admit_per_second),
        active_max=read_active_max(form, before.active_max),
        opens_before_seconds=_whole(
            form, "opens_before_seconds", OPENS_BEFORE_S, before.opens_before_seconds
        ),
        factor=_number(form, "factor", FACTOR, before.factor),
    )
    form.done()
    return room


def read_active_max(form: Form, before: int | None) -> int | None:
    """How many may be in at once, or null: no limit of its own."""
    return _quota(form, "active_max", ACTIVE_MAX, before)


def read_admit_per_second(form: Form, before: float | None) -> float | None:
    """A pace, or null: the one that the service measures."""
    name = "admit_per_second"
    if form.null(name):
        return None
    if not form.has(name):
        return before
    return _number(form, name, ADMIT_PER_SECOND, before or 0.0, "null or ")


def _number(
    form: Form, name: str, bounds: tuple[float, float], default: float, also: str = ""
) -> float:
    if not form.has(name):
        return default
    value = form.raw(name)
    low, high = bounds
    if type(value) in (int, float) and math.isfinite(value) and low <= value <= high:
        return float(value)
    form.fault(name, f"must be {also}a number from {low:g} to {high:.0f}")
    return default


def _whole(form: Form, name: str, bounds: tuple[int, int], default: int) -> int:
    value = form.whole(name, *bounds, default=default)
    return default if value is None else value
