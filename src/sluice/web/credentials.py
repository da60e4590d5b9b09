"""What a request carries to say who sends it: a bearer token, or the cookie of our pages.

A browser sends a cookie along with whatever any page makes it send. So a command that comes with
a cookie must come from our own origin and say a word that only our pages know (`Sluice-CSRF`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urlsplit

from sluice.accounts.csrf import Csrf
from sluice.domain.errors import Unauthenticated
from sluice.web.problems import Problem

SECURE_COOKIE = "__Host-sluice"
"""Browsers take it over TLS alone, for this host alone, from nobody else."""
PLAIN_COOKIE = "sluice"
"""For http://localhost, where the other cannot be set."""
CSRF_HEADER = "sluice-csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Headers(Protocol):
    """The part of a request's headers that both lanes can give; names in lower case."""

    def get(self, name: str, /) -> str | None: ...

    def get_all(self, name: str, /) -> Iterable[str]: ...


class Credentials:
    def __init__(self, csrf: Csrf, public_url: str) -> None:
        self._csrf = csrf
        self._public = urlsplit(public_url)

    def token(self, method: str, headers: Headers, authority: str | None) -> str:
        """The token, whatever it is worth. `authority` stands for a Host header that is not there
        (HTTP/2).

        Raises `Unauthenticated` where there is none, and `Problem` for a command that a cookie
        came with and our pages did not send.
        """
        bearer = headers.get("authorization")
        if bearer is not None and bearer[:7].lower() == "bearer " and bearer[7:].strip():
            return bearer[7:].strip()
        token = self._from_cookies(headers.get_all("cookie"))
        if token is None:
            raise Unauthenticated
        if method not in _SAFE:
            self.check_origin(headers, authority)
            if not self._csrf.is_word(token, headers.get(CSRF_HEADER) or ""):
                raise Problem(
                    "not_allowed", "A command with the cookie needs the header Sluice-CSRF."
                )
        return token

    def socket_token(self, headers: Headers, authority: str | None) -> str | None:
        """The token of a WebSocket's handshake. A browser sends the cookie with it to whatever page
        asks for it, so the cookie counts for pages of our own alone; everybody else says who they
        are in their first message, and is None here."""
        origin = headers.get("origin")
        if origin is None or not self.is_own(origin, headers.get("host") or authority):
            return None
        return self._from_cookies(headers.get_all("cookie"))

    def check_origin(self, headers: Headers, authority: str | None) -> None:
        """Raises `Problem` for what another site's page made a browser send. Whatever says nothing
        of where it comes from is no browser of today."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            if site not in ("same-origin", "none"):
                raise Problem("not_allowed", "Pages of other sites may not do that.")
            return
        origin = headers.get("origin")
        if origin is not None and not self.is_own(origin, headers.get("host") or authority):
            raise Problem("not_allowed", "Pages of other sites may not do that.")

    def is_own(self, origin: str, host: str | None) -> bool:
        """Whether an Origin header names this service. WebSockets ask this as well."""
        try:
            given = urlsplit(origin)
        except ValueError:
            return False
        if given.scheme not in ("http", "https") or not given.netloc:
            return False
        if self._public.netloc:
            return (given.scheme, given.netloc.lower()) == (
                self._public.scheme,
                self._public.netloc.lower(),
            )
        return host is not None and given.netloc.lower() == host.lower()

    def cookie(self, token: str, max_age_s: int, *, scheme: str, host: str | None) -> str:
        """A Set-Cookie header that gives the token to the browser, but to no script."""
        if self._is_plain(scheme, host):
            name, secure = PLAIN_COOKIE, ""
        else:
            name, secure = SECURE_COOKIE, "; Secure"
        return f"{name}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}"

    def no_cookie(self, *, scheme: str, host: str | None) -> str:
        return self.cookie("", 0, scheme=scheme, host=host)

    def _is_plain(self, scheme: str, host: str | None) -> bool:
        if self._public.scheme:
            return self._public.scheme == "http"
        name = urlsplit(f"//{host or ''}").hostname or ""
        return scheme == "http" and name in _LOCAL

    def _from_cookies(self, values: Iterable[str]) -> str | None:
        found: dict[str, str] = {}
        for value in values:
            for part in value.split(";"):
                name, _, text = part.strip().partition("=")
                if name in (SECURE_COOKIE, PLAIN_COOKIE):
                    found.setdefault(name, text)
        # Any neighbour under the same domain can set the plain one: over TLS it is nobody's.
        plain = None if self._public.scheme == "https" else found.get(PLAIN_COOKIE)
        return found.get(SECURE_COOKIE) or plain or None
