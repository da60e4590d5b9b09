"""Registering and logging in. Whether an account exists is told to nobody but its owner: what is
done, and what is answered, is the same either way."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sluice.accounts.codes import CODE_TTL_S, UNBOUND, Codes
from sluice.accounts.limits import AccountLimits
from sluice.accounts.names import read_code, read_login, read_password, read_phone
from sluice.accounts.passwords import Passwords
from sluice.accounts.ports import AccountStore, CodeSender
from sluice.accounts.sessions import Opened, Sessions
from sluice.domain.account import Account, Alive, NewCode, Where
from sluice.domain.errors import BadCredentials, Conflict, Invalid
from sluice.telemetry import get_logger

log = get_logger("accounts")


class Logins:
    def __init__(
        self,
        *,
        accounts: AccountStore,
        sessions: Sessions,
        codes: Codes,
        passwords: Passwords,
        limits: AccountLimits,
        sender: CodeSender,
        phone_country: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._codes = codes
        self.passwords = passwords
        self._limits = limits
        self._sender = sender
        self._country = phone_country
        self._now_ms = now_ms

    async def ask_code(self, phone: str, where: Where, *, bound: bool = False) -> str:
        """Sends a code; the word of the request where it is `bound`. No account is looked for.

        Raises `Invalid`, `TooManyRequests`, `Overloaded`, `CacheUnavailable`.
        """
        number = read_phone(phone, self._country)
        await self._limits.a_code(number, where)
        issued = await self._codes.issue(number, bound=bound)
        expires_at_ms = self._now_ms() + CODE_TTL_S * 1000
        self._sender.submit(
            NewCode(number, issued.code, expires_at_ms, f"code_{secrets.token_hex(12)}")
        )
        return issued.request

    async def by_code(
        self, phone: str, code: str, where: Where, *, request: str = UNBOUND
    ) -> tuple[Opened, Account]:
        """A phone that proves itself for the first time has an account from now on.

        Raises `Invalid`, `BadCredentials`, `TooManyRequests`, `Unavailable`.
        """
        number, digits = read_phone(phone, self._country), read_code(code)
        await self._limits.a_try(where)
        if not await self._codes.use(number, request, digits):
            await self._limits.failed(where)
            raise BadCredentials
        account = await self._accounts.enter_by_phone(number)
        return await self._opened(account, where, "code"), account

    async def by_password(self, login: str, password: str, where: Where) -> tuple[Opened, Account]:
        """Raises `Invalid`, `BadCredentials`, `TooManyRequests`, `Overloaded`, `Unavailable`."""
        name = read_login(login)
        await self._limits.a_try(where, name)
        account = await self._accounts.account_by_login(name)
        known_hash = None if account is None else account.password_hash
        if not await self.passwords.verify(known_hash, password) or account is None:
            await self._limits.failed(where, name)
            raise BadCredentials
        await self._limits.succeeded(name, where)
        opened = await self._opened(account, where, "password")
        await self._check_still(account, opened)
        return opened, account

    async def _check_still(self, account: Account, opened: Opened) -> None:
        """A change of the password ends the sessions that are there; this one was perhaps not,
        and the password was already compared. Raises `BadCredentials`."""
        now = await self._accounts.account(account.id)
        if now is None or now.password_hash != account.password_hash:
            await self._sessions.end(account.id, opened.session_id)
            raise BadCredentials

    async def change_password(self, alive: Alive, current: str, new: str, where: Where) -> int:
        """The account's password is `new` from now on, and no other session of it goes on than the
        one that asks; how many ended. Done again it changes nothing, and ends what is left.

        Raises `Conflict` where the account has none, `Invalid`, `TooManyRequests`, `Overloaded`,
        `Unavailable`.
        """
        secret = read_password(new, "new")
        await self._limits.a_change(where, alive.account_id)
        account = await self._accounts.account(alive.account_id)
        before = None if account is None else account.password_hash
        if before is None:
            raise Conflict("This account logs in by codes and has no password.")
        if not await self._changed(alive.account_id, before, current, secret):
            await self._limits.failed(where)
            raise Invalid("current", "is not this account's password")
        ended = await self._sessions.end_all(alive.account_id, but=alive.id)
        log.info(
            "Somebody changed their password.",
            action="accounts.password_changed",
            account=alive.account_id,
            session=alive.id,
            ended=ended,
        )
        return ended

    async def _changed(self, account_id: int, before: str, current: str, new: str) -> bool:
        if await self.passwords.verify(before, current):
            after = await self.passwords.hash(new)
            return await self._accounts.change_password(account_id, before, after)
        # Whoever was not told that it is done says the same again.
        return await self.passwords.verify(before, new)

    async def register(self, login: str, password: str, where: Where) -> str:
        """An account for this login name, as it will be written from now on; nothing happens
        where the name is taken.

        Raises `Invalid`, `TooManyRequests`, `Overloaded`, `Unavailable`.
        """
        name, secret = read_login(login), read_password(password)
        await self._limits.a_registration(where)
        await self._accounts.register(name, await self.passwords.hash(secret))
        return name

    async def _opened(self, account: Account, where: Where, means: str) -> Opened:
        opened = await self._sessions.open(account.id, where)
        log.info(
            "Somebody logged in.",
            action="accounts.login",
            account=account.id,
            session=opened.session_id,
            means=means,
        )
        return opened
