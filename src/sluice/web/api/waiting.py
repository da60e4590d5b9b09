"""The line for an item that is gone, as the buyer sees it."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath

from sluice.accounts.identity import Identity
from sluice.admission.challenges.answers import ANSWER_MAX
from sluice.admission.challenges.tokens import ID_MAX
from sluice.admission.overload import Work
from sluice.admission.sale_limits import WAIT
from sluice.catalog.form import Form, finish
from sluice.catalog.snapshots import ItemRoute
from sluice.catalog.view import Json
from sluice.domain.errors import NotFound
from sluice.domain.outcome import WaitOutcome
from sluice.domain.times import render_time
from sluice.waiting import InLine, Promoted
from sluice.web.api.answering import JSON, Answer, bytes_answer, json_answer
from sluice.web.api.limited import hold_back_in_sale
from sluice.web.api.reading import AnyRequest, Body, read_body, read_id, read_nothing
from sluice.web.parts import AskedBuyer, AskedParts, Parts
from sluice.web.problems import Problem, for_waiting

SLOWER = 4
"""A line moves more slowly than an order is recorded."""


class Waiting(Controller):
    path = "/v1/sales/{sale:str}/items/{item:str}/waitlist"

    @post("/", sheds=Work.BUY)
    async def join(
        self,
        sale: FromPath[str],
        item: FromPath[str],
        request: AnyRequest,
        parts: AskedParts,
        buyer: AskedBuyer,
    ) -> Answer:
        """A place at the end of the line; whoever stands in it already keeps theirs. A place may
        become an order, so the sale asks of it what it asks of a pass."""
        challenge_id, answer = _answer(await read_body(request))
        route = await _route(parts, sale, item)
        await hold_back_in_sale(request, WAIT, route, buyer, parts)
        if not parts.entrance.is_open(route.policy) and not await _waits(parts, buyer, route):
            await parts.entrance.check(buyer, route, challenge_id, answer, for_line=True)
        place = await parts.waiting.join(buyer, route)
        if place.outcome in (WaitOutcome.JOINED, WaitOutcome.WAITING):
            entry = InLine(place.entry, "waiting", place.ahead)
            if place.outcome is WaitOutcome.JOINED:
                parts.began_to_wait(route.item_id, buyer.digest)
            return _shown(parts, entry, 201 if place.outcome is WaitOutcome.JOINED else 200)
        raise for_waiting(
            place.outcome,
            starts_at=render_time(route.starts_at_ms),
            order_id=str(place.entry) if place.entry else None,
        )

    @get("/", sheds=Work.BROWSE)
    async def show(
        self, sale: FromPath[str], item: FromPath[str], parts: AskedParts, buyer: AskedBuyer
    ) -> Answer:
        route = await _route(parts, sale, item)
        return _shown(parts, await parts.waiting.place(buyer, route), 200)

    @delete(
        "/", status_code=200, sheds=Work.BUY
    )  # the answer says 204; the framework would want no answer then
    async def leave(
        self,
        sale: FromPath[str],
        item: FromPath[str],
        request: AnyRequest,
        parts: AskedParts,
        buyer: AskedBuyer,
    ) -> Answer:
        """Done again it changes nothing."""
        await read_nothing(request)
        route = await _route(parts, sale, item)
        await hold_back_in_sale(request, WAIT, route, buyer, parts)
        try:
            await parts.waiting.leave(buyer, route)
        except Promoted as promoted:
            raise Problem(
                "conflict",
                "Your turn has come: there is an order, which can be cancelled.",
                extra={"order_id": str(promoted.number)},
            ) from None
        return bytes_answer(b"", 204, JSON)


def _answer(body: Body) -> tuple[str | None, str | None]:
    """Of the sale's challenge, where it asks one."""
    form = Form(body.value, "", [])
    challenge_id = form.text("challenge_id", ID_MAX, required=False)
    answer = form.text("answer", ANSWER_MAX, required=False)
    finish(form)
    return challenge_id, answer


async def _waits(parts: Parts, buyer: Identity, route: ItemRoute) -> bool:
    try:
        return (await parts.waiting.place(buyer, route)).state == "waiting"
    except NotFound:
        return False


def _shown(parts: Parts, entry: InLine, status: int) -> Answer:
    shown = {"entry": render_entry(entry), "poll_after_ms": parts.pace.ms() * SLOWER}
    return json_answer(shown, status)


def render_entry(entry: InLine) -> Json:
    """`position` counts from 1; both are null for whoever is not in line (any more)."""
    ahead = entry.ahead
    return {
        "id": str(entry.id),
        "state": entry.state,
        "position": None if ahead is None else ahead + 1,
        "ahead": ahead,
        "order_id": None if entry.order_number is None else str(entry.order_number),
    }


async def _route(parts: Parts, sale: str, item: str) -> ItemRoute:
    """Raises `NotFound` for what is not on show."""
    sale_id, item_id = read_id(sale), read_id(item)
    route = await parts.snapshots.load_route(item_id)
    if route is None or route.sale_id != sale_id:
        raise NotFound
    return route
