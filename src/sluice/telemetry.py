"""Logs: one JSON object a line on stderr, or readable lines where stderr is a terminal.

A line is a sentence for people and an `action` for machines::

    log = telemetry.get_logger("gate")
    log.warning("The gate is not armed.", action="gate.not_armed", shard=0)

Secrets never reach a line: `redact` blanks what is a secret by its key or by its looks.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
HIDDEN = "[hidden]"

_SECRET_KEY = re.compile(
    r"(?i)(^|_)(token|pass|password|secret|secrets|authorization|cookie|receipt|keys?|code)$"
)
_KEYS_THAT_TELL_NOTHING = frozenset({"key", "keys", "code", "idempotency_key", "limit_key"})
"""Names that look like a secret's and are not: an outcome's code, the name of a Redis key."""
_SECRET_TEXT = re.compile(
    r"(?i)"
    r"(?P<bearer>\bbearer\s+)[^\s\"',]+"
    r"|(?P<url>\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@/\s]+(?=@)"
    r"|(?P<buy>/v1/buy/)[^\s/?\"']+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\bwhsec_[\w+/=-]+"
)


def configure(process: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging for this process; `process` is on every line. Call it once, at its start."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _named(process),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer = _renderer(stream)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    _carry_other_loggers(shared, renderer, level, stream)


def get_logger(room: str) -> FilteringBoundLogger:
    """The logger of one room (`gate`, `recorder`, …)."""
    return cast("FilteringBoundLogger", structlog.get_logger(room=room))


def bind(**context: Any) -> None:
    """Put `context` (a request's id, say) on every line of the running task."""
    structlog.contextvars.bind_contextvars(**context)


def unbind(*keys: str) -> None:
    structlog.contextvars.unbind_contextvars(*keys)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank every value that is a secret by its key, and every secret inside a text."""
    for key, value in event.items():
        event[key] = HIDDEN if _is_secret(key) and value else _clean(value)
    return event


def _is_secret(key: str) -> bool:
    return key not in _KEYS_THAT_TELL_NOTHING and _SECRET_KEY.search(key) is not None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_keep_what_names_it, value)
    if isinstance(value, dict):
        return {k: HIDDEN if _is_secret(str(k)) and v else _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    return value


def _keep_what_names_it(match: re.Match[str]) -> str:
    return (match["bearer"] or match["url"] or match["buy"] or "") + HIDDEN


def _named(process: str) -> Processor:
    def name(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return name


def _renderer(stream: TextIO) -> Processor:
    if stream.isatty():
        return structlog.dev.ConsoleRenderer(
            colors=True,
            timestamp_key="at",
            exception_formatter=structlog.dev.plain_traceback,
        )
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(event: Any, **_options: Any) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)


def _carry_other_loggers(
    shared: list[Processor], renderer: Processor, level: str, stream: TextIO
) -> None:
    """Send what libraries log through `logging` the same way, from `warning` on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:4], _library, *shared[4:]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))


def _library(
    logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event.setdefault("action", "library")
    event.setdefault("room", getattr(logger, "name", None) or event["_record"].name)
    return event
