"""Reading requests strictly: whatever does not fit is a problem of the client's, named by field."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from litestar import Request

from sluice.catalog.draft import decode_json
from sluice.domain import number
from sluice.domain.errors import NotFound
from sluice.web.problems import Problem, invalid

BODY_MAX = 16 << 10
ADMIN_BODY_MAX = 1 << 20
"""A sale of 200 items, each with the longest titles, is well below."""
QUERY_FIELDS_MAX = 32
PAGE_DEFAULT = 20
PAGE_MAX = 100
IDEMPOTENCY_KEY = "idempotency-key"

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
AnyRequest = Request[Any, Any, Any]


class Body(NamedTuple):
    raw: bytes
    value: object
    """What the JSON says; an empty body reads as `{}`."""


class Page(NamedTuple):
    limit: int
    after: int | None
    """The id that the page before ended with; None asks for the first page."""


async def read_body(request: AnyRequest, bytes_max: int = BODY_MAX) -> Body:
    """A body that must be there. Raises `Problem`, and `InvalidFields` where it is not JSON."""
    body = await _read_any(request, bytes_max)
    if not body.raw:
        raise invalid("body", "is required")
    return body


async def read_nothing(request: AnyRequest) -> Body:
    """The body of a request that takes none: empty or `{}`. Raises as `read_body` does."""
    body = await _read_any(request, BODY_MAX)
    if body.value != {}:
        raise invalid("body", "must be empty or {} here")
    return body


async def _read_any(request: AnyRequest, bytes_max: int) -> Body:
    """Raises `Problem` where the body is too large, not JSON by type, or cut off."""
    raw = await read_raw(request, bytes_max)
    if not raw:
        return Body(raw, {})
    check_content_type(request)
    return Body(raw, decode_json(raw))


async def read_raw(request: AnyRequest, bytes_max: int) -> bytes:
    """The body as it came, of whatever type. Raises `Problem` where it is too large or cut off."""
    pieces: list[bytes] = []
    length = 0
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem("timeout", "The body was cut off.")
        piece = message.get("body", b"")
        pieces.append(piece)
        length += len(piece)
        if length > bytes_max:
            raise Problem("too_large", f"The body may have {bytes_max} bytes here.")
        if not message.get("more_body", False):
            break
    return b"".join(pieces)


def check_content_type(request: AnyRequest) -> None:
    """JSON, or nothing said about it. Raises `Problem`."""
    given = request.headers.get("content-type")
    if given is not None and given.partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported_media_type", headers={"accept": "application/json"})


def read_id(text: str) -> int:
    """An id in a path. Raises `NotFound`: nothing has such an id."""
    found = number.parse(text)
    if found is None:
        raise NotFound
    return found


def read_query(request: AnyRequest) -> dict[str, str]:
    """The last value of each field; raises `Problem` where there are too many."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        fields = parse_qsl(
            text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="replace"
        )
    except ValueError:
        raise invalid("query", f"may have {QUERY_FIELDS_MAX} fields") from None
    return dict(fields)


def read_page(query: dict[str, str]) -> Page:
    """`limit` and `cursor`. Raises `Problem`."""
    text = query.get("limit", str(PAGE_DEFAULT))
    if not re.fullmatch("[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= PAGE_MAX:
        raise invalid("limit", f"must be a whole number from 1 to {PAGE_MAX}")
    cursor = query.get("cursor")
    return Page(int(text), None if cursor is None else _after(cursor))


def _after(cursor: str) -> int:
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    after = number.parse(text)
    if after is None or cursor_of(after) != cursor:
        raise invalid("cursor", "must be a next_cursor that was given out")
    return after


def cursor_of(last_id: int) -> str:
    """An opaque word for "after this one"."""
    return urlsafe_b64encode(str(last_id).encode()).rstrip(b"=").decode()


def query_id(query: dict[str, str], name: str) -> int | None:
    """An id in the query; None where it is absent. Raises `Problem`."""
    if name not in query:
        return None
    found = number.parse(query[name])
    if found is None:
        raise invalid(name, "must be an id")
    return found


class OnceKey(NamedTuple):
    """One command of one caller, to be done once."""

    key: str
    """Hash of caller, route and Idempotency-Key, so that keys of strangers never meet."""
    body_hash: bytes


def read_once(request: AnyRequest, actor: str, body: Body, *, required: bool) -> OnceKey | None:
    """The Idempotency-Key; None where there is none and none is required. Raises `Problem`."""
    given = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not given:
        if required:
            raise invalid("Idempotency-Key", "is required here")
        return None
    if len(given) > 1 or not _VISIBLE.fullmatch(given[0]):
        raise invalid("Idempotency-Key", "must be one word of 1 to 255 visible ASCII characters")
    # Two merchants may well choose the same key; the guard has noted who this one is.
    actor = request.scope["state"].get("actor", actor)
    named = "\0".join((actor, request.method, request.scope["path"], given[0]))
    return OnceKey(
        blake2b(named.encode(), digest_size=32).hexdigest(),
        blake2b(body.raw, digest_size=32).digest(),
    )
