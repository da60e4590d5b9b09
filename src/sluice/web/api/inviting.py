"""The merchant's side of invitations: codes in bulk, and the list of guests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from litestar import Controller, delete, get, post
from litestar.params import FromPath

from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.errors import NotFound
from sluice.domain.guest import (
    CODE_CHARS,
    CODES_MAX,
    GUESTS_MAX,
    PRIORITY_MAX,
    SEED_BYTES,
    USES_MAX,
    Code,
    CodeBatch,
    Guest,
    NewCodes,
    code_hash,
    code_text,
)
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.text import has_control
from sluice.domain.times import render_time
from sluice.web.api import sheets
from sluice.web.api.answering import Answer, bytes_answer, counted_page, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import (
    ADMIN_BODY_MAX,
    AnyRequest,
    read_body,
    read_id,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import invalid


class Inviting(Controller):
    path = "/v1/admin/sales/{sale:str}"
    opt = FOR_MERCHANTS

    # --- codes -----------------------------------------------------------------------------

    @get("/codes")
    async def batches(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """What was made, newest first."""
        page = read_page(read_query(request))
        found = await parts.ledger.code_batches(
            read_id(sale), limit=page.limit + 1, before_id=page.after
        )
        return page_answer(found, page, _shown_batch, lambda batch: batch.id)

    @post("/codes", status_code=201)
    async def make(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Many codes for one use each, or one for many. Their texts come with the batch's page."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        sale_id = read_id(sale)
        # The same key makes the same codes, even where the first answer was lost.
        seed = bytes.fromhex(key.key)[:SEED_BYTES] if key else secrets.token_bytes(SEED_BYTES)
        new = _new_codes(body.value, sale_id, seed, parts.settings.secret_keys[0])

        async def make() -> CodeBatch:
            return await parts.ledger.make_codes(sale_id, new)

        return await repeatable(parts.ledger, key, make, _shown_batch, status=201)

    @get("/codes/{batch:str}")
    async def codes(
        self, sale: FromPath[str], batch: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """The codes of a batch and how often each was used; `?format=csv` for all of them."""
        query = read_query(request)
        found = await _batch(parts, sale, batch)
        wanted = query.get("format", "json")
        if wanted not in ("json", "csv"):
            raise invalid("format", "must be json or csv")
        if wanted == "csv":
            codes = await parts.ledger.codes(found.id, limit=CODES_MAX)
            name = f"codes-{found.sale_id}-{found.id}.csv"
            sheet = _as_csv(parts, found, codes)
            return bytes_answer(sheet, 200, sheets.CSV, sheets.attachment(name))
        page = read_page(query)
        codes = await parts.ledger.codes(found.id, limit=page.limit + 1, from_place=page.after or 0)
        return counted_page(codes, page, lambda code: _shown_code(parts, found, code))

    @delete("/codes/{batch:str}", status_code=204)
    async def revoke(self, sale: FromPath[str], batch: FromPath[str], parts: AskedParts) -> None:
        """Nobody can redeem them any more; who did stays on the list."""
        await parts.ledger.revoke_codes(read_id(sale), read_id(batch))

    # --- the list --------------------------------------------------------------------------

    @get("/guests")
    async def guests(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """In order of their keys."""
        page = read_page(read_query(request))
        found = await parts.ledger.guests(
            read_id(sale), limit=page.limit + 1, offset=page.after or 0
        )
        return counted_page(found, page, _shown_guest)

    @post("/guests", status_code=200)
    async def add(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Who is on the list already gets the new priority."""
        body = await read_body(request, ADMIN_BODY_MAX)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        sale_id = read_id(sale)
        buyers, priority = _read_guests(body.value, with_priority=True)

        async def add() -> int:
            return await parts.ledger.add_guests(sale_id, buyers, priority)

        return await repeatable(parts.ledger, key, add, lambda added: {"added": added})

    @post("/guests/remove", status_code=200)
    async def remove(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Within ten seconds they get no more passes; orders that they have stay theirs."""
        body = await read_body(request, ADMIN_BODY_MAX)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        sale_id = read_id(sale)
        buyers, _ = _read_guests(body.value, with_priority=False)

        async def remove() -> int:
            return await parts.ledger.remove_guests(sale_id, buyers)

        return await repeatable(parts.ledger, key, remove, lambda gone: {"removed": gone})


def _new_codes(body: object, sale_id: int, seed: bytes, secret: bytes) -> NewCodes:
    """`{"count", "uses", "priority"}`, or with a `"code"` of the merchant's own instead of a count.
    Raises `InvalidFields`."""
    form = Form(body, "", [])
    chosen = form.text("code", CODE_CHARS[1], required=False)
    count = form.whole("count", 1, CODES_MAX, default=1) or 1
    uses = form.whole("uses", 1, USES_MAX, default=1) or 1
    priority = form.whole("priority", 0, PRIORITY_MAX, default=0) or 0
    if chosen is not None and len(chosen.strip()) < CODE_CHARS[0]:
        form.fault("code", f"must have {CODE_CHARS[0]} or more characters")
    if chosen is not None and count != 1:
        form.fault("count", "must be 1 where the code is chosen")
    finish(form)
    texts = [chosen] if chosen else [code_text(secret, sale_id, seed, n) for n in range(count)]
    return NewCodes(
        seed=seed,
        hashes=tuple(code_hash(sale_id, text) for text in texts),
        uses_max=uses,
        priority=priority,
        chosen=chosen is not None,
    )


def _read_guests(body: object, *, with_priority: bool) -> tuple[list[str], int]:
    """`{"buyers": [...], "priority"}`. Raises `InvalidFields`."""
    form = Form(body, "", [])
    buyers = form.raw("buyers")
    if not isinstance(buyers, list) or not 1 <= len(buyers) <= GUESTS_MAX:
        form.fault("buyers", f"must be a list of 1 to {GUESTS_MAX} buyers")
        buyers = []
    for at, buyer in enumerate(buyers):
        if not _is_buyer(buyer):
            form.fault(f"buyers[{at}]", "must be a buyer's key, such as jwt:shop:42 or acct:42")
    priority = form.whole("priority", 0, PRIORITY_MAX, default=0) if with_priority else 0
    finish(form)
    return buyers, priority or 0


def _is_buyer(value: object) -> bool:
    return (
        isinstance(value, str)
        and value.startswith(("jwt:", "acct:"))
        and len(value.encode()) <= BUYER_BYTES_MAX
        and not has_control(value)
    )


async def _batch(parts: Parts, sale: str, batch: str) -> CodeBatch:
    found = await parts.ledger.code_batches(read_id(sale), batch_id=read_id(batch))
    if not found:
        raise NotFound
    return found[0]


def _text(parts: Parts, batch: CodeBatch, code: Code) -> str | None:
    """What a code says: it follows from whichever of the secret keys made it. None for one that
    was chosen, and where that key is gone."""
    for secret in () if batch.chosen else parts.settings.secret_keys:
        text = code_text(secret, batch.sale_id, batch.seed, code.place)
        if code_hash(batch.sale_id, text) == code.hash:
            return text
    return None


def _shown_batch(batch: CodeBatch) -> Json:
    return {
        "id": str(batch.id),
        "sale_id": str(batch.sale_id),
        "count": batch.count,
        "uses": batch.uses_max,
        "used": batch.used,
        "priority": batch.priority,
        "chosen": batch.chosen,
        "revoked": batch.revoked,
        "created_at": render_time(batch.created_at_ms),
        "codes_url": f"/v1/admin/sales/{batch.sale_id}/codes/{batch.id}",
    }


def _shown_code(parts: Parts, batch: CodeBatch, code: Code) -> Json:
    return {"code": _text(parts, batch, code), "uses": batch.uses_max, "used": code.used}


def _shown_guest(guest: Guest) -> Json:
    return {
        "buyer": guest.buyer,
        "priority": guest.priority,
        "added_at": render_time(guest.added_at_ms),
    }


def _as_csv(parts: Parts, batch: CodeBatch, codes: list[Code]) -> bytes:
    head = sheets.row(("code", "uses", "used", "priority"))
    return head + b"".join(map(sheets.row, _rows(parts, batch, codes)))


def _rows(parts: Parts, batch: CodeBatch, codes: list[Code]) -> Iterator[list[object]]:
    for code in codes:
        yield [_text(parts, batch, code) or "", batch.uses_max, code.used, batch.priority]
