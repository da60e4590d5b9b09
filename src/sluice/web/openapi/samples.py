"""The examples of the document: one sale, from draft to order."""

from __future__ import annotations

from sluice.web.openapi.parts import Json

POLICY: Json = {
    "challenge": "none",
    "pass_ttl_seconds": 60,
    "payment_window_seconds": 900,
    "payment_reminder_seconds": 450,
    "waitlist": True,
    "waitlist_until": None,
    "invite_only": False,
    "limits": {
        "per_buyer_per_minute": 10,
        "per_address_per_minute": 120,
        "per_sale_per_second": None,
    },
    "waiting_room": {
        "enabled": False,
        "admit_per_second": None,
        "active_max": None,
        "opens_before_seconds": 600,
        "factor": 2.0,
    },
}
ITEM: Json = {
    "id": "12",
    "title": "Teapot, signed by the potter",
    "price": {"amount": "399.00", "currency": "CNY"},
    "stock": 50,
    "state": "low",
    "remaining_hint": 3,
    "per_buyer": 1,
    "limit_group": None,
}
SALE: Json = {
    "id": "7",
    "title": "The November drop",
    "state": "live",
    "starts_at": "2026-11-11T02:00:00.000Z",
    "ends_at": "2026-11-11T04:00:00.000Z",
    "server_time": "2026-11-11T02:00:01.250Z",
    "policy": POLICY,
    "items": [ITEM],
    "as_of": "2026-11-11T02:00:01.100Z",
}
PASS = "q3Vx0w1K.AQAAAAAAAAEAAAAM.m1Zb8cVt"  # noqa: S105 - an example, not a password
PASS_ANSWER: Json = {
    "pass": PASS,
    "buy_url": f"/v1/buy/{PASS}",
    "expires_at": "2026-11-11T02:01:01.000Z",
}
QUEUED: Json = {
    "id": "117000000000000042",
    "sale_id": "7",
    "item_id": "12",
    "quantity": 1,
    "refunded_quantity": 0,
    "amount": {"amount": "399.00", "currency": "CNY"},
    "state": "queued",
    "placed_at": "2026-11-11T02:00:01.000Z",
    "pay_by": None,
    "payment": {"state": "none"},
    "history": [{"state": "queued", "at": "2026-11-11T02:00:01.000Z"}],
}
ACCEPTED: Json = {
    "order": QUEUED,
    "receipt": "q3Vx0w1K.AQEAAAABAAAAAQ.s9TzY4Lp",
    "poll_after_ms": 500,
}
ORDER: Json = {
    **QUEUED,
    "state": "awaiting_payment",
    "pay_by": "2026-11-11T02:15:01.400Z",
    "history": [
        *QUEUED["history"],
        {"state": "awaiting_payment", "at": "2026-11-11T02:00:01.400Z"},
    ],
    "poll_after_ms": 500,
}
PAYABLE: Json = {
    **ORDER,
    "payment": {
        "state": "pending",
        "checkout_url": "https://drop.example/simulator/checkout/sim_V1StGXR8Z5jdHi6B",
    },
}
CANCELLED: Json = {
    **{name: value for name, value in ORDER.items() if name != "poll_after_ms"},
    "state": "cancelled",
    "history": [
        *ORDER["history"],
        {"state": "cancelled", "at": "2026-11-11T02:03:20.000Z"},
    ],
}
REFUNDING: Json = {
    **CANCELLED,
    "state": "refunding",
    "payment": {"state": "refunding"},
    "history": [
        *ORDER["history"],
        {"state": "paid", "at": "2026-11-11T02:04:10.000Z"},
        {"state": "refunding", "at": "2026-11-12T08:00:00.000Z"},
    ],
    "buyer": "jwt:shop:42",
}
WAITING: Json = {
    "entry": {
        "id": "117000000000000077",
        "state": "waiting",
        "position": 8,
        "ahead": 7,
        "order_id": None,
    },
    "poll_after_ms": 2000,
}
PROMOTED: Json = {
    "entry": {
        "id": "117000000000000077",
        "state": "promoted",
        "position": None,
        "ahead": None,
        "order_id": "117000000000000123",
    },
    "poll_after_ms": 2000,
}
WAIT_ENTRY: Json = {
    "id": "117000000000000077",
    "buyer": "jwt:shop:42",
    "joined_at": "2026-11-11T02:00:09.000Z",
}
OPEN_MONEY: Json = {
    "refund_id": "3",
    "payment_id": "9",
    "order_id": "117000000000000042",
    "provider": "simulator",
    "reference": "sim_V1StGXR8Z5jdHi6B",
    "state": "failed",
    "reason": "late",
    "owed": {"amount": "399.00", "currency": "CNY"},
    "captured": {"amount": "399.00", "currency": "CNY"},
    "attempts": 5,
    "error": "The card was closed.",
    "paid_for_at": "2026-11-11T02:00:30.000Z",
}
NEW_SALE: Json = {
    "title": "The November drop",
    "starts_at": "2026-11-11T10:00:00+08:00",
    "ends_at": "2026-11-11T12:00:00+08:00",
    "items": [
        {
            "title": "Teapot, signed by the potter",
            "price": {"amount": "399.00", "currency": "CNY"},
            "stock": 50,
            "per_buyer": 1,
        }
    ],
    "policy": {"pass_ttl_seconds": 60, "payment_window_seconds": 900},
}
ADMIN_SALE: Json = {
    **SALE,
    "pause_reason": None,
    "created_at": "2026-11-01T09:30:00.000Z",
    "publication": 1,
    "items": [{**ITEM, "available": 3, "awaiting_payment": 40, "paid": 7, "shard": 0}],
}
STOCK_EDIT: Json = {
    "item_id": "12",
    "edit": 1,
    "delta": 5,
    "reason": "Five more came from the kiln.",
    "state": "applied",
    "stock": 55,
    "requested_at": "2026-11-11T02:30:00.000Z",
}
PLACE: Json = {
    "status": "waiting",
    "number": 41_980,
    "position": 812,
    "ahead": 811,
    "eta_seconds": [30, 68],
    "starts_at": "2026-11-11T02:00:00.000Z",
    "poll_after_ms": 4_600,
    "shuffled": True,
}
LIVE: Json = {
    "items": [
        {
            "id": "12",
            "stock": 50,
            "available": 3,
            "queued": 2,
            "awaiting_payment": 38,
            "paid": 7,
            "waitlisted": 0,
            "invariant_ok": True,
        }
    ],
    "rates": {"accepted": 12.4, "sold_out": 310.0},
    "waiting_room": {
        "waiting": 41_203,
        "admitted": 1_250,
        "active": 312,
        "pace_per_second": 19.8,
        "wanted_per_second": 20.0,
        "mode": "fixed",
    },
    "at": "2026-11-11T02:00:05.000Z",
}
DEAD_LETTER: Json = {
    "id": "1",
    "order_id": "117000000000000043",
    "item_id": "12",
    "buyer": "jwt:shop:42",
    "quantity": 1,
    "reason": "sold_out",
    "detail": "The ledger had no unit left.",
    "at": "2026-11-11T02:00:02.000Z",
    "state": "returned",
    "returned_at": "2026-11-11T02:00:02.150Z",
}
AUDIT: Json = {
    "ok": True,
    "invariants": [{"name": "units", "ok": True, "detail": "3 items, L + P + D + B = S"}],
}
READY: Json = {
    "ready": True,
    "ledger": "ok",
    "shards": [{"shard": 0, "gate": "armed"}],
    "breakers": {"gate:0": "closed", "ledger:reading": "closed"},
}
NOT_READY: Json = {
    "ready": False,
    "ledger": "ok",
    "shards": [{"shard": 0, "gate": "away"}],
    "breakers": {"gate:0": "open", "ledger:reading": "closed"},
}
