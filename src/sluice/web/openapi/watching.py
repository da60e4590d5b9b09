"""What a merchant watches: live numbers, ticks, the report."""

from __future__ import annotations

from sluice.domain.sale import SaleState
from sluice.web.openapi import samples
from sluice.web.openapi.parts import ID, MERCHANT, Json, answer, operation, path_id, query, ref
from sluice.web.openapi.schemas import COUNT, TIME, or_null, shape

_OVERSIGHT = "Oversight"
_SALE = path_id("sale", "The sale's id.")
_NUMBER: Json = {"type": "number", "minimum": 0}
_TEXT: Json = {"type": "string"}
_REASONS: Json = {
    "type": "object",
    "description": "Problem code → how many.",
    "additionalProperties": COUNT,
}
_MS = or_null(_NUMBER)
_LEVELS = ["ok", "broken", "unknown"]
_CHECK = shape("", {"name": _TEXT, "ok": {"type": "boolean"}, "detail": _TEXT})

_TRAFFIC: Json = {
    "views": COUNT,
    "passes": shape("", {"asked": COUNT, "given": COUNT, "waiting": COUNT, "refused": _REASONS}),
    "purchases": shape(
        "", {"asked": COUNT, "accepted": COUNT, "replayed": COUNT, "refused": _REASONS}
    ),
    "latency_ms": shape(
        "Of purchases, from arrival to answer; never off by more than a factor of 1.42.",
        {"p50": _MS, "p99": _MS, "measured": COUNT},
    ),
    "lost": {**COUNT, "description": "Counts that were lost while the cache server was away."},
}
_FUNNEL: Json = {
    "accepted": COUNT,
    "queued": COUNT,
    "awaiting_payment": COUNT,
    "checkout_opened": COUNT,
    "paid": {**COUNT, "description": "Orders that were paid once, refunded ones too."},
    "expired": COUNT,
    "cancelled": COUNT,
    "rejected": COUNT,
    "refunding": COUNT,
    "refunded": COUNT,
}
_SHORT_SALE: Json = {
    "id": ID,
    "title": _TEXT,
    "state": {"type": "string", "enum": list(SaleState)},
    "starts_at": TIME,
    "ends_at": TIME,
}

SCHEMAS: dict[str, Json] = {
    "LiveItem": shape(
        "Units of an item. `queued` are accepted by the gate and not yet in the ledger; "
        "`returning` are given up in the ledger and not yet back in the gate.",
        {
            "id": ID,
            "title": _TEXT,
            "stock": COUNT,
            "available": COUNT,
            "queued": COUNT,
            "awaiting_payment": COUNT,
            "paid": COUNT,
            "returning": COUNT,
            "waitlisted": COUNT,
            "invariant_ok": {"type": ["boolean", "null"], "description": "null: not looked at."},
        },
    ),
    "Live": shape(
        "The sale at this moment. What a store that is away would know is null.",
        {
            "items": {"type": "array", "items": ref("LiveItem")},
            "rates": {
                "type": "object",
                "description": "Outcomes per second of all sales together, over ten seconds.",
                "additionalProperties": _NUMBER,
            },
            "at": TIME,
            "sale": shape("", {**_SHORT_SALE, "pause_reason": {"type": ["string", "null"]}}),
            "traffic": or_null(shape("Of the last ten seconds.", {"seconds": COUNT, **_TRAFFIC})),
            "recorder": or_null(
                shape("", {"backlog": {**COUNT, "description": "Log entries not recorded yet."}})
            ),
            "waiting_room": {
                **or_null(ref("RoomNumbers")),
                "description": "null: there is none, or nobody can be asked.",
            },
            "funnel": or_null(shape("Orders, by how far they came.", _FUNNEL)),
            "invariants": shape(
                "`ok` only where the sale's last audit is recent, looked at everything, and all of "
                "it holds.",
                {
                    "state": {"type": "string", "enum": _LEVELS},
                    "checked_at": or_null(TIME),
                    "took_ms": or_null(COUNT),
                    "checked": COUNT,
                    "broken": {
                        "type": "array",
                        "items": shape("", {"name": _TEXT, "detail": _TEXT}),
                    },
                    "unknown": {"type": "array", "items": _TEXT},
                    "compared_at": or_null(TIME),
                },
            ),
            "ages": {
                "type": "object",
                "description": "How old each figure is, in ms; null: it is not known.",
                "additionalProperties": or_null(COUNT),
            },
        },
    ),
    "Tick": shape(
        "What happened in the `seconds` from `at` on.",
        {"at": TIME, "seconds": COUNT, **_TRAFFIC},
    ),
    "Report": shape(
        "What came of a sale. Orders, units and money are the ledger's; what was asked and refused "
        "is as far as it was counted, and `coverage` says how far that is.",
        {
            "sale": shape("", _SHORT_SALE),
            "at": TIME,
            "status": {"type": "string", "enum": ["not_started", "running", "ended", "empty"]},
            "items": {"type": "array", "items": {"type": "object"}},
            "timeline": shape(
                "",
                {"step_seconds": COUNT, "points": {"type": "array", "items": {"type": "object"}}},
            ),
            "traffic": shape("All of it.", _TRAFFIC),
            "refused": {
                "type": "array",
                "items": shape("", {"reason": _TEXT, "passes": COUNT, "purchases": COUNT}),
            },
            "funnel": shape(
                "", {"passes_asked": COUNT, "passes_given": COUNT, "asked": COUNT, **_FUNNEL}
            ),
            "fairness": {"type": "object"},
            "returns": {
                "type": "array",
                "items": shape("", {"reason": _TEXT, "orders": COUNT, "units": COUNT}),
            },
            "waitlist": {"type": "object"},
            "money": {"type": "array", "items": {"type": "object"}},
            "audit": or_null(
                shape(
                    "",
                    {
                        "state": {"type": "string", "enum": _LEVELS},
                        "checked_at": TIME,
                        "took_ms": COUNT,
                        "invariants": {"type": "array", "items": _CHECK},
                        "unknown": {"type": "array", "items": _TEXT},
                    },
                )
            ),
            "coverage": shape(
                "How many of the accepted orders the counts have seen.",
                {"accepted_seen": COUNT, "accepted": COUNT, "share": _MS, "lost": COUNT},
            ),
            "notes": {"type": "array", "items": _TEXT},
        },
    ),
}

