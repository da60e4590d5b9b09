"""Accounts and sessions, and what admins see and do about people."""

from __future__ import annotations

from sluice.accounts.names import CODE_DIGITS, LOGIN_CHARS_MIN
from sluice.accounts.passwords import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN
from sluice.domain.account import GRANTED, LOGIN_CHARS_MAX, Role
from sluice.web.openapi.parts import (
    ADMIN,
    BUYER,
    ID,
    PAGING,
    SESSION,
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
from sluice.web.openapi.schemas import TIME, form, or_null, shape

_TAG, _PEOPLE = "Accounts", "People"
_TOKEN = "st_9vS1mU3nQx0Zc7H2kLw5RtY8aBdEfGjPqWzXnMvOiUs"  # noqa: S105 - an example
_BUYER = {"id": "acct:42", "login": "m***i", "roles": ["buyer"]}
_LOGGED_IN = {
    "token": _TOKEN,
    "expires_at": "2026-11-18T02:00:00.000Z",
    "buyer": _BUYER,
    "csrf": "b1Yw0Zc7H2kLw5RtY8aBdEfG",
}
_SESSION = {
    "id": "q3Vx0w1Kb2Lc",
    "created_at": "2026-11-11T02:00:00.000Z",
    "expires_at": "2026-11-18T02:00:00.000Z",
    "address": "203.0.113.9",
    "client": "Mozilla/5.0",
    "current": True,
}
_USER = {
    "id": "42",
    "buyer": "acct:42",
    "login": "mei",
    "phone": None,
    "roles": ["buyer", "merchant"],
    "created_at": "2026-11-11T02:00:00.000Z",
}
_ACTION = {
    "id": "117",
    "at": "2026-11-11T01:59:00.000Z",
    "actor": "acct:42",
    "action": "POST /v1/admin/sales/{sale}/publish",
    "target": "/v1/admin/sales/7/publish",
    "address": "203.0.113.9",
    "request_id": "3f2a9c5b7d1e8f400000000042",
    "status": 200,
    "answered_at": "2026-11-11T01:59:00.012Z",
    "detail": None,
}
_CODE = {
    "id": "code_5f2c1a7d9e0b",
    "phone": "+8613800138000",
    "code": "042117",
    "expires_at": "2026-11-11T02:10:00.000Z",
}
_LOGIN: Json = {
    "type": "string",
    "pattern": "^[A-Za-z0-9]([A-Za-z0-9._@+-]*[A-Za-z0-9])?$",
    "minLength": LOGIN_CHARS_MIN,
    "maxLength": LOGIN_CHARS_MAX,
    "description": "Case does not matter.",
}
_PASSWORD: Json = {
    "type": "string",
    "minLength": PASSWORD_CHARS_MIN,
    "maxLength": PASSWORD_CHARS_MAX,
}
_PHONE: Json = {
    "type": "string",
    "pattern": "^(\\+861[3-9][0-9]{9}|1[3-9][0-9]{9})$",
    "description": "Best with its country: `+8613800138000`. Numbers of other countries are taken "
    "as well, with `+` or `00`.",
}
_ANY_PHONE: Json = {**_PHONE, "pattern": "^[+0-9 ().-]{7,24}$"}
_ROLE: Json = {"type": "string", "enum": list(GRANTED)}
_ROLES: Json = {"type": "array", "items": {"type": "string", "enum": list(Role)}}
_USER_ID = path_id("user", "The account's number.", "42")
_USERS = page_of("User", _USER)
_ACTIONS = page_of("AdminAction", _ACTION)
_SESSIONS = page_of("Session", _SESSION)
_CODES = page_of("SentCode", _CODE)
_NO_BODY = ("invalid", "too_large", "unsupported_media_type", "timeout")
_NO_CONTENT = answer("It is done.")

SCHEMAS: dict[str, Json] = {
    "Registration": form(
        "A new account.", {"login": _LOGIN, "password": _PASSWORD}, "login", "password"
    ),
    "Registered": shape("How the login is written from now on.", {"login": _LOGIN}),
    "CodeRequest": form(
        "Whom to send a code.",
        {
            "phone": _ANY_PHONE,
            "bind": {
                "type": "boolean",
                "default": False,
                "description": "The answer then names the request, and the code is good together "
                "with that name alone: nobody else can use up its five tries.",
            },
        },
        "phone",
    ),
    "CodeSent": shape(
        "The same for every phone.",
        {
            "status": {"type": "string", "enum": ["sent"]},
            "request": {"type": "string", "maxLength": 64},
        },
        "request",
    ),
    "Login": form(
        "`phone` and `code`, or `login` and `password`.",
        {
            "phone": _ANY_PHONE,
            "code": {"type": "string", "pattern": f"^[0-9]{{{CODE_DIGITS}}}$"},
            "request": {"type": "string", "minLength": 1, "maxLength": 64},
            "login": _LOGIN,
            "password": {**_PASSWORD, "minLength": 0},
            "cookie": {
                "type": "boolean",
                "default": False,
                "description": "For pages: the token comes as an HttpOnly cookie and not in the "
                "body.",
            },
        },
    ),
    "LoggedIn": shape(
        "A session.",
        {
            "token": {"type": "string", "maxLength": 64},
            "expires_at": {**TIME, "description": "It is put off while the session is used."},
            "buyer": ref("Buyer"),
            "csrf": {
                "type": "string",
                "maxLength": 64,
                "description": "With the cookie, send it as `Sluice-CSRF` with every command.",
            },
        },
        "token",
    ),
    "Buyer": shape(
        "Login and phone are masked.",
        {
            "id": {"type": "string", "maxLength": 255},
            "login": {"type": "string"},
            "phone": {"type": "string"},
            "roles": _ROLES,
        },
        *("login", "phone"),
    ),
    "Me": shape(
        "Who is asking.",
        {"buyer": ref("Buyer"), "csrf": {"type": "string", "maxLength": 64}},
        "csrf",
    ),
    "PasswordChange": form(
        "The password there is, and the one that is wanted.",
        {"current": {**_PASSWORD, "minLength": 0}, "new": _PASSWORD},
        "current",
        "new",
    ),
    "Session": shape(
        "One log-in of the caller's.",
        {
            "id": {"type": "string"},
            "created_at": TIME,
            "expires_at": TIME,
            "address": {"type": "string"},
            "client": {"type": "string", "description": "What it called itself."},
            "current": {"type": "boolean", "description": "Whether it is the one that asks."},
        },
    ),
    "User": shape(
        "An account as an admin sees it.",
        {
            "id": ID,
            "buyer": {"type": "string"},
            "login": {"type": ["string", "null"]},
            "phone": {"type": ["string", "null"]},
            "roles": _ROLES,
            "created_at": TIME,
        },
    ),
    "RolesForm": form(
        "Exactly these, besides `buyer`.",
        {"roles": {"type": "array", "maxItems": 8, "items": _ROLE}},
        "roles",
    ),
    "InviteForm": form(
        "`login` or `phone`, and what they may do.",
        {
            "login": _LOGIN,
            "phone": _ANY_PHONE,
            "roles": {"type": "array", "maxItems": 8, "items": _ROLE},
        },
        "roles",
    ),
    "Ended": shape("How many.", {"ended": {"type": "integer", "minimum": 0}}),
    "AdminAction": shape(
        "One command of an admin or merchant. Without a status it was cut off.",
        {
            "id": ID,
            "at": TIME,
            "actor": {"type": "string", "description": "`admin` is the admin token's holder."},
            "action": {"type": "string"},
            "target": {"type": "string"},
            "address": {"type": "string"},
            "request_id": {"type": "string"},
            "status": {"type": ["integer", "null"]},
            "answered_at": or_null(TIME),
            "detail": {
                "type": ["string", "null"],
                "description": "The request's body, shortened and without secrets.",
            },
        },
    ),
    "SentCode": shape(
        "A code that was sent of late.",
        {
            "id": {"type": "string"},
            "phone": {"type": "string"},
            "code": {"type": "string"},
            "expires_at": TIME,
        },
    ),
}

PATHS: dict[str, Json] = {
    "/v1/accounts": {
        "post": operation(
            "register",
            _TAG,
            "Register with login and password",
            description="A name that is taken gets the same answer, and nothing happens.",
            request=body("Registration", {"login": "mei", "password": "correct horse battery"}),
            answers={201: answer("It can log in now.", ref("Registered"), {"login": "mei"})},
            problem_codes=["too_many_requests", "overloaded", "unavailable"],
            instance="/v1/accounts",
        )
    },
    "/v1/login/code": {
        "post": operation(
            "sendCode",
            _TAG,
            "Send a code to a phone",
            description="Six digits, good once, for ten minutes and five tries. Whether the phone "
            "has an account makes no difference.",
            request=body("CodeRequest", {"phone": "+8613800138000"}),
            answers={202: answer("It is on its way.", ref("CodeSent"), {"status": "sent"})},
            problem_codes=["not_allowed", "too_many_requests", "overloaded", "unavailable"],
            instance="/v1/login/code",
        )
    },
    "/v1/login": {
        "post": operation(
            "logIn",
            _TAG,
            "Log in",
            description="A phone that proves itself for the first time has an account from now on.",
            request=body("Login", {"login": "mei", "password": "correct horse battery"}),
            answers={
                200: answer(
                    "A session.",
                    ref("LoggedIn"),
                    _LOGGED_IN,
                    headers={
                        "Set-Cookie": {
                            "description": "Where a cookie was asked for.",
                            "schema": {"type": "string"},
                        }
                    },
                )
            },
            problem_codes=[
                *("unauthenticated", "not_allowed", "too_many_requests", "overloaded"),
                "unavailable",
            ],
            instance="/v1/login",
        )
    },
    "/v1/session": {
        "delete": operation(
            "logOut",
            _TAG,
            "End the session that asks",
            description="It counts no more from this answer on, in every process. A pass that it "
            "was given lives on for at most its own minute.",
            answers={204: _NO_CONTENT},
            problem_codes=["not_allowed", *_NO_BODY, "unavailable"],
            instance="/v1/session",
            security=SESSION,
        )
    },
    "/v1/sessions": {
        "get": operation(
            "listSessions",
            _TAG,
            "List the caller's sessions, newest first",
            answers={200: answer("The sessions.", *_SESSIONS)},
            problem_codes=["not_allowed", "unavailable"],
            instance="/v1/sessions",
            security=SESSION,
        )
    },
    "/v1/sessions/{session}": {
        "delete": operation(
            "endSession",
            _TAG,
            "End one of the caller's sessions",
            parameters=[
                path_word(
                    "session",
                    "The session's id.",
                    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                    str(_SESSION["id"]),
                )
            ],
            answers={204: _NO_CONTENT},
            problem_codes=["not_allowed", "not_found", *_NO_BODY, "unavailable"],
            instance="/v1/sessions/q3Vx0w1Kb2Lc",
            security=SESSION,
        )
    },
    "/v1/me": {
        "get": operation(
            "getMe",
            _TAG,
            "Who is asking",
            answers={200: answer("The caller.", ref("Me"), {"buyer": _BUYER})},
            problem_codes=["unavailable"],
            instance="/v1/me",
            security=BUYER,
        )
    },
    "/v1/me/password": {
        "post": operation(
            "changePassword",
            _TAG,
            "Change the password",
            description="All other sessions of the account end at once, in every process. A wrong "
            "`current` is a 422 of that field. The same request again changes nothing.",
            request=body(
                "PasswordChange",
                {"current": "right donkey socket", "new": "wrong donkey socket"},
            ),
            answers={200: answer("How many sessions ended.", ref("Ended"), {"ended": 2})},
            problem_codes=[
                *("not_allowed", "conflict", "too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/me/password",
            security=SESSION,
        )
    },
    "/v1/admin/users": {
        "get": operation(
            "listUsers",
            _PEOPLE,
            "List accounts, oldest first",
            parameters=[
                query("login", "Only the one with this login.", _LOGIN, "mei"),
                query("phone", "Only the one with this phone.", _ANY_PHONE, "+8613800138000"),
                query("role", "Only those with this role.", _ROLE, "merchant"),
                *PAGING,
            ],
            answers={200: answer("The accounts.", *_USERS)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/users",
            security=ADMIN,
        ),
        "post": operation(
            "inviteUser",
            _PEOPLE,
            "Give roles to a phone or a login",
            description="A phone has an account from then on, and gets in with a code; a login "
            "has to be registered. Roles that they have stay.",
            parameters=[once(required=False)],
            request=body("InviteForm", {"phone": "+8613800138000", "roles": ["merchant"]}),
            answers={200: answer("The account.", ref("User"), _USER)},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/users",
            security=ADMIN,
        ),
    },
    "/v1/admin/users/{user}": {
        "get": operation(
            "getUser",
            _PEOPLE,
            "Show an account",
            parameters=[_USER_ID],
            answers={200: answer("The account.", ref("User"), _USER)},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/users/42",
            security=ADMIN,
        )
    },
    "/v1/admin/users/{user}/roles": {
        "post": operation(
            "setRoles",
            _PEOPLE,
            "Set an account's roles",
            description="They count from the next request on. The last admin stays one.",
            parameters=[_USER_ID, once(required=False)],
            request=body("RolesForm", {"roles": ["merchant"]}),
            answers={200: answer("The account.", ref("User"), _USER)},
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/users/42/roles",
            security=ADMIN,
        )
    },
    "/v1/admin/users/{user}/logout": {
        "post": operation(
            "logOutUser",
            _PEOPLE,
            "End all sessions of an account",
            parameters=[_USER_ID, once(required=False)],
            request=body("Nothing", {}, required=False),
            answers={200: answer("How many there were.", ref("Ended"), {"ended": 2})},
            problem_codes=["not_found", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/users/42/logout",
            security=ADMIN,
        )
    },
    "/v1/admin/actions": {
        "get": operation(
            "listActions",
            _PEOPLE,
            "List what admins and merchants did, newest first",
            parameters=[
                query(
                    "actor",
                    "Only of this one.",
                    {"type": "string", "minLength": 1, "maxLength": 200},
                    "acct:42",
                ),
                *PAGING,
            ],
            answers={200: answer("The commands.", *_ACTIONS)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/actions",
            security=ADMIN,
        )
    },
    "/v1/admin/inbox": {
        "get": operation(
            "readInbox",
            _PEOPLE,
            "Read the codes that were sent of late",
            description="For development: it exists while no hook delivers codes.",
            answers={200: answer("The codes, newest first.", *_CODES)},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/inbox",
            security=ADMIN,
        )
    },
}
