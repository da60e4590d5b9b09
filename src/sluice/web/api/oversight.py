"""What the operator watches: dead letters, the audit."""

from __future__ import annotations

from contextlib import suppress

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.catalog.view import Json
from sluice.domain.errors import Unavailable
from sluice.domain.times import render_time
from sluice.ledger.records import DeadLetter, LetterState
from sluice.web.api.answering import Answer, json_answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import (
    AnyRequest,
    read_id,
    read_nothing,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts


class Oversight(Controller):
    path = "/v1/admin"
    opt = FOR_MERCHANTS

    @get("/dead-letters")
    async def dead_letters(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Oldest first: they are worked off."""
        page = read_page(read_query(request))
        found = await parts.ledger.dead_letters(page.limit + 1, page.after or 0)
        return page_answer(found, page, _shown_letter, lambda letter: letter.id)

    @post("/dead-letters/{letter:str}/retry", status_code=200)
    async def retry(self, letter: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Sees to it that the units of an order that could not be recorded go back, once."""
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)

        async def retry() -> DeadLetter:
            found = await parts.ledger.retry_dead_letter(read_id(letter))
            if found.state is LetterState.RETURNING:
                # The gate is handed it now; where it is away, the worker does so later.
                with suppress(Unavailable):
                    await parts.auditor.repair()
            return found

        return await repeatable(parts.ledger, key, retry, _shown_letter)

    @get("/audit")
    async def audit(self, parts: AskedParts) -> Answer:
        """Every invariant, looked at now."""
        report = await parts.auditor.audit()
        return json_answer(report)


def _shown_letter(letter: DeadLetter) -> Json:
    return {
        "id": str(letter.id),
        "order_id": str(letter.number),
        "item_id": str(letter.item_id),
        "buyer": letter.buyer,
        "quantity": letter.quantity,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": render_time(letter.at_ms),
        "state": letter.state.value,
        "returned_at": (
            None if letter.returned_at_ms is None else render_time(letter.returned_at_ms)
        ),
    }
