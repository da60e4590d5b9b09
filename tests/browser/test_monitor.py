"""The live monitor in a real browser: what a merchant sees while people buy, and can do then."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import DESKTOP, PHONE, Visit
from tests.browser.stage import Stage, at
from tests.browser.watching import crowd, no_serious_fault
from tests.support.http import Client
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product

WORDS = {
    "en": {
        "title": "Monitor",
        "ok": "Everything adds up",
        "sold_out": "Sold out",
        "taken": "20 of 20 taken",
        "table": "The same as a table",
        "accepted": "Accepted",
    },
    "zh": {
        "title": "实时监控",
        "ok": "全部吻合",
        "sold_out": "已售罄",
        "taken": "已占用 20 / 20",
        "table": "以表格显示",
        "accepted": "成功下单",
    },
}
LIGHT_MS = 60_000
"""Until the first comparison of gate and ledger, and an audit after it."""


@pytest.fixture(scope="module")
def merchant(product: Product) -> str:
    return somebody(product, "monitor-merchant", "merchant")


def monitor(sale: dict[str, Any]) -> str:
    return f"/console/sales/{sale['id']}/monitor"


def live(stage: Stage, sale: dict[str, Any]) -> dict[str, Any]:
    with Client(stage.url) as client:
        status, said = client.get(f"/v1/admin/sales/{sale['id']}/live", ADMIN_TOKEN)
    assert status == 200, said
    return dict(said)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).last.click()


@pytest.mark.parametrize(("language", "width"), [("en", DESKTOP), ("zh", PHONE)])
def test_the_crowd_is_seen_as_it_buys(
    stage: Stage, visit: Visit, merchant: str, language: str, width: int
) -> None:
    words = WORDS[language]
    price = {"amount": "399.00", "currency": "CNY"}
    items = [{"title": title, "price": price, "stock": 20} for title in ("Teapot", "Cup")]
    sale = stage.sale("The November drop", items=items)
    them = visit(stage.url, language=language, width=width, token=merchant)
    page = them.page
    page.goto(monitor(sale))
    expect(page.get_by_role("heading", level=1, name="The November drop")).to_be_visible()
    crowd(stage, sale, 90)
    expect(page.get_by_text(words["taken"]).first).to_be_visible()
    why = page.locator("#part-why")
    expect(why.get_by_role("row", name=re.compile(words["sold_out"]))).to_be_visible()
    funnel = page.locator("#part-funnel")
    expect(funnel.get_by_role("row", name=re.compile(rf"{words['accepted']}\s*40"))).to_be_visible()
    # The chart says the same to who cannot see it: in its name, and as a table.
    chart = page.locator("[data-chart=purchases]")
    expect(chart.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"[1-9]"))
    chart.get_by_text(words["table"]).click()
    expect(chart.locator("tbody tr").first).to_be_visible()
    expect(page.locator(".light-ok .light-word")).to_have_text(words["ok"], timeout=LIGHT_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "fits its width"
    them.shot("monitor-live")
    no_serious_fault(page)
    other = visit(stage.url, language=language, width=PHONE + DESKTOP - width, token=merchant)
    other.page.goto(monitor(sale))
    expect(other.page.locator(".light-ok")).to_be_visible()
    expect(other.page.locator("[data-chart=purchases] canvas")).to_be_visible()
    assert other.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    other.shot("monitor-live")


def test_pausing_resuming_changing_stock_and_closing(
    stage: Stage, visit: Visit, merchant: str
) -> None:
    sale = stage.sale("Run by hand", stock=5)
    page = (them := visit(stage.url, width=DESKTOP, token=merchant)).page
    page.goto(monitor(sale))
    press(page, "Pause")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Pause").click()
    expect(dialog.get_by_text("Say why, in a sentence.")).to_be_visible()
    them.shot("monitor-pausing")
    no_serious_fault(page)
    page.locator("[name=reason]").fill("The photographs were mixed up.")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Buyers are told: The photographs were mixed up.")).to_be_visible()
    them.shot("monitor-paused")
    press(page, "Resume")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    page.get_by_role("button", name="Change stock: Teapot, celadon").click()
    page.locator("[name=delta]").fill("0")
    dialog.get_by_role("button", name="Change stock").click()
    expect(dialog.get_by_text("A whole number, and not 0.")).to_be_visible()
    page.locator("[name=delta]").fill("3")
    page.locator("[name=reason]").fill("Three more came from the kiln.")
    dialog.get_by_role("button", name="Change stock").click()
    expect(page.get_by_text("0 of 8 taken")).to_be_visible()
    press(page, "Close for good")
    press(page, "Back")
    expect(dialog).to_have_count(0)
    press(page, "Close for good")
    dialog.get_by_role("button", name="Close it for good").click()
    expect(page.locator(".watch-head .badge")).to_have_text("Ended")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_have_count(0)
    them.shot("monitor-ended")


def test_a_sale_that_is_still_to_come_shows_when(stage: Stage, visit: Visit, merchant: str) -> None:
    sale = stage.sale("Tomorrow", starts_in_s=86_400, ends_in_s=90_000)
    page = (them := visit(stage.url, token=merchant)).page
    page.goto(monitor(sale))
    expect(page.locator(".watch-head .badge")).to_have_text("Not started")
    expect(page.get_by_text("no purchases").first).to_be_visible()
    them.shot("monitor-not-started")


def test_a_monitor_without_an_answer_says_since_when_and_heals(
    stage: Stage, visit: Visit, merchant: str
) -> None:
    sale = stage.sale("A bad line")
    page = (them := visit(stage.url, token=merchant)).page
    page.goto(monitor(sale))
    expect(page.locator(".light")).to_be_visible()

    def cut(route: Route) -> None:
        route.fulfill(status=503, json={"code": "unavailable"}, headers={"retry-after": "1"})

    page.route("**/v1/admin/sales/**", cut)
    expect(page.locator(".notice-title")).to_contain_text("No answer since")
    expect(page.locator(".watch-stale .light-ok")).to_have_count(0)
    expect(page.locator(".watch-stale")).to_be_visible()
    them.shot("monitor-stale")
    no_serious_fault(page)
    page.unroute("**/v1/admin/sales/**")
    expect(page.locator(".watch-stale")).to_have_count(0)
    them.faults.clear()  # the browser logs each 503


def test_a_red_light_says_what_is_wrong(stage: Stage, visit: Visit, merchant: str) -> None:
    sale = stage.sale("Something is off")
    page = (them := visit(stage.url, width=DESKTOP, token=merchant)).page

    wrong = [{"name": "3_never_oversold", "detail": "never_oversold: 12"}]
    seen = live(stage, sale)
    light = {**seen["invariants"], "state": "broken", "broken": wrong}

    def broken(route: Route) -> None:
        route.fulfill(json={**seen, "at": at(0), "invariants": light})

    page.route("**/live", broken)
    page.goto(monitor(sale))
    expect(page.locator(".light-broken")).to_contain_text("Something does not add up")
    expect(page.locator(".light-broken")).to_contain_text("Never oversold")
    them.shot("monitor-broken")
    no_serious_fault(page)


def test_the_pace_of_a_waiting_room_is_set(stage: Stage, visit: Visit, merchant: str) -> None:
    """As the room's own routes answer."""
    sale = stage.sale("A full room")
    page = (them := visit(stage.url, width=DESKTOP, token=merchant)).page
    room = {
        "waiting": 8120,
        "admitted": 410,
        "active": 96,
        "pace_per_second": 19.8,
        "wanted_per_second": 24.5,
        "mode": "automatic",
    }
    asked: list[Any] = []
    seen = live(stage, sale)

    def with_room(route: Route) -> None:
        route.fulfill(json={**seen, "at": at(0), "waiting_room": room})

    def paced(route: Route) -> None:
        asked.append(route.request.post_data_json)
        room.update(mode="fixed", pace_per_second=5.0)
        route.fulfill(json={"sale_id": sale["id"], "admit_per_second": 5, "active_max": None})

    page.route("**/live", with_room)
    page.route("**/pace", paced)
    page.goto(monitor(sale))
    expect(page.get_by_text("8,120").first).to_be_visible()
    expect(page.get_by_text("as fast as the shop keeps up")).to_be_visible()
    expect(page.get_by_text("Wanted per second")).to_be_visible()
    expect(page.get_by_text("24.5")).to_be_visible()
    expect(page.locator("[data-chart=room] canvas")).to_be_visible()
    them.shot("monitor-room")
    press(page, "Change pace")
    page.locator("[name=pace]").fill("-1")
    page.get_by_role("dialog").get_by_role("button", name="Change pace").click()
    expect(page.get_by_text("A number above 0, or nothing.")).to_be_visible()
    page.locator("[name=pace]").fill("5")
    page.get_by_role("dialog").get_by_role("button", name="Change pace").click()
    expect(page.get_by_text("set by hand")).to_be_visible()
    assert asked == [{"admit_per_second": 5}]
    no_serious_fault(page)


def test_a_buyer_does_not_see_the_monitor(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Not theirs")
    page = visit(stage.url, token=stage.buyer()).page
    page.goto(monitor(sale))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".light")).to_have_count(0)
