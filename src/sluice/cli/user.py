"""`sluice user`: who has an account, and who may sell and administer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.accounts.names import read_login, read_phone
from sluice.cli._noted import noted
from sluice.cli._options import AsJson, Data, command, need_ledger, read_settings, run, table
from sluice.domain.account import Account, Role
from sluice.domain.errors import Invalid, NotFound
from sluice.domain.times import render_time

if TYPE_CHECKING:
    from sluice.wiring import Stores

app = command("List accounts, and give or take roles.")

PAGE = 100

Who = Annotated[
    str, typer.Argument(metavar="WHO", help="A login, a phone with its +, or an account's number.")
]
Given = Annotated[Role, typer.Argument(metavar="ROLE", help="`merchant` or `admin`.")]


@app.command("list")
def list_accounts(
    role: Annotated[
        Role | None, typer.Option("--role", metavar="ROLE", help="Only those with this role.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List accounts, the oldest first."""
    wanted = None if role is Role.BUYER else role

    async def step(stores: Stores) -> list[Account]:
        found: list[Account] = []
        after: int | None = None
        while page := await stores.ledger.accounts(limit=PAGE, after_id=after, role=wanted):
            found += page
            after = page[-1].id
        return found

    _show(_run(data, step), as_json)


@app.command()
def show(who: Who, data: Data = None, as_json: AsJson = False) -> None:
    """Show one account."""
    _show([_run(data, lambda stores: _find(stores, who))], as_json)


@app.command()
def grant(who: Who, role: Given, data: Data = None, as_json: AsJson = False) -> None:
    """Give somebody a role; it counts from their next request on."""

    async def step(stores: Stores) -> Account:
        account = await _find(stores, who)
        return await stores.ledger.set_roles(account.id, [*account.granted, role])

    _show([_run(data, lambda stores: noted(stores, "sluice user grant", who, step))], as_json)


@app.command()
def revoke(who: Who, role: Given, data: Data = None, as_json: AsJson = False) -> None:
    """Take a role away; it counts from their next request on."""

    async def step(stores: Stores) -> Account:
        account = await _find(stores, who)
        left = [each for each in account.granted if each is not role]
        return await stores.ledger.set_roles(account.id, left)

    _show([_run(data, lambda stores: noted(stores, "sluice user revoke", who, step))], as_json)


async def _find(stores: Stores, who: str) -> Account:
    """Raises `NotFound`."""
    found: Account | None = None
    if who.startswith("+"):
        found = await stores.ledger.account_by_phone(_phone(stores, who))
    else:
        found = await stores.ledger.account_by_login(_login(who))
        if found is None and who.isascii() and who.isdigit() and len(who) < 19:
            found = await stores.ledger.account(int(who))
    if found is None:
        raise NotFound(f"There is no account {who}.")
    return found


def _phone(stores: Stores, who: str) -> str:
    return read_phone(who, stores.settings.phone_country)


def _login(who: str) -> str:
    try:
        return read_login(who)
    except Invalid:
        return ""  # such as a number of one digit: no login, but perhaps an account's number


def _run(data: Path | None, step: Callable[[Stores], Awaitable[Any]]) -> Any:
    settings = read_settings(data, "user")
    need_ledger(settings)

    from sluice import wiring  # reading a command line must not wait for the stores' clients

    async def with_stores() -> Any:
        async with wiring.parts(settings) as stores:
            return await step(stores)

    return run(with_stores())


def _show(accounts: list[Account], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_json(account) for account in accounts], indent=2))
        return
    rows = [
        (
            str(account.id),
            account.login or "",
            account.phone or "",
            ", ".join(account.roles),
            render_time(account.created_at_ms),
        )
        for account in accounts
    ]
    table(("ACCOUNT", "LOGIN", "PHONE", "ROLES", "SINCE"), rows)


def _json(account: Account) -> dict[str, Any]:
    return {
        "id": str(account.id),
        "buyer": account.buyer,
        "login": account.login,
        "phone": account.phone,
        "roles": account.roles,
        "created_at": render_time(account.created_at_ms),
    }
