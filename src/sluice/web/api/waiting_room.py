"""The waiting room as its operator sees it, and the pace that they set."""

from __future__ import annotations

from dataclasses import replace

from litestar import Controller, post
from litestar.params import FromPath

from sluice.catalog.form import Form, finish
from sluice.catalog.policy import read_active_max, read_admit_per_second
from sluice.catalog.view import Json
from sluice.domain.errors import Conflict, NotFound
from sluice.domain.sale import Sale, SaleChange, WaitingRoom
from sluice.web.api.answering import Answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import AnyRequest, read_body, read_id, read_once
from sluice.web.parts import AskedParts

NO_ROOM = "This sale has no waiting room; its policy can be given one."


class Pacing(Controller):
    path = "/v1/admin/sales/{sale:str}"
    opt = FOR_MERCHANTS

    @post("/pace", status_code=200)
    async def pace(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """A new pace for a room, of a sale that may be live; what is not named stays."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        sale_id = read_id(sale)
        found = (await parts.ledger.sales([sale_id])).get(sale_id)
        if found is None:
            raise NotFound
        room = _read_pace(body.value, found.policy.waiting_room)

        async def change() -> Sale:
            if not found.policy.waiting_room.enabled:
                raise Conflict(NO_ROOM)
            paced = SaleChange(
                policy=replace(found.policy, waiting_room=room), policy_was=found.policy
            )
            return await parts.operator.change(sale_id, paced)

        return await repeatable(parts.ledger, key, change, _shown_pace)


def _read_pace(body: object, before: WaitingRoom) -> WaitingRoom:
    form = Form(body, "", [])
    room = replace(
        before,
        admit_per_second=read_admit_per_second(form, before.admit_per_second),
        active_max=read_active_max(form, before.active_max),
    )
    finish(form)
    return room


def _shown_pace(sale: Sale) -> Json:
    room = sale.policy.waiting_room
    return {
        "sale_id": str(sale.id),
        "admit_per_second": room.admit_per_second,
        "active_max": room.active_max,
    }
