"""Registering, logging in, and the caller's own sessions."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath

from sluice.accounts.passwords import PASSWORD_CHARS_MAX
from sluice.admission.overload import Work
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.account import (
    Account,
    Role,
    SessionFacts,
    account_of,
    masked_login,
    masked_phone,
)
from sluice.domain.errors import NotFound
from sluice.domain.times import render_time
from sluice.web.api.answering import JSON, Answer, bytes_answer, json_answer
from sluice.web.api.callers import AskedCaller, Caller, RequestHeaders, where_of
from sluice.web.api.reading import AnyRequest, read_body, read_nothing
from sluice.web.overload import SHEDS
from sluice.web.parts import AskedParts, Parts

TEXT_MAX = PASSWORD_CHARS_MAX
"""Characters of a field that says something more exact about itself later."""
_SENT = {"status": "sent"}


class Accounts(Controller):
    path = "/v1"
    opt = {SHEDS: Work.ENTER}  # noqa: RUF012 - the framework's way

    @post("/accounts")
    async def register(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """An account with login and password. A name that is taken gets the same answer."""
        form = Form((await read_body(request)).value, "", [])
        login, password = _text(form, "login"), _text(form, "password")
        finish(form)
        name = await parts.entry.logins.register(login, password, where_of(request, parts))
        return json_answer({"login": name}, 201)

    @post("/login/code", status_code=202)
    async def code(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Sends a code to a phone, whether it has an account or not."""
        form = Form((await read_body(request)).value, "", [])
        phone, bind = _text(form, "phone"), form.truth("bind", False)
        finish(form)
        word = await parts.entry.logins.ask_code(phone, where_of(request, parts), bound=bind)
        return json_answer({**_SENT, "request": word} if bind else _SENT, 202)

    @post("/login", status_code=200)
    async def login(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """A session, for a phone and its code or for a login and its password."""
        entry, where = parts.entry, where_of(request, parts)
        form = Form((await read_body(request)).value, "", [])
        wants_cookie = form.truth("cookie", False)
        if form.has("phone") or form.has("code"):
            phone, code = _text(form, "phone"), _text(form, "code")
            word = form.text("request", 64, required=False) or ""
            finish(form)
            _check_cookie(request, parts, wants_cookie)
            opened, account = await entry.logins.by_code(phone, code, where, request=word)
        else:
            login, password = _text(form, "login"), _text(form, "password")
            finish(form)
            _check_cookie(request, parts, wants_cookie)
            opened, account = await entry.logins.by_password(login, password, where)
        body = {
            "expires_at": render_time(opened.expires_at_ms),
            "buyer": shown_account(account),
            "csrf": entry.csrf.word(opened.token),
        }
        if not wants_cookie:
            return json_answer({"token": opened.token, **body})
        scheme, host = _place(request)
        age_s = (opened.expires_at_ms - parts.clock.now_ms()) // 1000
        cookie = entry.credentials.cookie(opened.token, age_s, scheme=scheme, host=host)
        return json_answer(body, headers={"set-cookie": cookie})

    @delete("/session", status_code=200)
    async def logout(self, request: AnyRequest, caller: AskedCaller, parts: AskedParts) -> Answer:
        """Ends the session that asks, in every process."""
        await read_nothing(request)
        account_id, session_id, _ = caller.session()
        await parts.entry.sessions.end(account_id, session_id)
        scheme, host = _place(request)
        cookie = parts.entry.credentials.no_cookie(scheme=scheme, host=host)
        return bytes_answer(b"", 204, JSON, {"set-cookie": cookie})

    @get("/sessions")
    async def sessions(self, caller: AskedCaller, parts: AskedParts) -> Answer:
        """The caller's own, newest first; there are few of them, so they are one page."""
        account_id, session_id, _ = caller.session()
        found = await parts.entry.sessions.of_account(account_id)
        data = [_shown_session(facts, session_id) for facts in found]
        return json_answer({"data": data, "next_cursor": None})

    @delete("/sessions/{session:str}", status_code=200)
    async def end(
        self, session: FromPath[str], request: AnyRequest, caller: AskedCaller, parts: AskedParts
    ) -> Answer:
        """Ends one of the caller's sessions, in every process."""
        await read_nothing(request)
        account_id, _, _ = caller.session()
        if not await parts.entry.sessions.end(account_id, session):
            raise NotFound
        return bytes_answer(b"", 204, JSON)

    @get("/me")
    async def me(self, caller: AskedCaller, parts: AskedParts) -> Answer:
        account = await _account(caller, parts)
        if account is None:
            shown: Json = {"id": caller.identity.buyer, "roles": [Role.BUYER]}
        else:
            shown = shown_account(account)
        body: Json = {"buyer": shown}
        if caller.alive is not None:
            body["csrf"] = parts.entry.csrf.word(caller.token)
        return json_answer(body)

    @post("/me/password", status_code=200)
    async def password(self, request: AnyRequest, caller: AskedCaller, parts: AskedParts) -> Answer:
        """Another password, and the end of all other sessions, in every process."""
        alive = caller.own_session()
        form = Form((await read_body(request)).value, "", [])
        current, new = _text(form, "current"), _text(form, "new")
        finish(form)
        where = where_of(request, parts)
        ended = await parts.entry.logins.change_password(alive, current, new, where)
        return json_answer({"ended": ended})


async def _account(caller: Caller, parts: Parts) -> Account | None:
    """None for a buyer of the shop's own tokens."""
    account_id = account_of(caller.identity.buyer) if caller.alive is not None else None
    return None if account_id is None else await parts.ledger.account(account_id)


def shown_account(account: Account) -> Json:
    """As its owner sees it: enough to recognise, too little to leak."""
    shown: Json = {"id": account.buyer}
    if account.login is not None:
        shown["login"] = masked_login(account.login)
    if account.phone is not None:
        shown["phone"] = masked_phone(account.phone)
    return {**shown, "roles": account.roles}


def _shown_session(facts: SessionFacts, current: str) -> Json:
    return {
        "id": facts.id,
        "created_at": render_time(facts.created_at_ms),
        "expires_at": render_time(facts.expires_at_ms),
        "address": facts.address,
        "client": facts.label,
        "current": facts.id == current,
    }


def _text(form: Form, name: str) -> str:
    """A field that its reader looks at more closely; a fault is told by `finish`."""
    there = form.has(name)
    value = form.raw(name)
    if isinstance(value, str) and len(value) <= TEXT_MAX:
        return value
    if there:
        form.fault(name, f"must be a text of at most {TEXT_MAX} characters")
    return ""


def _check_cookie(request: AnyRequest, parts: Parts, wanted: bool) -> None:
    """Another site's page must not log its visitor in as somebody else."""
    if wanted:
        parts.entry.credentials.check_origin(RequestHeaders(request), None)


def _place(request: AnyRequest) -> tuple[str, str | None]:
    return request.scope["scheme"], request.headers.get("host")
