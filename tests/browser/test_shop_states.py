"""Every page of the buyers in every state: written down as a picture, and looked at by axe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import DESKTOP, PHONE, Visit, Visitor
from tests.browser.stage import Stage, at

LOOKS = [("en", PHONE), ("zh", DESKTOP)]
SEVERE = ("serious", "critical")


def accessible(page: Page) -> None:
    """Nothing that axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    told = [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in SEVERE
    ]
    assert told == [], told


def look(them: Visitor, name: str) -> None:
    accessible(them.page)
    across = them.page.evaluate("() => document.documentElement.scrollWidth")
    assert across <= them.width, "nothing makes the page scroll sideways"
    them.shot(name)


@pytest.fixture(params=LOOKS, ids=["en-phone", "zh-desktop"])
def them(request: pytest.FixtureRequest, visit: Visit, stage: Stage) -> Visitor:
    """Somebody who is logged in, in each language once."""
    language, width = request.param
    return visit(stage.url, language=language, width=width, token=stage.buyer())


@pytest.fixture(params=LOOKS, ids=["en-phone", "zh-desktop"])
def stranger(request: pytest.FixtureRequest, visit: Visit, stage: Stage) -> Visitor:
    language, width = request.param
    return visit(stage.url, language=language, width=width)


def ready(page: Page) -> None:
    expect(page.locator("main h1").first).not_to_have_text("")
    expect(page.locator(".loading")).to_have_count(0)


# --- lists and getting in -------------------------------------------------------------------------


def test_the_list_of_sales(stage: Stage, stranger: Visitor) -> None:
    stage.sale("Tomorrow's drop", starts_in_s=86_400, ends_in_s=90_000)
    stage.sale("On now")
    page = stranger.page
    page.goto("/")
    ready(page)
    look(stranger, "sales")
    page.route("**/v1/sales", lambda route: route.fulfill(json={"data": [], "next_cursor": None}))
    page.reload()
    expect(page.locator(".empty")).to_be_visible()
    look(stranger, "sales-empty")
    page.route("**/v1/sales", lambda route: route.abort())
    page.reload()
    expect(page.locator(".notice-bad")).to_be_visible()
    look(stranger, "sales-error")
    stranger.cut_off = True


def test_getting_in(stage: Stage, stranger: Visitor) -> None:
    page = stranger.page
    page.goto("/login")
    ready(page)
    look(stranger, "login")
    page.locator("sl-login form button").first.click()
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    look(stranger, "login-wrong")
    page.locator("[name=phone]").fill(f"1390013{stranger.width:04d}")
    page.locator("sl-login form button").first.click()
    expect(page.locator("[name=code]")).to_be_visible()
    look(stranger, "login-code")
    page.goto("/login")
    page.locator("sl-login form .button-plain").click()
    expect(page.locator("[name=password]")).to_be_visible()
    look(stranger, "login-password")
    page.goto("/orders")
    expect(page.locator("sl-login")).to_be_visible()
    look(stranger, "orders-stranger")


def test_no_orders_yet(them: Visitor) -> None:
    them.page.goto("/orders")
    expect(them.page.locator(".empty")).to_be_visible()
    look(them, "orders-empty")


def test_what_is_not_there(them: Visitor) -> None:
    them.page.goto("/sales/999999")
    expect(them.page.locator(".notice-bad")).to_be_visible()
    look(them, "sale-missing")
    them.page.goto("/orders/999999")
    expect(them.page.locator(".notice-bad")).to_be_visible()
    look(them, "order-missing")


def test_the_components(stranger: Visitor) -> None:
    stranger.page.goto("/components")
    ready_ = stranger.page.locator(".gallery").first
    expect(ready_).to_be_visible()
    look(stranger, "components")


# --- a sale ---------------------------------------------------------------------------------------


def test_before_the_start(stage: Stage, them: Visitor) -> None:
    items = [
        {"title": "Gaiwan, white porcelain", "price": {"amount": "159.00", "currency": "CNY"}},
        {"title": "Longjing, 50 g tin", "price": {"amount": "68.50", "currency": "CNY"}},
    ]
    sale = stage.sale(
        "Spring harvest",
        starts_in_s=3_725,
        challenge="slider",
        waitlist=False,
        items=[{**item, "stock": 20, "per_buyer": 2} for item in items],
    )
    them.page.goto(f"/sales/{sale['id']}")
    ready(them.page)
    expect(them.page.locator(".item .button-main").first).to_have_attribute("aria-disabled", "true")
    look(them, "sale-scheduled")


