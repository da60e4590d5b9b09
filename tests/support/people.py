"""People of a running product: they register, log in, and are given roles."""

from __future__ import annotations

from typing import Any

from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product

PASSWORD = "correct horse battery"


def log_in(client: Client, login: str) -> str:
    """A new session's token; the account is made where there is none."""
    person = {"login": login, "password": PASSWORD}
    status, said = client.post("/v1/accounts", "", person)
    # 409 where an answer was lost and the same was asked again; the password tells whose it is.
    assert status in (201, 409), said
    status, said = client.post("/v1/login", "", person)
    assert status == 200, said
    return str(said["token"])


def account(client: Client, login: str) -> dict[str, Any]:
    """The account as an admin sees it."""
    status, said = client.get(f"/v1/admin/users?login={login}", ADMIN_TOKEN)
    assert status == 200, said
    [found] = said["data"]
    return dict(found)


def give(client: Client, login: str, *roles: str) -> None:
    path = f"/v1/admin/users/{account(client, login)['id']}/roles"
    status, said = client.post(path, ADMIN_TOKEN, {"roles": list(roles)})
    assert status == 200, said


def somebody(product: Product, login: str, *roles: str) -> str:
    """A session's token of somebody with these roles."""
    with Client(product.url) as client:
        token = log_in(client, login)
        if roles:
            give(client, login, *roles)
        return token
