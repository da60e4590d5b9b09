"""What accounts need of the stores and of whoever delivers codes; `wiring` fills it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sluice.domain.account import Account, Alive, NewCode, SessionFacts, Where
from sluice.domain.limit import Check, Taken


class AccountStore(Protocol):
    async def account(self, account_id: int) -> Account | None: ...

    async def account_by_login(self, login: str) -> Account | None: ...

    async def enter_by_phone(self, phone: str) -> Account: ...

    async def register(self, login: str, password_hash: str) -> None: ...

    async def change_password(self, account_id: int, before: str, after: str) -> bool: ...


class SessionStore(Protocol):
    """Raises `CacheUnavailable` everywhere."""

    async def open(
        self, digest: bytes, alive: Alive, where: Where, sessions_max: int
    ) -> list[bytes]:
        """Keeps a session; the digests of the oldest, which had to go to make room."""

    async def alive(self, digests: Sequence[bytes]) -> list[Alive | None]: ...

    async def renew(self, digest: bytes, alive: Alive, ttl_ms: int) -> bool:
        """Keeps it for `ttl_ms` from now; False where it was revoked meanwhile."""

    async def of_account(self, account_id: int) -> list[SessionFacts]: ...

    async def revoke(self, account_id: int, session_id: str) -> bytes | None:
        """Ends one session and tells every process; its digest, or None: there is none."""


class CodeStore(Protocol):
    """Raises `CacheUnavailable` everywhere."""

    async def keep(self, name: str, mac: bytes, ttl_s: int) -> None:
        """The code of a request; it replaces the one that was kept under this name."""

    async def use(self, name: str, mac: bytes, tries_max: int) -> bool:
        """Whether this is the code; then it is gone. Each call is a try."""


class Limits(Protocol):
    """Raises `CacheUnavailable` everywhere."""

    async def take(self, requests: Sequence[Sequence[Check]]) -> list[Taken]:
        """Each request takes from all of its counters, or from none."""

    async def forget(self, counters: Sequence[bytes]) -> None:
        """These counters begin anew."""


class CodeSender(Protocol):
    """Delivers codes. The caller does not wait for it, so it sees to its own faults."""

    def submit(self, code: NewCode) -> None:
        """Raises `Overloaded` where too many are waiting."""
