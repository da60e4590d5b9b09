"""The shapes of requests and answers. Requests are closed; answers may gain fields."""

from __future__ import annotations

from typing import Any

from sluice.catalog import policy as bounds
from sluice.catalog.draft import LIMIT_GROUP_MAX, REASON_MAX
from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import RefundState
from sluice.domain.sale import (
    ITEMS_MAX,
    PER_BUYER_MAX,
    STOCK_MAX,
    TITLE_MAX,
    Challenge,
    ItemState,
    SaleState,
)
from sluice.web import problems
from sluice.web.openapi.parts import ID, Json, ref

TIME: Json = {"type": "string", "format": "date-time", "maxLength": 40}
COUNT: Json = {"type": "integer", "minimum": 0}
TITLE: Json = {"type": "string", "minLength": 1, "maxLength": TITLE_MAX}
REASON: Json = {"type": "string", "minLength": 1, "maxLength": REASON_MAX}
PER_BUYER: Json = {"type": "integer", "minimum": 1, "maximum": PER_BUYER_MAX}
WAIT_STATES = ("waiting", "promoted", "left", "closed")
POLL: Json = {"type": "integer", "minimum": 0, "description": "Ask again after so many ms."}


def whole(low: int, high: int, default: int | None = None) -> Json:
    shape: Json = {"type": "integer", "minimum": low, "maximum": high}
    return shape if default is None else {**shape, "default": default}


