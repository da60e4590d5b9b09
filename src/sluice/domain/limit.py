"""Limits: how often something may be done, and what came of asking. Pure words, no counting."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

QUOTA_MAX = 100_000_000
WINDOW_MS_MAX = 3_600_000


class LimitKind(IntEnum):
    """How a limit counts; the cache server's Lua gets these numbers from here."""

    WINDOW = 0
    """A sliding window: at most `quota` in any `window_ms`, to a sixth of the window."""
    BUCKET = 1
    """A token bucket: `quota` tokens, all of which come back within `window_ms`, evenly."""


class Rule(NamedTuple):
    """One limit, as it is declared. `name` is what clients see in `RateLimit`."""

    name: str
    kind: LimitKind
    quota: int
    window_ms: int


class Check(NamedTuple):
    """One counter that a request takes from. `key` is the counter's whole name."""

    rule: Rule
    key: bytes
    units: int = 1


class Left(NamedTuple):
    """What one counter has left after the request."""

    remaining: int
    reset_ms: int
    """Until all of the quota is back, counted from now."""


class Taken(NamedTuple):
    """What came of one request: all of its checks were taken from, or none."""

    refused: int
    """The index of the check that refused; -1 where none did."""
    retry_ms: int
    """After how long the refusing check would allow the same request; 0 where none refused."""
    left: tuple[Left, ...]
    """In the order of the checks."""


def per_minute(name: str, quota: int) -> Rule:
    return Rule(name, LimitKind.WINDOW, quota, 60_000)


def per_second(name: str, quota: int, burst_s: int = 1) -> Rule:
    """A bucket that fills up at `quota` tokens a second and holds those of `burst_s` seconds."""
    return Rule(name, LimitKind.BUCKET, quota * burst_s, burst_s * 1000)
