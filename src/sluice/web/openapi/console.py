"""What the console adds: one order with its money, keys, health, and incidents."""

from __future__ import annotations

from sluice.domain.api_key import NAME_CHARS_MAX, Scope
from sluice.domain.incident import IncidentKind
from sluice.domain.order import PaymentState
from sluice.domain.payment import RefundState
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    ID,
    MERCHANT,
    PAGING,
    PERSON,
    Json,
    answer,
    body,
    once,
    operation,
    page_of,
    path_id,
    path_word,
    query,
    ref,
)
from sluice.web.openapi.schemas import COUNT, REASON, TIME, form, or_null, shape

_OVERSIGHT, _KEYS = "Oversight", "Keys"
_TEXT: Json = {"type": "string"}
_MAYBE_TEXT: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": "number", "minimum": 0}
_KEY = {
    "id": "3",
    "name": "The warehouse",
    "scope": "read",
    "ends_with": "vOiU",
    "state": "active",
    "created_by": "acct:42",
    "created_at": "2026-11-01T09:30:00.000Z",
    "expires_at": "2027-11-01T00:00:00.000Z",
    "revoked_at": None,
    "last_used_at": "2026-11-11T02:00:00.000Z",
}
_NEW_KEY = {"name": "The warehouse", "scope": "read", "expires_at": "2037-11-01T00:00:00Z"}
_MADE_KEY = {
    **_KEY,
    "last_used_at": None,
    "key": "slk_9vS1mU3nQx0Zc7H2kLw5RtY8aBdEfGjPqWzXnMvOiU",
}
_INCIDENT = {
    "id": "refund_failed-3",
    "kind": "refund_failed",
    "subject": "order:117000000000000042",
    "detail": "The card was closed.",
    "since": "2026-11-11T02:04:10.000Z",
    "until": None,
    "seen": {"by": "acct:42", "at": "2026-11-11T08:00:00.000Z", "note": "Called the buyer."},
}
_ORDER_FACTS = {
    **{k: v for k, v in samples.REFUNDING.items() if k != "poll_after_ms"},
    "sale_title": "The November drop",
    "item_title": "Teapot, signed by the potter",
    "payments": [
        {
            "id": "9",
            "provider": "simulator",
            "reference": "sim_V1StGXR8Z5jdHi6B",
            "state": "refunding",
            "amount": {"amount": "399.00", "currency": "CNY"},
            "captured": {"amount": "399.00", "currency": "CNY"},
            "reason": "operator",
            "created_at": "2026-11-11T02:03:50.000Z",
        }
    ],
    "refunds": [
        {
            "id": "3",
            "payment_id": "9",
            "state": "pending",
            "amount": {"amount": "399.00", "currency": "CNY"},
            "quantity": 1,
            "restock": True,
            "reason": "The glaze was cracked.",
            "error": None,
            "attempts": 0,
        }
    ],
}
_HEALTH = {
    "ok": True,
    "at": "2026-11-11T02:00:05.000Z",
    "gate": {
        "state": "ok",
        "latency_ms": 0.6,
        "servers": [{"server": "valkey", "version": "8.1.0", "appendonly": "yes"}],
        "shards": [
            {
                "shard": 0,
                "state": "armed",
                "latency_ms": 0.4,
                "epoch": 1,
                "armed_for_ms": 2600,
                "recorded": 4711,
                "backlog": 12,
                "owner": "drop-1:2210",
                "lease_until": "2026-11-11T02:00:08.000Z",
            }
        ],
    },
    "ledger": {
        "state": "ok",
        "latency_ms": 1.2,
        "facts": {"database": "sqlite", "version": "3.46.1"},
    },
    "cache": {"state": "ok", "latency_ms": 0.5, "failures": 0},
    "workers": [
        {
            "name": "drop-1:2210",
            "runs": ["releaser", "herald", "deliverer"],
            "version": "0.1.0",
            "since": "2026-11-11T01:00:00.000Z",
            "seen_at": "2026-11-11T02:00:04.200Z",
            "age_ms": 800,
            "late": False,
            "shut": [],
        }
    ],
    "webhooks": {"pending": 2, "failed": 0, "oldest_pending_ms": 350},
    "payments": {"provider": "simulator", "simulated": True},
}
_STORE: Json = {
    "state": {"type": "string", "enum": ["ok", "away"]},
    "latency_ms": {**_NUMBER, "description": "How long it took to answer."},
}

