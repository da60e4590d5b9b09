"""Every refusal and fault as a problem document (RFC 9457): the one table of codes, one encoding.

A problem is `{"type", "title", "status", "detail", "instance", "code", "request_id"}` and, by code,
`errors` and further members. `instance` is the request's path without secrets: see `instance_of`.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sluice.domain import errors as domain
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.domain.signature import BadSignature

MEDIA_TYPE = "application/problem+json"
PAGE = "/docs/problems"
"""The page that explains every code; `type` points into it."""
RETRY_AFTER_S = 1


class Kind(NamedTuple):
    """What is fixed about a code: status, title, and what is said where nothing more is known."""

    status: int
    title: str
    detail: str
    retry_after_s: int | None = None


KINDS: dict[str, Kind] = {
    "unauthenticated": Kind(
        401, "Who is asking is not known", "Send a valid token: Authorization: Bearer TOKEN."
    ),
    "bad_signature": Kind(
        401, "The signature is not valid", "Sign the callback with the secret that was agreed on."
    ),
    "not_started": Kind(403, "The sale has not started", "Try again when the sale has started."),
    "bad_pass": Kind(403, "The pass is not valid", "Get a new pass and use it before it expires."),
    "challenge_failed": Kind(
        403, "The challenge was not solved", "Get a new challenge and try again."
    ),
    "not_allowed": Kind(403, "Not allowed", "This token may not do that."),
    "not_found": Kind(404, "Not found", "There is no such thing, or it is not yours to see."),
    "method_not_allowed": Kind(
        405, "Wrong method", "The Allow header says which methods there are."
    ),
    "not_acceptable": Kind(406, "Not acceptable", "This is only available as JSON."),
    "timeout": Kind(408, "The request took too long", "The body did not arrive in time."),
    "sold_out": Kind(409, "Sold out", "All units are gone."),
    "limit_reached": Kind(409, "Limit reached", "You hold as many units as one buyer may."),
    "paused": Kind(409, "The sale is paused", "The sale is paused."),
    "available": Kind(
        409, "There is stock", "There are units on sale; the waitlist is not needed."
    ),
    "conflict": Kind(409, "Not in this state", "The present state does not allow this."),
    "ended": Kind(410, "The sale has ended", "The sale has ended."),
    "too_large": Kind(413, "Too large", "The request is larger than is accepted here."),
    "unsupported_media_type": Kind(415, "Wrong content type", "Send the body as application/json."),
    "invalid": Kind(422, "The request is not valid", "Something in the request breaks a rule."),
    "idempotency_mismatch": Kind(
        422,
        "The Idempotency-Key was used for another request",
        "Use a new Idempotency-Key for a new request.",
    ),
    "upgrade_required": Kind(
        426, "This is a WebSocket", "Open it as a WebSocket; docs/live.md says what is said there."
    ),
    "too_many_requests": Kind(
        429, "Too many requests", "Wait before you try again.", RETRY_AFTER_S
    ),
    "internal": Kind(
        500, "Something went wrong here", "This is our fault; the incident was logged."
    ),
    "overloaded": Kind(
        503, "Too many are waiting", "This request was not started; try again.", RETRY_AFTER_S
    ),
    "unavailable": Kind(
        503,
        "Not available right now",
        "The outcome is unknown; send the same request again, it cannot count twice.",
        RETRY_AFTER_S,
    ),
}

_RESERVED = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
)


class FieldError(NamedTuple):
    field: str
    message: str


class Problem(Exception):  # noqa: N818 - a problem is what RFC 9457 calls it, and not always an error
    """A refusal or fault on its way to the client; `extra` holds the code's further members."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = KINDS[code]
        if extra and not _RESERVED.isdisjoint(extra):
            raise ValueError("an extra member would overwrite one that every problem has")
        super().__init__(code, detail or kind.detail)
        self.code = code
        self.status = kind.status
        self.title = kind.title
        self.detail = detail or kind.detail
        self.errors = tuple(errors)
        self.extra = dict(extra or {})
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        if kind.retry_after_s is not None:
            self.headers.setdefault("retry-after", str(kind.retry_after_s))
        if code == "unauthenticated":
            self.headers.setdefault("www-authenticate", 'Bearer realm="sluice"')

    def encode(self, request_id: str, path: str) -> bytes:
        """The document. `path` is the request's as it came; what is secret in it is left out."""
        document: dict[str, Any] = {
            "type": f"{PAGE}#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance_of(path),
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = [{"field": e.field, "message": e.message} for e in self.errors]
        document.update(self.extra)
        return msgspec.json.encode(document)

    def header_items(self, request_id: str) -> list[tuple[str, str]]:
        """All headers of the answer, names in lower case."""
        return [*_BASE_HEADERS, *self.headers.items(), ("x-request-id", request_id)]


def invalid(field: str, message: str) -> Problem:
    """A 422 with one field error."""
    return invalid_fields([(field, message)])


def invalid_fields(faults: Sequence[tuple[str, str]]) -> Problem:
    """A 422 with every field error; a field without a name is the body as a whole."""
    found = [FieldError(field or "body", message) for field, message in faults]
    first = found[0]
    return Problem("invalid", f"{first.field} {first.message}", errors=found)


def _unauthenticated(error: domain.Unauthenticated) -> Problem:
    """Says of a token that it expired (RFC 6750), and of nothing else what is wrong with it."""
    detail = "The token has expired; get a new one." if error.expired else None
    challenge = 'Bearer realm="sluice", error="invalid_token"'
    return Problem("unauthenticated", detail, headers={"www-authenticate": challenge})


# --- where problems come from ---------------------------------------------------------------------


def of(error: BaseException) -> Problem:
    """The problem that a fault of the domain is; `internal` where nobody expected it."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, domain.Invalid):
        return invalid(error.field, error.message)
    if isinstance(error, domain.InvalidFields):
        return invalid_fields(error.errors)
    if isinstance(error, domain.Unauthenticated):
        return _unauthenticated(error)
    if isinstance(error, domain.BadCredentials):
        return Problem("unauthenticated", BAD_CREDENTIALS)
    if isinstance(error, domain.TooManyRequests):
        return Problem(
            "too_many_requests",
            extra={"limit": error.limit},
            headers={"retry-after": str(error.retry_after_s)},
        )
    if isinstance(error, domain.Unavailable) and error.explains:
        return Problem("unavailable", str(error))
    for kind, code in _CODES_OF_ERRORS:
        if isinstance(error, kind):
            return Problem(code, str(error) if code in _ERRORS_THAT_EXPLAIN else None)
    return Problem("internal")


BAD_CREDENTIALS = "These do not go together: login and password, or phone and code."
_CODES_OF_ERRORS: tuple[tuple[type[domain.SluiceError], str], ...] = (
    (BadSignature, "bad_signature"),
    (domain.NotFound, "not_found"),
    (domain.Conflict, "conflict"),
    (domain.IdempotencyMismatch, "idempotency_mismatch"),
    (domain.Overloaded, "overloaded"),
    (domain.Unavailable, "unavailable"),
)
# The messages of other faults are for logs: they may name hosts or statements.
_ERRORS_THAT_EXPLAIN = frozenset({"conflict", "bad_signature"})

_CODES_OF_OUTCOMES: dict[Outcome, str] = {
    Outcome.SOLD_OUT: "sold_out",
    Outcome.LIMIT_REACHED: "limit_reached",
    Outcome.NOT_STARTED: "not_started",
    Outcome.ENDED: "ended",
    Outcome.PAUSED: "paused",
    Outcome.NOT_ARMED: "unavailable",
    Outcome.UNKNOWN_ITEM: "not_found",
    Outcome.OTHER_QUANTITY: "invalid",
    Outcome.BAD_PASS: "bad_pass",
}


def code_of(outcome: Outcome) -> str | None:
    """The problem code of a refusal; None for what is no refusal."""
    return _CODES_OF_OUTCOMES.get(outcome)


def for_outcome(
    outcome: Outcome,
    *,
    starts_at: str | None = None,
    may_return: bool = False,
    waitlist: bool = False,
    order_id: str | None = None,
    reason: str | None = None,
) -> Problem:
    """The problem a refusal is, with what the contract adds to its code.

    `starts_at` (RFC 3339) goes with NOT_STARTED, `may_return` and `waitlist` with SOLD_OUT,
    `order_id` with LIMIT_REACHED, `reason` with PAUSED. ACCEPTED and REPLAYED are no refusals.
    """
    code = _CODES_OF_OUTCOMES[outcome]
    if outcome is Outcome.OTHER_QUANTITY:
        return invalid("quantity", "differs from that of this pass's order")
    if outcome is Outcome.SOLD_OUT:
        extra: dict[str, Any] = {"may_return": may_return}
        if waitlist:
            extra["waitlist"] = True
        return Problem(code, extra=extra)
    if outcome is Outcome.NOT_STARTED and starts_at is not None:
        return Problem(code, extra={"starts_at": starts_at})
    if outcome is Outcome.LIMIT_REACHED and order_id is not None:
        return Problem(code, extra={"order_id": order_id})
    if outcome is Outcome.PAUSED and reason:
        return Problem(code, f"The sale is paused: {reason}", extra={"reason": reason})
    return Problem(code)


_CODES_OF_WAITING: dict[WaitOutcome, str] = {
    WaitOutcome.AVAILABLE: "available",
    WaitOutcome.LIMIT_REACHED: "limit_reached",
    WaitOutcome.NOT_STARTED: "not_started",
    WaitOutcome.ENDED: "ended",
    WaitOutcome.NO_WAITLIST: "sold_out",
    WaitOutcome.FULL: "sold_out",
    WaitOutcome.NOT_ARMED: "unavailable",
    WaitOutcome.UNKNOWN_ITEM: "not_found",
    WaitOutcome.NONE: "not_found",
}
_WHY_NOT_WAIT = {
    WaitOutcome.NO_WAITLIST: "This sale has no waitlist.",
    WaitOutcome.FULL: "The waitlist is full.",
    WaitOutcome.ENDED: "Nobody is promoted from the waitlist any more.",
}


def for_waiting(outcome: WaitOutcome, *, starts_at: str, order_id: str | None) -> Problem:
    """Why somebody cannot wait. JOINED and WAITING are no refusals."""
    code = _CODES_OF_WAITING[outcome]
    extra: dict[str, Any] = {}
    if outcome is WaitOutcome.NOT_STARTED:
        extra = {"starts_at": starts_at}
    elif outcome is WaitOutcome.LIMIT_REACHED and order_id is not None:
        extra = {"order_id": order_id}
    elif code == "sold_out":
        extra = {"may_return": outcome is WaitOutcome.FULL}
    return Problem(code, _WHY_NOT_WAIT.get(outcome), extra=extra)


# --- the hot lane's encoding ----------------------------------------------------------------------

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""Of every answer that is not a page; pages bring a policy of their own."""

_BASE_HEADERS: tuple[tuple[str, str], ...] = (
    ("content-type", MEDIA_TYPE),
    ("cache-control", "no-store"),
    *SECURITY_HEADERS,
)


def _head(code: str, kind: Kind) -> str:
    fixed = {
        "type": f"{PAGE}#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "code": code,
    }
    return msgspec.json.encode(fixed).decode()[:-1] + ',"instance":"'


_HEADS = {code: _head(code, kind) for code, kind in KINDS.items()}
_HEADERS = {code: Problem(code).header_items("")[:-1] for code in KINDS}


def encode_fast(code: str, request_id: str, instance: str = "/v1/buy", members: str = "") -> bytes:
    """The same document for the hot lane, joined from prepared parts.

    `instance` must be plain (ids checked, no quotes, no pass). `members` is further JSON with a
    comma in front, such as `,"may_return":true`.
    """
    head, tail = around_fast(code, instance, members)
    return f"{head}{request_id}{tail}".encode()


def around_fast(code: str, instance: str = "/v1/buy", members: str = "") -> tuple[str, str]:
    """What stands before the request id in the document of `encode_fast`, and what after it."""
    return f'{_HEADS[code]}{instance}","request_id":"', f'"{members}}}'


def headers_fast(
    code: str, request_id: str, more: Iterable[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """The headers that go with `encode_fast`, and `more`."""
    return [*_HEADERS[code], *more, ("x-request-id", request_id)]


# --- what names a request -------------------------------------------------------------------------

_SECRET_ROUTES = ("/v1/buy/",)
_INSTANCE_MAX = 200


def instance_of(path: str) -> str:
    """The request's path as a URI reference: no query, no pass, only plain ASCII, not overlong."""
    for prefix in _SECRET_ROUTES:
        if path.startswith(prefix):
            return prefix[:-1]
    plain = _NOT_IN_A_PATH.sub("", path.partition("?")[0])
    return plain[:_INSTANCE_MAX] or "/"


_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9/._~:@!$&'()*+,;=-]")
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}", re.ASCII)

_process_part = ""
_counter = itertools.count()


def _begin_ids() -> None:
    """A forked worker must not count on in its parent's name."""
    global _process_part, _counter
    _process_part = secrets.token_hex(8)
    _counter = itertools.count(1)


_begin_ids()
os.register_at_fork(after_in_child=_begin_ids)


def new_request_id() -> str:
    """26 characters: 16 of the process, 10 of a counter."""
    return f"{_process_part}{next(_counter):010x}"


def request_id_of(given: str | None) -> str:
    """The caller's own X-Request-Id where it is sane, else a new one."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given
    return new_request_id()
