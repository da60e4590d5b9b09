"""What can be made to go wrong with the simulator, as it does with real providers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sluice.domain.errors import Invalid

Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]

REORDER_MS = 2000
"""A call that is to come out of order is held back for up to this long."""


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Chances go from 0 (never) to 1 (always), and are drawn anew for each callback."""

    settle: Literal["ask", "pay", "fail", "cancel"] = "ask"
    """What happens by itself once a checkout is open; `ask` waits for somebody at the page."""
    delay_ms: Milliseconds = 0
    """How long each callback waits."""
    spread_ms: Milliseconds = 0
    """A random time on top."""
    repeat: Chance = 0.0
    """A callback comes twice."""
    reorder: Chance = 0.0
    """A callback lets later ones go first."""
    drop: Chance = 0.0
    """A callback never comes."""
    forge: Chance = 0.0
    """A stranger tells the same first, with a signature of their own."""
    wrong_amount: Chance = 0.0
    """One minor unit less is taken."""
    fail: Chance = 0.0
    """Who wants to pay cannot."""
    refund_fail: Chance = 0.0
    """A refund does not go through; an operator's new one may."""
    pay_after_close: bool = False
    """A checkout that was closed takes money all the same: late money."""

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


_decode = msgspec.json.Decoder(Knobs).decode


def read_knobs(text: str | bytes) -> Knobs:
    """Knobs from JSON; what is not named stays where it is by default. Raises `Invalid`."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("knobs", f"cannot be used: {error}") from None
