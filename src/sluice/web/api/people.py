"""What admins see and do about people: accounts, roles, sessions, and the trail of commands."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.accounts.names import read_login, read_phone
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.account import GRANTED, Account, AdminAction, Role
from sluice.domain.errors import NotFound
from sluice.domain.times import render_time
from sluice.web.api.answering import Answer, json_answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import (
    AnyRequest,
    read_body,
    read_id,
    read_nothing,
    read_once,
    read_page,
    read_query,
)
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import invalid

ACTOR_CHARS_MAX = 200
NAME_MAX = 100


class People(Controller):
    path = "/v1/admin"

    @get("/users")
    async def users(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Oldest first; `login`, `phone` and `role` narrow it down."""
        query = read_query(request)
        page = read_page(query)
        if "login" in query or "phone" in query:
            found = await _named(parts, query)
        else:
            found = await parts.ledger.accounts(
                limit=page.limit + 1, after_id=page.after, role=_role(query.get("role"))
            )
        return page_answer(found, page, _shown, lambda account: account.id)

    @post("/users", status_code=200)
    async def invite(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Gives roles to a phone, which has an account from then on, or to the login of somebody
        who has registered. Raises `NotFound` for a login that nobody has."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        form = Form(body.value, "", [])
        login = form.text("login", NAME_MAX, required=False)
        phone = form.text("phone", NAME_MAX, required=False)
        if (login is None) == (phone is None):
            form.fault("login", "or phone is required, and not both")
        wanted = _read_roles(form)
        finish(form)
        name = read_login(login) if login is not None else ""
        number = read_phone(phone or "", parts.settings.phone_country) if phone else ""

        async def invite() -> Account:
            if name:
                found = await parts.ledger.account_by_login(name)
            else:
                found = await parts.ledger.enter_by_phone(number)
            if found is None:
                raise NotFound
            return await parts.ledger.set_roles(found.id, [*found.granted, *wanted])

        return await repeatable(parts.ledger, key, invite, _shown)

    @get("/users/{user:str}")
    async def user(self, user: FromPath[str], parts: AskedParts) -> Answer:
        account = await parts.ledger.account(read_id(user))
        if account is None:
            raise NotFound
        return json_answer(_shown(account))

    @post("/users/{user:str}/roles", status_code=200)
    async def roles(self, user: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Exactly these roles from now on; it counts for the next request of theirs. Raises
        `Conflict` where it would leave no admin."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        wanted = _roles(body.value)
        account_id = read_id(user)
        return await repeatable(
            parts.ledger,
            key,
            lambda: parts.ledger.set_roles(account_id, wanted, keep_an_admin=True),
            _shown,
        )

    @post("/users/{user:str}/logout", status_code=200)
    async def logout(self, user: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Ends all sessions of an account, at once and everywhere."""
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        account = await parts.ledger.account(read_id(user))
        if account is None:
            raise NotFound

        async def end() -> int:
            return await parts.entry.sessions.end_all(account.id)

        return await repeatable(parts.ledger, key, end, lambda ended: {"ended": ended})

    @get("/actions")
    async def actions(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """What admins and merchants did, newest first; `actor` narrows it down."""
        query = read_query(request)
        page = read_page(query)
        found = await parts.ledger.actions(
            limit=page.limit + 1, before_id=page.after, actor=_actor(query.get("actor"))
        )
        return page_answer(found, page, _shown_action, lambda action: action.id)

    @get("/inbox")
    async def inbox(self, parts: AskedParts) -> Answer:
        """The codes that were sent of late, where no hook delivers them. Raises `NotFound`."""
        if parts.entry.inbox is None:
            raise NotFound
        data = [
            {
                "id": entry.id,
                "phone": entry.phone,
                "code": entry.code,
                "expires_at": render_time(entry.expires_at_ms),
            }
            for entry in await parts.entry.inbox.latest()
        ]
        return json_answer({"data": data, "next_cursor": None})


async def _named(parts: Parts, query: dict[str, str]) -> list[Account]:
    if "login" in query:
        found = await parts.ledger.account_by_login(read_login(query["login"]))
    else:
        phone = read_phone(query["phone"], parts.settings.phone_country)
        found = await parts.ledger.account_by_phone(phone)
    return [] if found is None else [found]


def _role(text: str | None) -> Role | None:
    if text is None:
        return None
    if text not in set(GRANTED):
        raise invalid("role", "must be one of " + ", ".join(GRANTED))
    return Role(text)


def _roles(value: object) -> list[Role]:
    form = Form(value, "", [])
    wanted = _read_roles(form)
    finish(form)
    return wanted


def _read_roles(form: Form) -> list[Role]:
    there = form.has("roles")
    given = form.raw("roles")
    known = {role.value: role for role in GRANTED}
    if isinstance(given, list) and all(isinstance(each, str) and each in known for each in given):
        return [known[each] for each in dict.fromkeys(given)]
    if there:
        form.fault("roles", "must be a list of " + ", ".join(known))
    return []


def _actor(text: str | None) -> str | None:
    if text is not None and not 1 <= len(text) <= ACTOR_CHARS_MAX:
        raise invalid("actor", f"must be a name of 1 to {ACTOR_CHARS_MAX} characters")
    return text


def _shown(account: Account) -> Json:
    """Whole: whoever may give roles must know to whom."""
    return {
        "id": str(account.id),
        "buyer": account.buyer,
        "login": account.login,
        "phone": account.phone,
        "roles": account.roles,
        "created_at": render_time(account.created_at_ms),
    }


def _shown_action(action: AdminAction) -> Json:
    answered = action.answered_at_ms
    return {
        "id": str(action.id),
        "at": render_time(action.at_ms),
        "actor": action.actor,
        "action": action.action,
        "target": action.target,
        "address": action.address,
        "request_id": action.request_id,
        "status": action.status,
        "answered_at": None if answered is None else render_time(answered),
        "detail": action.detail,
    }
