"""A server that answers as Stripe does, for what we ask of it. State in memory, rules as published.

Objects have the fields of Stripe's OpenAPI description of the API version that the installed
library is generated from (`API_VERSION`); a test compares them with the library's types.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

API_VERSION = "2026-10-28.endive"
KEY = "sk_test_51SluiceOfflineNeverLive"
EXPIRES_S_MIN, EXPIRES_S_MAX = 30 * 60, 24 * 3600
Json = dict[str, Any]


class StripeServer:
    """`now_s` is Stripe's clock. `away` makes it answer 503, `slow` what it does first."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.url = ""
        self.away = False
        self.asked: list[str] = []
        self.sessions: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.refund_status = "succeeded"
        self._answered: dict[str, tuple[Json, int, Json]] = {}
        self._ids = itertools.count(1)

    def forget_keys(self) -> None:
        """Idempotency keys are kept for a day."""
        self._answered.clear()

    def pay(self, session_id: str, amount: int | None = None, status: str = "paid") -> bool:
        """The buyer pays on Stripe's page; False where it does not let them."""
        session = self.sessions[session_id]
        if session["status"] != "open":
            return False
        paid = {"status": "complete", "payment_status": status, "url": None}
        intent = f"pi_{next(self._ids)}"
        session.update(paid, payment_intent=intent)
        if amount is not None:
            session["amount_total"] = amount
        return True

    def event(self, kind: str, found: Json) -> bytes:
        return json.dumps(
            {
                "id": f"evt_{next(self._ids)}",
                "object": "event",
                "account": None,
                "api_version": API_VERSION,
                "context": None,
                "created": int(self.now_s()),
                "data": {"object": found},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": kind,
            }
        ).encode()

    # --- HTTP -----------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1/checkout/sessions", self._answering(self._create)),
                web.get("/v1/checkout/sessions/{id}", self._answering(self._session)),
                web.post("/v1/checkout/sessions/{id}/expire", self._answering(self._expire)),
                web.post("/v1/refunds", self._answering(self._refund)),
                web.get("/v1/refunds/{id}", self._answering(self._show_refund)),
                web.get("/v1/refunds", self._answering(self._list_refunds)),
            ]
        )
        return app

    def _answering(self, handle: Callable[[str, Json], tuple[int, Json]]) -> Any:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append(f"{request.method} {request.path}")
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return _error(401, "authentication_error", None)
            if self.away:
                return _error(503, "api_error", None)
            form = _unfolded(await request.text() if request.method == "POST" else "")
            form.update(request.query)
            key = request.headers.get("idempotency-key", "")
            if key in self._answered:
                before, status, body = self._answered[key]
                if before != form:
                    return _error(400, "idempotency_error", None)
                return web.json_response(body, status=status)
            status, body = handle(request.match_info.get("id", ""), form)
            if status >= 400:
                return _error(status, "invalid_request_error", body["code"])
            if request.method == "POST" and key:
                self._answered[key] = (form, status, json.loads(json.dumps(body)))
            return web.json_response(body, status=status)

        return answer

    def _create(self, _id: str, form: Json) -> tuple[int, Json]:
        left_s = int(form["expires_at"]) - self.now_s()
        if not EXPIRES_S_MIN <= left_s <= EXPIRES_S_MAX:
            return 400, {"code": "parameter_invalid_integer"}
        line = form["line_items"]["0"]
        price = line["price_data"]
        session = a_session(
            id=f"cs_test_{next(self._ids)}",
            amount_total=int(price["unit_amount"]) * int(line["quantity"]),
            currency=price["currency"],
            client_reference_id=form["client_reference_id"],
            expires_at=int(form["expires_at"]),
            metadata=form["metadata"],
            success_url=form["success_url"],
            cancel_url=form["cancel_url"],
            created=int(self.now_s()),
        )
        session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
        self.sessions[session["id"]] = session
        return 200, session

    def _session(self, session_id: str, _form: Json) -> tuple[int, Json]:
        session = self.sessions.get(session_id)
        return (404, {"code": "resource_missing"}) if session is None else (200, session)

    def _expire(self, session_id: str, _form: Json) -> tuple[int, Json]:
        status, session = self._session(session_id, {})
        if status == 200 and session["status"] != "open":
            return 400, {"code": None}
        if status == 200:
            session.update(status="expired", url=None)
        return status, session

    def _refund(self, _id: str, form: Json) -> tuple[int, Json]:
        intent, amount = form["payment_intent"], int(form["amount"])
        session = next(s for s in self.sessions.values() if s["payment_intent"] == intent)
        if self.returned(intent) + amount > session["amount_total"]:
            return 400, {"code": "charge_already_refunded"}
        refund = a_refund(
            id=f"re_{next(self._ids)}",
            amount=amount,
            currency=session["currency"],
            payment_intent=intent,
            metadata=form["metadata"],
            status=self.refund_status,
            created=int(self.now_s()),
        )
        self.refunds[refund["id"]] = refund
        return 200, refund

    def returned(self, intent: str) -> int:
        return sum(
            refund["amount"]
            for refund in self.refunds.values()
            if refund["payment_intent"] == intent and refund["status"] != "failed"
        )

    def _show_refund(self, refund_id: str, _form: Json) -> tuple[int, Json]:
        return 200, self.refunds[refund_id]

    def _list_refunds(self, _id: str, form: Json) -> tuple[int, Json]:
        found = [r for r in self.refunds.values() if r["payment_intent"] == form["payment_intent"]]
        return 200, {"object": "list", "data": found, "has_more": False, "url": "/v1/refunds"}


def a_session(**changes: Any) -> Json:
    """A Checkout Session that was just made."""
    return {
        "id": "cs_test_a1",
        "object": "checkout.session",
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": None,
        "consent": None,
        "consent_collection": None,
        "created": 0,
        "currency": None,
        "custom_fields": [],
        "custom_text": {"shipping_address": None, "submit": None},
        "customer": None,
        "customer_creation": "if_required",
        "customer_details": None,
        "customer_email": None,
        "expires_at": 0,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": None,
        "metadata": {},
        "mode": "payment",
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": None,
        "total_details": None,
        "ui_mode": "hosted_page",
        "url": None,
        **changes,
    }


def a_refund(**changes: Any) -> Json:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 0,
        "balance_transaction": None,
        "charge": None,
        "created": 0,
        "currency": "usd",
        "metadata": {},
        "payment_intent": None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
        **changes,
    }


def _error(status: int, kind: str, code: str | None) -> web.Response:
    body = {"error": {"type": kind, "code": code, "message": f"No such thing; key {KEY[:8]}…"}}
    return web.json_response(body, status=status, headers={"request-id": "req_1"})


def _unfolded(text: str) -> Json:
    """`a[b][0]=c` → `{"a": {"b": {"0": "c"}}}`"""
    found: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *path, last = re.findall(r"[^\[\]]+", name)
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


@contextlib.asynccontextmanager
async def running(now_s: Callable[[], float]) -> AsyncIterator[StripeServer]:
    server = StripeServer(now_s)
    runner = web.AppRunner(server.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
