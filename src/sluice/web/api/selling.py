"""The merchant's commands: sales from draft to end, and their stock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from litestar import Controller, get, patch, post
from litestar.params import FromPath

from sluice.catalog.change import parse_change
from sluice.catalog.draft import parse_reason, parse_sale, parse_stock_edit
from sluice.catalog.view import Json, render_admin_sale
from sluice.domain.errors import NotFound
from sluice.domain.sale import Sale
from sluice.domain.times import render_time
from sluice.ledger.records import StockEdit
from sluice.web.api.answering import Answer, json_answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import done_once, repeatable
from sluice.web.api.reading import (
    ADMIN_BODY_MAX,
    AnyRequest,
    OnceKey,
    read_body,
    read_id,
    read_nothing,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts, Parts


class Selling(Controller):
    path = "/v1/admin"
    opt = FOR_MERCHANTS

    @get("/sales")
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """All sales, drafts too, newest first."""
        page = read_page(read_query(request))
        found = await parts.ledger.list_sales(
            drafts=True, limit=page.limit + 1, after_id=page.after
        )
        return page_answer(found, page, lambda sale: _shown(parts, sale), lambda sale: sale.id)

    @post("/sales")
    async def create(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """A draft."""
        body = await read_body(request, ADMIN_BODY_MAX)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        new = parse_sale(body.value)
        return await done_once(
            key,
            lambda once: parts.operator.create(new, once),
            lambda sale: _shown(parts, sale),
            status=201,
        )

    @get("/sales/{sale:str}")
    async def show(self, sale: FromPath[str], parts: AskedParts) -> Answer:
        return json_answer(_shown(parts, await _sale(parts, read_id(sale))))

    @patch("/sales/{sale:str}")
    async def change(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """What the body names is changed."""
        body = await read_body(request, ADMIN_BODY_MAX)
        before = await _sale(parts, read_id(sale))
        after = await parts.operator.change(before.id, parse_change(body.value, before))
        return json_answer(_shown(parts, after))

    @post("/sales/{sale:str}/publish", status_code=200)
    async def publish(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        return await _step(parts, key, lambda: parts.operator.publish(read_id(sale)))

    @post("/sales/{sale:str}/pause", status_code=200)
    async def pause(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        reason = parse_reason(body.value)
        return await _step(parts, key, lambda: parts.operator.pause(read_id(sale), reason))

    @post("/sales/{sale:str}/resume", status_code=200)
    async def resume(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        return await _step(parts, key, lambda: parts.operator.resume(read_id(sale)))

    @post("/sales/{sale:str}/close", status_code=200)
    async def close(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        return await _step(parts, key, lambda: parts.operator.close(read_id(sale)))

    @post("/items/{item:str}/stock", status_code=200)
    async def stock(self, item: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """More units, or fewer. Raises `Conflict` where the gate had already sold them."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=True)
        delta, reason = parse_stock_edit(body.value)
        assert key is not None
        edit = await parts.operator.edit_stock(read_id(item), delta, reason, key.key)
        return json_answer(_shown_edit(edit))


async def _sale(parts: Parts, sale_id: int) -> Sale:
    found = (await parts.ledger.sales([sale_id])).get(sale_id)
    if found is None:
        raise NotFound
    return found


async def _step(parts: Parts, key: OnceKey | None, step: Callable[[], Awaitable[Sale]]) -> Answer:
    """A step of a sale's life; repeated, it answers the same again."""
    return await repeatable(parts.ledger, key, step, lambda sale: _shown(parts, sale))


def _shown(parts: Parts, sale: Sale) -> Json:
    return render_admin_sale(sale, parts.clock.now_ms())


def _shown_edit(edit: StockEdit) -> Json:
    return {
        "item_id": str(edit.item_id),
        "edit": edit.edit,
        "delta": edit.delta,
        "reason": edit.reason,
        "state": edit.state,
        "stock": edit.stock_after,
        "requested_at": render_time(edit.requested_at_ms),
    }