_COUNTED: Json = {
    "views": 5120,
    "passes": {"asked": 3300, "given": 3290, "waiting": 0, "refused": {"too_many_requests": 10}},
    "purchases": {
        "asked": 3224,
        "accepted": 124,
        "replayed": 0,
        "refused": {"sold_out": 3100},
    },
    "latency_ms": {"p50": 3.1, "p99": 14.2, "measured": 3224},
    "lost": 0,
}
_ORDERS: Json = {
    "accepted": 47,
    "queued": 2,
    "awaiting_payment": 38,
    "checkout_opened": 20,
    "paid": 7,
    "expired": 0,
    "cancelled": 0,
    "rejected": 0,
    "refunding": 0,
    "refunded": 0,
}
_OF: Json = {
    "id": "7",
    "title": "The November drop",
    "state": "live",
    "starts_at": "2026-11-11T02:00:00.000Z",
    "ends_at": "2026-11-11T04:00:00.000Z",
}
_LIVE: Json = {
    **samples.LIVE,
    "items": [{**each, "title": "Teapot", "returning": 0} for each in samples.LIVE["items"]],
    "sale": {**_OF, "pause_reason": None},
    "traffic": {"seconds": 10, **_COUNTED},
    "recorder": {"backlog": 3},
    "funnel": _ORDERS,
    "invariants": {
        "state": "ok",
        "checked_at": "2026-11-11T01:59:58.000Z",
        "took_ms": 42,
        "checked": 14,
        "broken": [],
        "unknown": [],
        "compared_at": "2026-11-11T02:00:01.000Z",
    },
    "ages": {
        "items": 0,
        "traffic": 1000,
        "recorder": 0,
        "funnel": 1200,
        "invariants": 7000,
        "waiting_room": 0,
    },
}
_REPORT: Json = {
    "sale": {**_OF, "state": "ended"},
    "at": "2026-11-11T05:00:00.000Z",
    "status": "ended",
    "items": [
        {
            "id": "12",
            "title": "Teapot",
            "price": {"amount": "399.00", "currency": "CNY"},
            "stock": 50,
            "available": 1,
            "awaiting_payment": 0,
            "paid": 49,
            "written_off": 0,
            "orders": 52,
            "orders_paid": 49,
            "first_order_at": "2026-11-11T02:00:00.000Z",
            "sold_out_at": "2026-11-11T02:00:01.400Z",
            "sold_out_after_ms": 1400,
        }
    ],
    "timeline": {
        "step_seconds": 1,
        "points": [
            {
                "at": "2026-11-11T02:00:00.000Z",
                "after_s": 0,
                "views": 5120,
                "passes_asked": 3300,
                "purchases_asked": 3224,
                "accepted": 47,
                "refused": 3110,
                "refused_by": {"sold_out": 3100, "too_many_requests": 10},
                "paid": 0,
                "expired": 0,
                "cancelled": 0,
                "p50_ms": 3.1,
                "p99_ms": 14.2,
            }
        ],
    },
    "traffic": _COUNTED,
    "refused": [
        {"reason": "sold_out", "passes": 0, "purchases": 3100},
        {"reason": "too_many_requests", "passes": 10, "purchases": 0},
    ],
    "funnel": {"passes_asked": 3300, "passes_given": 3290, "asked": 3224, **_ORDERS},
    "fairness": {
        "orders": 47,
        "recorded_out_of_order": 0,
        "shards": 1,
        "tenths": [
            {
                "tenth": 1,
                "orders": 5,
                "first_at": "2026-11-11T02:00:00.000Z",
                "last_at": "2026-11-11T02:00:00.000Z",
                "recorded_after_ms": {"mean": 310, "max": 402},
                "paid": 5,
            }
        ],
    },
    "returns": [{"reason": "expired", "orders": 3, "units": 3}],
    "waitlist": {
        "joined": 20,
        "waiting": 0,
        "promoted": 3,
        "left": 2,
        "closed": 15,
        "promoted_after_ms": {"mean": 901000, "max": 930000},
    },
    "money": [
        {
            "provider": "simulator",
            "currency": "CNY",
            "payments": 49,
            "captured": {"amount": "19551.00", "currency": "CNY"},
            "refunded": {"amount": "0.00", "currency": "CNY"},
            "net": {"amount": "19551.00", "currency": "CNY"},
            "to_be_refunded": {"amount": "0.00", "currency": "CNY"},
            "failed_refunds": {"count": 0, "amount": {"amount": "0.00", "currency": "CNY"}},
        }
    ],
    "audit": {
        "state": "ok",
        "checked_at": "2026-11-11T05:00:00.000Z",
        "took_ms": 42,
        "invariants": [{"name": "2_ledger_balance", "ok": True, "detail": ""}],
        "unknown": [],
    },
    "coverage": {"accepted_seen": 47, "accepted": 47, "share": 1.0, "lost": 0},
    "notes": [],
}

