"""A real browser before a running product: Debian's Chromium, driven by Playwright.

Each test visits as somebody, in a language, at a width. What the page logs as an error fails the
test; screenshots go to `build/screenshots/{language}/{width}/{name}.png`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from tests.browser.stage import Stage
from tests.support.http import Client
from tests.support.pages import REPO
from tests.support.people import log_in
from tests.support.product import Product

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PACKAGES = ["chromium", "fonts-wqy-microhei"]
SCREENSHOTS = REPO / "build" / "screenshots"
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
PHONE, DESKTOP = 390, 1280
TIMEOUT_MS = 30_000  # the cores may be doing other things
expect.set_options(timeout=TIMEOUT_MS)
_EXPECTED = re.compile(
    r"Failed to load resource: the server responded with a status of (4\d\d|503)"
)
"""A refusal is an answer, which the page shows, and so is that it should ask again, which it does;
browsers log them all the same."""
_OF_THE_LINE = re.compile(r"net::ERR_|WebSocket|Failed to load resource")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.verify)


def _chromium() -> str:
    """Its path. Installs it where that is allowed; skips the test, or fails it, where it is not."""
    for _ in range(2):
        for name in ("chromium", "chromium-browser"):
            found = shutil.which(name)
            if found:
                return found
        if os.getuid() != 0 or shutil.which("apt-get") is None:
            break
        for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *words], check=False, capture_output=True, timeout=600)
    why = "Chromium is not installed, and cannot be: apt-get install chromium (as root)."
    if os.environ.get("SLUICE_REQUIRE_SERVERS") == "1":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For each module by itself: while it runs, no other test can run an event loop.
    path = _chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@dataclass
class Visitor:
    """Somebody with a browser of their own."""

    page: Page
    context: BrowserContext
    language: str
    width: int
    faults: list[str] = field(default_factory=list)
    """What the page logged as an error, and what it threw."""

    cut_off: bool = False
    """Whether the test has kept something from them: what browsers log of that is no fault."""

    def shot(self, name: str) -> None:
        path = SCREENSHOTS / self.language / str(self.width) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True, animations="disabled")


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(url, language="en", width=390, token="", **context)`: opens no page yet. `token` is a
    session's; the visitor is then logged in."""
    opened: list[Visitor] = []

    def new(
        url: str, *, language: str = "en", width: int = PHONE, token: str = "", **more: Any
    ) -> Visitor:
        options: dict[str, Any] = {
            "base_url": url,
            "locale": LOCALES[language],
            "viewport": {"width": width, "height": 844 if width < 800 else 900},
            "reduced_motion": "reduce",
            **more,
        }
        context = browser.new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        if token:
            context.add_cookies([{"name": "sluice", "value": token, "url": url}])
            context.add_init_script("localStorage.setItem('sluice.session', '1')")
        visitor = Visitor(context.new_page(), context, language, width)
        visitor.page.on("pageerror", lambda error: visitor.faults.append(str(error)))
        visitor.page.on(
            "console",
            lambda said: (
                visitor.faults.append(said.text)
                if said.type == "error" and not _EXPECTED.search(said.text)
                else None
            ),
        )
        opened.append(visitor)
        return visitor

    yield new
    for visitor in opened:
        visitor.context.close()
        faults = visitor.faults
        if visitor.cut_off:
            faults = [fault for fault in faults if not _OF_THE_LINE.search(fault)]
        assert faults == [], faults


@pytest.fixture(scope="module")
def own_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One that a module may stop, start and break."""
    with Product(tmp_path_factory.mktemp("browser") / "data") as running:
        yield running


@pytest.fixture
def stage(product: Product) -> Stage:
    return Stage(product)


@pytest.fixture
def somebody(product: Product) -> Callable[[str], str]:
    """A session's token of a buyer with this login."""

    def token(login: str) -> str:
        with Client(product.url) as client:
            return log_in(client, login)

    return token
