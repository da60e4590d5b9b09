"""Commands of whoever sits at the machine: in the trail like those that come over HTTP."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from sluice.domain.account import NewAction
from sluice.web.problems import new_request_id, of

if TYPE_CHECKING:
    from sluice.wiring import Stores

T = TypeVar("T")
DONE = 200
"""The status of an answer over HTTP; what failed has that of its problem."""


async def noted(
    stores: Stores, action: str, target: str, step: Callable[[Stores], Awaitable[T]]
) -> T:
    """`action` as it is typed: `sluice sale pause`. Raises what `step` raises."""
    action_id = await stores.ledger.note_action(
        NewAction(f"cli:{_who()}", action, target, socket.gethostname()[:64], new_request_id())
    )
    try:
        done = await step(stores)
    except Exception as error:
        await stores.ledger.note_result(action_id, of(error).status, None)
        raise
    await stores.ledger.note_result(action_id, DONE, None)
    return done


def _who() -> str:
    try:
        return getpass.getuser()[:100]
    except (OSError, KeyError):  # a number without a name, as in many containers
        return "unknown"