_AS_JSON_OR_CSV = answer("The report.", ref("Report"), _REPORT)
_AS_JSON_OR_CSV["content"]["text/csv"] = {
    "schema": {"type": "string"},
    "example": "section,name,detail,value\r\nfunnel,accepted,,47\r\n",
}

PATHS: dict[str, Json] = {
    "/v1/admin/sales/{sale}/live": {
        "get": operation(
            "watchSale",
            _OVERSIGHT,
            "The numbers of a running sale",
            description="Counts are looked up once for all who watch, so each has its age. While "
            "somebody asks, a worker audits the sale again and again.",
            parameters=[_SALE],
            answers={200: answer("The numbers.", ref("Live"), _LIVE)},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/sales/7/live",
            security=MERCHANT,
        )
    },
    "/v1/admin/sales/{sale}/ticks": {
        "get": operation(
            "listTicks",
            _OVERSIGHT,
            "What happened in a sale, second by second",
            description="Oldest first, and only the seconds in which something did. After two "
            "hours seconds become minutes, after two weeks hours. The last few seconds are still "
            "being counted; what happened while the cache server was away is lost, and `lost` says "
            "how much. Ask again with `since=` the `next` of the answer before.",
            parameters=[
                _SALE,
                query("since", "From this time on.", TIME, "2026-11-11T02:00:00.000Z"),
            ],
            answers={
                200: answer(
                    "The ticks, at most 1000.",
                    {
                        "type": "object",
                        "required": ["data", "next", "more", "at"],
                        "properties": {
                            "data": {"type": "array", "maxItems": 1000, "items": ref("Tick")},
                            "next": or_null(TIME),
                            "more": {"type": "boolean"},
                            "at": TIME,
                        },
                    },
                    {
                        "data": [{"at": "2026-11-11T02:00:00.000Z", "seconds": 1, **_COUNTED}],
                        "next": "2026-11-11T02:00:01.000Z",
                        "more": False,
                        "at": "2026-11-11T02:00:05.000Z",
                    },
                )
            },
            problem_codes=["not_found", "invalid", "unavailable"],
            instance="/v1/admin/sales/7/ticks",
            security=MERCHANT,
        )
    },
    "/v1/admin/sales/{sale}/report": {
        "get": operation(
            "reportSale",
            _OVERSIGHT,
            "What came of a sale",
            description="Preliminary while it runs. With `format=csv` as a table of section, name, "
            "detail and value. One report at a time is made in a process; more get 503.",
            parameters=[
                _SALE,
                query(
                    "format", "json or csv.", {"type": "string", "enum": ["json", "csv"]}, "json"
                ),
            ],
            answers={200: _AS_JSON_OR_CSV},
            problem_codes=["not_found", "invalid", "overloaded", "unavailable"],
            instance="/v1/admin/sales/7/report",
            security=MERCHANT,
        )
    },
}
