"""The waiting room in a real browser: a place that survives everything, and one's turn."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Visit
from tests.browser.stage import Stage
from tests.browser.test_shop import press
from tests.browser.test_shop_promises import LIVE, open_live
from tests.support.http import Client

TURN_MS = 60_000


def room(**more: Any) -> dict[str, Any]:
    return {"enabled": True, "admit_per_second": 2, "active_max": None, **more}


def enter(stage: Stage, sale: dict[str, Any], token: str) -> dict[str, Any]:
    with Client(stage.url) as client:
        status, said = client.post(f"/v1/sales/{sale['id']}/waiting-room", token, {})
    if status == 404 and said.get("code") == "not_found":
        pytest.skip("this Sluice has no waiting rooms yet")
    assert status in (200, 201), said
    return dict(said)


@pytest.mark.timeout(180)
def test_a_place_survives_a_reload_and_another_device_and_leads_to_an_order(
    stage: Stage, visit: Visit
) -> None:
    sale = stage.sale("By lot", starts_in_s=15, waiting_room=room())
    buyer = stage.buyer()
    enter(stage, sale, stage.buyer("other"))
    page = (them := visit(stage.url, token=buyer)).page
    open_live(page, sale)
    them.shot("room-live-outside")
    press(page, "Enter the waiting room")
    expect(page.get_by_text("Places are drawn in")).to_be_visible()
    them.shot("room-live-before")
    page.reload()
    expect(page.get_by_text("You are in the waiting room", exact=True)).to_be_visible()
    elsewhere = visit(stage.url, token=buyer, width=1280).page
    elsewhere.goto(f"/sales/{sale['id']}")
    expect(elsewhere.get_by_text("You are in the waiting room", exact=True)).to_be_visible()
    expect(page.get_by_text("It is your turn", exact=True)).to_be_visible(timeout=TURN_MS)
    expect(elsewhere.get_by_text("It is your turn", exact=True)).to_be_visible(timeout=TURN_MS)
    them.shot("room-live-turn")
    press(page, "Buy now")
    expect(page.get_by_text("Yours. Pay by")).to_be_visible()
    expect(elsewhere.get_by_text("Yours. Pay by")).to_be_visible()
    assert len(stage.orders(buyer)) == 1


@pytest.mark.timeout(180)
def test_who_comes_late_sees_their_place_and_keeps_it(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Slow", waiting_room=room(admit_per_second=1, active_max=1), stock=5)
    for _ in range(4):
        enter(stage, sale, stage.buyer("other"))
    buyer = stage.buyer()
    page = (them := visit(stage.url, token=buyer)).page
    open_live(page, sale)
    press(page, "Buy now")
    place = page.locator(".room .place-value")
    expect(place).to_be_visible()
    expect(page.get_by_text("Reloading is safe", exact=False).first).to_be_visible()
    number = enter(stage, sale, buyer)["number"]
    them.shot("room-live-waiting")
    page.reload()
    expect(page.locator(LIVE)).to_be_visible()
    expect(place).to_be_visible()
    assert enter(stage, sale, buyer)["number"] == number, "the place of before"


@pytest.mark.timeout(180)
def test_what_is_asked_is_asked_at_the_door(stage: Stage, visit: Visit) -> None:
    sale = stage.sale("Work, then wait", challenge="proof_of_work", waiting_room=room())
    buyer = stage.buyer()
    if stage_has_no_rooms(stage, sale, buyer):
        pytest.skip("this Sluice has no waiting rooms yet")
    page = visit(stage.url, token=buyer).page
    open_live(page, sale)
    press(page, "Buy now")
    turn = page.get_by_text("It is your turn", exact=True)
    yours = page.get_by_text("Yours. Pay by")
    expect(turn.or_(yours).first).to_be_visible(timeout=TURN_MS)
    if not yours.is_visible():
        press(page, "Buy now")
    expect(yours).to_be_visible(timeout=TURN_MS)


def stage_has_no_rooms(stage: Stage, sale: dict[str, Any], token: str) -> bool:
    with Client(stage.url) as client:
        status, _ = client.get(f"/v1/sales/{sale['id']}/waiting-room", token)
        asked, said = client.post(f"/v1/sales/{sale['id']}/waiting-room", token, {})
    return status == 404 and asked == 404 and said.get("code") == "not_found"