SCHEMAS: dict[str, Json] = {
    "OrderFacts": {
        "allOf": [
            ref("AdminOrder"),
            shape(
                "With its titles, payments and refunds, oldest first.",
                {
                    "sale_title": _MAYBE_TEXT,
                    "item_title": _MAYBE_TEXT,
                    "payments": {"type": "array", "items": ref("PaymentFacts")},
                    "refunds": {"type": "array", "items": ref("RefundFacts")},
                },
            ),
        ]
    },
    "PaymentFacts": shape(
        "One attempt to be paid.",
        {
            "id": ID,
            "provider": _TEXT,
            "reference": _MAYBE_TEXT,
            "state": {"type": "string", "enum": list(PaymentState)},
            "amount": ref("Money"),
            "captured": or_null(ref("Money")),
            "reason": {**_MAYBE_TEXT, "description": "Why its money goes back, where it does."},
            "created_at": TIME,
        },
    ),
    "RefundFacts": shape(
        "Money on its way back, or back.",
        {
            "id": ID,
            "payment_id": or_null(ID),
            "state": {"type": "string", "enum": list(RefundState)},
            "amount": ref("Money"),
            "quantity": {**COUNT, "description": "Units that were given up with it."},
            "restock": {"type": "boolean"},
            "reason": _TEXT,
            "error": _MAYBE_TEXT,
            "attempts": COUNT,
        },
    ),
    "NewKey": form(
        "A key for one of the merchant's systems.",
        {
            "name": {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX},
            "scope": {
                "type": "string",
                "enum": list(Scope),
                "default": "read",
                "description": "`read`: what a merchant may look at; `full`: what a merchant may "
                "do, but for keys.",
            },
            "expires_at": or_null(TIME),
        },
        "name",
    ),
    "Key": shape(
        "A key, without itself.",
        {
            "id": ID,
            "name": _TEXT,
            "scope": {"type": "string", "enum": list(Scope)},
            "ends_with": {**_TEXT, "description": "Its last characters, to tell keys apart by."},
            "state": {"type": "string", "enum": ["active", "expired", "revoked"]},
            "created_by": _TEXT,
            "created_at": TIME,
            "expires_at": or_null(TIME),
            "revoked_at": or_null(TIME),
            "last_used_at": {**or_null(TIME), "description": "Give or take a minute."},
        },
    ),
    "MadeKey": {
        "allOf": [
            ref("Key"),
            shape(
                "The key itself; this answer alone has it.",
                {
                    "key": {
                        "type": ["string", "null"],
                        "maxLength": 64,
                        "description": "null where a repeated command's key is no longer known.",
                    }
                },
            ),
        ]
    },
    "Incident": shape(
        "Something that an operator should look at.",
        {
            "id": {"type": "string", "maxLength": 100},
            "kind": {"type": "string", "enum": list(IncidentKind)},
            "subject": {**_MAYBE_TEXT, "description": "What it is about: `order:117…`."},
            "detail": _TEXT,
            "since": TIME,
            "until": {**or_null(TIME), "description": "null while it lasts."},
            "seen": or_null(shape("Who looks after it.", {"by": _TEXT, "at": TIME, "note": _TEXT})),
        },
    ),
    "IncidentPage": shape(
        "The newest hundred of each kind.",
        {
            "data": {"type": "array", "items": ref("Incident")},
            "next_cursor": {"type": "null"},
        },
    ),
    "Note": form("What is being done about it.", {"note": REASON}),
    "Health": shape(
        "The stores as they answered just now, and the workers as they were last heard of.",
        {
            "ok": {"type": "boolean"},
            "at": TIME,
            "gate": shape(
                "",
                {
                    **_STORE,
                    "servers": {
                        "type": "array",
                        "items": {"type": "object", "additionalProperties": _TEXT},
                    },
                    "shards": {"type": "array", "items": ref("ShardHealth")},
                },
            ),
            "ledger": shape(
                "",
                {**_STORE, "facts": {"type": "object", "additionalProperties": _TEXT}},
            ),
            "cache": shape(
                "",
                {
                    **_STORE,
                    "failures": {
                        **COUNT,
                        "description": "Calls that got no answer, of the process "
                        "that answers this.",
                    },
                },
            ),
            "workers": {"type": "array", "items": ref("WorkerHealth")},
            "webhooks": or_null(
                shape(
                    "",
                    {
                        "pending": COUNT,
                        "failed": COUNT,
                        "oldest_pending_ms": {"type": ["integer", "null"], "minimum": 0},
                    },
                )
            ),
            "payments": shape(
                "Where new payments go; a simulated one moves no money.",
                {"provider": _TEXT, "simulated": {"type": "boolean"}},
            ),
        },
    ),
    "ShardHealth": shape(
        "One shard of the gate, and how far its log is recorded.",
        {
            "shard": COUNT,
            "state": {"type": "string", "enum": ["armed", "not_armed", "away"]},
            "latency_ms": _NUMBER,
            "epoch": {"type": ["integer", "null"]},
            "armed_for_ms": {"type": ["integer", "null"], "minimum": 0},
            "recorded": {"type": ["integer", "null"], "minimum": 0},
            "backlog": {"type": ["integer", "null"], "minimum": 0},
            "owner": {**_MAYBE_TEXT, "description": "The worker that records it."},
            "lease_until": or_null(TIME),
        },
    ),
    "WorkerHealth": shape(
        "One process behind `sluice work`.",
        {
            "name": _TEXT,
            "runs": {"type": "array", "items": _TEXT},
            "version": _TEXT,
            "since": TIME,
            "seen_at": TIME,
            "age_ms": COUNT,
            "late": {
                "type": "boolean",
                "description": "It says so every two seconds, and did not.",
            },
            "shut": {
                "type": "array",
                "description": "Shards whose gate it keeps shut, and why.",
                "items": shape("", {"shard": COUNT, "why": _TEXT}),
            },
        },
    ),
}

