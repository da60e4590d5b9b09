"""Keys for the merchant's own systems. A key makes no keys: people alone come here."""

from __future__ import annotations

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath

from sluice.accounts.keys import key_digest, key_for, key_tail, new_key
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.api_key import NAME_CHARS_MAX, ApiKey, Scope
from sluice.domain.times import render_time
from sluice.ledger.records import Answered, Once
from sluice.web.api.answering import Answer, bytes_answer, json_answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS_IN_PERSON
from sluice.web.api.reading import (
    AnyRequest,
    OnceKey,
    read_body,
    read_id,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts, Parts


class Keys(Controller):
    path = "/v1/admin/keys"
    opt = FOR_MERCHANTS_IN_PERSON

    @get()
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Newest first, those that no longer count too."""
        page = read_page(read_query(request))
        found = await parts.ledger.api_keys(limit=page.limit + 1, before_id=page.after)
        now_ms = parts.clock.now_ms()
        return page_answer(found, page, lambda key: _shown(key, now_ms), lambda key: key.id)

    @post()
    async def add(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """The key itself is in this answer and nowhere else."""
        body = await read_body(request)
        once_key = read_once(request, ADMIN_ACTOR, body, required=False)
        name, scope, expires_at_ms = _read(body.value, parts.clock.now_ms())
        token = _token(parts, once_key)

        def kept(key: ApiKey) -> bytes:
            """What is kept for a repetition holds no key."""
            return msgspec.json.encode(_shown(key, parts.clock.now_ms()))

        once = None if once_key is None else Once(once_key.key, once_key.body_hash, kept, 201)
        made = await parts.ledger.add_api_key(
            name=name,
            scope=scope,
            digest=key_digest(token),
            tail=key_tail(token),
            created_by=request.scope["state"]["actor"],
            expires_at_ms=expires_at_ms,
            once=once,
        )
        if isinstance(made, Answered):
            # The same command makes the same key, unless the secret has changed since.
            said = msgspec.json.decode(made.body)
            known = await parts.ledger.api_key_of(key_digest(token))
            return json_answer({**said, "key": token if known else None}, 201)
        return json_answer({**_shown(made, parts.clock.now_ms()), "key": token}, 201)

    @delete("/{key:str}", status_code=200)
    async def revoke(self, key: FromPath[str], parts: AskedParts) -> Answer:
        """It opens nothing from the next request on."""
        await parts.ledger.revoke_api_key(read_id(key))
        return bytes_answer(b"", 204, "application/json")


def _token(parts: Parts, key: OnceKey | None) -> str:
    return new_key() if key is None else key_for(parts.settings.secret_keys[0], key.key)


def _read(body: object, now_ms: int) -> tuple[str, Scope, int | None]:
    """`{"name", "scope", "expires_at"?}`. Raises `InvalidFields`."""
    form = Form(body, "", [])
    name = form.text("name", NAME_CHARS_MAX)
    scope = form.choice("scope", Scope.READ)
    expires_at_ms = None
    if form.has("expires_at") and not form.null("expires_at"):
        expires_at_ms = form.time("expires_at")
        if expires_at_ms is not None and expires_at_ms <= now_ms:
            form.fault("expires_at", "must be in the future")
    finish(form)
    return name or "", scope, expires_at_ms


def _shown(key: ApiKey, now_ms: int) -> Json:
    return {
        "id": str(key.id),
        "name": key.name,
        "scope": key.scope.value,
        "ends_with": key.tail,
        "state": _state(key, now_ms),
        "created_by": key.created_by,
        "created_at": render_time(key.created_at_ms),
        "expires_at": _time(key.expires_at_ms),
        "revoked_at": _time(key.revoked_at_ms),
        "last_used_at": _time(key.used_at_ms),
    }


def _state(key: ApiKey, now_ms: int) -> str:
    if key.revoked_at_ms is not None:
        return "revoked"
    return "active" if key.counts(now_ms) else "expired"


def _time(ms: int | None) -> str | None:
    return None if ms is None else render_time(ms)
