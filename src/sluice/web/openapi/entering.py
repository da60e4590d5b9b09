"""What stands before a pass: challenges, invitations, and the blacklist."""

from __future__ import annotations

from sluice.admission.challenges.tokens import ID_MAX
from sluice.domain import guest
from sluice.domain.order import BUYER_BYTES_MAX
from sluice.domain.sale import Challenge
from sluice.web.api.keeping_out import REASON_MAX, SECONDS
from sluice.web.openapi.parts import (
    ADMIN,
    BUYER,
    MERCHANT,
    PAGING,
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
from sluice.web.openapi.schemas import TIME, form, shape, whole

_BUYING, _SALES, _OVERSIGHT = "Buying", "Sales", "Oversight"
_SALE = path_id("sale", "The sale's id.")
_BATCH = path_id("batch", "The batch's id.", "3")
_KIND: Json = {"type": "string", "enum": [k for k in Challenge if k is not Challenge.NONE]}
_CHALLENGE = {
    "challenge_id": "q3Vx0w1K.AQAAAAAAAAAAAAcAAAAA.b1Yw0Zc7H2kLw5RtY8aBdEfG",
    "kind": "proof_of_work",
    "expires_at": "2026-11-11T02:02:00.000Z",
    "alternative": {
        "kind": "arithmetic",
        "url": "/v1/sales/7/challenge?alternative=true",
    },
    "parameters": {
        "algorithm": "PBKDF2/SHA-256",
        "cost": 1000,
        "keyLength": 32,
        "keyPrefix": "c463ff7dd70a4f59de9fd2dd3056115a",
        "nonce": "480f3d39f191deb7fc75b4e3d02c1d1c",
        "salt": "85d858e6f8457c53a112558e60de953e",
    },
    "signature": "9546accdff9cbcc31f902d6a469ec141832332afe61f7d72039de1969f6109cf",
}
_INVITATION = {"sale_id": "7", "invited": True, "priority": 0}
_CODES = {
    "id": "3",
    "sale_id": "7",
    "count": 500,
    "uses": 1,
    "used": 12,
    "priority": 0,
    "chosen": False,
    "revoked": False,
    "created_at": "2026-11-01T02:00:00.000Z",
    "codes_url": "/v1/admin/sales/7/codes/3",
}
_CODE = {"code": "7Q3V-0M8K-X2RD-N5WA", "uses": 1, "used": 0}
_GUEST = {"buyer": "jwt:shop:42", "priority": 0, "added_at": "2026-11-01T02:00:00.000Z"}
_ENTRY = {
    "id": "9c1b7d2e4f60a835",
    "buyer": "jwt:shop:42",
    "reason": "10 refusals in a minute",
    "since": "2026-11-11T02:00:03.000Z",
    "until": "2026-11-11T02:10:03.000Z",
}
_COUNT = {"type": "integer", "minimum": 0}
_BUYER_KEY: Json = {"type": "string", "maxLength": BUYER_BYTES_MAX}
_BUYERS: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": guest.GUESTS_MAX,
    "items": {"type": "string", "pattern": "^(jwt|acct):", "maxLength": BUYER_BYTES_MAX},
}
_PRIORITY: Json = {
    **whole(0, guest.PRIORITY_MAX, 0),
    "description": "The higher, the further ahead in a waiting room.",
}
_BATCHES = page_of("CodeBatch", _CODES)
_CODE_PAGE = page_of("InvitationCode", _CODE)
_GUESTS = page_of("Guest", _GUEST)
_BLACKLIST = page_of("Blacklisted", _ENTRY)

