"""How people get in: what the controllers of accounts and admins work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sluice.accounts.csrf import Csrf
from sluice.accounts.logins import Logins
from sluice.accounts.sessions import Sessions
from sluice.cache.inbox import CodeInbox
from sluice.web.credentials import Credentials

Follow = Callable[[Callable[[bytes], None], Callable[[bool], None]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    credentials: Credentials
    csrf: Csrf
    sessions: Sessions
    logins: Logins
    inbox: CodeInbox | None
    """Where codes are read while no hook delivers them."""
    follow: Follow
    """Tells of every session that ends, and when such news begins and ceases to arrive; it must be
    running for as long as sessions are remembered."""
    close: Callable[[], Awaitable[None]]
