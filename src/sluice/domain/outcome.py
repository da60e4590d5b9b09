"""Every answer the gate can give to an attempt, or to somebody who would wait.

The one source of these codes for Lua and HTTP.
"""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """What was decided about one attempt; the gate's Lua gets these numbers from here."""

    ACCEPTED = 0
    REPLAYED = 1
    """This pass was accepted before; the answer is that same order."""
    SOLD_OUT = 2
    LIMIT_REACHED = 3
    NOT_STARTED = 4
    ENDED = 5
    PAUSED = 6
    NOT_ARMED = 7
    """The gate has not been checked against the ledger since it started; it sells nothing."""
    UNKNOWN_ITEM = 8
    """The gate does not hold this item (never published to it, or retired)."""
    OTHER_QUANTITY = 9
    """This pass was accepted before with another quantity."""
    BAD_PASS = 10
    """A pass of another publication, or one first used after it expired."""


class WaitOutcome(IntEnum):
    """What was decided about one buyer who asks for a place in line; Lua gets these numbers too."""

    JOINED = 0
    WAITING = 1
    """The buyer stands in line already; the answer is that same entry."""
    AVAILABLE = 2
    """There are units on sale: nobody has to wait."""
    LIMIT_REACHED = 3
    """The buyer holds a unit of this item, or has no free slot in its limit group."""
    NOT_STARTED = 4
    ENDED = 5
    """The sale is over, or nobody is promoted any more."""
    NO_WAITLIST = 6
    NOT_ARMED = 7
    UNKNOWN_ITEM = 8
    FULL = 9
    """The line is as long as the gate lets one grow."""
    NONE = 10
    """The buyer does not stand in this line."""
