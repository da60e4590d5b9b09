"""One live connection: who is at the other end, what was asked for, what waits to be sent."""

from __future__ import annotations

from collections.abc import Hashable
from time import monotonic
from typing import TYPE_CHECKING, Final

from sluice.accounts.identity import Identity
from sluice.web.live.frames import Code
from sluice.web.live.sessions import Known
from sluice.web.live.wires import Wire

if TYPE_CHECKING:
    from sluice.web.live.hub import Hub

SEEN_MAX: Final = 256
WAITING_MAX: Final = 64
"""Different facts that wait for a reader that is slow; one with more of them is dropped."""
SAID_MAX: Final = 40
"""Messages of a client between two pings."""


class Link:
    """Facts are pushed under a key; while the wire is busy, the newest of each key waits."""

    __slots__ = (
        "_ended",
        "_waiting",
        "claimed",
        "hub",
        "identity",
        "last_heard",
        "said",
        "seen",
        "session",
        "since",
        "topics",
        "wire",
    )

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.wire: Wire | None = None
        self.identity: Identity | None = None
        self.claimed: Known | None = None
        """Who a cookie of the handshake says it is."""
        self.session: bytes | None = None
        """Of ours, whose end is this connection's end."""
        self.since = self.last_heard = monotonic()
        self.said = 0
        self.topics: tuple[int, ...] = ()
        """Sales that are subscribed to."""
        self.seen: dict[Hashable, int] | None = None
        """Hashes of the orders' and places' last pushed states."""
        self._waiting: dict[Hashable, bytes] | None = None
        self._ended: tuple[Code, str] | None = None

    def push(self, key: Hashable, frames: bytes) -> None:
        if self.wire is None:
            return
        if self._waiting is None and self.wire.send(frames):
            return
        waiting = self._waiting = self._waiting or {}
        waiting.pop(key, None)  # what is newest goes out last, whatever its key
        waiting[key] = frames
        if len(waiting) > WAITING_MAX:
            self.hub.drop(self, "slow")

    def push_news(self, key: Hashable, frames: bytes, state: int) -> bool:
        """As `push`, unless this very state is the last that was pushed."""
        seen = self.seen = self.seen or {}
        if seen.get(key) == state:
            return False
        if len(seen) >= SEEN_MAX:
            seen.clear()  # then something may be pushed twice
        seen[key] = state
        self.push(key, frames)
        return True

    def attach(self, wire: Wire) -> None:
        """The handshake is over. What was decided meanwhile is done now."""
        self.wire = wire
        if self._ended is not None:
            self.end(*self._ended)
        elif self.claimed is not None:
            self.hub.enter(self, self.claimed)

    def end(self, code: Code, reason: str) -> None:
        """Nothing more is pushed; the client is told why, as soon as it can be told anything."""
        self._ended = code, reason
        self.hub.leaves(self)
        if self.wire is not None:
            self.wire.end(code, reason)

    # --- what the wire tells ---------------------------------------------------------------

    def heard(self) -> None:
        self.last_heard = monotonic()

    def got(self, text: bytes) -> None:
        self.said += 1
        if self.said > SAID_MAX:
            self.end(Code.POLICY, "too many messages")
            return
        self.hub.said(self, text)

    def drained(self) -> None:
        waiting = self._waiting
        while waiting and self.wire is not None:
            key = next(iter(waiting))
            frames = waiting.pop(key)
            if not self.wire.send(frames):
                self._waiting = {key: frames, **waiting}
                return
        self._waiting = None

    def lost(self) -> None:
        self._waiting = None
        self.hub.gone(self)