SCHEMAS: dict[str, Json] = {
    "Challenge": shape(
        "What to solve. A picture's answer is the number in it, a slider's the distance of the "
        "piece from the left in pixels; proof of work is ALTCHA's, version 2: the answer is what "
        "its widget sends, or the derived key in hex.",
        {
            "challenge_id": {"type": "string", "maxLength": ID_MAX},
            "kind": _KIND,
            "expires_at": TIME,
            "alternative": shape(
                "Another way for who cannot take this one.",
                {"kind": _KIND, "url": {"type": "string"}},
            ),
            "image": {"type": "string", "description": "A data: URI."},
            "width": _COUNT,
            "piece": shape(
                "The slider's piece, and how far from the top it belongs.",
                {"image": {"type": "string"}, "y": _COUNT, "width": _COUNT, "height": _COUNT},
            ),
            "parameters": {"type": "object", "description": "Of proof of work, as ALTCHA has it."},
            "signature": {"type": "string"},
        },
        *("image", "width", "piece", "parameters", "signature"),
    ),
    "Redemption": form(
        "An invitation's code.",
        {"code": {"type": "string", "minLength": 1, "maxLength": guest.CODE_CHARS[1]}},
        "code",
    ),
    "Invitation": shape(
        "Whether the caller is on the sale's list.",
        {"sale_id": {"type": "string"}, "invited": {"type": "boolean"}, "priority": _COUNT},
    ),
    "NewCodes": form(
        "Many codes that we think of, or one of your own.",
        {
            "count": whole(1, guest.CODES_MAX, 1),
            "code": {
                "type": "string",
                "minLength": guest.CODE_CHARS[0],
                "maxLength": guest.CODE_CHARS[1],
            },
            "uses": {**whole(1, guest.USES_MAX, 1), "description": "Of each code."},
            "priority": _PRIORITY,
        },
    ),
    "CodeBatch": shape(
        "Codes that were made together.",
        {
            "id": {"type": "string"},
            "sale_id": {"type": "string"},
            "count": _COUNT,
            "uses": _COUNT,
            "used": {**_COUNT, "description": "Uses of all of them."},
            "priority": _COUNT,
            "chosen": {"type": "boolean"},
            "revoked": {"type": "boolean"},
            "created_at": TIME,
            "codes_url": {"type": "string"},
        },
    ),
    "InvitationCode": shape(
        "One code. Its text is kept nowhere: null where it was chosen by the merchant, or where "
        "the secret key that it follows from is gone.",
        {"code": {"type": ["string", "null"]}, "uses": _COUNT, "used": _COUNT},
    ),
    "NewGuests": form("Buyers for the list.", {"buyers": _BUYERS, "priority": _PRIORITY}, "buyers"),
    "FormerGuests": form("Buyers to take off the list.", {"buyers": _BUYERS}, "buyers"),
    "Guest": shape(
        "A buyer on the list.", {"buyer": _BUYER_KEY, "priority": _COUNT, "added_at": TIME}
    ),
    "Added": shape("How many are new.", {"added": _COUNT}),
    "Removed": shape("How many were there.", {"removed": _COUNT}),
    "NewBlacklisted": form(
        "A buyer or an address.",
        {
            "buyer": {**_BUYER_KEY, "minLength": 1},
            "address": {"type": "string", "minLength": 1, "maxLength": 64},
            "seconds": whole(*SECONDS),
            "reason": {"type": "string", "minLength": 1, "maxLength": REASON_MAX},
        },
        *("seconds", "reason"),
    ),
    "Blacklisted": shape(
        "Who is kept out, until when, and why.",
        {
            "id": {"type": "string"},
            "buyer": _BUYER_KEY,
            "address": {"type": "string"},
            "reason": {"type": "string"},
            "since": TIME,
            "until": TIME,
        },
        *("buyer", "address"),
    ),
}

