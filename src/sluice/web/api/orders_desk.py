"""Orders as the merchant looks for them, shows them and takes them away as a file."""

from __future__ import annotations

import re
from typing import NamedTuple

from litestar import Controller, get
from litestar.params import FromPath
from litestar.response import Stream

from sluice.accounts.names import read_login, read_phone
from sluice.catalog.view import Json, render_money, render_order
from sluice.domain import number
from sluice.domain.errors import Invalid, NotFound
from sluice.domain.order import BUYER_BYTES_MAX, Order, OrderState
from sluice.domain.payment import Payment, Refund
from sluice.domain.times import render_time
from sluice.web.api import sheets
from sluice.web.api.answering import Answer, json_answer, page_answer
from sluice.web.api.callers import FOR_MERCHANTS
from sluice.web.api.order_sheet import PAGE, order_sheet
from sluice.web.api.reading import AnyRequest, query_id, read_id, read_page, read_query
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import invalid

_BUYER = re.compile(r"(jwt|acct):.+")


class Search(NamedTuple):
    """What a list of orders is narrowed down to."""

    sale_id: int | None
    state: OrderState | None
    number: int | None
    buyer: str | None


class OrdersDesk(Controller):
    path = "/v1/admin/orders"
    opt = FOR_MERCHANTS

    @get()
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer | Stream:
        """Newest first; `sale`, `state` and `q` narrow it down, `format=csv` is all of it."""
        query = read_query(request)
        page = read_page(query)
        wanted = query.get("format", "json")
        if wanted not in ("json", "csv"):
            raise invalid("format", "must be json or csv")
        search = await _read_search(parts, query)
        if wanted == "csv":
            return await _sheet(parts, search)
        found = await _found(parts, search, page.limit + 1, page.after)
        return page_answer(found, page, _with_buyer, lambda order: order.number)

    @get("/{order:str}")
    async def show(self, order: FromPath[str], parts: AskedParts) -> Answer:
        """With what was paid for it and what went back."""
        found_number = read_id(order)
        found = (await parts.ledger.orders([found_number])).get(found_number)
        if found is None:
            raise NotFound
        payments = (await parts.ledger.payments_of([found_number]))[found_number]
        refunds = await parts.ledger.refunds_of(found_number)
        sale = (await parts.ledger.sales([found.sale_id])).get(found.sale_id)
        items = sale.items if sale else []
        title = next((item.title for item in items if item.id == found.item_id), None)
        return json_answer(
            {
                **_with_buyer(found),
                "sale_title": sale.title if sale else None,
                "item_title": title,
                "payments": [_shown_payment(payment) for payment in payments],
                "refunds": [_shown_refund(refund) for refund in refunds],
            }
        )


async def _sheet(parts: Parts, search: Search) -> Stream:
    first = await _found(parts, search, PAGE, None)
    rows = order_sheet(
        parts.ledger, first, sale_id=search.sale_id, state=search.state, buyer=search.buyer
    )
    headers = sheets.attachment("orders.csv")
    return Stream(rows, media_type="text/csv", headers=headers)


async def _found(parts: Parts, search: Search, limit: int, before: int | None) -> list[Order]:
    if search.number is None:
        return await parts.ledger.list_orders(
            sale_id=search.sale_id,
            state=search.state,
            buyer=search.buyer,
            limit=limit,
            before_number=before,
        )
    order = (await parts.ledger.orders([search.number])).get(search.number)
    fits = (
        order is not None
        and search.sale_id in (None, order.sale_id)
        and search.state in (None, order.state)
    )
    return [order] if order is not None and fits and before is None else []


async def _read_search(parts: Parts, query: dict[str, str]) -> Search:
    """Raises `Problem`. What is looked for is exact: nobody finds a buyer by a piece of a phone."""
    search = Search(query_id(query, "sale"), _state(query.get("state")), None, None)
    text = query.get("q", "").strip()
    if not text:
        return search
    if len(text.encode(errors="replace")) > BUYER_BYTES_MAX or "\0" in text:
        raise invalid("q", f"must have at most {BUYER_BYTES_MAX} bytes")
    order = number.parse(text)
    if order is not None and await parts.ledger.orders([order]):
        return search._replace(number=order)
    return search._replace(buyer=await _buyer(parts, text))


async def _buyer(parts: Parts, text: str) -> str:
    """A buyer's key as it is, or that of the account with this whole login or phone."""
    if _BUYER.fullmatch(text):
        return text
    for ask in (_by_phone, _by_login):
        try:
            buyer = await ask(parts, text)
        except Invalid:
            continue
        if buyer is not None:
            return buyer
    return text  # nobody's


async def _by_phone(parts: Parts, text: str) -> str | None:
    phone = read_phone(text, parts.settings.phone_country)
    account = await parts.ledger.account_by_phone(phone)
    return None if account is None else account.buyer


async def _by_login(parts: Parts, text: str) -> str | None:
    account = await parts.ledger.account_by_login(read_login(text))
    return None if account is None else account.buyer


def _state(text: str | None) -> OrderState | None:
    if text is None:
        return None
    if text not in set(OrderState):
        raise invalid("state", "must be one of " + ", ".join(OrderState))
    return OrderState(text)


def _with_buyer(order: Order) -> Json:
    return {**render_order(order), "buyer": order.buyer}


def _shown_payment(payment: Payment) -> Json:
    captured = payment.captured
    return {
        "id": str(payment.id),
        "provider": payment.provider,
        "reference": payment.reference,
        "state": payment.state.value,
        "amount": render_money(payment.amount),
        "captured": None if captured is None else render_money(captured),
        "reason": payment.reason,
        "created_at": render_time(payment.created_at_ms),
    }


def _shown_refund(refund: Refund) -> Json:
    return {
        "id": str(refund.id),
        "payment_id": str(refund.payment_id) if refund.payment_id else None,
        "state": refund.state.value,
        "amount": render_money(refund.amount),
        "quantity": refund.quantity,
        "restock": refund.restock,
        "reason": refund.reason,
        "error": refund.error,
        "attempts": refund.attempts,
    }
