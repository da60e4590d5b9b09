"""The pages' static files: how they are named, found, sent and exported."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluice.cli.pages import app
from sluice.domain.errors import SettingsError
from sluice.web.metrics import Counts
from sluice.web.pages.site import ROUTES, SHELLS, STATIC, Site, closure, read_tokens
from sluice.web.serving import Serving


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


class Given:
    """Headers as RSGI gives them."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def get(self, name: str, /) -> str | None:
        return self._headers.get(name)


class Exchange:
    """One request to `serving`, and what it answered."""

    def __init__(self, site: Site, counts: Counts) -> None:
        self._serving = Serving(site, counts)
        self.status, self.headers, self.body = 0, dict[str, str](), b""

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Exchange:
        self.path, self.method = path, method
        self.scope_headers = Given(**headers)
        assert self._serving.find(path), path
        await self._serving(self._scope(), self)
        return self

    def _scope(self) -> Any:
        class Scope:
            path, method, headers = self.path, self.method, self.scope_headers

        return Scope

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.response_bytes(status, headers, b"")


@pytest.fixture
def ask(site: Site) -> Any:
    return Exchange(site, Counts()).ask


# --- names ----------------------------------------------------------------------------------------


def test_the_release_changes_with_any_file(site: Site) -> None:
    assert Site().release == site.release
    assert Site(":root { --accent: red; }").release != site.release


def test_every_module_that_a_page_imports_is_there_and_preloaded(site: Site) -> None:
    raw = {name: file.content for name, file in site.files.items()}
    for name in ROUTES:
        html = site.shells[name].content.decode()
        assert "{" not in html, "all places are filled"
        [entry] = re.findall(r'type="module" src="/assets/\w+/([^"]+)"', html)
        for module in closure(entry, raw):
            assert module == entry or f'modulepreload" href="{site.assets}/{module}"' in html


@pytest.mark.parametrize(
    "module", sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js"))
)
def test_every_import_leads_to_a_file(module: str) -> None:
    text = (STATIC / module).read_text(encoding="utf-8")
    static = r"""^(?:import|export)\b(?:[^;'"()]*?\bfrom)?\s*["']([^"']+)["']"""
    dynamic = r"""\bimport\(\s*["']([^"']+)["']"""
    for target in re.findall(static, text, re.MULTILINE) + re.findall(dynamic, text):
        assert target.startswith("."), f"{module} imports {target}, which no browser can find"
        assert ((STATIC / module).parent / target).is_file(), f"{module} imports {target}"


def test_what_a_shell_names_is_there(site: Site) -> None:
    for shell in SHELLS.glob("*.html"):
        for name in re.findall(r'"\{assets\}/([^"]+)"', shell.read_text(encoding="utf-8")):
            assert name in site.files, f"{shell.name} names {name}"


@pytest.mark.parametrize("shell", sorted(ROUTES))
def test_a_shell_has_no_script_or_style_of_its_own(site: Site, shell: str) -> None:
    html = site.shells[shell].content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?://", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))


def test_both_languages_have_the_same_words() -> None:
    def keys(path: Path) -> set[str]:
        return set(re.findall(r'^\s+"?([\w.]+)"?:', path.read_text(encoding="utf-8"), re.MULTILINE))

    for english in (STATIC / "words" / "en").glob("*.js"):
        chinese = STATIC / "words" / "zh" / english.name
        assert keys(english) == keys(chinese), english.name


# --- serving --------------------------------------------------------------------------------------


async def test_a_file_is_kept_for_ever_and_sent_compressed(site: Site, ask: Any) -> None:
    got = await ask(f"{site.assets}/css/tokens.css", accept_encoding="br, gzip;q=0.8")
    assert got.status == 200
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["vary"] == "accept-encoding"
    assert gzip.decompress(got.body) == site.files["css/tokens.css"].content
    plain = await ask(f"{site.assets}/css/tokens.css", accept_encoding="gzip;q=0")
    assert "content-encoding" not in plain.headers
    assert plain.body == site.files["css/tokens.css"].content


async def test_a_page_is_asked_for_again_by_its_tag(ask: Any) -> None:
    page = await ask("/sales/7")
    assert (page.status, page.headers["cache-control"]) == (200, "public, max-age=60")
    assert b'href="/v1/sales/7"' in page.body, "the sale is fetched with the page"
    etag = page.headers["etag"]
    assert (await ask("/sales/7", if_none_match=f'"other", {etag}')).status == 304
    assert (await ask("/sales/7", if_none_match='"other"')).status == 200
    assert (await ask("/sales/8")).headers["etag"] != etag


async def test_head_says_what_get_says(site: Site, ask: Any) -> None:
    for path in ("/", f"{site.assets}/js/core/api.js"):
        head = dict((await ask(path, "HEAD", accept_encoding="gzip")).headers)
        got = await ask(path, accept_encoding="gzip")
        assert int(head.pop("content-length")) == len(got.body)
        assert {**head, "x-request-id": ""} == {**got.headers, "x-request-id": ""}


async def test_pages_bring_their_policy(ask: Any) -> None:
    policy = (await ask("/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


async def test_an_older_release_leads_to_the_present_one(site: Site, ask: Any) -> None:
    old = await ask("/assets/0123456789abcdef/js/core/api.js")
    assert (old.status, old.headers["location"]) == (302, f"{site.assets}/js/core/api.js")
    assert old.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "../site.py", "css/../css/tokens.css", "", "%00"])
async def test_what_is_not_there_is_a_problem(site: Site, ask: Any, name: str) -> None:
    missing = await ask(f"{site.assets}/{name}")
    assert missing.status == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert json.loads(missing.body)["code"] == "not_found"


async def test_a_page_can_only_be_read(ask: Any) -> None:
    refused = await ask("/orders", "POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (await ask("/orders", "OPTIONS")).headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/v1/sales", "/sales", "/docs", "/static/docs.css", "/orders/"])
def test_what_is_no_page_is_left_to_others(site: Site, path: str) -> None:
    assert not Serving(site, Counts()).find(path)


# --- a brand of one's own, and an export ----------------------------------------------------------


def test_an_own_file_of_tokens_comes_behind_ours(tmp_path: Path) -> None:
    own = tmp_path / "brand.css"
    own.write_text(":root { --accent: #7a1f5c; }")
    text = Site(read_tokens(str(own))).files["css/tokens.css"].content.decode()
    assert text.endswith(":root { --accent: #7a1f5c; }")


def test_a_file_of_tokens_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SLUICE_PAGES_TOKENS cannot be read"):
        read_tokens(str(tmp_path / "missing.css"))
    (tmp_path / "large.css").write_bytes(b" " * (256 << 10) + b" ")
    with pytest.raises(SettingsError, match="256 KiB"):
        read_tokens(str(tmp_path / "large.css"))


def test_an_export_is_the_whole_site(tmp_path: Path, site: Site) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path / "out"), "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert site.release in done.output
    for name, file in site.files.items():
        path = tmp_path / "out" / "assets" / site.release / name
        assert path.read_bytes() == file.content
        assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == file.content
    pages = {path.name for path in (tmp_path / "out").glob("*.html")}
    assert pages == {"index.html", "console.html", "operator.html", "components.html"}
