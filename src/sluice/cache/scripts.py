"""Lua that runs on the cache server, called by its digest and sent again where it was forgotten."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    text: str
    digest: str


def script(name: str) -> Script:
    """`cache/functions/<name>.lua`."""
    text = files("sluice.cache").joinpath("functions", f"{name}.lua").read_text("utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
