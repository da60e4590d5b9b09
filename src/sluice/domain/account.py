"""Accounts of buyers, merchants and operators; sessions; and what an admin did."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

LOGIN_CHARS_MAX = 64
PHONE_CHARS_MAX = 16
BUYER_PREFIX = "acct:"
LABEL_CHARS_MAX = 120
ADDRESS_CHARS_MAX = 64

_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


class Role(StrEnum):
    BUYER = "buyer"
    """Everybody who is somebody; it is never granted and cannot be taken away."""
    MERCHANT = "merchant"
    ADMIN = "admin"


GRANTED = (Role.MERCHANT, Role.ADMIN)
"""The roles that an admin gives and takes."""


class Account(NamedTuple):
    """Somebody who can log in: by `login` and password, or by codes sent to `phone` (E.164)."""

    id: int
    login: str | None
    phone: str | None
    password_hash: str | None
    created_at_ms: int
    granted: tuple[Role, ...] = ()

    @property
    def buyer(self) -> str:
        return buyer_of(self.id)

    @property
    def roles(self) -> list[Role]:
        return [Role.BUYER, *(role for role in GRANTED if role in self.granted)]

    def __repr__(self) -> str:
        """Neither phone nor hash: this may reach a log."""
        return f"Account(id={self.id})"


class Alive(NamedTuple):
    """What is kept of a session that can be used."""

    account_id: int
    id: str
    opened_at_ms: int
    expires_at_ms: int


class Where(NamedTuple):
    """Where a request comes from."""

    address: str
    source: str
    """What limits count by: the address, or an IPv6 network of one customer."""
    label: str
    """The client's own name for itself, shortened."""
    told: list[tuple[str, str]]
    """Headers that the answer carries, whatever it is: what is left of the limits."""


class SessionFacts(NamedTuple):
    """One session, as its owner sees it. Nothing here lets anybody use it."""

    id: str
    created_at_ms: int
    expires_at_ms: int
    address: str
    label: str
    """What the client called itself at log-in."""


class NewCode(NamedTuple):
    """A log-in code on its way to a phone."""

    phone: str
    code: str
    expires_at_ms: int
    message_id: str
    """The same in every attempt to deliver it."""

    def __repr__(self) -> str:
        """This may reach a log."""
        return f"NewCode(message_id={self.message_id!r})"


class NewAction(NamedTuple):
    """A command of an admin or merchant, noted before it is carried out."""

    actor: str
    """`admin` (the token), `acct:42`, or `cli:<user>`."""
    action: str
    """Method and route, such as `POST /v1/admin/sales/{sale}/publish`."""
    target: str
    address: str
    request_id: str


class AdminAction(NamedTuple):
    id: int
    at_ms: int
    actor: str
    action: str
    target: str
    address: str
    request_id: str
    status: int | None
    """Of the answer; None where the process ended before there was one."""
    answered_at_ms: int | None
    detail: str | None
    """The request's body, shortened and without secrets."""


def buyer_of(account_id: int) -> str:
    return f"{BUYER_PREFIX}{account_id}"


def account_of(buyer: str) -> int | None:
    """The account behind a buyer key; None for buyers of the shop's own tokens."""
    name = buyer.removeprefix(BUYER_PREFIX)
    return int(name) if name != buyer and _ID.fullmatch(name) else None


def masked_phone(phone: str) -> str:
    """Enough for its owner to recognise: `+86138****5678`."""
    shown = max(0, min(4, len(phone) - 8))
    return f"{phone[: len(phone) - 4 - shown]}{'*' * shown}{phone[-4:]}"


def masked_login(login: str) -> str:
    """`m***@example.com`, `m***i`."""
    name, at, host = login.partition("@")
    if at:
        return f"{name[:1]}***@{host}"
    return f"{login[:1]}***{login[-1:]}"
