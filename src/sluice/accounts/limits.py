"""How often one may ask for codes, try to log in, and register."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sluice.accounts.ports import Limits
from sluice.domain.account import Where
from sluice.domain.errors import TooManyRequests
from sluice.domain.limit import Check, Left, LimitKind, Rule
from sluice.settings import Settings

TEN_MINUTES_MS = 600_000
HOUR_MS = 3_600_000
CODES_PER_PHONE_AND_HOUR = 10
TRIES_PER_LOGIN_AND_ADDRESS = 10
TRIES_PER_LOGIN_AND_HOUR = 300
"""From all addresses. Generous: whoever knows a login name must not lock its owner out easily."""
CHANGES_PER_ACCOUNT = 10
"""Of its password, in ten minutes, tries included."""


class AccountLimits:
    """All of them count across processes. Raises `TooManyRequests`, `CacheUnavailable`."""

    def __init__(self, limits: Limits, settings: Settings) -> None:
        self._limits = limits
        self._phone = _ten_minutes("codes_phone", settings.codes_per_phone)
        self._phone_hour = _hour("codes_phone_hour", CODES_PER_PHONE_AND_HOUR)
        self._codes_address = _ten_minutes("codes_address", settings.codes_per_address)
        self._codes_overall = _ten_minutes("codes", settings.codes_overall)
        self._failures = _ten_minutes("failed_logins", settings.failed_logins_per_address)
        # As many as may be there before one more: a look that takes nothing.
        self._failures_before = self._failures._replace(quota=self._failures.quota - 1)
        self._login_address = _ten_minutes("login_address", TRIES_PER_LOGIN_AND_ADDRESS)
        self._login_hour = _hour("login_hour", TRIES_PER_LOGIN_AND_HOUR)
        self._login_hour_before = self._login_hour._replace(quota=TRIES_PER_LOGIN_AND_HOUR - 1)
        self._changes = _ten_minutes("password_changes", CHANGES_PER_ACCOUNT)
        self._registrations = _ten_minutes("registrations", settings.registrations_per_address)

    async def a_code(self, phone: str, where: Where) -> None:
        await self._take(
            where,
            [
                Check(self._phone, _key(b"cp", phone)),
                Check(self._codes_address, _key(b"ca", where.source)),
                Check(self._phone_hour, _key(b"ch", phone)),
                Check(self._codes_overall, _key(b"co")),
            ],
            [self._phone, self._codes_address],
        )

    async def a_try(self, where: Where, login: str | None = None) -> None:
        """Before a code or password is looked at."""
        checks = [Check(self._failures_before, _key(b"lf", where.source), 0)]
        if login is not None:
            checks.append(Check(self._login_address, _key(b"la", login, where.source)))
            checks.append(Check(self._login_hour_before, _key(b"lh", login), 0))
        # What is left for a login would tell whether its owner, who is not limited by what
        # succeeds, was here: only the address is told what it has left.
        await self._take(where, checks, [self._failures])

    async def a_change(self, where: Where, account_id: int) -> None:
        """Before a session's owner says the password that is to be changed: a session alone must
        not be enough to guess it."""
        checks = [
            Check(self._failures_before, _key(b"lf", where.source), 0),
            Check(self._changes, _key(b"pw", str(account_id))),
        ]
        await self._take(where, checks, [self._failures, self._changes])

    async def failed(self, where: Where, login: str | None = None) -> None:
        """It was the wrong one."""
        checks = [[Check(self._failures, _key(b"lf", where.source))]]
        if login is not None:
            checks.append([Check(self._login_hour, _key(b"lh", login))])
        await self._limits.take(checks)

    async def succeeded(self, login: str, where: Where) -> None:
        """Whoever knows the password may mistype it as often again, from here."""
        await self._limits.forget([_key(b"la", login, where.source)])

    async def a_registration(self, where: Where) -> None:
        checks = [Check(self._registrations, _key(b"ra", where.source))]
        await self._take(where, checks, [self._registrations])

    async def _take(self, where: Where, checks: Sequence[Check], shown: Sequence[Rule]) -> None:
        """`shown`: the limits, of the first checks, of which the answer tells what is left."""
        [taken] = await self._limits.take([checks])
        states = [_state(rule, left) for rule, left in zip(shown, taken.left, strict=False)]
        where.told.append(("ratelimit-policy", ", ".join(map(_policy, shown))))
        where.told.append(("ratelimit", ", ".join(states)))
        if taken.refused >= 0:
            name = checks[taken.refused].rule.name
            raise TooManyRequests(max(1, _seconds(taken.retry_ms)), name)


def _policy(rule: Rule) -> str:
    """As in draft-ietf-httpapi-ratelimit-headers-10."""
    return f'"{rule.name}";q={rule.quota};w={_seconds(rule.window_ms)}'


def _state(rule: Rule, left: Left) -> str:
    return f'"{rule.name}";r={left.remaining};t={_seconds(left.reset_ms)}'


def _seconds(ms: int) -> int:
    """Whole ones, rounded up."""
    return -(-ms // 1000)


def _ten_minutes(name: str, quota: int) -> Rule:
    return Rule(name, LimitKind.WINDOW, quota, TEN_MINUTES_MS)


def _hour(name: str, quota: int) -> Rule:
    return Rule(name, LimitKind.WINDOW, quota, HOUR_MS)


def _key(kind: bytes, *parts: str) -> bytes:
    """Neither phones nor addresses stand in the store's keys."""
    text = "\0".join(parts).encode()
    return b"acct:" + kind + b":" + blake2b(text, digest_size=16).hexdigest().encode()
