"""The trail of what admins did: every command under `/v1/admin` is noted before it is carried out,
and what came of it before the answer is sent. What cannot be noted is not done.

What somebody with a role tried that is not theirs to do is noted as well. Reading is not, and
neither is what anybody else tried: a crowd could fill the ledger with that. Both are in the
metrics.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgspec

from sluice import telemetry
from sluice.domain.account import NewAction
from sluice.domain.errors import LedgerUnavailable, SluiceError
from sluice.telemetry import get_logger
from sluice.web import problems
from sluice.web.adapter import ASGIApp, Message, Receive, Send
from sluice.web.api.callers import AnyConnection, method_of, where_of
from sluice.web.parts import Parts

_HARMLESS = frozenset({"settings", "clock", "counts"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
DETAIL_MAX = 2000
"""Characters of a request's body."""
BODY_READ_MAX = 8192
_NAME_MAX = 200

log = get_logger("admin")


async def note(connection: AnyConnection, actor: str, parts: Parts) -> None:
    """Who is about to do what. Where that cannot be noted, the handler is given nothing to do it
    with (`parts_for`): it still tells the client's mistakes, and else that the ledger is away."""
    state = connection.scope["state"]
    state["actor"] = actor
    method = method_of(connection)
    if method in _READING:
        return
    template = str(connection.scope.get("path_template") or connection.scope["path"])
    action = NewAction(
        actor=actor,
        action=f"{method} {template}"[:_NAME_MAX],
        target=problems.instance_of(connection.scope["path"])[:_NAME_MAX],
        address=where_of(connection, parts).address,
        request_id=state["request_id"],
    )
    try:
        state["action_id"] = await parts.ledger.note_action(action)
    except LedgerUnavailable:
        state["action_id"] = None


def parts_for(connection: AnyConnection, parts: Parts) -> Parts:
    """The parts for a command that was noted; else those with which nothing can be done."""
    if connection.scope["state"].get("action_id", ...) is not None:
        return parts
    nothing: Any = _Nothing()
    left = {field.name: nothing for field in fields(parts) if field.name not in _HARMLESS}
    return replace(parts, **left)


class _Nothing:
    def __getattr__(self, _name: str) -> Any:
        raise LedgerUnavailable


class Trail:
    """The middleware around the routes of admins: writes down what came of what `note` noted."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        body = bytearray()

        async def overhear() -> Message:
            message = await receive()
            if len(body) < BODY_READ_MAX:
                body.extend(message.get("body", b"")[: BODY_READ_MAX - len(body)])
            return message

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._result(scope, message["status"], bytes(body))
            await send(message)

        await self._app(scope, overhear, send_noted)

    async def _result(self, scope: Any, status: int, body: bytes) -> None:
        action_id = scope["state"].pop("action_id", None)
        if action_id is None:
            return
        try:
            await self._parts.ledger.note_result(action_id, status, detail_of(body))
        except SluiceError as error:
            # It was done, and its beginning is noted; the answer must not say otherwise.
            log.error(
                "The result of an admin's command could not be noted.",
                action="admin.result_lost",
                noted=action_id,
                status=status,
                error=str(error),
            )


def detail_of(body: bytes) -> str | None:
    """A request's body for people to read: shortened, and without what is secret in it."""
    if not body:
        return None
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{len(body)} bytes"
    clean = telemetry.redact(None, "", {"body": said})["body"]
    text = msgspec.json.encode(clean).decode()
    return text if len(text) <= DETAIL_MAX else text[: DETAIL_MAX - 1] + "…"
