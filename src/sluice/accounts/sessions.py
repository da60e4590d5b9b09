"""Sessions: opened at log-in, looked up for every request, renewed while used, ended at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sluice.accounts.identity import Identity, session_identity
from sluice.accounts.memory import Memory
from sluice.accounts.ports import SessionStore
from sluice.accounts.tokens import new_token, token_digest
from sluice.batching import Batcher
from sluice.domain.account import Alive, SessionFacts, Where
from sluice.domain.errors import CacheUnavailable, Unauthenticated

LIFE_S_MAX = 90 * 86_400
"""However much it is used, a session ends then, and its owner logs in again."""
SESSIONS_MAX = 50
"""Of one account at once; the oldest goes when there would be more."""
LOOK_UP_MAX = 500
"""Tokens in one call to the store."""
_ID_BYTES = 9


class Opened(NamedTuple):
    token: str
    session_id: str
    expires_at_ms: int

    def __repr__(self) -> str:
        """This may reach a log."""
        return f"Opened(session_id={self.session_id!r})"


class Sessions:
    def __init__(
        self,
        store: SessionStore,
        *,
        ttl_s: int,
        now_ms: Callable[[], int],
        queue_max: int,
        deadline_s: float,
    ) -> None:
        self._store = store
        self._ttl_ms = ttl_s * 1000
        self._now_ms = now_ms
        self.memory = Memory()
        self._look_ups: Batcher[bytes, Alive | None] = Batcher(
            self._looked_up, batch_max=LOOK_UP_MAX, queue_max=queue_max, deadline_s=deadline_s
        )

    async def close(self) -> None:
        await self._look_ups.close()

    async def open(self, account_id: int, where: Where) -> Opened:
        """Raises `CacheUnavailable`."""
        token, now_ms = new_token(), self._now_ms()
        alive = Alive(
            account_id, secrets.token_urlsafe(_ID_BYTES), now_ms, self._expiry(now_ms, now_ms)
        )
        for digest in await self._store.open(token_digest(token), alive, where, SESSIONS_MAX):
            self.memory.revoked(digest)
        return Opened(token, alive.id, alive.expires_at_ms)

    # --- who is it -------------------------------------------------------------------------

    def remembered(self, token: str, now_s: int) -> Identity | None:
        """The session's identity if it was looked up within the last second."""
        known = self.memory.get(token)
        return known if known is not None and known.expires_at_s > now_s else None

    async def identity(self, token: str) -> Identity:
        """One look-up, together with those of others that come at the same time. While the store
        does not answer, who it was when it last did.

        Raises `Unauthenticated`, `CacheUnavailable`, `Overloaded`.
        """
        digest, news = token_digest(token), self.memory.news
        try:
            alive = await self._look_ups.submit(digest)
        except CacheUnavailable:
            known = self.last_known(token)
            if known is None:
                raise
            return known
        if alive is None:
            raise Unauthenticated
        identity = session_identity(alive.account_id, digest, alive.expires_at_ms // 1000)
        self.memory.keep(token, digest, identity, news)
        return identity

    def last_known(self, token: str) -> Identity | None:
        """Who it was a while ago. Only for while the store does not answer."""
        known = self.memory.last_known(token)
        return known if known is not None and known.expires_at_s * 1000 > self._now_ms() else None

    async def alive(self, token: str) -> Alive:
        """The session as the store knows it now, past every memory. Raises `Unauthenticated`."""
        alive = await self._look_ups.submit(token_digest(token))
        if alive is None:
            raise Unauthenticated
        return alive

    async def is_alive(self, digest: bytes) -> bool:
        """Whether the session of this token's digest goes on. Raises as `identity` does."""
        return await self._look_ups.submit(digest) is not None

    async def _looked_up(self, digests: Sequence[bytes]) -> list[Alive | None]:
        found = await self._store.alive(digests)
        now_ms = self._now_ms()
        for place, (digest, alive) in enumerate(zip(digests, found, strict=True)):
            if alive is not None and alive.expires_at_ms - now_ms < self._ttl_ms / 2:
                found[place] = await self._renewed(digest, alive, now_ms)
        return found

    async def _renewed(self, digest: bytes, alive: Alive, now_ms: int) -> Alive | None:
        """Once in half a session's life. None where it was revoked since it was read."""
        expires_at_ms = self._expiry(alive.opened_at_ms, now_ms)
        if expires_at_ms <= alive.expires_at_ms:
            return alive
        renewed = alive._replace(expires_at_ms=expires_at_ms)
        try:
            return (
                renewed
                if await self._store.renew(digest, renewed, expires_at_ms - now_ms)
                else None
            )
        except CacheUnavailable:
            return alive

    def _expiry(self, opened_at_ms: int, now_ms: int) -> int:
        return min(now_ms + self._ttl_ms, opened_at_ms + LIFE_S_MAX * 1000)

    # --- ending them -----------------------------------------------------------------------

    async def of_account(self, account_id: int) -> list[SessionFacts]:
        """Newest first."""
        return await self._store.of_account(account_id)

    async def end(self, account_id: int, session_id: str) -> bool:
        """In every process; False where the account has no such session."""
        digest = await self._store.revoke(account_id, session_id)
        if digest is not None:
            self.memory.revoked(digest)
        return digest is not None

    async def end_all(self, account_id: int, but: str | None = None) -> int:
        """All of the account's sessions but that of id `but`; how many."""
        ids = [facts.id for facts in await self.of_account(account_id) if facts.id != but]
        return sum(await asyncio.gather(*(self.end(account_id, each) for each in ids)))
