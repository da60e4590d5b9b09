"""From a bearer token to an identity: remembered tokens first, then the one verifier in use."""

from __future__ import annotations

from sluice.accounts.hs256 import SharedSecret
from sluice.accounts.identity import Identity
from sluice.accounts.jwks import KeyUnknown, PublicKeys, check_source
from sluice.accounts.sessions import Sessions
from sluice.accounts.tokens import is_session_token
from sluice.domain.errors import SettingsError, Unauthenticated
from sluice.settings import Settings

TOKEN_BYTES_MAX = 4096
GENERATION_MAX = 25_000
"""Tokens in one of the two generations of the memory."""
GENERATION_CHARS_MAX = 8_000_000
"""The same in characters, so that long tokens do not fill a process's memory."""


class Identities:
    """Who sends a token: one of the shop's, or of a session of ours, which its store is asked for
    in `of_bearer_slow` together with others'.
    """

    def __init__(
        self, verifier: SharedSecret | PublicKeys, sessions: Sessions | None = None
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._young: dict[str, Identity] = {}
        self._old: dict[str, Identity] = {}
        self._chars = 0

    @classmethod
    def from_settings(cls, settings: Settings, sessions: Sessions | None = None) -> Identities:
        """Raises `SettingsError`."""
        secret, source = settings.identity_secret, settings.identity_jwks
        if bool(secret) == bool(source):
            raise SettingsError("Set one of SLUICE_IDENTITY_SECRET and SLUICE_IDENTITY_JWKS.")
        if secret:
            return cls(SharedSecret(secret), sessions)
        check_source(source)
        return cls(PublicKeys(source), sessions)

    def of_bearer(self, token: str, now_s: int) -> Identity | None:
        """The caller, at once; None where only `of_bearer_slow` can tell.

        Raises `Unauthenticated`. A remembered token costs one look-up and one comparison.
        """
        known = self._young.get(token)
        if known is not None and known.expires_at_s > now_s:
            return known
        if is_session_token(token):
            return None if self._sessions is None else self._sessions.remembered(token, now_s)
        try:
            return self._verify(token, now_s)
        except KeyUnknown:
            return None

    async def of_bearer_slow(self, token: str, now_s: int) -> Identity:
        """The caller, after asking elsewhere if need be.

        Raises `Unauthenticated`; for sessions `CacheUnavailable` and `Overloaded` as well.
        """
        identity = self.of_bearer(token, now_s)
        if identity is not None:
            return identity
        if is_session_token(token):
            if self._sessions is None:
                raise Unauthenticated
            return await self._sessions.identity(token)
        await self.refresh()
        try:
            return self._verify(token, now_s)
        except KeyUnknown:
            raise Unauthenticated from None

    async def refresh(self) -> None:
        """Fetch the shop's keys again, at most once a minute. For the start and every few minutes
        after: a key that the shop took back stops counting, and what it signed is forgotten.
        """
        if isinstance(self._verifier, PublicKeys) and await self._verifier.reload():
            self._young, self._old, self._chars = {}, {}, 0

    def _verify(self, token: str, now_s: int) -> Identity:
        known = self._old.get(token) or self._young.get(token)
        if known is None:
            known = self._verifier.verify(_ascii(token), now_s)
        elif known.expires_at_s <= now_s:
            raise Unauthenticated(expired=True)
        self._remember(token, known)
        return known

    def _remember(self, token: str, identity: Identity) -> None:
        if len(self._young) >= GENERATION_MAX or self._chars >= GENERATION_CHARS_MAX:
            self._old, self._young, self._chars = self._young, {}, 0
        self._young[token] = identity
        self._chars += len(token)


def _ascii(token: str) -> bytes:
    """The bytes of a token that could be one: three segments, of bounded length."""
    if len(token) > TOKEN_BYTES_MAX or not token.isascii() or token.count(".") != 2:
        raise Unauthenticated
    return token.encode()
