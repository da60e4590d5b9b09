"""What each operation of the OpenAPI document is tried on: things that are there, made for it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from sluice.domain.signature import Message, key_of, signed_headers
from tests.support.api import FOR_A_CROWD, a_sale
from tests.support.http import Browser
from tests.support.product import ADMIN_TOKEN, until
from tests.support.tokens import identity_token

_numbers = itertools.count(1)
MEI = {"login": "mei", "password": "correct horse battery"}
"""Who has an account; the document's examples name her as well."""


class Tried(NamedTuple):
    names: dict[str, str]
    """What stands in the address."""
    body: Any = None
    """Instead of the document's example."""
    headers: dict[str, str] | None = None
    status: int | None = None
    """Instead of the lowest that the document names."""


class Stage:
    """`buyer` is who asks as a buyer."""

    def __init__(self, url: str, secrets: dict[str, Any], buyer: str) -> None:
        self._url = url
        self._secrets = secrets
        self._buyer = buyer
        self._registered = False

    def prepare(self, operation: str, names: dict[str, str]) -> Tried:
        """Makes what the operation needs; `names` are of a sale that is on, with units left."""
        make = getattr(self, f"_{operation}", None)
        return Tried(names) if make is None else make(names)

    def session(self) -> str:
        """A new one of Mei's."""
        with Browser(self._url) as http:
            if not self._registered:  # an address may not register as often as she logs in
                http.post("/v1/accounts", json=MEI).raise_for_status()
                self._registered = True
            token: str = http.post("/v1/login", json=MEI).raise_for_status().json()["token"]
            return token

    # --- accounts --------------------------------------------------------------------------------

    def _logIn(self, names: dict[str, str]) -> Tried:  # noqa: N802 - as in the document
        self.session()
        return Tried(names)

    def _getUser(self, names: dict[str, str]) -> Tried:  # noqa: N802
        self.session()
        with self._as_admin() as http:
            [mei] = http.get("/v1/admin/users?login=mei").raise_for_status().json()["data"]
        return Tried({**names, "user": mei["id"]})

    _setRoles = _logOutUser = _getUser  # noqa: N815

    def _endSession(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """One of Mei's; another of hers ends it."""
        with self._as(self.session()) as http:
            found = http.get("/v1/sessions").raise_for_status().json()["data"]
        return Tried({**names, "session": found[0]["id"]})

    def _changePassword(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """To what it was: others log in with it."""
        return Tried(names, {"current": MEI["password"], "new": MEI["password"]})

    # --- who may try -----------------------------------------------------------------------------

    def _getChallenge(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried({**names, "sale": self._sale(challenge="proof_of_work")[0]})

    def _listCodes(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return self._with_code(names)[0]

    _revokeCodes = _listCodes  # noqa: N815

    def _redeemInvitation(self, names: dict[str, str]) -> Tried:  # noqa: N802
        tried, code = self._with_code(names)
        return tried._replace(body={"code": code})

    def _with_code(self, names: dict[str, str]) -> tuple[Tried, str]:
        code = f"a code {next(_numbers)}"
        with self._as_admin() as http:
            made = http.post(
                f"/v1/admin/sales/{names['sale']}/codes", json={"code": code, "uses": 5}
            )
        return Tried({**names, "batch": made.raise_for_status().json()["id"]}), code

    def _liftBlacklist(self, names: dict[str, str]) -> Tried:  # noqa: N802
        kept_out = {"address": "192.0.2.7", "seconds": 60, "reason": "A test."}
        with self._as_admin() as http:
            entry = http.post("/v1/admin/blacklist", json=kept_out).raise_for_status()
        return Tried({**names, "entry": entry.json()["id"]})

    def _setPace(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried({**names, "sale": self._sale(waiting_room={"enabled": True})[0]})

    def _joinWaitingRoom(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return self._setPace(names)._replace(status=201)

    def _getPlace(self, names: dict[str, str]) -> Tried:  # noqa: N802
        tried = self._setPace(names)
        with self._as(self._buyer) as http:
            path = f"/v1/sales/{tried.names['sale']}/waiting-room"
            http.post(path, json={}).raise_for_status()
        return tried

    # --- buying and waiting --------------------------------------------------------------------

    def _buy(self, names: dict[str, str]) -> Tried:
        sale, item = self._sale()
        with self._as(self._buyer) as http:
            asked = http.post(f"/v1/sales/{sale}/items/{item}/pass", json={}).raise_for_status()
        return Tried({**names, "pass": asked.json()["pass"]})

    def _getOrder(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried({**names, "order": self._order()})

    _cancelOrder = _cancelAnyOrder = _getAnyOrder = _pay = _getOrder  # noqa: N815

    def _retryDeadLetter(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """There is none where nothing went wrong; the ledger's contract has them."""
        return Tried({**names, "letter": "999999"}, status=404)

    def _seeIncident(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried({**names, "incident": "reported-999999"}, status=404)

    def _revokeKey(self, names: dict[str, str]) -> Tried:  # noqa: N802
        with self._as_admin() as http:
            made = http.post("/v1/admin/keys", json={"name": "to be revoked"})
        return Tried({**names, "key": made.raise_for_status().json()["id"]})

    def _connectLive(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """Asked for without a handshake; the handshakes are tried in test_live."""
        return Tried(names, status=426)

    def _joinWaitlist(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """Joined before: the lowest status says so."""
        sale, item = self._sale()
        self._bought("somebody else", sale, item)
        with self._as(self._buyer) as http:
            http.post(f"/v1/sales/{sale}/items/{item}/waitlist", json={}).raise_for_status()
        return Tried({**names, "sale": sale, "item": item})

    _getWaitlistEntry = _leaveWaitlist = _joinWaitlist  # noqa: N815

    # --- paying ----------------------------------------------------------------------------------

    def _takeCallback(self, names: dict[str, str]) -> Tried:  # noqa: N802
        order = self._order()
        with self._as(self._buyer) as http:
            payment = http.post(f"/v1/orders/{order}/payment", json={}).raise_for_status().json()
        told = {
            "type": "payment.captured",
            "data": {
                "order_id": order,
                "payment_id": payment["payment_id"],
                "amount": "399.00",
                "currency": "CNY",
            },
        }
        raw = json.dumps(told, separators=(",", ":")).encode()
        message = Message(f"evt_{next(_numbers)}", int(time.time()), raw)
        keys = [key_of(str(self._secrets["payment_secret"]))]
        return Tried({**names, "provider": "simulator"}, raw, dict(signed_headers(keys, message)))

    def _showCheckout(self, names: dict[str, str]) -> Tried:  # noqa: N802
        url = self._checkout(self._order())
        return Tried({**names, "reference": urlsplit(url).path.rsplit("/", 1)[-1]})

    _settleCheckout = _turnKnobs = _showCheckout  # noqa: N815

    def _refundOrder(self, names: dict[str, str]) -> Tried:  # noqa: N802
        order = self._order()
        checkout = urlsplit(self._checkout(order)).path
        with self._as(self._buyer) as http:
            http.post(checkout, data={"action": "pay"})

            def paid() -> bool:
                return bool(http.get(f"/v1/orders/{order}").json()["state"] == "paid")

            until(paid, within_s=40, what="the order is paid")
        return Tried({**names, "order": order})

    def _retryRefund(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """Money that was not what was asked for, and did not go back at the first try."""
        order = self._order()
        checkout = urlsplit(self._checkout(order)).path
        with self._as_admin() as http:
            http.post(f"{checkout}/knobs", json={"wrong_amount": 1, "refund_fail": 1})
            http.post(checkout, data={"action": "pay"})

            def failed() -> list[str]:
                owed = http.get("/v1/admin/money?limit=100").json()["data"]
                mine = [each for each in owed if each["order_id"] == order]
                return [each["refund_id"] for each in mine if each["state"] == "failed"]

            [refund] = until(failed, within_s=40, what="the refund has failed")
        return Tried({**names, "refund": refund})

    # --- the merchant's sales and webhooks -------------------------------------------------------

    def _createSale(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried(names, a_sale())

    def _publishSale(self, names: dict[str, str]) -> Tried:  # noqa: N802
        with self._as_admin() as http:
            return Tried(
                {**names, "sale": http.post("/v1/admin/sales", json=a_sale()).json()["id"]}
            )

    def _changeSale(self, names: dict[str, str]) -> Tried:  # noqa: N802
        return Tried({**names, "sale": self._sale()[0]})

    _pauseSale = _closeSale = _changeSale  # noqa: N815

    def _resumeSale(self, names: dict[str, str]) -> Tried:  # noqa: N802
        sale, _ = self._sale()
        with self._as_admin() as http:
            paused = http.post(f"/v1/admin/sales/{sale}/pause", json={"reason": "So."})
            paused.raise_for_status()
        return Tried({**names, "sale": sale})

    def _getEndpoint(self, names: dict[str, str]) -> Tried:  # noqa: N802
        """Its name leads nowhere, which the deliverer finds out by itself."""
        body = {"url": f"https://shop-{next(_numbers)}.invalid/hook"}
        with self._as_admin() as http:
            made = http.post("/v1/admin/webhooks", json=body).raise_for_status()
        return Tried({**names, "endpoint": made.json()["id"]})

    _changeEndpoint = _deleteEndpoint = _rotateSecret = _testEndpoint = _getEndpoint  # noqa: N815
    _replayFailed = _getEndpoint  # noqa: N815

    def _getDelivery(self, names: dict[str, str]) -> Tried:  # noqa: N802
        tried = self._getEndpoint(names)
        with self._as_admin() as http:
            sent = http.post(f"/v1/admin/webhooks/{tried.names['endpoint']}/test", json={})
            sent.raise_for_status()
            found = http.get("/v1/admin/deliveries").raise_for_status().json()["data"]
        return Tried({**tried.names, "delivery": found[0]["id"]})

    _replayDelivery = _getDelivery  # noqa: N815

    # --- what they are made of -----------------------------------------------------------------

    @contextmanager
    def _as(self, token: str) -> Iterator[httpx.Client]:
        headers = {"Authorization": f"Bearer {token}"}
        with Browser(self._url, headers=headers) as http:
            yield http

    def _as_admin(self) -> Any:
        return self._as(ADMIN_TOKEN)

    def _sale(self, **policy: Any) -> tuple[str, str]:
        """A sale of one unit that is on, and its item."""
        [item] = a_sale()["items"]
        new = a_sale(items=[{**item, "stock": 1}], policy={**FOR_A_CROWD, **policy})
        with self._as_admin() as http:
            sale = http.post("/v1/admin/sales", json=new).raise_for_status().json()
            http.post(f"/v1/admin/sales/{sale['id']}/publish").raise_for_status()
        return sale["id"], sale["items"][0]["id"]

    def _order(self) -> str:
        """The buyer's, to be paid."""
        return self._bought(None, *self._sale())

    def _bought(self, name: str | None, sale: str, item: str) -> str:
        token = self._buyer
        if name is not None:
            token = identity_token(str(self._secrets["identity_secret"]).encode(), name)
        with self._as(token) as http:
            asked = http.post(f"/v1/sales/{sale}/items/{item}/pass", json={}).raise_for_status()
            bought = http.post(f"/v1/buy/{asked.json()['pass']}", json={"quantity": 1})
            order = str(bought.raise_for_status().json()["order"]["id"])

            def recorded() -> bool:
                return bool(http.get(f"/v1/orders/{order}").json()["state"] != "queued")

            until(recorded, within_s=40, what="the order is recorded")
        return order

    def _checkout(self, order: str) -> str:
        with self._as(self._buyer) as http:
            asked = http.post(f"/v1/orders/{order}/payment", json={}).raise_for_status()
        return str(asked.json()["checkout_url"])
