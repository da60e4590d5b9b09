"""Webhooks to the merchant: the operations around them, and the messages themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sluice.delivery.schedule import ATTEMPT_S_MAX
from sluice.domain.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from sluice.domain.webhook import (
    DESCRIPTION_CHARS_MAX,
    ERROR_CHARS_MAX,
    EVENT_TYPES,
    FAMILIES,
    TEST_TYPE,
    URL_CHARS_MAX,
    DeliveryState,
    EndpointState,
)
from sluice.web.api.webhook_forms import OLD_SECRET_S, OLD_SECRET_S_MAX
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    ID,
    MERCHANT,
    PAGING,
    Json,
    answer,
    body,
    header,
    once,
    operation,
    page_of,
    path_id,
    query,
    ref,
)
from sluice.web.openapi.schemas import COUNT, TIME, form, or_null, shape, whole

_TAG = "Webhooks"
_ENDPOINT = path_id("endpoint", "The endpoint's id.", "3")
_DELIVERY = path_id("delivery", "The delivery's id.", "4711")
_URL: Json = {"type": "string", "minLength": 1, "maxLength": URL_CHARS_MAX}
_DESCRIPTION: Json = {"type": "string", "maxLength": DESCRIPTION_CHARS_MAX}
_EVENTS: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": len(FAMILIES) + len(EVENT_TYPES),
    "uniqueItems": True,
    "items": {"type": "string", "enum": [*FAMILIES, *EVENT_TYPES]},
}
_STATE: Json = {"type": "string", "enum": list(EndpointState)}

ENDPOINT: Json = {
    "id": "3",
    "url": "https://shop.example/hooks/sluice",
    "description": "The shop's warehouse",
    "events": ["order.*", "sale.closed"],
    "state": "active",
    "off_reason": None,
    "failing_since": None,
    "delivered": 1204,
    "failed": 2,
    "old_secret_until": None,
    "created_at": "2026-11-01T09:30:00.000Z",
}
_SECRET = "whsec_" + "c2FtcGxlLXNhbXBsZS1zYW1wbGUtc2FtcGxlLTAwMDA="
DELIVERY: Json = {
    "id": "4711",
    "endpoint_id": "3",
    "webhook_id": "msg_5b0d6f1c2a3e4d5f60718293",
    "type": "order.paid",
    "order_id": samples.ORDER["id"],
    "sale_id": None,
    "occurred_at": "2026-11-11T02:03:10.000Z",
    "state": "pending",
    "attempts": 1,
    "last_attempt_at": "2026-11-11T02:03:10.600Z",
    "response_status": 503,
    "error": None,
    "next_attempt_at": "2026-11-11T02:03:15.400Z",
    "created_at": "2026-11-11T02:03:10.200Z",
    "give_up_at": "2026-11-14T02:03:10.200Z",
}

_ENDPOINT_SHAPE: Json = {
    "id": ID,
    "url": _URL,
    "description": _DESCRIPTION,
    "events": _EVENTS,
    "state": _STATE,
    "off_reason": {"type": ["string", "null"]},
    "failing_since": or_null(TIME),
    "delivered": {**COUNT, "description": "Attempts that succeeded."},
    "failed": {**COUNT, "description": "Attempts that failed."},
    "old_secret_until": or_null(TIME),
    "created_at": TIME,
}

SCHEMAS: dict[str, Json] = {
    "Endpoint": shape("Where webhooks go.", _ENDPOINT_SHAPE),
    "EndpointWithSecret": shape(
        "With its secret, which is not shown again.",
        {
            **_ENDPOINT_SHAPE,
            "secret": {"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]+=*$", "maxLength": 100},
        },
    ),
    "NewEndpoint": form(
        "Only public addresses over https, but for the networks that the operator names.",
        {
            "url": _URL,
            "description": {**_DESCRIPTION, "default": ""},
            "events": {**_EVENTS, "default": list(FAMILIES)},
        },
        "url",
    ),
    "EndpointChange": form(
        "What is named is changed. Nothing is queued for an endpoint while it is `off`.",
        {"url": _URL, "description": _DESCRIPTION, "events": _EVENTS, "state": _STATE},
    ),
    "Rotation": form(
        "How long the old secret signs beside the new one.",
        {"old_valid_for_seconds": whole(0, OLD_SECRET_S_MAX, OLD_SECRET_S)},
    ),
    "Since": form("From when on.", {"since": TIME}, "since"),
    "Replayed": shape("How many are sent again.", {"replayed": COUNT}),
    "Delivery": shape(
        "One message to one endpoint, and what came of its last attempt.",
        {
            "id": ID,
            "endpoint_id": ID,
            "webhook_id": {
                "type": "string",
                "maxLength": 40,
                "description": f"`{ID_HEADER}`: the same at every attempt.",
            },
            "type": {"type": "string", "enum": [*EVENT_TYPES, TEST_TYPE]},
            "order_id": or_null(ID),
            "sale_id": or_null(ID),
            "occurred_at": TIME,
            "state": {"type": "string", "enum": list(DeliveryState)},
            "attempts": COUNT,
            "last_attempt_at": or_null(TIME),
            "response_status": {"type": ["integer", "null"]},
            "error": {
                "type": ["string", "null"],
                "maxLength": ERROR_CHARS_MAX,
                "description": "Why there was no answer.",
            },
            "next_attempt_at": or_null(TIME),
            "created_at": TIME,
            "give_up_at": TIME,
        },
    ),
    "Message": shape(
        "What is sent: `type` and `timestamp` say what happened and when, `data` is the order or "
        "sale as it was at the moment of sending.",
        {"type": {"type": "string"}, "timestamp": TIME, "data": {"type": "object"}},
    ),
}

_UNKNOWN = ("not_found", "unavailable")


def _operation(
    name: str,
    summary: str,
    *,
    description: str = "",
    parameters: Iterable[Json] = (),
    request: Json | None = None,
    answers: dict[int, Json],
    codes: Iterable[str] = _UNKNOWN,
    path: str = "webhooks/3",
) -> Json:
    return operation(
        name,
        _TAG,
        summary,
        description=description,
        parameters=parameters,
        request=request,
        answers=answers,
        problem_codes=codes,
        instance=f"/v1/admin/{path}",
        security=MERCHANT,
    )


_EMPTY = body("Nothing", {}, required=False)
_SHOWN = answer("The endpoint.", ref("Endpoint"), ENDPOINT)
_SHOWN_ONCE = answer(
    "The endpoint and its secret.",
    ref("EndpointWithSecret"),
    {**ENDPOINT, "secret": _SECRET},
)
_CODES_ONCE = ("not_found", "conflict", "idempotency_mismatch", "unavailable")

PATHS: dict[str, Json] = {
    "/v1/admin/webhooks": {
        "get": _operation(
            "listEndpoints",
            "List the endpoints, oldest first",
            parameters=PAGING,
            answers={200: answer("The endpoints.", *page_of("Endpoint", ENDPOINT))},
            codes=["invalid", "unavailable"],
            path="webhooks",
        ),
        "post": _operation(
            "addEndpoint",
            "Add an endpoint",
            description="It is told of what happens from now on. Keep the secret: it is not shown "
            "again. There can be 20 endpoints.",
            parameters=[once(required=False)],
            request=body(
                "NewEndpoint",
                {name: ENDPOINT[name] for name in ("url", "description", "events")},
            ),
            answers={201: _SHOWN_ONCE},
            codes=["conflict", "idempotency_mismatch", "unavailable"],
            path="webhooks",
        ),
    },
    "/v1/admin/webhooks/{endpoint}": {
        "get": _operation(
            "getEndpoint", "Show an endpoint", parameters=[_ENDPOINT], answers={200: _SHOWN}
        ),
        "patch": _operation(
            "changeEndpoint",
            "Change an endpoint, or switch it on or off",
            parameters=[_ENDPOINT],
            request=body("EndpointChange", {"state": "active", "events": ["order.paid"]}),
            answers={200: _SHOWN},
        ),
        "delete": _operation(
            "deleteEndpoint",
            "Delete an endpoint",
            description="Nothing more is sent to it; its deliveries leave the log.",
            parameters=[_ENDPOINT],
            answers={204: answer("It is gone.")},
        ),
    },
    "/v1/admin/webhooks/{endpoint}/secret": {
        "post": _operation(
            "rotateSecret",
            "Give an endpoint a new secret",
            description="Until the old one ends, messages carry a signature of each.",
            parameters=[_ENDPOINT, once(required=False)],
            request=body("Rotation", {"old_valid_for_seconds": 86_400}),
            answers={
                200: answer(
                    "The endpoint and its new secret.",
                    ref("EndpointWithSecret"),
                    {**ENDPOINT, "secret": _SECRET, "old_secret_until": "2026-11-12T02:00:00.000Z"},
                )
            },
            codes=["not_found", "idempotency_mismatch", "unavailable"],
            path="webhooks/3/secret",
        )
    },
    "/v1/admin/webhooks/{endpoint}/test": {
        "post": _operation(
            "testEndpoint",
            "Send a test message",
            description=f"Its type is `{TEST_TYPE}`. What came of it stands in its delivery.",
            parameters=[_ENDPOINT, once(required=False)],
            request=_EMPTY,
            answers={
                202: answer(
                    "The delivery.",
                    ref("Delivery"),
                    {**DELIVERY, "type": TEST_TYPE, "order_id": None},
                )
            },
            codes=_CODES_ONCE,
            path="webhooks/3/test",
        )
    },
    "/v1/admin/webhooks/{endpoint}/replay": {
        "post": _operation(
            "replayFailed",
            "Send again what failed",
            description="Every failed delivery of an event at that time or later.",
            parameters=[_ENDPOINT, once(required=False)],
            request=body("Since", {"since": "2026-11-11T02:00:00Z"}),
            answers={200: answer("How many.", ref("Replayed"), {"replayed": 17})},
            codes=_CODES_ONCE,
            path="webhooks/3/replay",
        )
    },
    "/v1/admin/deliveries": {
        "get": _operation(
            "listDeliveries",
            "The delivery log, newest first",
            parameters=[
                query("endpoint", "Only to this endpoint.", ID, "3"),
                query(
                    "state",
                    "Only in this state.",
                    {"type": "string", "enum": list(DeliveryState)},
                    "failed",
                ),
                query("order", "Only about this order.", ID, samples.ORDER["id"]),
                *PAGING,
            ],
            answers={200: answer("The deliveries.", *page_of("Delivery", DELIVERY))},
            codes=["invalid", "unavailable"],
            path="deliveries",
        )
    },
    "/v1/admin/deliveries/{delivery}": {
        "get": _operation(
            "getDelivery",
            "Show a delivery",
            parameters=[_DELIVERY],
            answers={200: answer("The delivery.", ref("Delivery"), DELIVERY)},
            path="deliveries/4711",
        )
    },
    "/v1/admin/deliveries/{delivery}/replay": {
        "post": _operation(
            "replayDelivery",
            "Send a delivery again",
            description="Whatever became of it; its `webhook-id` stays the same.",
            parameters=[_DELIVERY, once(required=False)],
            request=_EMPTY,
            answers={200: answer("The delivery.", ref("Delivery"), DELIVERY)},
            codes=_CODES_ONCE,
            path="deliveries/4711/replay",
        )
    },
}

_SIGNED = (
    header(
        ID_HEADER,
        "Names the message: the same at every attempt. Handle each once.",
        {"type": "string", "maxLength": 40},
        DELIVERY["webhook_id"],
    ),
    header(
        TIMESTAMP_HEADER,
        "When this attempt was signed, in Unix seconds. Refuse what is older than five minutes.",
        {"type": "string", "maxLength": 12},
        "1794362590",
    ),
    header(
        SIGNATURE_HEADER,
        "`v1,` and base64 of the HMAC-SHA256 of `id.timestamp.body`; one for each valid secret.",
        {"type": "string", "maxLength": 200},
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
)


def _message(kind: str, summary: str, data: Json) -> Json:
    sent: dict[str, Any] = {"type": kind, "timestamp": DELIVERY["occurred_at"], "data": data}
    return {
        "post": {
            "operationId": kind.replace(".", "_"),
            "tags": [_TAG],
            "summary": summary,
            "description": "Signed as Standard Webhooks has it.",
            "parameters": list(_SIGNED),
            "requestBody": body("Message", sent),
            "responses": {
                "2XX": {"description": f"Delivered; answer within {ATTEMPT_S_MAX:g} seconds."},
                "410": {"description": "The endpoint wants no more and is switched off."},
                "default": {"description": "It is sent again, for three days."},
            },
        }
    }


_ORDER_DATA: Json = {
    **{k: v for k, v in samples.ORDER.items() if k != "poll_after_ms"},
    "buyer": "jwt:shop:42",
}
MESSAGES: dict[str, Json] = {
    "order": _message(
        "order.paid",
        "An order reached a state: " + ", ".join(e for e in EVENT_TYPES if e[0] == "o"),
        _ORDER_DATA,
    ),
    "sale": _message(
        "sale.closed",
        "A sale was moved on: " + ", ".join(e for e in EVENT_TYPES if e[0] == "s"),
        samples.ADMIN_SALE,
    ),
}
"""The document's `webhooks`: what we send to others."""
