"""Bodies in the hot lane that do not come: nobody may hold a place by sending nothing.

A timeout for each read would cost every buyer a timer; here a read is a note in a dict, and one
loop looks through the oldest of them once a second.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Protocol

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]

from sluice.web.problems import Problem

BODY_SECONDS_MAX = 10.0
LOOK_EVERY_S = 1.0


class Body(Protocol):
    """The part of Granian's HTTP protocol object that reads a body."""

    def __call__(self) -> Any: ...

    def __aiter__(self) -> Any: ...


class Read(Protocol):
    """A read that is under way, as Granian hands it out."""

    def __await__(self) -> Any: ...

    def cancel(self) -> object: ...


class Patience:
    """Reads bodies, with a 408 for whoever keeps theirs back. `run` must be running."""

    def __init__(self, seconds_max: float = BODY_SECONDS_MAX) -> None:
        self._seconds_max = seconds_max
        self._reading: dict[Read, float] = {}
        """By age: until when each read may take."""
        self._until = monotonic() + seconds_max
        """Of a read that begins now; as exact as the loop is often."""

    async def whole(self, read: Any) -> bytes:
        """The whole body, of which `read` is the read that has begun. Raises `Problem` where it was
        cut off or did not come."""
        self._reading[read] = self._until
        try:
            body: bytes = await read
        except (ProtocolClosed, ProtocolError, asyncio.CancelledError) as error:
            raise self._said(read, error) from None
        finally:
            self._reading.pop(read, None)
        return body

    async def bounded(self, proto: Body, bytes_max: int) -> bytes:
        """A body of unknown length. Raises `Problem` as `whole` does, and where it is too large.

        Few send such bodies, so here a timer may be paid for.
        """
        raw = b""
        try:
            async with asyncio.timeout(self._seconds_max):
                async for chunk in proto:
                    raw += chunk
                    if len(raw) > bytes_max:
                        raise Problem("too_large", f"The body may have {bytes_max} bytes here.")
        except TimeoutError:
            raise _late() from None
        except (ProtocolClosed, ProtocolError):
            raise Problem("timeout", "The body was cut off.") from None
        return raw

    def _said(self, read: Read, error: BaseException) -> BaseException:
        """What ended the read: us, the client, or whoever ends the whole process."""
        if not isinstance(error, asyncio.CancelledError):
            return Problem("timeout", "The body was cut off.")
        if read in self._reading:
            return error
        return _late()

    def look(self) -> None:
        """End the reads whose time is over: each is taken off the list, and so knows who it was."""
        now = monotonic()
        self._until = now + self._seconds_max
        late = []
        for read, until in self._reading.items():
            if until > now:
                break
            late.append(read)
        for read in late:
            del self._reading[read]
            read.cancel()

    async def run(self) -> None:
        """Looks once a second until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)


def _late() -> Problem:
    return Problem("timeout", headers={"connection": "close"})
