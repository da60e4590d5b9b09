"""The buyers' pages in a real browser: what people do, and what they then see."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import DESKTOP, PHONE, Visit
from tests.browser.stage import Stage

WORDS = {
    "en": {
        "login": "Log in to buy",
        "password": "Use a password instead",
        "new": "Create an account",
        "make": "Create the account",
        "send": "Send the code",
        "enter": "Log in",
        "buy": "Buy now",
        "yours": "Yours. Pay by",
        "pay": "Pay ¥399",
        "simulator": "This is a simulator",
        "succeed": "Simulate: the payment succeeds",
        "back": "Back to the shop",
        "paid": "Paid. It is yours",
        "orders": "My orders",
    },
    "zh": {
        "login": "登录后购买",
        "password": "改用密码",
        "new": "创建账号",
        "make": "创建账号",
        "send": "发送验证码",
        "enter": "登录",
        "buy": "立即购买",
        "yours": "请在",
        "pay": "支付 ¥399",
        "simulator": "模拟器",
        "succeed": "模拟：支付成功",
        "back": "返回商店",
        "paid": "已支付，是您的了",
        "orders": "我的订单",
    },
}


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_somebody_logs_in_buys_and_pays(
    stage: Stage, visit: Visit, language: str, width: int
) -> None:
    words = WORDS[language]
    sale = stage.sale()
    them = visit(stage.url, language=language, width=width)
    page = them.page
    page.goto(f"/sales/{sale['id']}")
    expect(page.get_by_role("button", name=words["login"])).to_be_visible()
    them.shot("sale-live-stranger")
    if width == PHONE:
        phone = f"1380013{8000 + (language == 'zh')}"
        page.locator("[name=phone]").fill(phone)
        press(page, words["send"])
        page.locator("[name=code]").fill(stage.code_for(f"+86{phone}"))
        page.locator("sl-login").get_by_role("button", name=words["enter"], exact=True).click()
    else:
        press(page, words["password"])
        press(page, words["new"])
        page.locator("[name=login]").fill(f"mei-{language}-{width}")
        page.locator("[name=password]").fill("correct horse battery")
        press(page, words["make"])
    expect(page.locator("sl-connection")).to_have_attribute("data-state", "connected")
    assert page.url.endswith(f"/sales/{sale['id']}"), "logging in does not lead away"
    them.shot("sale-live")
    press(page, words["buy"])
    expect(page.get_by_text(words["yours"])).to_be_visible()
    them.shot("sale-yours")
    press(page, words["pay"])
    expect(page.get_by_text(words["simulator"]).first).to_be_visible()
    them.shot("checkout-open")
    press(page, words["succeed"])
    them.shot("checkout-paid")
    page.get_by_role("link", name=words["back"]).click()
    expect(page.get_by_text(words["paid"])).to_be_visible()
    assert re.search(r"/orders/\d+$", page.url), "back to the order that was paid"
    them.shot("order-paid")
    page.get_by_role("link", name=words["orders"]).first.click()
    expect(page.locator(".order-row")).to_have_count(1)
    them.shot("orders")
