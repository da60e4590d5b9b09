"""The function library: its source, its name, and putting it into a server."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import cache
from importlib import resources

from sluice.domain.outcome import Outcome, WaitOutcome

LIBRARY = "sluice"
PARTS = (
    *("prelude", "line", "promote", "reserve", "release", "edit"),
    *("join", "leave", "stage", "shard", "watch"),
)
"""Files under functions/, in the order in which they make up the library."""


@cache
def source() -> str:
    """The whole library, with the codes of `Outcome` and `WaitOutcome` as its constants."""
    folder = resources.files("sluice.gate") / "functions"
    parts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in PARTS]
    codes = f"local OUTCOME = {_table(Outcome)}\nlocal WAIT = {_table(WaitOutcome)}\n"
    body = codes + "\n".join(parts)
    # The digest in a comment lets a server's copy be compared without trusting its whitespace.
    digest = hashlib.blake2b(body.encode(), digest_size=16).hexdigest()
    return f"#!lua name={LIBRARY}\n-- {digest}\n{body}"


def _table(codes: type[IntEnum]) -> str:
    """A Lua table of names and numbers."""
    return "{" + ", ".join(f"{code.name} = {code.value}" for code in codes) + "}"
