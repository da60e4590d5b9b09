"""The documentation as data: headings, code blocks, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    language: str
    text: str


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(page)]


def prose(page: str) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page)


def headings(page: str) -> list[tuple[int, str]]:
    """(depth, title) in order."""
    return [(len(marks), title) for marks, title in _HEADING.findall(prose(page))]


def sections(page: str) -> list[str]:
    """The text before the first `## ` heading, then one text a section, heading included."""
    parts: list[list[str]] = [[]]
    inside_a_block = False
    for line in page.splitlines(keepends=True):
        inside_a_block ^= line.startswith("```")
        if line.startswith("## ") and not inside_a_block:
            parts.append([])
        parts[-1].append(line)
    return ["".join(part) for part in parts]


def links(page: str) -> list[str]:
    """Targets of links and images, in order."""
    return _LINK.findall(prose(page))


def anchor(title: str) -> str:
    """What a heading is called in a link, by the rules of the usual hosts."""
    plain = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower())
    return plain.strip().replace(" ", "-")
