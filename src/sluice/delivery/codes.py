"""Log-in codes, handed to the operator's own service over HTTP, which texts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from ipaddress import ip_network

import msgspec

from sluice.delivery.sender import Limits, Sender
from sluice.domain.account import NewCode
from sluice.domain.errors import Unavailable
from sluice.domain.signature import Message
from sluice.domain.times import render_time

ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The operator named this URL in the configuration: it may be inside."""
ATTEMPTS = 3
LATER_S = (0.5, 2.0)
"""Between attempts. A person is waiting: what was not delivered by then is asked for again."""
EVENT = "login.code"


class CodeHook:
    """Every attempt has the same id, so that a receiver can tell a repeat."""

    def __init__(self, url: str, keys: Sequence[bytes], limits: Limits | None = None) -> None:
        self._url = url
        self._keys = tuple(keys)
        self._sender = Sender(ANYWHERE, limits=limits or Limits(attempt_s=5.0, connect_s=2.0))

    async def close(self) -> None:
        await self._sender.close()

    async def deliver(self, code: NewCode) -> None:
        """Raises `Unavailable` where the hook did not take it."""
        body = msgspec.json.encode(
            {
                "type": EVENT,
                "data": {
                    "phone": code.phone,
                    "code": code.code,
                    "expires_at": render_time(code.expires_at_ms),
                },
            }
        )
        for attempt in range(ATTEMPTS):
            message = Message(code.message_id, int(time.time()), body)
            outcome = await self._sender.send(self._url, self._keys, message)
            if outcome.delivered:
                return
            if outcome.status is not None and 400 <= outcome.status < 500:
                break  # it was understood and refused
            if attempt < len(LATER_S):
                await asyncio.sleep(LATER_S[attempt])
        raise Unavailable(outcome.error or f"the hook answered {outcome.status}")
