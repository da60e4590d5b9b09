"""What buyers see besides the hot lane: the list of sales, their own orders."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sluice.admission.overload import Work
from sluice.catalog.view import render_order
from sluice.web.api.answering import (
    FOR_A_MOMENT,
    JSON,
    Answer,
    bytes_answer,
    etag_of,
    has,
    json_answer,
    page_answer,
)
from sluice.web.api.limited import STEPS
from sluice.web.api.reading import (
    AnyRequest,
    cursor_of,
    read_id,
    read_nothing,
    read_page,
    read_query,
)
from sluice.web.api.recent import RecentPages
from sluice.web.parts import AskedBuyer, AskedParts

AskedRecent = NamedDependency[SkipValidation[RecentPages]]


class Buying(Controller):
    path = "/v1"

    @get("/sales", sheds=Work.BROWSE)
    async def sales(self, request: AnyRequest, parts: AskedParts, recent: AskedRecent) -> Answer:
        """Published sales, newest first. Raises `LedgerUnavailable`."""
        page = read_page(read_query(request))
        shown, last_id = await recent.page(page.limit, page.after)
        cursor = "null" if last_id is None else f'"{cursor_of(last_id)}"'
        etag = etag_of([cursor, *(sale.etag for sale in shown)])
        headers = {"etag": etag, "cache-control": FOR_A_MOMENT}
        if has(request, etag):
            return bytes_answer(b"", 304, JSON, headers)
        now_ms = parts.clock.now_ms()
        data = b",".join(sale.body(now_ms) for sale in shown)
        body = b'{"data":[%b],"next_cursor":%b}' % (data, cursor.encode())
        return bytes_answer(body, 200, JSON, headers)

    @get("/orders", sheds=Work.OWN)
    async def orders(self, request: AnyRequest, parts: AskedParts, buyer: AskedBuyer) -> Answer:
        """The caller's own orders, newest first. Raises `LedgerUnavailable`."""
        page = read_page(read_query(request))
        found = await parts.ledger.orders_of(buyer.buyer, page.limit + 1, page.after)
        return page_answer(found, page, render_order, lambda order: order.number)

    @post("/orders/{order:str}/cancel", status_code=200, limits=STEPS, sheds=Work.OWN)
    async def cancel(
        self, order: FromPath[str], request: AnyRequest, parts: AskedParts, buyer: AskedBuyer
    ) -> Answer:
        """Repeated, it answers the same again. Raises `Conflict` where it is paid or over."""
        await read_nothing(request)
        receipt = request.headers.get("sluice-receipt")
        cancelled = await parts.purchase.cancel(buyer, read_id(order), receipt)
        return json_answer(render_order(cancelled))
