"""Commands with an Idempotency-Key: the same key and body get the first answer again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Answered, Once
from sluice.web.api.answering import JSON, Answer, bytes_answer
from sluice.web.api.reading import OnceKey

T = TypeVar("T")


async def done_once(
    key: OnceKey | None,
    do: Callable[[Once[T] | None], Awaitable[T | Answered]],
    render: Callable[[T], Any],
    *,
    status: int,
) -> Answer:
    """For commands that keep their answer themselves, in the transaction that does them."""

    rendered: list[bytes] = []

    def encoded(done: T) -> bytes:
        rendered.append(msgspec.json.encode(render(done)))
        return rendered[-1]

    once = None if key is None else Once(key.key, key.body_hash, encoded, status)
    done = await do(once)
    if isinstance(done, Answered):
        return bytes_answer(done.body, done.status, JSON)
    # What is kept is what is sent, to the last digit of its time.
    body = rendered[-1] if rendered else encoded(done)
    return bytes_answer(body, status, JSON)


async def repeatable(
    ledger: Ledger,
    key: OnceKey | None,
    do: Callable[[], Awaitable[T]],
    render: Callable[[T], Any],
    status: int = 200,
) -> Answer:
    """For commands that have the effect of one however often they are sent.

    A crash between the command and its answer does it again, which changes nothing.
    """
    if key is not None:
        first = await ledger.first_answer(key.key, key.body_hash)
        if first is not None:
            return bytes_answer(first.body, first.status, JSON)

    async def do_and_keep(once: Once[T] | None) -> T | Answered:
        done = await do()
        if once is None:
            return done
        kept = await ledger.keep_answer(done, once)
        return kept  # noqa: RET504 - named, so that its type is found out apart from ours

    return await done_once(key, do_and_keep, render, status=status)
