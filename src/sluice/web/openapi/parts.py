"""The words in which operations are written down: parameters, answers, problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sluice.web import problems

Json = dict[str, Any]

BUYER = "buyer"
SESSION = "session"
MERCHANT = "merchant"
PERSON = "person"
ADMIN = "admin"
COOKIE = "cookie"
"""Names of the security schemes; who comes with the cookie is whoever it is the session of."""
JSON = "application/json"

REQUEST_ID = "3f2a9c5b7d1e8f400000000042"
ID = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$", "maxLength": 19}
LIMIT = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
CURSOR = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,26}$", "maxLength": 26}
KEY = {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$", "minLength": 1, "maxLength": 255}

_HEADERS: Json = {
    "X-Request-Id": {
        "description": "Names this request in our logs.",
        "schema": {"type": "string", "maxLength": 64},
    }
}
_RETRY_AFTER: Json = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_LIMITS: Json = {
    "RateLimit": {
        "description": 'What is left of each limit: `"buyer";r=0;t=42`.',
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'The limits of this route: `"buyer";q=10;w=60`.',
        "schema": {"type": "string"},
    },
}
_MORE_OF: dict[str, Json] = {
    "not_started": {"starts_at": "2026-11-11T02:00:00.000Z"},
    "sold_out": {"may_return": True},
    "limit_reached": {"order_id": "117000000000000042"},
    "paused": {"reason": "The photographs were mixed up."},
    "too_many_requests": {"limit": "buyer"},
    "invalid": {"errors": [{"field": "quantity", "message": "must be from 1 to 32"}]},
}


def ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def path_id(name: str, text: str, example: str = "7") -> Json:
    return path_word(name, text, ID, example)


def path_word(name: str, text: str, schema: Json, example: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": text,
        "schema": schema,
        "example": example,
    }


def query(name: str, text: str, schema: Json, example: Any) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": schema, "example": example}


def header(name: str, text: str, schema: Json, example: str, *, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": text,
        "schema": schema,
        "example": example,
    }


PAGING = (
    query("limit", "How many at most.", LIMIT, 20),
    query("cursor", "`next_cursor` of the page before.", CURSOR, "MTE3MDAw"),
)


def once(*, required: bool) -> Json:
    """The Idempotency-Key of a command."""
    text = (
        "Names this command: sent again with the same body, it answers as it did the first time; "
        "with another body it is refused."
    )
    return header("Idempotency-Key", text, KEY, "restock-2026-11-11-a", required=required)


def body(schema: str, example: Any, *, required: bool = True) -> Json:
    return {
        "required": required,
        "content": {JSON: {"schema": ref(schema), "example": example}},
    }


def answer(
    text: str,
    schema: Json | None = None,
    example: Any = None,
    *,
    media_type: str = JSON,
    headers: Mapping[str, Json] | None = None,
) -> Json:
    answered: Json = {"description": text, "headers": {**_HEADERS, **(headers or {})}}
    if schema is not None:
        answered["content"] = {media_type: {"schema": schema, "example": example}}
    return answered


def page_of(schema: str, example: Any) -> tuple[Json, Json]:
    """Schema and example of a list."""
    shape: Json = {
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {
            "data": {"type": "array", "maxItems": 100, "items": ref(schema)},
            "next_cursor": {"type": ["string", "null"], "description": "null: there is no more."},
        },
    }
    return shape, {"data": [example], "next_cursor": None}


def refusals(codes: Iterable[str], instance: str) -> Json:
    """The problem answers, by status; every code has its example."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(problems.KINDS[code].status, []).append(code)
    return {
        str(status): {
            "description": " · ".join(problems.KINDS[code].title for code in same),
            "headers": {
                **_HEADERS,
                **(_RETRY_AFTER if status in (429, 503) else {}),
                **(_LIMITS if status == 429 else {}),
            },
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": ref("Problem"),
                    "examples": {code: {"value": _problem(code, instance)} for code in same},
                }
            },
        }
        for status, same in sorted(by_status.items())
    }


def _problem(code: str, instance: str) -> Json:
    kind = problems.KINDS[code]
    return {
        "type": f"{problems.PAGE}#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "instance": instance,
        "code": code,
        "request_id": REQUEST_ID,
        **_MORE_OF.get(code, {}),
    }


def operation(
    name: str,
    tag: str,
    summary: str,
    *,
    description: str = "",
    parameters: Iterable[Json] = (),
    request: Json | None = None,
    answers: Mapping[int, Json],
    problem_codes: Iterable[str] = (),
    instance: str = "/v1",
    security: str | None = None,
) -> Json:
    """One operation. Who must be known may be unknown; what has a body may have a bad one; and of
    every kind of request there may be too many."""
    codes = list(problem_codes)
    if 503 not in answers:
        codes.append("overloaded")
    if security is not None:
        codes.append("unauthenticated")
    if security in (MERCHANT, PERSON, ADMIN):
        codes.append("not_allowed")
    if request is not None:
        codes += ["timeout", "too_large", "unsupported_media_type", "invalid"]
    described: Json = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {
            **{str(status): said for status, said in answers.items()},
            **refusals(dict.fromkeys(codes), instance),
        },
        "security": [] if security is None else [{security: []}, {COOKIE: []}],
    }
    if description:
        described["description"] = description
    if parameters := list(parameters):
        described["parameters"] = parameters
    if request is not None:
        described["requestBody"] = request
    return described