PATHS: dict[str, Json] = {
    "/v1/admin/orders/{order}": {
        "get": operation(
            "getAnyOrder",
            _OVERSIGHT,
            "Show an order with its payments and refunds",
            parameters=[path_id("order", "The order's id.", samples.ORDER["id"])],
            answers={200: answer("The order.", ref("OrderFacts"), _ORDER_FACTS)},
            problem_codes=["not_found", "unavailable"],
            instance=f"/v1/admin/orders/{samples.ORDER['id']}",
            security=MERCHANT,
        )
    },
    "/v1/admin/dead-letters/{letter}/retry": {
        "post": operation(
            "retryDeadLetter",
            _OVERSIGHT,
            "See to it that a dead letter's units go back",
            description="Once, however often it is asked. The order itself stays `rejected`: its "
            "buyer has been told so.",
            parameters=[path_id("letter", "The dead letter's id.", "1"), once(required=False)],
            request=body("Nothing", {}, required=False),
            answers={200: answer("The letter.", ref("DeadLetter"), samples.DEAD_LETTER)},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/dead-letters/1/retry",
            security=MERCHANT,
        )
    },
    "/v1/admin/keys": {
        "get": operation(
            "listKeys",
            _KEYS,
            "List keys, newest first",
            description="Those that were revoked or are over too.",
            parameters=PAGING,
            answers={200: answer("The keys.", *page_of("Key", _KEY))},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/keys",
            security=PERSON,
        ),
        "post": operation(
            "addKey",
            _KEYS,
            "Make a key for a system of the merchant's",
            description="The key is in this answer and nowhere else. It is a bearer token for "
            "`/v1/admin/*`, opens what a merchant may do (or may look at), and never keys or "
            "people. There can be 100.",
            parameters=[once(required=False)],
            request=body("NewKey", _NEW_KEY),
            answers={201: answer("The key.", ref("MadeKey"), _MADE_KEY)},
            problem_codes=["conflict", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/keys",
            security=PERSON,
        ),
    },
    "/v1/admin/keys/{key}": {
        "delete": operation(
            "revokeKey",
            _KEYS,
            "Revoke a key",
            description="It opens nothing from the next request on.",
            parameters=[path_id("key", "The key's id.", "3")],
            answers={204: answer("It is revoked.")},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/keys/3",
            security=PERSON,
        )
    },
    "/v1/admin/health": {
        "get": operation(
            "getHealth",
            _OVERSIGHT,
            "How the stores and workers are",
            answers={200: answer("As they are now.", ref("Health"), _HEALTH)},
            problem_codes=["unavailable"],
            instance="/v1/admin/health",
            security=MERCHANT,
        )
    },
    "/v1/admin/incidents": {
        "get": operation(
            "listIncidents",
            _OVERSIGHT,
            "List what an operator should look at, newest first",
            description="Read from what the other parts keep for their own work: dead letters, "
            "failed refunds, endpoints that are off, stores that disagree. One that is over is "
            "listed for as long as its row is.",
            parameters=[
                query(
                    "open",
                    "Only what nobody has seen.",
                    {"type": "string", "enum": ["true", "false"], "default": "false"},
                    "true",
                )
            ],
            answers={
                200: answer(
                    "The incidents.",
                    ref("IncidentPage"),
                    {"data": [_INCIDENT], "next_cursor": None},
                )
            },
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/incidents",
            security=MERCHANT,
        )
    },
    "/v1/admin/incidents/{incident}/seen": {
        "post": operation(
            "seeIncident",
            _OVERSIGHT,
            "Say that somebody looks after an incident",
            description="Who said so first stays.",
            parameters=[
                path_word(
                    "incident",
                    "The incident's id.",
                    {"type": "string", "pattern": "^[a-z0-9_-]{1,100}$"},
                    "refund_failed-3",
                ),
                once(required=False),
            ],
            request=body("Note", {"note": "Called the buyer."}),
            answers={200: answer("The incident.", ref("Incident"), _INCIDENT)},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/incidents/refund_failed-3/seen",
            security=MERCHANT,
        )
    },
}
