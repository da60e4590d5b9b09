"""Every route of the OpenAPI document, asked by nobody, buyers, merchants and admins, against a
table of who may. A route that is not in the table fails."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from tests.support.http import Client
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product

from sluice.web.openapi import document

EVERYBODY = "everybody"
KNOWN = "known"
"""A buyer: of the shop's, or with a session of ours."""
SESSION = "session"
MERCHANTS = "merchants"
IN_PERSON = "merchants in person"
"""No machine of theirs: keys make no keys."""
ADMINS = "admins"

WHO: dict[str, str] = {
    "register": EVERYBODY,
    "sendCode": EVERYBODY,
    "logIn": EVERYBODY,
    "logOut": SESSION,
    "listSessions": SESSION,
    "endSession": SESSION,
    "getMe": KNOWN,
    "changePassword": SESSION,
    "listSales": EVERYBODY,
    "getSale": EVERYBODY,
    "requestPass": KNOWN,
    "buy": KNOWN,
    "listOrders": KNOWN,
    "getChallenge": KNOWN,
    "getInvitation": KNOWN,
    "redeemInvitation": KNOWN,
    "getOrder": KNOWN,
    "cancelOrder": KNOWN,
    "joinWaitlist": KNOWN,
    "getWaitlistEntry": KNOWN,
    "leaveWaitlist": KNOWN,
    "joinWaitingRoom": KNOWN,
    "getPlace": KNOWN,
    "leaveWaitingRoom": KNOWN,
    "connectLive": EVERYBODY,
    "pay": KNOWN,
    "takeCallback": EVERYBODY,
    "showCheckout": EVERYBODY,
    "settleCheckout": EVERYBODY,
    "turnKnobs": EVERYBODY,
    "listAllSales": MERCHANTS,
    "createSale": MERCHANTS,
    "getAnySale": MERCHANTS,
    "changeSale": MERCHANTS,
    "publishSale": MERCHANTS,
    "pauseSale": MERCHANTS,
    "resumeSale": MERCHANTS,
    "closeSale": MERCHANTS,
    "editStock": MERCHANTS,
    "watchSale": MERCHANTS,
    "listTicks": MERCHANTS,
    "reportSale": MERCHANTS,
    "setPace": MERCHANTS,
    "listAllOrders": MERCHANTS,
    "getAnyOrder": MERCHANTS,
    "listDeadLetters": MERCHANTS,
    "retryDeadLetter": MERCHANTS,
    "getHealth": MERCHANTS,
    "listIncidents": MERCHANTS,
    "seeIncident": MERCHANTS,
    "listKeys": IN_PERSON,
    "addKey": IN_PERSON,
    "revokeKey": IN_PERSON,
    "refundOrder": MERCHANTS,
    "cancelAnyOrder": MERCHANTS,
    "listOpenMoney": MERCHANTS,
    "retryRefund": MERCHANTS,
    "listWaitlist": MERCHANTS,
    "listEndpoints": MERCHANTS,
    "addEndpoint": MERCHANTS,
    "getEndpoint": MERCHANTS,
    "changeEndpoint": MERCHANTS,
    "deleteEndpoint": MERCHANTS,
    "rotateSecret": MERCHANTS,
    "testEndpoint": MERCHANTS,
    "replayFailed": MERCHANTS,
    "listDeliveries": MERCHANTS,
    "getDelivery": MERCHANTS,
    "replayDelivery": MERCHANTS,
    "audit": MERCHANTS,
    "listCodeBatches": MERCHANTS,
    "makeCodes": MERCHANTS,
    "listCodes": MERCHANTS,
    "revokeCodes": MERCHANTS,
    "listGuests": MERCHANTS,
    "addGuests": MERCHANTS,
    "removeGuests": MERCHANTS,
    "listBlacklist": ADMINS,
    "blacklist": ADMINS,
    "liftBlacklist": ADMINS,
    "listUsers": ADMINS,
    "inviteUser": ADMINS,
    "getUser": ADMINS,
    "setRoles": ADMINS,
    "logOutUser": ADMINS,
    "listActions": ADMINS,
    "readInbox": ADMINS,
    "isAlive": EVERYBODY,
    "isReady": EVERYBODY,
    "getMetrics": EVERYBODY,
    "getDocument": EVERYBODY,
    "readDocument": EVERYBODY,
    "readProblems": EVERYBODY,
    "showInbox": EVERYBODY,
}
MAY = {
    "nobody": {EVERYBODY},
    "a buyer of the shop": {EVERYBODY, KNOWN},
    "a buyer": {EVERYBODY, KNOWN, SESSION},
    "a merchant": {EVERYBODY, KNOWN, SESSION, MERCHANTS, IN_PERSON},
    "an admin": {EVERYBODY, KNOWN, SESSION, MERCHANTS, IN_PERSON, ADMINS},
    "the admin token": {EVERYBODY, MERCHANTS, IN_PERSON, ADMINS},
    "a key": {EVERYBODY, MERCHANTS},
    "a key that looks": {EVERYBODY, MERCHANTS},
}
NO_PERSON = ("the admin token", "a key", "a key that looks")
UNKNOWN, FORBIDDEN, LET_IN = "unknown", "forbidden", "let in"

