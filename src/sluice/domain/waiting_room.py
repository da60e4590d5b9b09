"""The waiting room: what a place is, what a turn is, and how long waiting takes, in pure words."""

from __future__ import annotations

from enum import IntEnum
from math import ceil, floor
from typing import NamedTuple

TURN_S = 120
"""How long a turn lasts from the moment at which its buyer is told of it: to get a pass in."""
CALL_S = 60
"""How long a turn waits for its buyer to be told of it, by asking or over a live connection."""
GRACE_S = 600
"""Who was not there when called keeps their place at the head for so long after that."""
CALLS_MAX = 3
"""So often somebody is called who is not there; then the place is gone."""
WAITING_MAX = 2_000_000
"""In one room: 80 bytes each on the cache server, which has other things to keep."""
NUMBER_MAX = (1 << 24) - 1
"""Places in one room, all told: a place is one exact number of 53 bits."""
PRIORITY_MAX = 9


class RoomAsk(IntEnum):
    """What is asked of a room; the cache server's Lua gets these numbers from here."""

    LOOK = 0
    """Where this buyer is. Whoever was called and has come is in from now on."""
    JOIN = 1
    """The same, with a place at the end for whoever has none."""
    LEAVE = 2
    ENTER = 3
    """`LOOK` by a buyer who gets a pass if it is their turn: they count as in until it ends."""
    BOUGHT = 4
    """Their turn has led to something: somebody else can come in."""


class RoomStatus(IntEnum):
    NONE = 0
    WAITING = 1
    ADMITTED = 2
    FULL = 3
    """As many wait as may, or the room has given out all of its numbers."""


class Blocked(IntEnum):
    """Why nobody is let in at this moment."""

    NO = 0
    ACTIVE = 1
    """As many are in as may be at once."""
    STOCK = 2
    """As many are in as the units that are left can serve."""
    CLOSED = 3
    """The sale has not started, is paused or is over."""


class RoomRequest(NamedTuple):
    ask: RoomAsk
    sale_id: int
    starts_at_ms: int
    digest: bytes
    """Of the buyer, 16 bytes."""
    priority: int = 0
    """Of a guest, 0 to 9: the higher, the further ahead."""
    pass_ms: int = 0
    """With `ENTER`: how long a pass lasts."""


class RoomPace(NamedTuple):
    """How fast a room moves, as far as the cache server knows."""

    waiting: int
    wanted: float
    """People a second that are let in where nothing stands against it; 0: nobody paces it."""
    measured: float
    """People a second that were let in of late."""
    blocked: Blocked
    has_begun: bool
    """The sale has started, so places are drawn."""


class Place(NamedTuple):
    """Where a buyer is, and of what room."""

    status: RoomStatus
    number: int
    """By arrival, from 1; 0 where there is no place."""
    ahead: int
    is_early: bool
    """Came before the start: the place among those is drawn by lot."""
    priority: int
    is_new: bool
    left_ms: int
    """Of an `ADMITTED` buyer's turn."""
    pace: RoomPace

    @property
    def is_drawn(self) -> bool:
        """Whether the place is known: until the start nobody's is."""
        return self.pace.has_begun


class Let(NamedTuple):
    """How many may be let in now. Rates are people a second."""

    rate: float
    active_max: int | None
    stock_max: int | None
    """As many may be in at once as the units that are left can serve."""
    is_open: bool
    """The sale is live."""
    mode: str


class Admitted(NamedTuple):
    """What came of one step of the pacer in one room."""

    digests: list[bytes]
    """Whose turn it is now."""
    waiting: int
    active: int
    total: int
    """Admitted so far."""
    measured: float
    blocked: Blocked


class RoomNumbers(NamedTuple):
    """A room, as its operator sees it."""

    waiting: int
    admitted: int
    active: int
    wanted: float
    measured: float
    mode: str


LOW, HIGH = 0.75, 1.6
"""How far off the pace of late may be: wider than it was in any of our runs with a steady pace."""
SLACK_S = 3
"""Of asking and being told."""
PACE_MIN = 0.01
ETA_S_MAX = 86_400


def eta_seconds(place: Place) -> tuple[int, int] | None:
    """How long until this buyer's turn, at least and at most, as far as anybody can tell.

    None where nobody can: before the start, and while nobody is let in.
    """
    pace = place.pace
    if not pace.has_begun or pace.wanted <= 0:
        return None
    fast = max(pace.wanted, pace.measured) if pace.blocked is Blocked.NO else pace.measured
    slow = pace.measured if pace.blocked is not Blocked.NO else _slow(pace)
    if slow < PACE_MIN:
        return None
    low = floor(place.ahead / fast * LOW)
    high = ceil((place.ahead + 1) / slow * HIGH) + SLACK_S
    return None if high > ETA_S_MAX else (low, high)


def _slow(pace: RoomPace) -> float:
    """What was measured, but for a room that has hardly begun to move."""
    return min(pace.wanted, max(pace.measured, pace.wanted / 4))


POLL_MS = (1_000, 30_000)
POLLS_A_WAIT = 6
"""Somebody asks about so often until their turn comes."""
HERD_A_SECOND = 5_000
"""Those who wait for the start ask again within a time in which so many come each second."""
HERD_MS_MAX = 20_000


def poll_after_ms(
    place: Place, told: tuple[int, int] | None, until_start_ms: int, dice: float
) -> int:
    """When to ask again; `told` is their `eta_seconds`, `dice` from 0 to 1 spreads those who asked
    together.

    Well below `CALL_S` for everybody: whoever comes back when they are told to is never late.
    """
    low, high = POLL_MS
    if place.status is RoomStatus.ADMITTED:
        return low
    if not place.is_drawn:
        herd = min(place.pace.waiting / HERD_A_SECOND * 1000, HERD_MS_MAX)
        if until_start_ms > high:
            return int(high * (0.7 + 0.3 * dice))
        return max(low, int(max(until_start_ms, 0) + herd * dice))
    wait_ms = high if told is None else told[0] * 1000 / POLLS_A_WAIT
    if told is None and place.ahead < 1000:
        wait_ms = low * 2
    return int(min(max(wait_ms, low), high) * (0.8 + 0.2 * dice))
