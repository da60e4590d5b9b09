"""Who may come in: buyers by the shop's tokens or sessions of ours, merchants and admins by their
roles, their machines by keys, and the operator by the admin token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation

from sluice.accounts.identity import Identity, session_identity
from sluice.accounts.keys import is_key, key_digest
from sluice.accounts.tokens import is_session_token, token_digest
from sluice.domain.account import LABEL_CHARS_MAX, Alive, Role, Where
from sluice.domain.api_key import ApiKey, Scope
from sluice.domain.errors import CacheUnavailable, Unauthenticated, Unavailable
from sluice.domain.text import has_control
from sluice.ledger.api_keys import USED_EVERY_MS
from sluice.web.api.reading import AnyRequest
from sluice.web.parts import Parts
from sluice.web.problems import Problem

ADMIN_ACTOR = "admin"
"""Names the holder of the admin token where commands are told apart by caller."""
MAY = "may"
"""Under this name a route of `/v1/admin` declares who may use it."""
ADMINS = (Role.ADMIN,)
"""Of a route that declares nothing."""
IN_PERSON = "in_person"
"""Under this name a route declares that no key of a machine's opens it."""
FOR_MERCHANTS = {MAY: (Role.ADMIN, Role.MERCHANT)}
"""A controller's or handler's `opt`."""
FOR_MERCHANTS_IN_PERSON = {**FOR_MERCHANTS, IN_PERSON: True}
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
KEYS_AT_ONCE = 2
"""Look-ups of keys in one process: anybody can make keys up, and must not take the ledger's
connections from those who have orders there."""
KEYS_WAITING_MAX = 64

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Caller(NamedTuple):
    """Somebody who is known. `alive` is there for a session of ours, as its store tells it; while
    that does not answer the session is only `last_known`."""

    identity: Identity
    token: str
    alive: Alive | None
    last_known: bool = False

    def session(self) -> tuple[int, str, int]:
        """Account, session and when it ends. Raises `Problem` for a token of the shop's."""
        alive = self.own_session()
        return alive.account_id, alive.id, alive.expires_at_ms

    def own_session(self) -> Alive:
        """Raises `Problem` for a token of the shop's, `CacheUnavailable` where the session is only
        last known."""
        if self.last_known:
            raise CacheUnavailable
        if self.alive is None:
            raise Problem("not_allowed", "A token of the shop's has no session here.")
        return self.alive


class BeyondTheirRole(Problem):
    """Somebody who was given a role wants what another one is for."""

    def __init__(self, actor: str) -> None:
        super().__init__("not_allowed")
        self.actor = actor


AskedCaller = NamedDependency[SkipValidation[Caller]]
"""How a handler asks for more than the buyer, as `caller`."""


class RequestHeaders:
    """The framework's headers, as `Credentials` asks for them."""

    def __init__(self, connection: AnyConnection) -> None:
        self._headers = connection.headers

    def get(self, name: str, /) -> str | None:
        return self._headers.get(name)

    def get_all(self, name: str, /) -> Iterable[str]:
        return self._headers.getall(name, [])


class Callers:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looking = asyncio.Semaphore(KEYS_AT_ONCE)
        self._keys_waiting = 0

    async def caller(self, request: AnyRequest) -> Caller:
        """Asked of the store every time: what was revoked a moment ago is nobody here. Only while
        it does not answer, whoever was known to it shortly before goes on.

        Raises `Unauthenticated`, and `Problem` where a command came from somewhere else.
        """
        token = self._token(request)
        if is_session_token(token):
            sessions = self._parts.entry.sessions
            try:
                alive = await sessions.alive(token)
            except CacheUnavailable:
                known = sessions.last_known(token)
                if known is None:
                    raise
                return Caller(known, token, None, last_known=True)
            return Caller(_identity(alive, token), token, alive)
        now_s = self._parts.clock.now_ms() // 1000
        return Caller(await self._parts.identities.of_bearer_slow(token, now_s), token, None)

    async def admit(self, connection: AnyConnection, handler: BaseRouteHandler) -> str:
        """Who gives this command. 401 for nobody in particular, 403 for somebody who may not."""
        token = self._token(connection)
        if self._parts.admin.verify(token):
            return ADMIN_ACTOR
        if is_key(token):
            return await self._admit_key(token, connection, handler)
        if not is_session_token(token):
            now_s = self._parts.clock.now_ms() // 1000
            await self._parts.identities.of_bearer_slow(token, now_s)
            raise Problem("not_allowed")
        alive = await self._parts.entry.sessions.alive(token)
        account = await self._parts.ledger.account(alive.account_id)
        may: Sequence[Role] = handler.opt.get(MAY, ADMINS)
        if account is None or not account.granted:
            raise Problem("not_allowed")
        if not set(may) & set(account.granted):
            raise BeyondTheirRole(account.buyer)
        return account.buyer

    async def _admit_key(
        self, token: str, connection: AnyConnection, handler: BaseRouteHandler
    ) -> str:
        """A machine of the merchant's: what a merchant may, or may look at, and no more. The ledger
        is asked every time, so a key that was revoked is nobody's at once."""
        key = await self._find_key(key_digest(token))
        now_ms = self._parts.clock.now_ms()
        if key is None or not key.counts(now_ms):
            raise Unauthenticated
        may: Sequence[Role] = handler.opt.get(MAY, ADMINS)
        if Role.MERCHANT not in may or handler.opt.get(IN_PERSON):
            raise Problem("not_allowed", "A key may not do that; a person may.")
        if key.scope is Scope.READ and method_of(connection) not in _LOOKING:
            raise Problem("not_allowed", "This key may look, and change nothing.")
        await self._note_use(key, now_ms)
        return key.actor

    async def _find_key(self, digest: bytes) -> ApiKey | None:
        if self._keys_waiting >= KEYS_WAITING_MAX:
            raise Problem("overloaded")
        self._keys_waiting += 1
        try:
            async with self._looking:
                return await self._parts.ledger.api_key_of(digest)
        finally:
            self._keys_waiting -= 1

    async def _note_use(self, key: ApiKey, now_ms: int) -> None:
        """For people to see which key is still in use; nobody waits for it where it cannot be
        written."""
        if key.used_at_ms is None or now_ms - key.used_at_ms >= USED_EVERY_MS:
            with suppress(Unavailable):
                await self._parts.ledger.api_key_used(key.id)

    def _token(self, connection: AnyConnection) -> str:
        try:
            return self._parts.entry.credentials.token(
                method_of(connection), RequestHeaders(connection), None
            )
        except Unauthenticated:
            raise Problem("unauthenticated") from None


def method_of(connection: AnyConnection) -> str:
    """A WebSocket begins as a GET."""
    return str(connection.scope.get("method", "GET"))


def where_of(connection: AnyConnection, parts: Parts) -> Where:
    """Where this comes from, and what the client calls itself."""
    client = connection.scope.get("client")
    peer = "" if client is None else f"{client[0]}:{client[1]}"
    headers = RequestHeaders(connection)
    addresses, forwarded = parts.limiting.addresses, list(headers.get_all("x-forwarded-for"))
    source = addresses.of(peer, forwarded)
    addresses.notice(peer, forwarded)
    label = (headers.get("user-agent") or "")[:LABEL_CHARS_MAX]
    told: list[tuple[str, str]] = []
    connection.scope["state"].setdefault("told", told)
    return Where(source, source, "" if has_control(label) else label, told)


def _identity(alive: Alive, token: str) -> Identity:
    return session_identity(alive.account_id, token_digest(token), alive.expires_at_ms // 1000)
