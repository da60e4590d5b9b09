"""Every page of the console and of the operator, in both languages, on a phone and on a desk: seen,
photographed, and without a serious fault by axe."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import DESKTOP, PHONE, Visit
from tests.browser.furnishing import Furnished, furnish, lose
from tests.browser.watching import no_serious_fault
from tests.support.product import Product

CONSOLE = {
    "console-sales": "/console/sales",
    "console-new-details": "/console/sales/new",
    "console-new-items": "/console/sales/new?step=1",
    "console-new-protection": "/console/sales/new?step=2",
    "console-new-room": "/console/sales/new?step=3",
    "console-new-review": "/console/sales/new?step=4",
    "console-draft": "/console/sales/{draft}",
    "console-edit-review": "/console/sales/{draft}/edit?step=4",
    "console-edit-items": "/console/sales/{live}/edit?step=1",
    "console-sale": "/console/sales/{live}",
    "console-waitlist": "/console/sales/{gone}/waitlist",
    "console-waitlist-empty": "/console/sales/{live}/waitlist",
    "console-guests": "/console/sales/{live}/guests",
    "console-orders": "/console/orders",
    "console-orders-none": "/console/orders?q=nobody",
    "console-order": "/console/orders/{paid}",
    "console-order-unknown": "/console/orders/999999",
    "console-webhooks": "/console/webhooks",
    "console-endpoint": "/console/webhooks/{endpoint}",
    "console-keys": "/console/keys",
    "console-team": "/console/team",
    "operator-health": "/operator/health",
    "operator-incidents": "/operator/incidents",
    "operator-audit": "/operator/audit",
    "operator-dead-letters": "/operator/dead-letters",
    "operator-blacklist": "/operator/blacklist",
    "operator-actions": "/operator/actions",
}


@pytest.fixture(scope="module")
def shop(own_product: Product) -> Furnished:
    made = furnish(own_product)
    lose(made.stage)
    return made


def path_of(shop: Furnished, template: str) -> str:
    return template.format(
        draft=shop.draft["id"],
        live=shop.live["id"],
        gone=shop.gone["id"],
        paid=shop.paid["id"],
        endpoint=shop.endpoint,
    )


def settled(page: Page) -> None:
    """Loaded, whatever it then shows."""
    expect(page.locator("h1").first).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_every_page_is_there_and_fits(
    shop: Furnished, visit: Visit, language: str, width: int
) -> None:
    them = visit(shop.stage.url, language=language, width=width, token=shop.admin)
    page = them.page
    too_wide = {}
    for name, template in CONSOLE.items():
        page.goto(path_of(shop, template))
        settled(page)
        them.shot(name)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            too_wide[name] = wide
        if (language, width) in (("en", DESKTOP), ("zh", PHONE)):
            no_serious_fault(page)
    assert not too_wide, f"px too wide at {width}: {too_wide}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_states_that_are_not_well_are_told(shop: Furnished, visit: Visit, language: str) -> None:
    stranger = visit(shop.stage.url, language=language)
    stranger.page.goto("/console")
    settled(stranger.page)
    stranger.shot("console-log-in")
    no_serious_fault(stranger.page)
    buyer = visit(shop.stage.url, language=language, token=shop.buyer)
    buyer.page.goto("/console/sales")
    settled(buyer.page)
    buyer.shot("console-not-yours")
    merchant = visit(shop.stage.url, language=language, token=shop.merchant)
    merchant.page.goto("/operator/blacklist")
    settled(merchant.page)
    merchant.shot("operator-forbidden")
    page = merchant.page
    page.goto("/console/orders")
    settled(page)
    broken: dict[str, Any] = {"status": 500, "content_type": "application/problem+json"}
    fault = '{"code": "internal", "status": 500, "request_id": "01JD8Z3V"}'
    page.route("**/v1/admin/**", lambda route: route.fulfill(body=fault, **broken))
    page.get_by_role("button", name={"en": "Refresh", "zh": "刷新"}[language]).click()
    expect(page.locator(".notice-warn")).to_be_visible(timeout=60_000)
    merchant.shot("console-orders-stale")
    page.unroute_all()
    held: list[Route] = []  # what is asked waits here, so that loading is seen
    page.route("**/v1/admin/**", lambda route: held.append(route))
    page.goto("/console/orders")
    expect(page.locator(".loading")).to_be_visible()
    merchant.shot("console-orders-loading")
    for route in held:
        route.fulfill(body=fault, **broken)
    expect(page.locator(".notice-bad")).to_be_visible(timeout=60_000)
    merchant.shot("console-orders-error")
    merchant.faults.clear()  # the browser logs what we made up
