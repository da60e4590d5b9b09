"""Which paths there are in both lanes, and with which methods; read from the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PARAMETER = re.compile(r"\\{\w+\\}")
METHODS = ("get", "post", "put", "patch", "delete")


class Routes:
    def __init__(self, paths: Mapping[str, Mapping[str, Any]]) -> None:
        """`paths` as in an OpenAPI document: templates, then methods in lower case."""
        self._known = [
            (re.compile(_PARAMETER.sub("[^/]+", re.escape(path))), _methods(operations))
            for path, operations in paths.items()
        ]

    def methods(self, path: str) -> tuple[str, ...]:
        """What may be asked of this path; empty where there is no such path."""
        found = {m for pattern, methods in self._known if pattern.fullmatch(path) for m in methods}
        return tuple(sorted(found))


def _methods(operations: Mapping[str, Any]) -> list[str]:
    methods = [method.upper() for method in operations if method in METHODS]
    return [*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])]
