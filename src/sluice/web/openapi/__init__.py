"""The one OpenAPI 3.1 document of both lanes; docs/decisions/openapi.md says why it is written."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

import sluice
from sluice.web.credentials import SECURE_COOKIE
from sluice.web.openapi import (
    accounts,
    admin,
    buying,
    console,
    entering,
    house,
    payments,
    waiting_room,
    watching,
    webhooks,
)
from sluice.web.openapi.parts import ADMIN, BUYER, COOKIE, MERCHANT, PERSON, SESSION
from sluice.web.openapi.schemas import SCHEMAS

_ABOUT = """
Flash sales that sell exactly the stock, to one person once, and tell the truth at once.

A purchase has three steps: ask for a **pass**, **buy** with it, and ask for the **order** until it
is `awaiting_payment`. Whatever goes wrong, send the same pass again: it cannot buy twice, and it
always answers with its own order.

Times are RFC 3339 in UTC, money is a decimal string with a currency, identifiers are strings.
Unknown fields in a request are refused. Errors are problem documents (RFC 9457); their codes are
explained at [/docs/problems](/docs/problems). Every answer carries `X-Request-Id`.

Instead of asking again, listen: `GET /v1/live` is a WebSocket on which the same facts come as they
happen. This format cannot describe its messages; the repository's `docs/live.md` does.
"""

_TAGS = {
    "Accounts": "For buyers whom no shop vouches for.",
    "Buying": "From the sale to the order.",
    "Paying": "From the order to the money.",
    "Sales": "What the merchant sells.",
    "Oversight": "What the operator watches.",
    "Webhooks": "What the merchant's systems are told.",
    "Keys": "For the merchant's own systems.",
    "People": "Accounts, roles, and who did what.",
    "House": "For machines around the service.",
}


def document() -> dict[str, Any]:
    """The document as plain dicts; callers must not change it."""
    return _document()


@cache
def encoded() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(_document())


@cache
def _document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": sluice.__version__,
            "summary": "Flash sales that sell exactly the stock.",
            "description": _ABOUT.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {
            **accounts.PATHS,
            **buying.PATHS,
            **entering.PATHS,
            **waiting_room.PATHS,
            **admin.PATHS,
            **console.PATHS,
            **watching.PATHS,
            **payments.PATHS,
            **webhooks.PATHS,
            **house.PATHS,
        },
        "webhooks": webhooks.MESSAGES,
        "components": {
            "schemas": {
                **SCHEMAS,
                **accounts.SCHEMAS,
                **entering.SCHEMAS,
                **console.SCHEMAS,
                **watching.SCHEMAS,
                **waiting_room.SCHEMAS,
                **payments.SCHEMAS,
                **webhooks.SCHEMAS,
            },
            "securitySchemes": {
                BUYER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a session, or an identity token of the merchant's "
                    'shop: a JWT with `sub`, `exp` and `aud: "sluice"`, signed with the key that '
                    "was agreed on.",
                },
                SESSION: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a session, from `POST /v1/login`.",
                },
                MERCHANT: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin token, the session of a user with the role "
                    "`merchant` or `admin`, or a key of the merchant's systems.",
                },
                PERSON: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin token, or the session of a user with the role "
                    "`merchant` or `admin`; no key.",
                },
                ADMIN: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin token, which `sluice up` prints on its first start, "
                    "or the session of a user with the role `admin`.",
                },
                COOKIE: {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SECURE_COOKIE,
                    "description": "A session's token, for pages; `sluice` on http://localhost. "
                    "Every command needs the header `Sluice-CSRF` as well, and comes from our own "
                    "origin.",
                },
            },
        },
    }
