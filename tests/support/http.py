"""A plain HTTP client for tests: JSON in, status and JSON out, one connection.

It is as patient as docs/api.md asks clients to be: a busy machine may stall for a second, and what
is then answered 503 is sent again. A test whose subject is such an answer says `again_on=()`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Collection
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from tests.support.tokens import identity_token

IDLE_S = 5.0
"""A connection that was idle for longer is opened anew: the server closes idle ones after a while,
and a test beside whose requests a slow machine does other things would ask into the void."""

PATIENCE_S = 15.0
AGAIN_S = 0.1
TOLD_LATER = ("unavailable", "overloaded")
"""Codes of a 503 after which the same request may be sent again: its outcome is unknown, and it
cannot count twice; nothing was tried."""


def may_go_again(method: str, path: str, headers: Collection[str], code: object) -> bool:
    """Whether a request that was answered with this code may be sent again. Of what operators do,
    only what reads, and what names its key, cannot count twice."""
    if code == "overloaded" or method == "GET" or not path.startswith("/v1/admin"):
        return True
    return "idempotency-key" in {name.lower() for name in headers}


class Client:
    """`again_on` are the codes of a 503 that are not taken for an answer within `PATIENCE_S`."""

    def __init__(
        self, url: str, *, timeout_s: float = 30.0, again_on: Collection[str] = TOLD_LATER
    ) -> None:
        self.url = url
        self._again_on = again_on
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
        return self._exchange("GET", path)[1].decode()

    def form(self, path: str, **fields: str) -> int:
        """What a page's form sends; the status of the answer."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._exchange("POST", path, urlencode(fields), headers)[0]

    def whole(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Exactly these headers besides the body's; the answer's come along, in lower case."""
        content = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **headers}
        status, raw, told = self._exchange(method, path, content, sent)
        return status, json.loads(raw) if raw else None, told

    def page(self, path: str, token: str = "") -> int:
        """The status of what is no JSON."""
        return self._exchange("GET", path, headers={"Authorization": f"Bearer {token}"})[0]

    def raw(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        """Any bytes, said to be JSON."""
        sent = {"Content-Type": "application/json"}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        return self._answer(method, path, body, sent)

    def _answer(
        self, method: str, path: str, content: str | bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        status, raw, _ = self._exchange(method, path, content, headers)
        return status, json.loads(raw) if raw else None

    def _exchange(
        self,
        method: str,
        path: str,
        content: str | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Sent again as long as that may be done and may help."""
        until_s = monotonic() + PATIENCE_S
        while True:
            status, raw, told = self._once(method, path, content, headers or {})
            if status != 503 or not self._again_on or monotonic() > until_s:
                return status, raw, told
            code = _code(raw)
            if code not in self._again_on or not may_go_again(method, path, headers or {}, code):
                return status, raw, told
            sleep(AGAIN_S)

    def _once(
        self, method: str, path: str, content: str | bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        if monotonic() > self._last_s + IDLE_S:
            self._connection.close()
        self._last_s = monotonic()
        kept = self._connection.sock is not None
        try:
            self._connection.request(method, path, content, headers)
            answer = self._connection.getresponse()
        except (BrokenPipeError, ConnectionResetError) as error:
            # A refusal does not wait for the body, and may end the connection that brings it: the
            # one that was kept is gone. What was not sent to its end has done nothing.
            self._connection.close()
            unsent = isinstance(error, BrokenPipeError)
            if not kept or (not unsent and not may_go_again(method, path, headers, None)):
                raise
            self._connection.request(method, path, content, headers)
            answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, raw, {name.lower(): value for name, value in answer.getheaders()}


class Browser(httpx.Client):
    """As patient, for tests that want httpx's way of asking and of answers."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(base_url=url, headers=headers, timeout=30.0, trust_env=False)

    def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        until_s = monotonic() + PATIENCE_S
        while True:
            answer = super().send(request, **how)
            if answer.status_code != 503 or monotonic() > until_s:
                return answer
            code = _code(answer.content)
            again = may_go_again(request.method, request.url.path, request.headers, code)
            if code not in TOLD_LATER or not again:
                return answer
            sleep(AGAIN_S)


def _code(raw: bytes) -> object:
    try:
        said = json.loads(raw)
    except ValueError:
        return None
    return said.get("code") if isinstance(said, dict) else None
