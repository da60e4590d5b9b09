"""What the pages promise: nothing is bought twice, nothing is lost, and everybody is told."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import PHONE, Visit
from tests.browser.stage import Stage
from tests.browser.test_shop import press
from tests.support.http import Client
from tests.support.people import PASSWORD, log_in
from tests.support.product import Product

LIVE = "sl-connection[data-state=connected]"


def open_live(page: Page, sale: dict[str, Any]) -> None:
    page.goto(f"/sales/{sale['id']}")
    expect(page.locator(LIVE)).to_be_visible()


def test_who_loses_the_race_waits_in_line_and_is_promoted(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("One of a kind", stock=1)
    winner, loser = stage.buyer("winner"), stage.buyer("loser")
    page = (them := visit(stage.url, token=loser)).page
    open_live(page, sale)
    order = stage.buy(sale, winner)
    expect(page.get_by_text("All units are held by others right now")).to_be_visible()
    them.shot("sale-held")
    press(page, "Join the waitlist")
    expect(page.locator(".place-value")).to_have_text("1st")
    expect(page.get_by_text("You are next.")).to_be_visible()
    them.shot("sale-in-line")
    stage.cancel(order, winner)
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text("Your turn has come")
    them.shot("sale-promoted")
    assert [each["state"] for each in stage.orders(loser)] == ["awaiting_payment"]


def test_the_line_is_joined_in_a_pause_too(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("One of a kind, interrupted", stock=1)
    page = visit(stage.url, token=stage.buyer()).page
    open_live(page, sale)
    stage.buy(sale, stage.buyer("winner"))
    stage.admin(f"/v1/admin/sales/{sale['id']}/pause", {"reason": "We are checking a price."})
    expect(page.get_by_text("We are checking a price.")).to_be_visible()
    press(page, "Join the waitlist")
    expect(page.locator(".place-value")).to_have_text("1st")


def test_a_double_click_buys_once(stage: Stage, visit: Visit) -> None:
    items = [{"title": "Cup", "price": {"amount": "9.90", "currency": "CNY"}, "stock": 9}]
    sale = stage.sale("Cups", items=[{**items[0], "per_buyer": 3}])
    buyer = stage.buyer()
    page = visit(stage.url, token=buyer).page
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url) if "/pass" in each.url else None)
    open_live(page, sale)
    page.get_by_role("button", name="Buy now").dblclick()
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    assert len(asked) == 1
    assert len(stage.orders(buyer)) == 1


@pytest.mark.parametrize("arrives", [True, False], ids=["answer-lost", "request-lost"])
def test_a_reload_in_the_middle_of_buying_brings_the_same_order(
    stage: Stage, visit: Visit, arrives: bool
) -> None:
    items = [{"title": "Cup", "price": {"amount": "9.90", "currency": "CNY"}, "stock": 9}]
    sale = stage.sale("Cups", items=[{**items[0], "per_buyer": 3}])
    buyer = stage.buyer()
    page = (them := visit(stage.url, token=buyer)).page
    # Else the page hears of the order before it has had to worry.
    page.route_web_socket("**/v1/live", lambda socket: socket.close())
    page.goto(f"/sales/{sale['id']}")
    sent: list[str] = []

    def lose_the_answer(route: Route) -> None:
        sent.append(route.request.url)
        if arrives:
            route.fetch()  # and nobody hears what came of it
        route.abort()

    page.route("**/v1/buy/*", lose_the_answer)
    press(page, "Buy now")
    expect(page.get_by_text("No clear answer yet")).to_be_visible()
    them.shot("sale-unclear")
    page.unroute("**/v1/buy/*")
    page.on("request", lambda each: sent.append(each.url) if "/v1/buy/" in each.url else None)
    page.reload()
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    assert len(stage.orders(buyer)) == 1
    assert len(set(sent)) == 1, "one pass, until there is an answer"
    them.cut_off = True


def test_what_somebody_else_began_in_this_tab_is_not_bought_by_the_next(
    stage: Stage, visit: Visit
) -> None:
    sale = stage.sale("Shared tab")
    item = sale["items"][0]["id"]
    buyer = stage.buyer()
    page = visit(stage.url, token=buyer).page
    begun = {"pass": "a-pass-of-somebody-else", "quantity": 1, "buyer": "acct:0"}
    page.add_init_script(f"sessionStorage['sluice.pass.{item}'] = '{json.dumps(begun)}'")
    sent: list[str] = []
    page.on("request", lambda each: sent.append(each.url) if "/v1/buy/" in each.url else None)
    open_live(page, sale)
    page.wait_for_load_state("networkidle")
    assert sent == []
    assert stage.orders(buyer) == []


def test_a_lost_connection_is_shown_and_heals(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Lost and found", stock=2)
    page = (them := visit(stage.url, token=stage.buyer())).page
    open_live(page, sale)
    them.context.set_offline(True)
    expect(page.locator("sl-connection")).to_have_attribute("data-state", "offline")
    expect(page.locator("sl-connection")).to_contain_text("nothing is lost")
    them.shot("sale-offline")
    stage.buy(sale, stage.buyer())
    expect(page.get_by_text("2 of 2 left")).to_be_visible()
    them.context.set_offline(False)
    expect(page.locator(LIVE)).to_be_visible()
    expect(page.get_by_text("1 of 2 left")).to_be_visible()
    them.cut_off = True


def test_a_page_polls_nothing_while_it_hears_of_everything(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Quiet")
    page = visit(stage.url, token=stage.buyer()).page
    open_live(page, sale)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    stage.buy(sale, stage.buyer())
    expect(page.get_by_text("49 of 50 left")).to_be_visible()
    page.wait_for_timeout(6000)  # longer than any poller waits
    assert asked == []


@pytest.mark.timeout(180)
def test_a_page_survives_a_restart_of_the_http_server(own_product: Product, visit: Visit) -> None:
    stage = Stage(own_product)
    sale = stage.sale("After the storm", stock=3)
    page = (them := visit(stage.url, token=stage.buyer())).page
    open_live(page, sale)
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    for pid in own_product.children("serve")[:1]:
        os.kill(pid, signal.SIGTERM)
    expect(page.locator(LIVE)).to_be_hidden()
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    expect(page.locator(LIVE)).to_be_visible(timeout=60_000)
    press(page, "Pay ¥399")
    expect(page.get_by_text("This is a simulator").first).to_be_visible()
    them.cut_off = True


@pytest.mark.timeout(180)
def test_a_page_survives_a_restart_of_everything(own_product: Product, visit: Visit) -> None:
    """Sessions are on the cache server, which forgets: the page says so, and goes on from there."""
    stage = Stage(own_product)
    sale = stage.sale("After the flood", stock=3)
    with Client(stage.url) as client:
        token = log_in(client, "noah")
    page = (them := visit(stage.url, token=token)).page
    open_live(page, sale)
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    own_product.stop()
    expect(page.locator("sl-connection")).to_have_attribute("data-state", "reconnecting")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    them.shot("sale-reconnecting")
    own_product.start()
    expect(page.locator(".toast")).to_contain_text("Log in again", timeout=60_000)
    press(page, "Use a password instead")
    page.locator("[name=login]").fill("noah")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("sl-login").get_by_role("button", name="Log in", exact=True).click()
    expect(page.locator(LIVE)).to_be_visible()
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    them.cut_off = True


def test_a_cancelled_order_goes_back_at_once(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Second thoughts", stock=1)
    buyer = stage.buyer()
    page = (them := visit(stage.url, token=buyer)).page
    open_live(page, sale)
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    press(page, "Cancel order")
    expect(page.get_by_role("dialog")).to_contain_text("Cancel this order?")
    them.shot("sale-cancel")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the order").click()
    expect(page.get_by_text("Nothing is to be paid.")).to_be_visible()
    expect(page.get_by_role("button", name="Buy again")).to_be_enabled()
    expect(page.get_by_text("1 of 1 left")).to_be_visible()


def test_work_is_done_by_the_browser_before_it_buys(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("With work", challenge="proof_of_work")
    page = visit(stage.url, token=stage.buyer()).page
    open_live(page, sale)
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("kind", ["arithmetic", "slider"])
def test_a_picture_has_an_alternative_that_needs_no_eyes(
    stage: Stage, visit: Visit, kind: str
) -> None:
    sale = stage.sale("With a picture", challenge=kind)
    page = (them := visit(stage.url, token=stage.buyer(), width=PHONE)).page
    open_live(page, sale)
    press(page, "Buy now")
    box = page.get_by_role("dialog")
    expect(box).to_be_visible()
    them.shot(f"challenge-{kind}")
    if kind == "arithmetic":
        box.locator("input").fill("999")
        press(page, "Go on")
        expect(page.get_by_text("That was not the right answer")).to_be_visible()
        press(page, "Buy now")
    press(page, "Let the browser do it")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible(timeout=60_000)


def test_a_code_opens_a_sale_that_is_not_for_everybody(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("For friends", invite_only=True)
    path = f"/v1/admin/sales/{sale['id']}/codes"
    stage.admin(path, {"code": "TEA 2026", "uses": 5})
    page = (them := visit(stage.url, token=stage.buyer())).page
    open_live(page, sale)
    expect(page.get_by_role("button", name="Buy now")).to_have_attribute("aria-disabled", "true")
    page.get_by_label("Code").fill("WRONG 1")
    press(page, "Use the code")
    expect(page.get_by_text("not valid here")).to_be_visible()
    them.shot("sale-invite")
    page.get_by_label("Code").fill("tea-2026")
    press(page, "Use the code")
    expect(page.get_by_text("You are invited", exact=True)).to_be_visible()
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
