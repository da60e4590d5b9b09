"""A plain HTTP client for tests: JSON in, status and JSON out, one connection."""

from __future__ import annotations

import http.client
import json
from time import monotonic
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support.tokens import identity_token

IDLE_S = 5.0
"""A connection that was idle for longer is opened anew: the server closes idle ones after a while,
and a test beside whose requests a slow machine does other things would ask into the void."""


class Client:
    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._last_s = monotonic()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @staticmethod
    def token(secret: bytes, buyer: str) -> str:
        return identity_token(secret, buyer)

    def get(self, path: str, token: str = "", **headers: str) -> tuple[int, Any]:
        return self.send("GET", path, token, None, headers)

    def post(self, path: str, token: str, body: Any, **headers: str) -> tuple[int, Any]:
        return self.send("POST", path, token, body, headers)

    def send(
        self, method: str, path: str, token: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        """`headers` are given with underscores for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        return self._answer(method, path, None if body is None else json.dumps(body), sent)

    def text(self, path: str) -> str:
        """Whatever is there, as it is."""
        self._ask("GET", path)
        return self._connection.getresponse().read().decode()

    def form(self, path: str, **fields: str) -> int:
        """What a page's form sends; the status of the answer."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._ask("POST", path, urlencode(fields), headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def whole(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Exactly these headers besides the body's; the answer's come along, in lower case."""
        content = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **headers}
        self._ask(method, path, content, sent)
        answer = self._connection.getresponse()
        raw = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(raw) if raw else None, told

    def page(self, path: str, token: str = "") -> int:
        """The status of what is no JSON."""
        self._ask("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def raw(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        """Any bytes, said to be JSON."""
        sent = {"Content-Type": "application/json"}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        return self._answer(method, path, body, sent)

    def _ask(
        self, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        if monotonic() > self._last_s + IDLE_S:
            self._connection.close()
        self._last_s = monotonic()
        self._connection.request(method, path, content, headers or {})

    def _answer(
        self, method: str, path: str, content: str | bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        self._ask(method, path, content, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
