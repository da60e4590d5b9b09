"""Paying: the buyer's route, the providers' route, and the simulator's pages."""

from __future__ import annotations

from sluice.payment.knobs import Knobs
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    BUYER,
    ID,
    Json,
    answer,
    body,
    header,
    operation,
    path_id,
    path_word,
    ref,
)
from sluice.web.openapi.schemas import TIME, form, shape

_TAG = "Paying"
_ORDER = path_id("order", "The order's id.", samples.ORDER["id"])
_REFERENCE = path_word(
    "reference",
    "The checkout, as the `checkout_url` has it.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "maxLength": 64},
    "sim_9vT2mXw4bQz1LkR0aYc7Ug",
)
_HTML: Json = {"type": "string"}
_CHECKOUT: Json = {
    "payment_id": "31",
    "checkout_url": "https://drop.example/simulator/checkout/sim_9vT2mXw4bQz1LkR0aYc7Ug",
    "expires_at": "2026-11-11T02:15:01.400Z",
}
_CALLBACK: Json = {
    "type": "payment.captured",
    "data": {
        "order_id": samples.ORDER["id"],
        "payment_id": "31",
        "amount": "399.00",
        "currency": "CNY",
    },
}
_SIGNED = (
    header(
        "webhook-id",
        "Names the callback; told twice, it counts once. (The simulator's, as the next two.)",
        {"type": "string", "maxLength": 100},
        "evt_5f0c2d8e9a1b",
    ),
    header(
        "webhook-timestamp",
        "When it was signed, in Unix seconds; good for five minutes.",
        {"type": "string", "maxLength": 12},
        "1794362400",
    ),
    header(
        "webhook-signature",
        "`v1,` and base64 of the HMAC-SHA256 of `id.timestamp.body`; several with spaces between.",
        {"type": "string", "maxLength": 2000},
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
)

_CHANCE: Json = {"type": "number", "minimum": 0, "maximum": 1, "default": 0}
_MILLISECONDS: Json = {"type": "integer", "minimum": 0, "maximum": 86_400_000, "default": 0}
_KNOBS: Json = {
    "settle": {"type": "string", "enum": ["ask", "pay", "fail", "cancel"], "default": "ask"},
    "pay_after_close": {"type": "boolean", "default": False},
    **dict.fromkeys(("delay_ms", "spread_ms"), _MILLISECONDS),
}
_KNOBS |= {name: _CHANCE for name in Knobs.__struct_fields__ if name not in _KNOBS}

SCHEMAS: dict[str, Json] = {
    "Checkout": shape(
        "Where to pay. The provider may keep it open for longer than the order has to be paid.",
        {
            "payment_id": ID,
            "checkout_url": {"type": "string", "format": "uri", "maxLength": 2000},
            "expires_at": {"anyOf": [TIME, {"type": "null"}]},
        },
    ),
    "Callback": {
        "type": "object",
        "description": "What the simulator tells. Further types and members are passed over.",
        "required": ["type", "data"],
        "properties": {
            "type": {"type": "string", "maxLength": 100},
            "data": {
                "type": "object",
                "required": ["order_id", "payment_id"],
                "properties": {
                    "order_id": {"type": "string", "maxLength": 100},
                    "payment_id": {"type": "string", "maxLength": 100},
                    "amount": {"type": "string", "maxLength": 20},
                    "currency": {"type": "string", "maxLength": 3},
                    "reference": {"type": ["string", "null"], "maxLength": 200},
                    "refund_id": {"type": ["string", "null"], "maxLength": 20},
                },
            },
        },
    },
    "Taken": shape(
        "How many facts it was; 0 where there was nothing to act on.",
        {"taken": {"type": "integer", "minimum": 0}},
    ),
    "CheckoutAction": {
        "type": "object",
        "required": ["action"],
        "properties": {"action": {"type": "string", "enum": ["pay", "fail", "cancel"]}},
    },
    "Knobs": form("What goes wrong.", _KNOBS),
    "Turned": shape("The knobs as they stand.", {"knobs": {"type": "object"}}),
}

PATHS: dict[str, Json] = {
    "/v1/orders/{order}/payment": {
        "post": operation(
            "pay",
            _TAG,
            "Ask where to pay",
            description="The provider's checkout for an order that is `awaiting_payment`; asked "
            "again, the same one. 409 where nothing is to be paid: not yet, not any more.",
            parameters=[_ORDER],
            request=body("Nothing", {}, required=False),
            answers={200: answer("Where.", ref("Checkout"), _CHECKOUT)},
            problem_codes=[
                *("not_found", "conflict"),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance=f"/v1/orders/{samples.ORDER['id']}/payment",
            security=BUYER,
        )
    },
    "/v1/webhooks/payments/{provider}": {
        "post": operation(
            "takeCallback",
            _TAG,
            "Where a payment provider tells us what happened",
            description="Signature and body are the provider's own; those of the simulator are "
            "shown (Standard Webhooks). 200 says that the callback is in the ledger, also for one "
            "that came before; after any other answer the provider sends it again.",
            parameters=[
                path_word(
                    "provider",
                    "The provider's name.",
                    {"type": "string", "pattern": "^[a-z]{1,20}$", "maxLength": 20},
                    "simulator",
                ),
                *_SIGNED,
            ],
            request=body("Callback", _CALLBACK, required=False),
            answers={200: answer("It is taken.", ref("Taken"), {"taken": 1})},
            problem_codes=["bad_signature", "not_found", "overloaded", "unavailable"],
            instance="/v1/webhooks/payments/simulator",
        )
    },
    "/simulator/checkout/{reference}": {
        "get": operation(
            "showCheckout",
            _TAG,
            "The simulator's checkout page",
            description="Only where the simulator is the provider. English or Chinese, by "
            "`Accept-Language`.",
            parameters=[_REFERENCE],
            answers={200: answer("A page.", _HTML, "<!doctype html>…", media_type="text/html")},
            problem_codes=["not_found", "unavailable"],
            instance="/simulator/checkout",
        ),
        "post": operation(
            "settleCheckout",
            _TAG,
            "Press a button of that page",
            description="`action=pay`, `fail` or `cancel`. A checkout that has ended stays as it "
            "is. Then our webhook is called, as the knobs have it.",
            parameters=[_REFERENCE],
            request={
                "required": True,
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": ref("CheckoutAction"),
                        "example": {"action": "pay"},
                    }
                },
            },
            answers={303: answer("See the page, which shows how it stands now.")},
            problem_codes=["not_found", "unavailable"],
            instance="/simulator/checkout",
        ),
    },
    "/simulator/checkout/{reference}/knobs": {
        "post": operation(
            "turnKnobs",
            _TAG,
            "Say what goes wrong with a checkout",
            description="For tests. Chances are from 0 to 1; what is not named goes right.",
            parameters=[_REFERENCE],
            request=body("Knobs", {"repeat": 1, "delay_ms": 2000}),
            answers={
                200: answer("The knobs.", ref("Turned"), {"knobs": {"repeat": 1, "delay_ms": 2000}})
            },
            problem_codes=["not_found", "unavailable"],
            instance="/simulator/checkout",
        )
    },
}
