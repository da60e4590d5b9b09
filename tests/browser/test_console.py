"""What a merchant and an operator do in a real browser, from the first draft to the last refund."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.conftest import DESKTOP, PHONE, Visit
from tests.browser.furnishing import lose, paid
from tests.browser.stage import Stage
from tests.browser.watching import no_serious_fault, pay
from tests.support.http import Client
from tests.support.people import give, log_in
from tests.support.product import ADMIN_TOKEN, Product, until

LONG_MS = 40_000
"""On a busy machine a worker's round takes a while."""


@pytest.fixture(scope="module")
def shop(own_product: Product) -> Stage:
    return Stage(own_product)


@pytest.fixture(scope="module")
def admin(shop: Stage) -> str:
    with Client(shop.url) as client:
        token = log_in(client, "the-admin")
        give(client, "the-admin", "admin")
    return token


def press(page: Page | Locator, name: str, *, exact: bool = True) -> None:
    page.get_by_role("button", name=name, exact=exact).click()


def local(seconds: float) -> str:
    """For an <input type=datetime-local>; the browser is in UTC."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_merchant_writes_publishes_watches_pauses_resumes_and_closes_a_sale(
    shop: Stage, admin: str, visit: Visit, width: int
) -> None:
    with Client(shop.url) as client:
        merchant = log_in(client, f"merchant-{width}")
        give(client, f"merchant-{width}", "merchant")
    them = visit(shop.url, width=width, token=merchant, timezone_id="UTC")
    page = them.page
    page.goto("/console/sales/new")

    press(page, "Next")
    expect(page.get_by_text("This is needed.")).to_have_count(3)
    them.shot("console-new-faults")
    no_serious_fault(page)
    page.get_by_label("Title").fill(f"Kiln opening {width}")
    page.get_by_label("Starts").fill(local(-120))
    page.get_by_label("Ends").fill(local(-3600))
    press(page, "Next")
    expect(page.get_by_text("It must end after it starts.")).to_be_visible()
    page.get_by_label("Ends").fill(local(86_400))
    press(page, "Next")
    page.get_by_label("Name of the item").fill("Bowl, ash glaze")
    page.get_by_label("Price").fill("68.50")
    page.get_by_label("Stock").fill("0")
    page.reload()  # what was written is kept on this device
    expect(page.get_by_label("Name of the item")).to_have_value("Bowl, ash glaze")
    press(page, "Next")
    page.get_by_label("Challenge").select_option("proof_of_work")
    press(page, "Next")
    press(page, "Next")

    expect(page.get_by_text("There is not one unit to sell.")).to_be_visible()
    publish = page.get_by_role("button", name="Publish", exact=True)
    expect(publish).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name=re.compile("^Change: There is not one unit")).click()
    page.get_by_label("Stock").fill("5")
    for _ in range(3):
        press(page, "Next")
    expect(page.get_by_text("Payments are simulated")).to_be_visible()
    them.shot("console-new-checked")
    press(page, "Save as a draft")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Kiln opening {width}")
    expect(page.get_by_text("Nobody sees this yet")).to_be_visible()
    press(page, "Review and publish")
    press(page, "Publish")
    them.shot("console-publish-dialog")
    press(page.get_by_role("dialog"), "Publish")
    expect(page.locator(".badge", has_text="live").first).to_be_visible()

    sale_id = page.url.rsplit("/", 1)[-1]
    press(page, "Pause")
    press(page.get_by_role("dialog"), "Pause")
    expect(page.get_by_role("dialog").get_by_text("This is needed.")).to_be_visible()
    page.get_by_label("Message to buyers").fill("We are checking a price.")
    them.shot("console-pause-dialog")
    press(page.get_by_role("dialog"), "Pause")
    expect(page.get_by_text("Buyers are told: We are checking a price.")).to_be_visible()
    with Client(shop.url) as client:
        assert client.get(f"/v1/sales/{sale_id}", "")[1]["state"] == "paused"
    them.shot("console-sale-paused")
    press(page, "Resume")
    expect(page.locator(".badge", has_text="live").first).to_be_visible()

    press(page, "Change stock: Bowl, ash glaze")
    page.get_by_label("More or fewer units").fill("-9")
    page.get_by_label("Reason").fill("Some broke.")
    press(page.get_by_role("dialog"), "Change stock")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    page.get_by_label("More or fewer units").fill("7")
    press(page.get_by_role("dialog"), "Change stock")
    expect(page.get_by_text("12 units in all")).to_be_visible()

    page.get_by_role("link", name="Monitor").click()
    expect(page).to_have_url(re.compile(r"/monitor$"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.go_back()
    press(page, "Close for good")
    press(page.get_by_role("dialog"), "Close for good")
    expect(page.locator(".badge", has_text="ended").first).to_be_visible()
    with Client(shop.url) as client:
        assert client.get(f"/v1/sales/{sale_id}", "")[1]["state"] == "ended"


def test_rules_that_only_the_api_wrote_are_edited_and_no_others_are_touched(
    shop: Stage, admin: str, visit: Visit
) -> None:
    room = {"enabled": True, "factor": 1.5}
    sale = shop.sale(
        "A stored card", payment_window_seconds=20, payment_reminder_seconds=7, waiting_room=room
    )
    page = visit(shop.url, width=DESKTOP, token=admin, timezone_id="UTC").page
    page.goto(f"/console/sales/{sale['id']}/edit?step=3")
    factor = page.get_by_label("People for each unit that is left")
    expect(factor).to_have_value("1.5")
    shop.admin(f"/v1/admin/sales/{sale['id']}/pace", {"admit_per_second": 5})
    factor.fill("500")
    press(page, "Next")
    expect(factor).to_have_attribute("aria-invalid", "true")
    factor.fill("3")
    press(page, "Next")
    press(page, "Save")
    expect(page).to_have_url(re.compile(r"/console/sales/\d+$"))
    with Client(shop.url) as client:
        status, kept = client.get(f"/v1/admin/sales/{sale['id']}", ADMIN_TOKEN)
    assert status == 200
    policy, room = kept["policy"], kept["policy"]["waiting_room"]
    assert (policy["payment_window_seconds"], policy["payment_reminder_seconds"]) == (20, 7)
    assert (room["factor"], room["admit_per_second"]) == (3.0, 5.0)


def test_an_order_is_found_refunded_and_taken_away_as_a_file(
    shop: Stage, admin: str, visit: Visit, tmp_path: Path
) -> None:
    sale = shop.sale("=SUM(1;1)", stock=5)
    token = shop.buyer("refunded")
    order = shop.buy(sale, token)
    pay(shop, order, token)
    paid(shop, order, token)
    them = visit(shop.url, width=DESKTOP, token=admin)
    page = them.page
    page.goto("/console/orders")
    page.get_by_label("Search").fill(order["id"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"q={order['id']}"))
    with page.expect_download() as begun:
        press(page, "Download CSV")
    begun.value.save_as(tmp_path / "orders.csv")
    text = (tmp_path / "orders.csv").read_bytes().decode("utf-8-sig")
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["order"], row["sale_title"], row["state"]) == (order["id"], "'=SUM(1;1)", "paid")

    page.get_by_role("link", name=order["id"]).click()
    press(page, "Refund")
    page.get_by_label("Reason").fill("The glaze was cracked.")
    them.shot("console-refund-dialog")
    no_serious_fault(page)
    press(page.get_by_role("dialog"), "Refund")
    history = page.locator(".console-history")
    expect(history.get_by_text("refunded")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("The glaze was cracked.")).to_be_visible()
    them.shot("console-order-refunded")
    with Client(shop.url) as client:
        assert client.get(f"/v1/orders/{order['id']}", token)[1]["state"] == "refunded"


def test_a_key_is_shown_once_and_opens_nothing_once_revoked(
    shop: Stage, admin: str, visit: Visit
) -> None:
    them = visit(shop.url, token=admin)
    page = them.page
    page.goto("/console/keys")
    press(page.locator("main .row-between"), "Make a key")
    page.get_by_label("Name").fill("The warehouse")
    press(page.get_by_role("dialog"), "Make a key")
    shown = page.locator(".console-secret")
    expect(shown).to_be_visible()
    key = shown.inner_text()
    them.shot("console-key-shown-once")
    no_serious_fault(page)
    press(page, "I have kept it")
    expect(page.get_by_text("The warehouse")).to_be_visible()
    assert key not in page.content()
    with Client(shop.url) as client:
        assert client.get("/v1/admin/orders", key)[0] == 200
        press(page, "Revoke: The warehouse")
        press(page.get_by_role("dialog"), "Revoke")
        expect(page.locator(".badge", has_text="revoked")).to_be_visible()
        assert client.get("/v1/admin/orders", key)[0] == 401


def test_the_last_admin_stays_and_a_phone_is_invited(shop: Stage, admin: str, visit: Visit) -> None:
    them = visit(shop.url, width=DESKTOP, token=admin)
    page = them.page
    page.goto("/console/team")
    press(page, "Change roles: the-admin")
    page.get_by_label("Admin: also sees").uncheck()
    press(page.get_by_role("dialog"), "Save")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("last admin")
    them.shot("console-last-admin")
    press(page.get_by_role("dialog"), "Back")
    press(page.locator("main .row-between"), "Invite somebody")
    page.get_by_label("Phone or login").fill("138 0013 8123")
    press(page.get_by_role("dialog"), "Invite somebody")
    expect(page.get_by_text("+8613800138123")).to_be_visible()


def test_codes_are_made_and_revoked_and_a_webhook_shows_its_secret_once(
    shop: Stage, admin: str, visit: Visit
) -> None:
    sale = shop.sale("For friends", publish=False, invite_only=True)
    them = visit(shop.url, width=DESKTOP, token=admin)
    page = them.page
    page.goto(f"/console/sales/{sale['id']}/guests")
    press(page.locator("main section").first, "Make codes")
    page.get_by_role("spinbutton", name="Codes").fill("3")
    press(page.get_by_role("dialog"), "Make codes")
    expect(page.get_by_text("0 / 3")).to_be_visible()
    with page.expect_download() as begun:
        press(page, "Download", exact=False)
    assert len(Path(begun.value.path()).read_text().splitlines()) == 4
    press(page, "Revoke", exact=False)
    press(page.get_by_role("dialog"), "Revoke")
    expect(page.locator(".badge", has_text="revoked")).to_be_visible()

    page.goto("/console/webhooks")
    press(page.locator(".console-head"), "Add an endpoint")
    page.get_by_label("Address").fill("http://127.0.0.1/hook")
    press(page.get_by_role("dialog"), "Add an endpoint")
    expect(page.get_by_role("dialog").locator(".field-error")).to_be_visible()
    page.get_by_label("Address").fill("https://hooks.shop.invalid/in")
    press(page.get_by_role("dialog"), "Add an endpoint")
    secret = page.locator(".console-secret").inner_text()
    assert secret.startswith("whsec_")
    press(page, "I have kept it")
    expect(page).to_have_url(re.compile(r"/console/webhooks/\d+$"))
    press(page, "Send a test")
    expect(page.get_by_text("webhook.test")).to_be_visible()
    assert secret not in page.content()


def test_an_operator_retries_a_dead_letter_and_the_gate_sells_again(
    shop: Stage, admin: str, visit: Visit
) -> None:
    order = lose(shop, stuck=True)
    them = visit(shop.url, width=DESKTOP, token=admin)
    page = them.page
    page.goto("/operator/incidents")
    row = page.get_by_role("row", name=re.compile(f"Order not recorded.*{order}"))
    expect(row).to_be_visible(timeout=LONG_MS)
    press(row, "I look after it", exact=False)
    page.get_by_label("Note").fill("Counting the shelf.")
    press(page.get_by_role("dialog"), "I look after it")
    expect(row).to_have_count(0)
    page.get_by_role("tab", name=re.compile("^Seen")).click()
    expect(page.get_by_text("Counting the shelf.")).to_be_visible()
    them.shot("operator-incident-seen")

    page.goto("/operator/dead-letters")
    row = page.get_by_role("row", name=re.compile(order))
    expect(row.locator(".badge", has_text="stuck")).to_be_visible()
    them.shot("operator-dead-letter-stuck")
    press(row, f"Retry {order}")
    expect(row.locator(".badge", has_text="went back")).to_be_visible(timeout=LONG_MS)

    page.goto("/operator/audit")

    def holds() -> bool:
        press(page, "Run the audit now")
        expect(page.locator(".operator-light [aria-busy]")).to_have_count(0)
        return bool(page.get_by_text("Every invariant holds").is_visible())

    until(holds, within_s=40, what="every invariant holds", every_s=1)
    them.shot("operator-audit-good")
    page.goto("/operator/health")
    expect(page.get_by_text("Everything answers")).to_be_visible(timeout=LONG_MS)
    them.shot("operator-health-good")


def test_an_operator_keeps_somebody_out_and_lets_them_off(
    shop: Stage, admin: str, visit: Visit
) -> None:
    them = visit(shop.url, token=admin)
    page = them.page
    page.goto("/operator/blacklist")
    expect(page.get_by_text("Nobody is kept out")).to_be_visible()
    them.shot("operator-blacklist-empty")
    press(page, "Keep somebody out")
    page.get_by_label("Buyer or address").fill("198.51.100.7")
    page.get_by_label("Reason").fill("A script.")
    press(page.get_by_role("dialog"), "Keep somebody out")
    expect(page.get_by_text("198.51.100.7")).to_be_visible()
    press(page, "Let off: 198.51.100.7")
    press(page.get_by_role("dialog"), "Let off")
    expect(page.get_by_text("Nobody is kept out")).to_be_visible()
    page.goto("/operator/actions")
    expect(page.get_by_text("DELETE /v1/admin/blacklist/", exact=False).first).to_be_visible()


def test_the_printed_token_opens_the_console_for_this_tab_alone(shop: Stage, visit: Visit) -> None:
    them = visit(shop.url)
    page = them.page
    page.goto("/console")
    press(page, "Use the admin token")
    page.get_by_label("Admin token").fill("not it, and long enough")
    press(page, "Go on")
    expect(page.get_by_text("That token does not open this.")).to_be_visible()
    page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    press(page, "Go on")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sales")
    kept: dict[str, Any] = page.evaluate("({...localStorage})")
    assert ADMIN_TOKEN not in kept.values()
    other = them.context.new_page()
    other.goto(f"{shop.url}/console")
    expect(other.get_by_role("button", name="Use the admin token")).to_be_visible()
