"""Sessions that were looked up a moment ago, so that a buyer's next click costs one look-up less.

Nothing stays longer than `FRESH_S`; what is revoked goes when the news of it arrives, and while no
news can arrive nothing is remembered at all.

Beside it the last known are kept for `LAST_KNOWN_S`, for the time when the store does not answer:
then nobody can be logged out either, and who was known a moment ago is better served than refused.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sluice.accounts.identity import Identity

FRESH_S = 1.0
_TURN_S = FRESH_S / 2
GENERATION_MAX = 25_000
LAST_KNOWN_S = 300.0
LAST_KNOWN_MAX = 20_000
"""Sessions in each of the two generations of the last known."""


class _Generation:
    __slots__ = ("known", "names")

    def __init__(self) -> None:
        self.known: dict[str, Identity] = {}
        self.names: dict[bytes, str] = {}

    def forget(self, digest: bytes) -> None:
        token = self.names.pop(digest, None)
        if token is not None:
            del self.known[token]


class Memory:
    """Two generations, each of half of `FRESH_S`: no time has to be kept with every entry."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._young = _Generation()
        self._old = _Generation()
        self._turned_at = clock()
        self.news = 0
        """Counts what was revoked. Who looks up compares it before and after: an answer that was
        on its way meanwhile may be about a session that is gone."""
        self._listening = False
        self._last_young = _Generation()
        self._last_old = _Generation()
        self._last_turned_at = clock()

    @property
    def remembered(self) -> int:
        return len(self._young.known) + len(self._old.known)

    def get(self, token: str) -> Identity | None:
        self._turn()
        return self._young.known.get(token) or self._old.known.get(token)

    def keep(self, token: str, digest: bytes, identity: Identity, news: int) -> None:
        """`news` as it was before the look-up."""
        if not self._listening or news != self.news:
            return
        self._turn()
        if len(self._young.known) >= GENERATION_MAX:
            self._old, self._young = self._young, _Generation()
        self._young.known[token] = identity
        self._young.names[digest] = token
        self._turn_last()
        self._last_young.known[token] = identity
        self._last_young.names[digest] = token

    def last_known(self, token: str) -> Identity | None:
        """Who it was within `LAST_KNOWN_S`. Only for while the store does not answer."""
        self._turn_last()
        return self._last_young.known.get(token) or self._last_old.known.get(token)

    def revoked(self, digest: bytes) -> None:
        self.news += 1
        self._last_young.forget(digest)
        self._last_old.forget(digest)
        self._young.forget(digest)
        self._old.forget(digest)

    def listening(self, now: bool) -> None:
        """Whether news of what is revoked arrives. Any of it may have been missed before."""
        self._listening = now
        self.news += 1
        self._young, self._old = _Generation(), _Generation()
        if now:
            self._last_young, self._last_old = _Generation(), _Generation()

    def _turn(self) -> None:
        turns = int((self._clock() - self._turned_at) / _TURN_S)
        if turns <= 0:
            return
        self._old = self._young if turns == 1 else _Generation()
        self._young = _Generation()
        # By whole turns, not to now: each late turn would make the next one later still.
        self._turned_at += turns * _TURN_S

    def _turn_last(self) -> None:
        now_s, turn_s = self._clock(), LAST_KNOWN_S / 2
        turns = int((now_s - self._last_turned_at) / turn_s)
        if turns <= 0 and len(self._last_young.known) < LAST_KNOWN_MAX:
            return
        self._last_old = self._last_young if turns <= 1 else _Generation()
        self._last_young = _Generation()
        self._last_turned_at = now_s
