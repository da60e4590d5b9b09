"""How a buyer comes onto the list of a sale that is not for everybody: by a code."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.admission.overload import Work
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.errors import NotFound
from sluice.domain.guest import CODE_CHARS, code_hash
from sluice.domain.sale import Limits
from sluice.web.api.answering import Answer, json_answer
from sluice.web.api.reading import AnyRequest, read_body, read_id
from sluice.web.overload import SHEDS
from sluice.web.parts import AskedBuyer, AskedParts, Parts
from sluice.web.problems import Problem

GUESSES = Limits(per_buyer_per_minute=5, per_address_per_minute=30)
"""Codes that merchants choose are short; nobody may try many."""


class Invitations(Controller):
    path = "/v1/sales/{sale:str}/invitation"
    opt = {SHEDS: Work.ENTER}  # noqa: RUF012

    @get()
    async def show(self, sale: FromPath[str], buyer: AskedBuyer, parts: AskedParts) -> Answer:
        """Whether the caller is on the list, and with which priority."""
        sale_id = await _shown_sale(parts, sale)
        [priority] = await parts.ledger.guest_priorities([(sale_id, buyer.buyer)])
        return json_answer(_told(sale_id, priority))

    @post(status_code=200, limits=GUESSES)
    async def redeem(
        self, sale: FromPath[str], request: AnyRequest, buyer: AskedBuyer, parts: AskedParts
    ) -> Answer:
        """The same code again changes nothing and is answered the same."""
        body = await read_body(request)
        form = Form(body.value, "", [])
        code = form.text("code", CODE_CHARS[1])
        finish(form)
        sale_id = await _shown_sale(parts, sale)
        priority = await parts.ledger.redeem(sale_id, buyer.buyer, code_hash(sale_id, code or ""))
        if priority is None:
            parts.limiting.blame(buyer)
            raise Problem("not_allowed", "This code is not valid here, or was used up.")
        parts.guests.learn(sale_id, buyer.buyer, priority)
        return json_answer(_told(sale_id, priority))


async def _shown_sale(parts: Parts, sale: str) -> int:
    route = await parts.snapshots.sale_route(read_id(sale))
    if route is None:
        raise NotFound
    return route.sale_id


def _told(sale_id: int, priority: int | None) -> Json:
    return {"sale_id": str(sale_id), "invited": priority is not None, "priority": priority or 0}