OPERATIONS = {
    operation["operationId"]: (method.upper(), path)
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
}
NOTHING_THERE = defaultdict(lambda: "999999", {"pass": "x.y.z", "session": "nothing"})
"""Whoever is let in finds nothing, so that nothing happens."""


@pytest.fixture(scope="module")
def tokens(product: Product) -> dict[str, str]:
    return {
        "nobody": "",
        "a buyer of the shop": Client.token(product.identity_secret(), "who-may"),
        "a buyer": somebody(product, "who-may-buyer"),
        "a merchant": somebody(product, "who-may-merchant", "merchant"),
        "an admin": somebody(product, "who-may-admin", "admin"),
        "the admin token": ADMIN_TOKEN,
        "a key": a_key(product, "full"),
        "a key that looks": a_key(product, "read"),
    }


def a_key(product: Product, scope: str) -> str:
    with Client(product.url) as client:
        new = {"name": "who may", "scope": scope}
        status, said = client.post("/v1/admin/keys", ADMIN_TOKEN, new)
    assert status == 201, said
    return str(said["key"])


def test_the_table_has_every_route_and_no_other() -> None:
    assert WHO.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_whoever_may_is_let_in_and_nobody_else(
    product: Product, tokens: dict[str, str], name: str
) -> None:
    found = {who: asked(product, name, token) for who, token in sessions(product, name, tokens)}
    assert found == {who: expected(name, who) for who in MAY}


def sessions(product: Product, name: str, tokens: dict[str, str]) -> list[tuple[str, str]]:
    """Who logs out needs a session to lose."""
    if name != "logOut":
        return list(tokens.items())
    lost = {
        "a buyer": somebody(product, "who-may-buyer"),
        "a merchant": somebody(product, "who-may-merchant"),
        "an admin": somebody(product, "who-may-admin"),
    }
    return list({**tokens, **lost}.items())


def expected(name: str, who: str) -> str:
    looks = who != "a key that looks" or OPERATIONS[name][0] == "GET"
    if WHO[name] == EVERYBODY or (WHO[name] in MAY[who] and looks):
        return LET_IN
    if who == "nobody" or (who in NO_PERSON and WHO[name] in (KNOWN, SESSION)):
        return UNKNOWN  # a token of a machine's is no person
    return FORBIDDEN


def asked(product: Product, name: str, token: str) -> str:
    method, template = OPERATIONS[name]
    path = template.format_map(NOTHING_THERE)
    with Client(product.url) as client:
        status, said = _sent(client, method, path, token)
    code = said.get("code") if isinstance(said, dict) else None
    assert status < 500, (name, said)
    if status == 401 and not (name == "logIn" and not token):
        return UNKNOWN
    return FORBIDDEN if code == "not_allowed" else LET_IN


def _sent(client: Client, method: str, path: str, token: str) -> tuple[int, Any]:
    """Bodies that say nothing: whoever is let in is told what is missing."""
    if path in ("/metrics", "/docs", "/docs/problems", "/inbox"):
        return client.page(path, token), None
    body: dict[str, str] | None = None if method == "GET" else {}
    return client.send(method, path, token, body, {"Idempotency-Key": "who-may"})
