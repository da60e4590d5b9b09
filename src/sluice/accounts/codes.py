"""Codes that are sent to a phone: six digits, once, for ten minutes, five tries, one request.

What is stored is a MAC over phone, request and code: a copy of the store does not give the million
codes away. A request that was asked to be bound has a word of its own: without it nobody can try
the code, so nobody who knows the phone alone can use up its five tries.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from sluice.accounts.names import CODE_DIGITS
from sluice.accounts.ports import CodeStore
from sluice.domain.purpose import purpose_key

CODE_TTL_S = 600
TRIES_MAX = 5
UNBOUND = ""
_REQUEST_BYTES = 18


class Issued(NamedTuple):
    code: str
    request: str
    """What has to come with the code; `UNBOUND` where the phone's newest code is meant."""

    def __repr__(self) -> str:
        """This may reach a log."""
        return "Issued()"


class Codes:
    def __init__(self, store: CodeStore, secret_keys: Sequence[bytes]) -> None:
        self._store = store
        self._keys = [purpose_key(secret, b"code") for secret in secret_keys]

    async def issue(self, phone: str, *, bound: bool) -> Issued:
        """A new code for `phone`. An unbound one replaces the unbound one before."""
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        request = secrets.token_urlsafe(_REQUEST_BYTES) if bound else UNBOUND
        key = self._keys[0]
        mac = _mac(key, phone, request, code)
        await self._store.keep(_name(key, phone, request), mac, CODE_TTL_S)
        return Issued(code, request)

    async def use(self, phone: str, request: str, code: str) -> bool:
        """Whether this is the code that was sent for this request; a second time it is not. The
        same is done for a phone that was sent none."""
        right = False
        for key in self._keys:
            mac = _mac(key, phone, request, code)
            used = await self._store.use(_name(key, phone, request), mac, TRIES_MAX)
            right = used or right
        return right


def _name(key: bytes, phone: str, request: str) -> str:
    """Phones do not stand in the store."""
    text = f"{phone}\0{request}".encode()
    return blake2b(text, key=key, digest_size=16, person=b"phone").hexdigest()


def _mac(key: bytes, phone: str, request: str, code: str) -> bytes:
    text = f"{phone}\0{request}\0{code}".encode()
    return blake2b(text, key=key, digest_size=32, person=b"code").digest()
