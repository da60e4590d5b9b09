"""The report after a sale in a real browser: on a screen, on paper, and as a table to take away."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import DESKTOP, PHONE, SCREENSHOTS, Visit
from tests.browser.stage import Stage
from tests.browser.watching import crowd, no_serious_fault, pay
from tests.support.http import Client
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product, until

WORDS = {
    "en": {"running": "Preliminary", "ok": "Everything adds up", "sold_out": "Sold out"},
    "zh": {"running": "初步数据", "ok": "全部吻合", "sold_out": "已售罄"},
}


@pytest.fixture(scope="module")
def merchant(product: Product) -> str:
    return somebody(product, "report-merchant", "merchant")


@pytest.fixture(scope="module")
def sold(product: Product) -> dict[str, Any]:
    """A sale that a crowd fought for; two paid, one cancelled, and it is closed."""
    stage = Stage(product)
    sale = stage.sale("The November drop", stock=30)
    buyers = [stage.buyer("payer") for _ in range(3)]
    orders = [stage.buy(sale, token) for token in buyers]
    for order, token in zip(orders[:2], buyers[:2], strict=True):
        pay(stage, order, token)
    stage.cancel(orders[2], buyers[2])
    crowd(stage, sale, 80)
    report = f"/v1/admin/sales/{sale['id']}/report"

    def counted() -> bool:
        """A worker stores what was counted some seconds later."""
        with Client(product.url) as client:
            _, found = client.get(report, ADMIN_TOKEN)
        return bool(found["coverage"]["accepted_seen"] >= found["coverage"]["accepted"])

    until(counted, within_s=60, what="the counts in the ledger", every_s=0.5)
    return sale


def report(sale: dict[str, Any]) -> str:
    return f"/console/sales/{sale['id']}/report"


@pytest.mark.parametrize(("language", "width"), [("en", DESKTOP), ("zh", PHONE)])
def test_the_report_tells_what_came_of_it(
    stage: Stage,
    visit: Visit,
    merchant: str,
    sold: dict[str, Any],
    language: str,
    width: int,
) -> None:
    words = WORDS[language]
    them = visit(stage.url, language=language, width=width, token=merchant)
    page = them.page
    page.goto(report(sold))
    expect(page.get_by_text(re.compile(words["running"]))).to_be_visible()
    expect(page.locator(".light-ok .light-word")).to_have_text(words["ok"])
    refused = page.locator("#part-refused")
    expect(refused.get_by_role("row", name=re.compile(words["sold_out"]))).to_be_visible()
    money = page.locator("#part-money")
    expect(money).to_contain_text("¥798")
    chart = page.locator("[data-chart=rush]").get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile(r"[1-9]"))
    expect(page.locator("#part-fair tbody tr")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "fits its width"
    them.shot("report-running")
    no_serious_fault(page)
    other = visit(stage.url, language=language, width=PHONE + DESKTOP - width, token=merchant)
    other.page.goto(report(sold))
    expect(other.page.locator("[data-chart=rush] canvas")).to_be_visible()
    assert other.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    other.shot("report-running")


def test_the_table_can_be_taken_away(
    stage: Stage, visit: Visit, merchant: str, sold: dict[str, Any], tmp_path: Path
) -> None:
    page = visit(stage.url, width=DESKTOP, token=merchant).page
    page.goto(report(sold))
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download CSV").click()
    assert taken.value.suggested_filename == f"report-{sold['id']}.csv"
    taken.value.save_as(tmp_path / "report.csv")
    content = (tmp_path / "report.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    said = {tuple(row[:3]): row[3] for row in rows}
    assert said["funnel", "paid", ""] == "2"
    assert said["money", "simulator CNY", "net"] == "798.00"


def test_the_report_on_paper_has_no_buttons(
    stage: Stage, visit: Visit, merchant: str, sold: dict[str, Any]
) -> None:
    page = (them := visit(stage.url, width=DESKTOP, token=merchant)).page
    page.goto(report(sold))
    expect(page.locator("[data-chart=rush] canvas")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Download CSV")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    them.shot("report-print")
    page.pdf(path=SCREENSHOTS / "en" / "report.pdf", format="A4", print_background=True)


def test_a_report_of_a_sale_to_come_and_of_one_without_buyers(
    stage: Stage, visit: Visit, merchant: str
) -> None:
    page = (them := visit(stage.url, token=merchant)).page
    page.goto(report(stage.sale("Tomorrow", starts_in_s=86_400, ends_in_s=90_000)))
    expect(page.get_by_text("This sale has not started")).to_be_visible()
    them.shot("report-not-started")
    nobody = stage.sale("Nobody came")
    stage.admin(f"/v1/admin/sales/{nobody['id']}/close")
    page.goto(report(nobody))
    expect(page.get_by_text("Nobody bought anything")).to_be_visible()
    them.shot("report-empty")
    no_serious_fault(page)


def test_the_report_of_an_ended_sale_is_final(
    stage: Stage, visit: Visit, merchant: str, sold: dict[str, Any]
) -> None:
    stage.admin(f"/v1/admin/sales/{sold['id']}/close")
    page = (them := visit(stage.url, width=DESKTOP, token=merchant)).page
    page.goto(report(sold))
    expect(page.locator(".light-ok")).to_be_visible()
    expect(page.get_by_text("Preliminary")).to_have_count(0)
    them.shot("report-ended")
