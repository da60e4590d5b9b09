"""CSV that a spreadsheet opens as it is meant: RFC 4180, UTF-8 with its mark, and no cell that
would be run as a formula."""

from __future__ import annotations

from collections.abc import Iterable

CSV = "text/csv; charset=utf-8"
MARK = b"\xef\xbb\xbf"
"""Without it Excel takes UTF-8 for something else."""
_RISKY = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = (",", '"', "\r", "\n")


def row(cells: Iterable[object]) -> bytes:
    """One line, None as an empty cell."""
    return (",".join(map(_cell, cells)) + "\r\n").encode()


def _cell(value: object) -> str:
    """A text that begins like a formula gets an apostrophe, which spreadsheets do not show. What
    we count ourselves is no text: -5 stays a number."""
    text = "" if value is None else str(value)
    if isinstance(value, str) and text.startswith(_RISKY):
        text = "'" + text
    if any(each in text for each in _QUOTED):
        return '"' + text.replace('"', '""') + '"'
    return text


def attachment(name: str) -> dict[str, str]:
    """Headers of a file to keep. `name` is ours: plain ASCII without quotes."""
    return {"content-disposition": f'attachment; filename="{name}"'}
