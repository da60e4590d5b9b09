"""The simulator's checkout page, in the reader's language. It says plainly what it is."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from sluice.domain.simulation import SimulatedCheckout

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

_WORDS = {
    "en": {
        "title": "Simulated checkout",
        "notice": "This is a simulator. No money moves, and no card is asked for.",
        "order": "Order",
        "pay": "Simulate: the payment succeeds",
        "fail": "Simulate: the payment fails",
        "cancel": "Simulate: the buyer gives up",
        "back": "Back to the shop",
        "open": "What is to happen with this payment?",
        "captured": "Paid. The shop is told so now.",
        "failed": "The payment failed. The shop is told so now; it may offer another try.",
        "void": "Cancelled. Nothing was paid, and nothing can be paid here any more.",
    },
    "zh": {
        "title": "模拟收银台",
        "notice": "这是模拟器：不会发生真实扣款，也不会索要银行卡。",
        "order": "订单",
        "pay": "模拟：支付成功",
        "fail": "模拟：支付失败",
        "cancel": "模拟：买家放弃",
        "back": "返回商店",
        "open": "这笔支付要怎样处理？",
        "captured": "已支付，正在通知商店。",
        "failed": "支付失败，正在通知商店；商店可以让您再试一次。",
        "void": "已取消。没有付款，此处也不能再付款。",
    },
}
_ACTIONS = ("pay", "fail", "cancel")


def render(checkout: SimulatedCheckout, accept_language: str) -> bytes:
    language = language_of(accept_language)
    words = _WORDS[language]
    buttons = "\n".join(
        f'<button name="action" value="{action}">{words[action]}</button>' for action in _ACTIONS
    )
    form = f'<form method="post" class="actions">\n{buttons}\n</form>'
    return (
        _template()
        .substitute(
            {name: words[name] for name in ("title", "notice", "order")},
            language="zh-CN" if language == "zh" else "en",
            state=checkout.state,
            said=words[checkout.state],
            number=checkout.order_number,
            money=f"{checkout.amount.amount} {checkout.amount.currency}",
            actions=form if checkout.state == "open" else "",
            back=_back(checkout.return_url, words["back"]),
        )
        .encode()
    )


def language_of(accept_language: str) -> str:
    """`zh` or `en`, whichever the reader likes better; English where they like neither."""
    best, liked = "en", 0.0
    for part in accept_language[:500].split(","):
        name, _, parameter = part.strip().partition(";")
        language = name.partition("-")[0].lower()
        weight = _weight(parameter)
        if language in _WORDS and weight > liked:
            best, liked = language, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _back(url: str, word: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        return ""
    return f'<p><a href="{escape(url)}">{word}</a></p>'


@cache
def _template() -> Template:
    return Template((Path(__file__).parent / "checkout.html").read_text(encoding="utf-8"))
