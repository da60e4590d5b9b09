"""The pages' static files: found once, named by their content, compressed once, served from memory.

The tree is `web/static/`. Its files are served under `/assets/{release}/`, where the release is a
hash over all of them: they may be kept for ever, and an import beside a file needs no rewriting.
Shells are the small HTML files that name them.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from sluice.domain.errors import SettingsError

STATIC: Final = Path(__file__).parent.parent / "static"
SHELLS: Final = Path(__file__).parent / "shells"
TOKENS: Final = "css/tokens.css"
TOKENS_BYTES_MAX: Final = 256 << 10
PRELOADING_MAX: Final = 1000
"""Shells of single sales that are kept; anybody may ask for any number."""

ROUTES: Final[dict[str, tuple[str, ...]]] = {
    "shop": ("/", "/sales/{sale}", "/orders", "/orders/{order}", "/login"),
    "components": ("/components",),
    "console": ("/console", "/console/{a}", "/console/{a}/{b}", "/console/{a}/{b}/{c}"),
    "operator": ("/operator", "/operator/{a}", "/operator/{a}/{b}"),
}
"""The shells, and the paths that each of them answers."""

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_STATIC_IMPORT = re.compile(
    r"""^\s*(?:import|export)\b(?:[^;'"()]*?\bfrom)?\s*["'](\.[^"']+)["']""", re.MULTILINE
)
VIEWS: Final = {
    re.compile("/"): "js/shop/list.js",
    re.compile("/orders(/[^/]+)?"): "js/shop/orders.js",
    re.compile("/login"): "js/shop/entry.js",
}
"""What the shop's script imports only when it is needed, by the path that needs it at once."""
_SALE = re.compile(r"/sales/([0-9]{1,19})")


class File(NamedTuple):
    """What is sent of a path, with its tag and both forms of its content."""

    content: bytes
    gzipped: bytes
    media_type: str
    etag: str


class Site:
    """Every static page and file. `tokens` is the text that is put behind `css/tokens.css`."""

    def __init__(self, tokens: str = "") -> None:
        raw = {
            path.relative_to(STATIC).as_posix(): path.read_bytes()
            for path in sorted(STATIC.rglob("*"))
            if path.suffix in TYPES
        }
        if tokens:
            raw[TOKENS] += b"\n/* Of this installation. */\n" + tokens.encode()
        self.release = _release(raw)
        self.files = {name: _file(content, TYPES[_suffix(name)]) for name, content in raw.items()}
        self.shells = {name: self._shell(name, raw) for name in ROUTES}
        self._preloading: dict[str, File] = {}

    @property
    def assets(self) -> str:
        """Where the files are, without a slash at its end."""
        return f"/assets/{self.release}"

    def page(self, path: str) -> File | None:
        """The shell for a path; None where no page is there."""
        name = _shell_of(path)
        if name is None:
            return None
        sale = _SALE.fullmatch(path)
        if sale is not None:
            return self._with(f'rel="preload" as="fetch" crossorigin href="/v1/sales/{sale[1]}"')
        view = next((view for at, view in VIEWS.items() if at.fullmatch(path)), None)
        if view is not None:
            return self._with(f'rel="modulepreload" href="{self.assets}/{view}"')
        return self.shells[name]

    def _with(self, link: str) -> File:
        """The shop's shell that has the browser ask for one thing more with everything else."""
        found = self._preloading.get(link)
        if found is None:
            if len(self._preloading) >= PRELOADING_MAX:
                self._preloading.clear()
            head = f"<link {link}>\n</head>".encode()
            html = self.shells["shop"].content.replace(b"</head>", head, 1)
            found = self._preloading[link] = _file(html, "text/html; charset=utf-8")
        return found

    def _shell(self, name: str, raw: dict[str, bytes]) -> File:
        html = (SHELLS / f"{name}.html").read_text(encoding="utf-8")
        entries = re.findall(r'<script type="module" src="\{assets\}/([^"]+)"', html)
        modules = [module for entry in entries for module in closure(entry, raw)]
        links = "".join(
            f'<link rel="modulepreload" href="{self.assets}/{module}">\n'
            for module in dict.fromkeys(modules)
            if module not in entries
        )
        html = html.replace("{assets}", self.assets).replace("{modules}\n", links)
        return _file(html.encode(), "text/html; charset=utf-8")


def closure(entry: str, raw: dict[str, bytes]) -> list[str]:
    """A module and all that it imports statically, so that one round of requests gets them."""
    found: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop(0)
        if module in found or module not in raw:  # what is missing, a test tells; pages still open
            continue
        found[module] = None
        targets = _STATIC_IMPORT.findall(raw[module].decode())
        waiting.extend(_beside(module, target) for target in targets)
    return list(found)


def shell_file(name: str) -> str:
    """What a shell is called in an export."""
    return "index.html" if name == "shop" else f"{name}.html"


@cache
def site(tokens_path: str) -> Site:
    """One for each process. Raises `SettingsError` where the file of tokens cannot be used."""
    return Site(read_tokens(tokens_path))


def read_tokens(path: str) -> str:
    """An installation's own values of the tokens; nothing where there is no file."""
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"SLUICE_PAGES_TOKENS cannot be read: {error}.") from None
    if len(text.encode()) > TOKENS_BYTES_MAX:
        raise SettingsError("SLUICE_PAGES_TOKENS must name a file of 256 KiB at most.")
    return text


def _shell_of(path: str) -> str | None:
    return next((name for name, pattern in _PATTERNS if pattern.fullmatch(path)), None)


_PATTERNS = [
    (name, re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
    for name, paths in ROUTES.items()
    for path in paths
]


def _release(raw: dict[str, bytes]) -> str:
    digest = blake2b(digest_size=8)
    for name, content in sorted(raw.items()):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(content), content))
    return digest.hexdigest()


def _file(content: bytes, media_type: str) -> File:
    # The time stays out, so that every machine sends the same bytes.
    gzipped = gzip.compress(content, 9, mtime=0)
    tag = blake2b(content, digest_size=12).hexdigest()
    return File(content, gzipped, media_type, f'W/"{tag}"')


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix


def _beside(module: str, target: str) -> str:
    parts = list(PurePosixPath(module).parent.parts)
    for step in PurePosixPath(target).parts:
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)
