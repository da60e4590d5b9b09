"""A crowd, a merchant and axe, for the tests of the monitor and the report."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.browser.stage import Stage
from tests.support.http import Client
from tests.support.pages import REPO

CROWD_MAX_S = 120
_first = iter(range(0, 10_000_000, 10_000))


def crowd(stage: Stage, sale: dict[str, Any], count: int, *, at_once: int = 12) -> None:
    """So many buyers, each with two passes and a double click for each; returns when all have been
    told."""
    plan = {
        "url": stage.url,
        "secret": stage.product.identity_secret().decode(),
        "sale": sale["id"],
        "items": [item["id"] for item in sale["items"]],
        "weights": [1 for _ in sale["items"]],
        "first": next(_first),
        "count": count,
        "at_once": at_once,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crowd", json.dumps(plan)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=CROWD_MAX_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def pay(stage: Stage, order: dict[str, Any], token: str) -> None:
    """At the simulator."""
    with Client(stage.url) as client:
        status, said = client.post(f"/v1/orders/{order['id']}/payment", token, {})
        assert status == 200, said
        assert client.form(said["checkout_url"].removeprefix(stage.url), action="pay") == 303


def no_serious_fault(page: Page) -> None:
    """By axe: nothing serious or critical."""
    found = Axe().run(page).response["violations"]
    bad = [each for each in found if each["impact"] in ("serious", "critical")]
    said = [(each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in bad]
    assert not said, said
