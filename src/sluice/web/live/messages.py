"""What is said on a live connection: one JSON text a message."""

from __future__ import annotations

from typing import Any

import msgspec

from sluice.domain.times import render_time
from sluice.web.live.frames import Op, frame

SALE_TOPIC = "sale:"


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say; `token` comes first."""

    token: str | None = None
    subscribe: str | None = None
    unsubscribe: str | None = None


_decode = msgspec.json.Decoder(Said).decode
_encoder = msgspec.json.Encoder()


def heard(text: bytes) -> Said | None:
    """None for what is no message of ours."""
    try:
        said = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return said if said.token or said.subscribe or said.unsubscribe else None


def message(kind: str, at_ms: int, data: Any) -> bytes:
    """A whole frame; made once, however many it is sent to."""
    body = {"type": kind, "at": render_time(at_ms), "data": data}
    return frame(Op.TEXT, _encoder.encode(body))


def error(at_ms: int, code: str, detail: str, **about: str) -> bytes:
    """A request that cannot be met; the connection goes on."""
    return message("error", at_ms, {"code": code, "detail": detail, **about})
