"""The waiting room: a place, and the pace at which people are let in."""

from __future__ import annotations

from sluice.catalog import policy as bounds
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    BUYER,
    ID,
    MERCHANT,
    Json,
    answer,
    body,
    once,
    operation,
    path_id,
    ref,
)
from sluice.web.openapi.schemas import TIME, form, or_null, shape, whole

_BUYING, _OVERSIGHT = "Buying", "Oversight"
_SALE = path_id("sale", "The sale's id.")
_WAITS = [*("not_found", "too_many_requests", "overloaded", "unavailable")]
_COUNT: Json = {"type": "integer", "minimum": 0}
_PACE: Json = {
    "type": "number",
    "minimum": bounds.ADMIT_PER_SECOND[0],
    "maximum": bounds.ADMIT_PER_SECOND[1],
}
_PACE_EXAMPLE = {"sale_id": "7", "admit_per_second": 20.0, "active_max": 500}

SCHEMAS: dict[str, Json] = {
    "Place": shape(
        "A buyer's place in a sale's waiting room.",
        {
            "status": {
                "type": "string",
                "enum": ["waiting", "admitted", "over", "not_needed"],
                "description": "`admitted`: ask for a pass, until `admitted_until`. `over`: there "
                "is nothing left to wait for. `not_needed`: this sale has no waiting room now.",
            },
            "number": or_null(
                {"type": "integer", "minimum": 1, "description": "By arrival, and for ever."}
            ),
            "position": or_null(
                {
                    "type": "integer",
                    "minimum": 1,
                    "description": "null before the start: the order is drawn then.",
                }
            ),
            "ahead": or_null(_COUNT),
            "eta_seconds": or_null(
                {
                    "type": "array",
                    "description": "How long it takes, at least and at most, by the pace of late. "
                    "null while nobody can tell.",
                    "items": _COUNT,
                    "minItems": 2,
                    "maxItems": 2,
                }
            ),
            "starts_at": TIME,
            "poll_after_ms": {"type": "integer", "minimum": 1},
            "shuffled": or_null(
                {
                    "type": "boolean",
                    "description": "true: came before the start, and is placed by lot among those "
                    "who did. false: came after it, and is served in order of coming.",
                }
            ),
            "admitted_until": TIME,
            "reason": {
                "type": "string",
                "enum": ["sold_out", "ended", "paused"],
                "description": "Why it is over, or why nobody is let in.",
            },
            "detail": or_null({"type": "string", "description": "Why it is paused."}),
        },
        *("admitted_until", "reason", "detail"),
    ),
    "PaceForm": form(
        "What is not named stays as it is.",
        {
            "admit_per_second": or_null(
                {**_PACE, "description": "null: the pace that the service measures it can keep."}
            ),
            "active_max": or_null(whole(*bounds.ACTIVE_MAX)),
        },
    ),
    "Pace": shape(
        "The pace that is wanted.",
        {"sale_id": ID, "admit_per_second": or_null(_PACE), "active_max": or_null(_COUNT)},
    ),
    "RoomNumbers": shape(
        "A waiting room at this moment.",
        {
            "waiting": _COUNT,
            "admitted": {**_COUNT, "description": "So far, all told."},
            "active": {**_COUNT, "description": "Are in, and have not bought yet."},
            "pace_per_second": {
                "type": "number",
                "minimum": 0,
                "description": "People let in, of late.",
            },
            "wanted_per_second": {"type": "number", "minimum": 0},
            "mode": {
                "type": "string",
                "enum": ["fixed", "automatic", "load", "off"],
                "description": "How the pace comes about; `load`: the room is there because of the "
                "load, `off`: nobody has asked for a place yet.",
            },
        },
    ),
}

PATHS: dict[str, Json] = {
    "/v1/sales/{sale}/waiting-room": {
        "post": operation(
            "joinWaitingRoom",
            _BUYING,
            "Take a place in the waiting room",
            description="Whoever has a place keeps it, on every device. From "
            "`opens_before_seconds` before the start on; those who come before the start are "
            "shuffled among themselves at the start, those after are served in order of coming. "
            "What the sale asks before a pass (its list, its challenge) it asks here, once.",
            parameters=[_SALE],
            request=body("PassRequest", {}, required=False),
            answers={
                201: answer("A new place.", ref("Place"), samples.PLACE),
                200: answer("The place that is there.", ref("Place"), samples.PLACE),
            },
            problem_codes=["not_started", "challenge_failed", "not_allowed", *_WAITS],
            instance="/v1/sales/7/waiting-room",
            security=BUYER,
        ),
        "get": operation(
            "getPlace",
            _BUYING,
            "One's place in the waiting room",
            description="To be asked again after `poll_after_ms`; `waiting_room.position` on the "
            "live connection tells the same.",
            parameters=[_SALE],
            answers={200: answer("The place.", ref("Place"), samples.PLACE)},
            problem_codes=_WAITS,
            instance="/v1/sales/7/waiting-room",
            security=BUYER,
        ),
        "delete": operation(
            "leaveWaitingRoom",
            _BUYING,
            "Leave the waiting room",
            description="Repeated, it changes nothing. Whoever comes again has a new place.",
            parameters=[_SALE],
            answers={204: answer("There is no place.")},
            problem_codes=_WAITS,
            instance="/v1/sales/7/waiting-room",
            security=BUYER,
        ),
    },
    "/v1/admin/sales/{sale}/pace": {
        "post": operation(
            "setPace",
            _OVERSIGHT,
            "Change the pace of a waiting room",
            description="Also of a live sale; it holds within a second or two.",
            parameters=[_SALE, once(required=False)],
            request=body("PaceForm", {"admit_per_second": 20, "active_max": 500}),
            answers={200: answer("The pace.", ref("Pace"), _PACE_EXAMPLE)},
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/sales/7/pace",
            security=MERCHANT,
        )
    },
}
