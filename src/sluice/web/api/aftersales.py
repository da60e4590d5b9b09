"""What the operator does after the win: refunds, cancellations, open money, the lines."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.catalog.draft import parse_reason, parse_refund
from sluice.catalog.view import Json, render_money, render_order
from sluice.domain.errors import NotFound
from sluice.domain.order import Order
from sluice.domain.times import render_time
from sluice.flow import cancel
from sluice.ledger.records import OpenMoney, WaitEntry
from sluice.web.api.answering import Answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import done_once, repeatable
from sluice.web.api.reading import (
    AnyRequest,
    read_body,
    read_id,
    read_nothing,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts


class Aftersales(Controller):
    path = "/v1/admin"
    opt = FOR_MERCHANTS

    @post("/orders/{order:str}/refund", status_code=200)
    async def refund(self, order: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """All that is not refunded yet, or some units of it. Raises `Conflict` where the order is
        not paid, or has not so many units left."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=True)
        wanted = parse_refund(body.value)
        return await done_once(
            key,
            lambda once: parts.ledger.request_refund(
                read_id(order), wanted.quantity, wanted.restock, wanted.reason, once
            ),
            render_with_buyer,
            status=200,
        )

    @post("/orders/{order:str}/cancel", status_code=200)
    async def cancel(self, order: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Raises `Conflict` where the order is paid (refund it) or over."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        reason = parse_reason(body.value)
        return await repeatable(
            parts.ledger,
            key,
            lambda: cancel(parts.ledger, parts.settlement, read_id(order), None, reason),
            render_with_buyer,
        )

    @get("/money")
    async def money(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Money that is owed back and not yet back, oldest first."""
        page = read_page(read_query(request))
        found = await parts.ledger.open_money(page.limit + 1, page.after or 0)
        return page_answer(found, page, _shown_money, lambda owed: owed.refund.id)

    @post("/money/{refund:str}/retry", status_code=200)
    async def retry(self, refund: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """A new try of a refund that failed. Raises `Conflict` for one that did not."""
        body = await read_nothing(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)

        async def retry() -> OpenMoney:
            again = await parts.ledger.retry_refund(read_id(refund))
            payment = await parts.ledger.payment(again.payment_id)
            if payment is None:
                raise NotFound
            return OpenMoney(again, payment)

        return await repeatable(parts.ledger, key, retry, _shown_money)

    @get("/items/{item:str}/waitlist")
    async def waitlist(self, item: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Who waits, first in line first."""
        page = read_page(read_query(request))
        item_id = read_id(item)
        if item_id not in await parts.ledger.sales_of_items([item_id]):
            raise NotFound
        found = await parts.ledger.waitlist(item_id, page.limit + 1, page.after or 0)
        return page_answer(found, page, _shown_entry, lambda entry: entry.id)


def render_with_buyer(order: Order) -> Json:
    return {**render_order(order), "buyer": order.buyer}


def _shown_money(owed: OpenMoney) -> Json:
    refund, payment = owed
    captured = payment.captured
    return {
        "refund_id": str(refund.id),
        "payment_id": str(payment.id),
        "order_id": str(payment.order_number),
        "provider": payment.provider,
        "reference": payment.reference,
        "state": refund.state.value,
        "reason": refund.reason,
        "owed": render_money(refund.amount),
        "captured": None if captured is None else render_money(captured),
        "attempts": refund.attempts,
        "error": refund.error,
        "paid_for_at": render_time(payment.created_at_ms),
    }


def _shown_entry(entry: WaitEntry) -> Json:
    return {
        "id": str(entry.id),
        "buyer": entry.buyer,
        "joined_at": render_time(entry.joined_at_ms),
    }