PATHS: dict[str, Json] = {
    "/v1/sales/{sale}/challenge": {
        "get": operation(
            "getChallenge",
            _BUYING,
            "Ask what to solve before a pass",
            description="Nothing is given before the sale starts. A challenge is for this buyer "
            "and this sale, and for one answer, right or wrong, within two minutes. Proof of work "
            "grows with what the buyer and their address asked for in the last minute.",
            parameters=[
                _SALE,
                query(
                    "alternative",
                    "Ask for the other way: work for who cannot see a picture, a picture for "
                    "whose browser cannot work.",
                    {"type": "string", "enum": ["true", "false"]},
                    "true",
                ),
            ],
            answers={
                200: answer("The challenge.", ref("Challenge"), _CHALLENGE),
                204: answer("This sale asks nothing."),
            },
            problem_codes=[
                *("not_started", "not_allowed", "not_found", "paused", "ended", "invalid"),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/sales/7/challenge",
            security=BUYER,
        )
    },
    "/v1/sales/{sale}/invitation": {
        "get": operation(
            "getInvitation",
            _BUYING,
            "Ask whether one is invited",
            parameters=[_SALE],
            answers={200: answer("The invitation.", ref("Invitation"), _INVITATION)},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/sales/7/invitation",
            security=BUYER,
        ),
        "post": operation(
            "redeemInvitation",
            _BUYING,
            "Redeem an invitation's code",
            description="Case and dashes do not matter. The same code again is answered the same "
            "and uses nothing up.",
            parameters=[_SALE],
            request=body("Redemption", {"code": _CODE["code"]}),
            answers={200: answer("The invitation.", ref("Invitation"), _INVITATION)},
            problem_codes=["not_allowed", "not_found", "too_many_requests", "unavailable"],
            instance="/v1/sales/7/invitation",
            security=BUYER,
        ),
    },
    "/v1/admin/sales/{sale}/codes": {
        "get": operation(
            "listCodeBatches",
            _SALES,
            "List the codes that were made, newest first",
            parameters=[_SALE, *PAGING],
            answers={200: answer("The batches.", *_BATCHES)},
            problem_codes=["not_found", "invalid", "unavailable"],
            instance="/v1/admin/sales/7/codes",
            security=MERCHANT,
        ),
        "post": operation(
            "makeCodes",
            _SALES,
            "Make codes that invite",
            description="Where the sale's policy says `invite_only`, a code is the way in; in "
            "every sale it can carry a priority for the waiting room. The same Idempotency-Key "
            "makes the same codes.",
            parameters=[_SALE, once(required=False)],
            request=body("NewCodes", {"count": 500, "uses": 1}),
            answers={201: answer("The batch.", ref("CodeBatch"), _CODES)},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/sales/7/codes",
            security=MERCHANT,
        ),
    },
    "/v1/admin/sales/{sale}/codes/{batch}": {
        "get": operation(
            "listCodes",
            _SALES,
            "List the codes of a batch",
            description="With `format=csv` all of them at once, as a file.",
            parameters=[
                _SALE,
                _BATCH,
                query("format", "json or csv.", {"type": "string", "enum": ["json", "csv"]}, "csv"),
                *PAGING,
            ],
            answers={200: answer("The codes.", *_CODE_PAGE)},
            problem_codes=["not_found", "invalid", "unavailable"],
            instance="/v1/admin/sales/7/codes/3",
            security=MERCHANT,
        ),
        "delete": operation(
            "revokeCodes",
            _SALES,
            "Revoke the codes of a batch",
            description="Nobody can redeem them any more; who did stays on the list.",
            parameters=[_SALE, _BATCH],
            answers={204: answer("Revoked.")},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/sales/7/codes/3",
            security=MERCHANT,
        ),
    },
    "/v1/admin/sales/{sale}/guests": {
        "get": operation(
            "listGuests",
            _SALES,
            "List a sale's guests",
            parameters=[_SALE, *PAGING],
            answers={200: answer("The guests.", *_GUESTS)},
            problem_codes=["not_found", "invalid", "unavailable"],
            instance="/v1/admin/sales/7/guests",
            security=MERCHANT,
        ),
        "post": operation(
            "addGuests",
            _SALES,
            "Put buyers on a sale's list",
            parameters=[_SALE, once(required=False)],
            request=body("NewGuests", {"buyers": [_GUEST["buyer"]], "priority": 0}),
            answers={200: answer("Done.", ref("Added"), {"added": 1})},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/sales/7/guests",
            security=MERCHANT,
        ),
    },
    "/v1/admin/sales/{sale}/guests/remove": {
        "post": operation(
            "removeGuests",
            _SALES,
            "Take buyers off a sale's list",
            description="Within ten seconds they get no more passes; their orders stay theirs.",
            parameters=[_SALE, once(required=False)],
            request=body("FormerGuests", {"buyers": [_GUEST["buyer"]]}),
            answers={200: answer("Done.", ref("Removed"), {"removed": 1})},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/sales/7/guests/remove",
            security=MERCHANT,
        )
    },
    "/v1/admin/blacklist": {
        "get": operation(
            "listBlacklist",
            _OVERSIGHT,
            "List who is kept out, those that last longest first",
            parameters=PAGING,
            answers={200: answer("The blacklist.", *_BLACKLIST)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/blacklist",
            security=ADMIN,
        ),
        "post": operation(
            "blacklist",
            _OVERSIGHT,
            "Keep a buyer or an address out",
            parameters=[once(required=False)],
            request=body(
                "NewBlacklisted",
                {"buyer": "jwt:shop:42", "seconds": 600, "reason": "Resells."},
            ),
            answers={201: answer("Kept out.", ref("Blacklisted"), _ENTRY)},
            problem_codes=["idempotency_mismatch", "unavailable"],
            instance="/v1/admin/blacklist",
            security=ADMIN,
        ),
    },
    "/v1/admin/blacklist/{entry}": {
        "delete": operation(
            "liftBlacklist",
            _OVERSIGHT,
            "Let somebody off",
            parameters=[
                path_word(
                    "entry",
                    "The entry's id.",
                    {"type": "string", "pattern": "^[0-9a-f]{16}$"},
                    _ENTRY["id"],
                )
            ],
            answers={204: answer("Lifted.")},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/blacklist/9c1b7d2e4f60a835",
            security=ADMIN,
        )
    },
}
