"""The blacklist, as the operator sees and mends it."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath

from sluice.admission.address import read as read_address
from sluice.admission.address import written
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.blacklist import ADDRESS, BUYER, Blacklisted, entry_id
from sluice.domain.errors import NotFound
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.times import render_time
from sluice.web.api.answering import Answer, counted_page
from sluice.web.api.callers import ADMIN_ACTOR
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import AnyRequest, read_body, read_once, read_page, read_query
from sluice.web.parts import AskedParts

SECONDS = (1, 30 * 86_400)
REASON_MAX = 200
LOOKED_THROUGH_MAX = 100_000


class KeepingOut(Controller):
    path = "/v1/admin"

    @get("/blacklist")
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Those that last longest first."""
        page = read_page(read_query(request))
        found = await parts.limiter.blacklist.entries(page.after or 0, page.limit + 1)
        return counted_page(found, page, _shown)

    @post("/blacklist", status_code=201)
    async def add(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Keeps a buyer or an address out, from now on."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        who, seconds, reason = _read(body.value)

        async def add() -> Blacklisted:
            return await parts.limiter.blacklist.add(who, seconds, reason)

        return await repeatable(parts.ledger, key, add, _shown, status=201)

    @delete("/blacklist/{entry:str}", status_code=204)
    async def lift(self, entry: FromPath[str], parts: AskedParts) -> None:
        """Lets somebody off; their refusals of the last minute are forgotten too."""
        for found in await parts.limiter.blacklist.entries(0, LOOKED_THROUGH_MAX):
            if entry_id(found.who) == entry:
                await parts.limiter.lift(found.who)
                return
        raise NotFound


def _read(body: object) -> tuple[str, int, str]:
    form = Form(body, "", [])
    buyer = form.text("buyer", BUYER_BYTES_MAX, required=False)
    address = form.text("address", 64, required=False)
    seconds = form.whole("seconds", *SECONDS)
    reason = form.text("reason", REASON_MAX)
    who = ""
    if (buyer is None) == (address is None):
        form.fault("buyer", "or address is required, and not both")
    elif buyer is not None:
        who = BUYER + buyer
    elif address is not None:
        found = read_address(address.removesuffix("/64"))
        if found is None:
            form.fault("address", "must be an IP address, or an IPv6 network of 64 bits")
        who = ADDRESS + written(found)
    finish(form)
    return who, seconds or SECONDS[0], reason or ""


def _shown(entry: Blacklisted) -> Json:
    kind, _, who = entry.who.partition(":")
    return {
        "id": entry.id,
        kind: who,
        "reason": entry.reason,
        "since": render_time(entry.since_ms),
        "until": render_time(entry.until_ms),
    }
