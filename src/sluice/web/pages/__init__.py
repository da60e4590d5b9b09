"""Pages of our own: plain files beside this one, no outside or inline scripts."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from sluice.web.pages.site import TOKENS, site
from sluice.web.problems import KINDS

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every page."""

HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "public, max-age=60",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Of every page, besides those that every answer has."""

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    content: bytes
    media_type: str


@cache
def assets() -> dict[str, Asset]:
    """Every file that a page may ask for, by name; nothing else is served."""
    return {
        file.name: Asset(file.read_bytes(), _TYPES[file.suffix])
        for file in _HERE.iterdir()
        if file.suffix in _TYPES
    }


def tokens(tokens_path: str) -> Asset:
    """The variables that these pages share with all others, with an installation's own behind."""
    return Asset(site(tokens_path).files[TOKENS].content, "text/css")


@cache
def docs_page() -> bytes:
    return (_HERE / "docs.html").read_bytes()


@cache
def inbox_page() -> bytes:
    return (_HERE / "inbox.html").read_bytes()


@cache
def problems_page() -> bytes:
    """Every problem code; each has an anchor, to which a problem's `type` points."""
    rows = "\n".join(
        f'<section id="{code}"><h2><code>{code}</code> '
        f'<span class="status s{kind.status // 100}">{kind.status}</span></h2>'
        f"<p><strong>{escape(kind.title)}.</strong> {escape(kind.detail)}</p></section>"
        for code, kind in KINDS.items()
    )
    template = Template((_HERE / "problems.html").read_text(encoding="utf-8"))
    return template.substitute(rows=rows).encode()
