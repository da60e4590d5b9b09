"""What text from outside may hold."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def has_control(text: str) -> bool:
    """Whether there are control characters, line separators or lone surrogates in it."""
    if text.isascii() and text.isprintable():
        return False
    return _CONTROL.search(text) is not None