def test_before_the_start_for_a_stranger(stage: Stage, stranger: Visitor) -> None:
    sale = stage.sale("Spring harvest", starts_in_s=125)
    stranger.page.goto(f"/sales/{sale['id']}")
    ready(stranger.page)
    look(stranger, "sale-scheduled-stranger")


def test_paused_with_its_reason_and_ended(stage: Stage, them: Visitor) -> None:
    sale = stage.sale("Interrupted")
    page = them.page
    page.goto(f"/sales/{sale['id']}")
    expect(page.locator("sl-connection[data-state=connected]")).to_be_visible()
    reason = "We are checking a price. It goes on at half past."
    stage.admin(f"/v1/admin/sales/{sale['id']}/pause", {"reason": reason})
    expect(page.get_by_text(reason)).to_be_visible()
    look(them, "sale-paused")
    stage.admin(f"/v1/admin/sales/{sale['id']}/close")
    expect(page.locator(".item .button-main")).to_have_text(
        "Ended" if them.language == "en" else "已结束"
    )
    look(them, "sale-ended")


def test_low_held_and_sold_out(stage: Stage, them: Visitor) -> None:
    sale = stage.sale("Going fast", stock=20)
    page = them.page

    state, left = "", 0

    def edited(route: Route) -> None:
        answer = route.fetch()
        shown = answer.json()
        shown["items"][0].update(state=state, remaining_hint=left)
        route.fulfill(json=shown)

    page.route_web_socket("**/v1/live", lambda socket: socket.close())
    page.route(f"**/v1/sales/{sale['id']}", edited)
    for state, left in (("low", 2), ("held", 0), ("sold_out", 0)):  # noqa: B007
        page.goto(f"/sales/{sale['id']}")
        ready(page)
        look(them, f"sale-{state}")
    them.cut_off = True


# --- the waiting room -----------------------------------------------------------------------------

ROOM = {"enabled": True, "opens_before_seconds": 600, "admit_per_second": None, "active_max": None}
NOWHERE = {"position": None, "ahead": None, "eta_seconds": None}
PLACES: list[tuple[str, float, dict[str, Any]]] = [
    ("before", 120, {"status": "waiting", **NOWHERE}),
    ("waiting", -60, {"status": "waiting", "position": 9, "ahead": 8, "eta_seconds": [70, 130]}),
    ("admitted", -60, {"status": "admitted", **NOWHERE, "admitted_until": 150}),
    ("over", -60, {"status": "over", **NOWHERE}),
    ("outside", 120, {}),
]


def test_the_waiting_room(stage: Stage, them: Visitor) -> None:
    sale = stage.sale("Many people", starts_in_s=120)
    page = them.page
    starts_in_s, place = 0.0, dict[str, Any]()

    def with_a_room(route: Route) -> None:
        shown = route.fetch().json()
        shown["policy"]["waiting_room"] = ROOM
        shown["starts_at"] = at(starts_in_s)
        if starts_in_s < 0:
            shown["state"] = "live"
        route.fulfill(json=shown)

    def placed(route: Route) -> None:
        if not place:
            route.fulfill(status=404, json={"code": "not_found"})
            return
        body = {"number": 7, "poll_after_ms": 3000, "starts_at": sale["starts_at"], **place}
        if "admitted_until" in body:
            body["admitted_until"] = at(body["admitted_until"])
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    page.route_web_socket("**/v1/live", lambda socket: None)
    page.route(f"**/v1/sales/{sale['id']}", with_a_room)
    page.route("**/waiting-room", placed)
    for name, starts_in_s, place in PLACES:  # noqa: B007 - the routes above read them
        page.goto(f"/sales/{sale['id']}")
        ready(page)
        expect(page.locator(".stack > .card, .room").first).to_be_visible()
        look(them, f"room-{name}")