def or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def shape(text: str, properties: Json, *optional: str) -> Json:
    """An answer's object: all properties are there but the optional ones."""
    return {
        "type": "object",
        "description": text,
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


def form(text: str, properties: Json, *required: str) -> Json:
    """A request's object: nothing but these properties."""
    return {
        "type": "object",
        "description": text,
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_MONEY: Json = {
    "amount": {"type": "string", "pattern": "^[0-9]{1,15}(\\.[0-9]{1,3})?$", "maxLength": 19},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
}
_LIMITS: Json = {
    "per_buyer_per_minute": or_null(whole(*bounds.PER_BUYER_PER_MINUTE, 10)),
    "per_address_per_minute": or_null(whole(*bounds.PER_ADDRESS_PER_MINUTE, 120)),
    "per_sale_per_second": or_null(whole(*bounds.PER_SALE_PER_SECOND)),
}
_ADMIT: Json = {
    "type": "number",
    "minimum": bounds.ADMIT_PER_SECOND[0],
    "maximum": bounds.ADMIT_PER_SECOND[1],
}
_WAITING_ROOM: Json = {
    "enabled": {"type": "boolean", "default": False},
    "admit_per_second": or_null(_ADMIT),
    "active_max": or_null(whole(*bounds.ACTIVE_MAX)),
    "opens_before_seconds": {
        **whole(*bounds.OPENS_BEFORE_S, 600),
        "description": "It may be joined from so long before the start.",
    },
    "factor": {
        "type": "number",
        "minimum": bounds.FACTOR[0],
        "maximum": bounds.FACTOR[1],
        "default": 2.0,
        "description": "People who are in at once for each unit that can still be bought.",
    },
}
_POLICY: Json = {
    "challenge": {"type": "string", "enum": list(Challenge), "default": "none"},
    "pass_ttl_seconds": whole(*bounds.PASS_TTL_S, 60),
    "payment_window_seconds": whole(*bounds.PAYMENT_WINDOW_S, 900),
    "payment_reminder_seconds": {
        **whole(1, bounds.PAYMENT_WINDOW_S[1] - 1),
        "description": "Less than the payment window; half of it where nothing is said.",
    },
    "waitlist": {"type": "boolean", "default": True},
    "waitlist_until": or_null(TIME),
    "invite_only": {
        "type": "boolean",
        "default": False,
        "description": "Only for buyers on the sale's list, or with an invitation's code.",
    },
}


def _policy(kind: Any) -> Json:
    return {
        **_POLICY,
        "limits": kind("How often one may ask, of each hot route; null: no limit.", _LIMITS),
        "waiting_room": kind("Paces a crowd.", _WAITING_ROOM),
    }


_ITEM: Json = {
    "id": ID,
    "title": TITLE,
    "price": ref("Money"),
    "stock": COUNT,
    "state": {"type": "string", "enum": list(ItemState)},
    "remaining_hint": {**COUNT, "description": "Units on sale some moments ago, at least 0."},
    "per_buyer": PER_BUYER,
    "limit_group": {"type": ["string", "null"], "description": "Its items share per_buyer."},
}
_SALE: Json = {
    "id": ID,
    "title": TITLE,
    "state": {"type": "string", "enum": list(SaleState)},
    "starts_at": TIME,
    "ends_at": TIME,
    "server_time": TIME,
    "pause_reason": {"type": ["string", "null"]},
    "policy": ref("Policy"),
}
_FORM_ITEM: Json = {
    "title": TITLE,
    "price": form("", _MONEY, "amount", "currency"),
    "per_buyer": PER_BUYER,
}

SCHEMAS: dict[str, Json] = {
    "Money": shape("A decimal string, never a float.", _MONEY),
    "Policy": shape("How a sale is run.", _policy(shape)),
    "Item": shape("An item as buyers see it.", _ITEM),
    "Sale": shape(
        "A sale as buyers see it.",
        {
            **_SALE,
            "items": {"type": "array", "items": ref("Item")},
            "as_of": {**TIME, "description": "When the stores last confirmed this."},
        },
        "pause_reason",
    ),
    "Pass": shape(
        "The hidden purchase address.",
        {
            "pass": {"type": "string", "maxLength": 128},
            "buy_url": {"type": "string", "maxLength": 140},
            "expires_at": TIME,
        },
    ),
    "PassRequest": form(
        "The answer to the sale's challenge, where it asks one.",
        {
            "challenge_id": {"type": "string", "maxLength": 128},
            "answer": {"type": "string", "maxLength": 3000},
        },
    ),
    "BuyRequest": form("How many.", {"quantity": {**PER_BUYER, "default": 1}}),
    "Order": shape(
        "An order as it is now.",
        {
            "id": ID,
            "sale_id": {"type": "string"},
            "item_id": {"type": "string"},
            "quantity": {"type": "integer", "minimum": 1},
            "refunded_quantity": COUNT,
            "amount": or_null(ref("Money")),
            "state": {"type": "string", "enum": list(OrderState)},
            "placed_at": TIME,
            "pay_by": or_null(TIME),
            "payment": shape(
                "Apart from the order's own state.",
                {
                    "state": {"type": "string", "enum": list(PaymentState)},
                    "checkout_url": {"type": "string"},
                },
                "checkout_url",
            ),
            "history": {"type": "array", "items": ref("Step")},
            "poll_after_ms": POLL,
        },
        "poll_after_ms",
    ),
    "Step": shape(
        "One state that the order was in.",
        {"state": {"type": "string", "enum": list(OrderState)}, "at": TIME},
    ),
    "Accepted": shape(
        "The order, and our signed word for it.",
        {
            "order": ref("Order"),
            "receipt": {
                "type": "string",
                "maxLength": 200,
                "description": "Keep it, and send it as `Sluice-Receipt` with status requests.",
            },
            "poll_after_ms": POLL,
        },
    ),
    "InLine": shape(
        "The caller's own place.",
        {
            "entry": shape(
                "",
                {
                    "id": ID,
                    "state": {"type": "string", "enum": list(WAIT_STATES)},
                    "position": or_null({"type": "integer", "minimum": 1}),
                    "ahead": or_null(COUNT),
                    "order_id": or_null(ID),
                },
            ),
            "poll_after_ms": POLL,
        },
    ),
    "WaitEntry": shape(
        "Somebody who waits.",
        {"id": ID, "buyer": {"type": "string", "maxLength": 255}, "joined_at": TIME},
    ),
    "OpenMoney": shape(
        "Money that is owed back and not yet back.",
        {
            "refund_id": ID,
            "payment_id": ID,
            "order_id": ID,
            "provider": {"type": "string"},
            "reference": {"type": ["string", "null"]},
            "state": {
                "type": "string",
                "enum": list(RefundState),
                "description": "`failed`: given up, somebody has to look.",
            },
            "reason": {"type": "string"},
            "owed": ref("Money"),
            "captured": or_null(ref("Money")),
            "attempts": COUNT,
            "error": {"type": ["string", "null"]},
            "paid_for_at": TIME,
        },
    ),
    "RefundForm": form(
        "All that is left, or so many units of it.",
        {
            "quantity": or_null(PER_BUYER),
            "restock": {"type": "boolean", "default": True},
            "reason": REASON,
        },
        "reason",
    ),
    "PolicyForm": form("Everything has a safe default.", _policy(form)),
    "NewItem": form(
        "",
        {
            **_FORM_ITEM,
            "stock": whole(0, STOCK_MAX),
            "limit_group": or_null(
                {"type": "string", "minLength": 1, "maxLength": LIMIT_GROUP_MAX}
            ),
        },
        *("title", "price", "stock"),
    ),
    "NewSale": form(
        "A sale as a merchant writes it.",
        {
            "title": TITLE,
            "starts_at": TIME,
            "ends_at": TIME,
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": ITEMS_MAX,
                "items": ref("NewItem"),
            },
            "policy": ref("PolicyForm"),
        },
        *("title", "starts_at", "ends_at", "items"),
    ),
    "SaleChange": form(
        "What is named is changed. Price, limit and start of a live sale are fixed.",
        {
            "title": TITLE,
            "starts_at": TIME,
            "ends_at": TIME,
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": ITEMS_MAX,
                "items": form("", {"id": ID, **_FORM_ITEM}, "id"),
            },
            "policy": ref("PolicyForm"),
        },
    ),
    "Reason": form("Why. Of a pause, buyers see it.", {"reason": REASON}, "reason"),
    "Nothing": {"type": "object", "maxProperties": 0, "additionalProperties": False},
    "AdminItem": shape(
        "An item with the ledger's counts.",
        {
            **_ITEM,
            "available": COUNT,
            "awaiting_payment": COUNT,
            "paid": COUNT,
            "shard": COUNT,
        },
    ),
    "AdminSale": shape(
        "A sale as its merchant sees it.",
        {
            **_SALE,
            "created_at": TIME,
            "publication": COUNT,
            "items": {"type": "array", "items": ref("AdminItem")},
        },
    ),
    "StockForm": form(
        "More units, or fewer.",
        {"delta": {**whole(-STOCK_MAX, STOCK_MAX), "not": {"const": 0}}, "reason": REASON},
        *("delta", "reason"),
    ),
    "StockEdit": shape(
        "An edit of an item's stock. A pending one is on its way to the gate.",
        {
            "item_id": ID,
            "edit": COUNT,
            "delta": {"type": "integer"},
            "reason": {"type": "string"},
            "state": {"type": "string", "enum": ["pending", "applied", "refused"]},
            "stock": {"type": ["integer", "null"], "minimum": 0},
            "requested_at": TIME,
        },
    ),
    "DeadLetter": shape(
        "An accepted order that could not be recorded; its units went back.",
        {
            "id": ID,
            "order_id": ID,
            "item_id": {"type": "string"},
            "buyer": {"type": "string"},
            "quantity": {"type": "integer"},
            "reason": {"type": "string"},
            "detail": {"type": "string"},
            "at": TIME,
            "state": {
                "type": "string",
                "enum": ["returned", "returning", "kept", "stuck"],
                "description": "What became of its units. `kept`: the number is another attempt's, "
                "which holds them; `stuck`: a retry gives them back.",
            },
            "returned_at": or_null(TIME),
        },
    ),
    "AdminOrder": {
        "allOf": [
            ref("Order"),
            shape("With its buyer.", {"buyer": {"type": "string", "maxLength": 255}}),
        ]
    },
    "Audit": shape(
        "Every invariant, looked at.",
        {
            "ok": {"type": "boolean"},
            "invariants": {
                "type": "array",
                "items": shape(
                    "",
                    {
                        "name": {"type": "string"},
                        "ok": {"type": "boolean"},
                        "detail": {"type": "string"},
                    },
                ),
            },
        },
    ),
    "Ready": shape(
        "Whether sales can be made here now, and if not, why.",
        {
            "ready": {"type": "boolean"},
            "ledger": {"type": "string", "enum": ["ok", "away"]},
            "shards": {
                "type": "array",
                "items": shape(
                    "",
                    {
                        "shard": COUNT,
                        "gate": {"type": "string", "enum": ["armed", "not_armed", "away"]},
                    },
                ),
            },
            "breakers": {
                "type": "object",
                "description": "By store, such as `gate:0`, `ledger:reading`, `cache`: an `open` "
                "one does not answer, and this process leaves it alone.",
                "additionalProperties": {
                    "type": "string",
                    "enum": ["closed", "open", "half_open"],
                },
            },
        },
    ),
    "Alive": shape("", {"alive": {"type": "boolean"}}),
    "Problem": shape(
        "RFC 9457. Further members depend on the code.",
        {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "instance": {"type": "string", "maxLength": 200},
            "code": {"type": "string", "enum": list(problems.KINDS)},
            "request_id": {"type": "string", "maxLength": 64},
            "errors": {
                "type": "array",
                "items": shape("", {"field": {"type": "string"}, "message": {"type": "string"}}),
            },
            "starts_at": TIME,
            "may_return": {"type": "boolean"},
            "waitlist": {"type": "boolean"},
            "order_id": ID,
            "reason": {"type": "string"},
        },
        *("errors", "starts_at", "may_return", "waitlist", "order_id", "reason"),
    ),
}
