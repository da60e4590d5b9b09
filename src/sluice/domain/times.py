"""Times at the edge: RFC 3339 with an offset ↔ Unix milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

YEAR_MIN = 2020
YEAR_MAX = 2090
"""Order numbers count seconds in 31 bits from 2026, which ends in 2094."""

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse_time(text: str) -> int | None:
    """Unix milliseconds of `2026-11-11T10:00:00+08:00`; None where it is not such a time.

    Digits finer than a millisecond are dropped; years outside `YEAR_MIN`..`YEAR_MAX` are refused.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{'+00:00' if offset in 'Zz' else offset}")
    except ValueError:
        return None
    whole = ms_of(moment)
    return None if whole is None else whole + int((fraction or "0")[:3].ljust(3, "0"))


def ms_of(moment: datetime) -> int | None:
    """Unix milliseconds of a moment; None without an offset or outside the sane years."""
    if moment.utcoffset() is None or not YEAR_MIN <= moment.year <= YEAR_MAX:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def render_time(ms: int) -> str:
    """`2026-11-11T02:00:00.000Z`: always UTC and three decimals, so that texts sort as times."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
