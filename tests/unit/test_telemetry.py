"""Log lines are JSON for machines, carry an action, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sluice import telemetry
from sluice.telemetry import HIDDEN, redact


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_action_and_origin() -> None:
    stream = io.StringIO()
    telemetry.configure("work", "info", stream)
    telemetry.get_logger("gate").warning("Not armed.", action="gate.not_armed", shard=3)
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "Not armed.",
        "action": "gate.not_armed",
        "level": "warning",
        "process": "work",
        "room": "gate",
        "shard": 3,
    }


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    telemetry.configure("work", "warning", stream)
    telemetry.get_logger("gate").info("Quiet.", action="quiet")
    assert lines(stream) == []


def test_what_libraries_log_comes_out_the_same_way() -> None:
    stream = io.StringIO()
    telemetry.configure("work", "info", stream)
    logging.getLogger("some.library").warning("careful: %s", "Bearer abc.def.ghi")
    (line,) = lines(stream)
    assert line["room"] == "some.library"
    assert line["event"] == f"careful: Bearer {HIDDEN}"


def test_an_exception_stays_on_its_line_and_its_secrets_are_hidden() -> None:
    stream = io.StringIO()
    telemetry.configure("work", "info", stream)
    try:
        raise RuntimeError("redis://me:sesame@host/0 is away")
    except RuntimeError:
        telemetry.get_logger("gate").exception("Broken.", action="broken")
    (line,) = lines(stream)
    assert "RuntimeError" in line["exception"]
    assert "sesame" not in line["exception"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer sesame",
        "postgresql://me:sesame@host/db",
        "redis://:sesame@host:6379/0",
        "GET /v1/buy/k1.payload.sesame HTTP/1.1",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.sesame",
        "signed with whsec_sesame",
    ],
)
def test_secrets_inside_a_text_are_hidden(text: str) -> None:
    event = redact(None, "info", {"event": text, "nested": {"list": [text]}})
    assert "sesame" not in json.dumps(event)
    assert HIDDEN in event["event"]


@pytest.mark.parametrize(
    "key", ["token", "admin_token", "password", "authorization", "receipt", "secret_keys", "cookie"]
)
def test_values_are_hidden_by_their_key(key: str) -> None:
    event = redact(None, "info", {key: "sesame", "nested": {key: "sesame"}})
    assert "sesame" not in json.dumps(event)


def test_what_only_looks_like_a_secret_stays() -> None:
    event = {"code": "sold_out", "key": "sluice:{0}:item:7", "url": "http://host:8000/readyz"}
    assert redact(None, "info", dict(event)) == event