# --- an order -------------------------------------------------------------------------------------

PLAIN = {"pay_by": None, "payment": {"state": "none"}, "refunded_quantity": 0}
STATES: list[tuple[str, str, dict[str, Any]]] = [
    ("queued", "queued", {}),
    ("to-pay", "awaiting_payment", {"pay_by": 420}),
    ("to-pay-soon", "awaiting_payment", {"pay_by": 45, "payment": {"state": "failed"}}),
    ("paid", "paid", {"payment": {"state": "captured"}}),
    ("expired", "expired", {}),
    ("cancelled", "cancelled", {}),
    ("rejected", "rejected", {}),
    ("refunding", "refunding", {}),
    ("refunded", "refunded", {"refunded_quantity": 1}),
]


def test_an_order(stage: Stage, them: Visitor) -> None:
    sale = stage.sale("Autumn drop")
    order: dict[str, Any] = {}
    page = them.page
    page.route_web_socket("**/v1/live", lambda socket: None)
    page.route("**/v1/orders/*", lambda route: route.fulfill(json=order))
    for name, state, more in STATES:
        steps = ["queued", "awaiting_payment", state]
        if state in ("queued", "awaiting_payment"):
            steps = steps[: steps.index(state) + 1]
        elif state in ("refunding", "refunded"):
            steps.insert(2, "paid")
        order = {
            "id": "120268477381476353",
            "sale_id": sale["id"],
            "item_id": sale["items"][0]["id"],
            "quantity": 1,
            "amount": {"amount": "399.00", "currency": "CNY"},
            "state": state,
            "placed_at": at(-300),
            "history": [{"state": step, "at": at(-300 + n * 40)} for n, step in enumerate(steps)],
            **PLAIN,
            **more,
        }
        if order["pay_by"]:
            order["pay_by"] = at(order["pay_by"])
        page.goto(f"/orders/{order['id']}")
        expect(page.locator(".history li")).to_have_count(len(steps))
        expect(page.locator("main h1")).to_have_text("Teapot, celadon")
        look(them, f"order-{name}")


@pytest.mark.parametrize("width", [360, 640], ids=["small-phone", "zoomed-to-200-percent"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_sale_fits_and_can_be_read(stage: Stage, visit: Visit, width: int, scheme: str) -> None:
    sale = stage.sale("A sale with quite a long title, as merchants like them")
    them = visit(stage.url, width=width, color_scheme=scheme)
    them.page.goto(f"/sales/{sale['id']}")
    ready(them.page)
    look(them, f"sale-{scheme}")


def test_everything_is_within_reach_of_the_keyboard(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("By hand")
    page = visit(stage.url, token=stage.buyer()).page
    page.goto(f"/sales/{sale['id']}")
    expect(page.get_by_role("button", name="Buy now")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Buy now")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    page.get_by_role("link", name="My orders").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_be_focused()


def test_axe_is_there_and_sees(stranger: Visitor) -> None:
    """Else all of the above would say nothing."""
    stranger.page.goto("/login")
    expect(stranger.page.locator("label")).to_be_visible()
    stranger.page.evaluate("() => { document.querySelector('label').remove(); }")
    with pytest.raises(AssertionError, match="label"):
        accessible(stranger.page)


GONE = """async () => {
  const assets = document.querySelector("link[rel=stylesheet]").href.match(/.*\\/assets\\/\\w+/)[0];
  const { h, render } = await import(assets + "/js/core/dom.js");
  const root = document.body.appendChild(document.createElement("div"));
  const list = () => h("ul", {}, h("li", {}, h("button", {}, "Buy")));
  const held = [];
  for (const before of [h("p", {}, "gone"), h("p", { key: "k" }, "gone")]) {
    render(root, [before, list()]);
    root.querySelector("button").focus();
    render(root, [list()]);
    held.push(document.activeElement.textContent);
  }
  return held;
}"""


def test_whoever_is_on_a_button_stays_on_it_when_something_above_it_goes(stranger: Visitor) -> None:
    stranger.page.goto("/login")
    expect(stranger.page.locator("label")).to_be_visible()
    assert stranger.page.evaluate(GONE) == ["Buy", "Buy"]
