"""Order numbers: 31 bits of seconds since `EPOCH_S`, 8 of shard, 24 of sequence.

The gate mints second and sequence apart, because a Lua number is a double and rounds above
2**53; Python joins them here. Within a shard numbers only grow, so the number is the place in line.
"""

from __future__ import annotations

from typing import NamedTuple

EPOCH_S = 1_767_225_600
"""2026-01-01T00:00:00Z, in Unix seconds."""
SHARDS_MAX = 1 << 8
SEQUENCE_MAX = (1 << 24) - 1
NUMBER_MAX = (1 << 63) - 1


class NumberParts(NamedTuple):
    second: int
    shard: int
    sequence: int

    @property
    def minted_at_ms(self) -> int:
        """Unix milliseconds of the gate's clock, to the second."""
        return (self.second + EPOCH_S) * 1000


def join(second: int, shard: int, sequence: int) -> int:
    """One number from its parts; `second` counts from `EPOCH_S`."""
    return second << 32 | shard << 24 | sequence


def split(number: int) -> NumberParts:
    return NumberParts(number >> 32, number >> 24 & 0xFF, number & SEQUENCE_MAX)


def parse(text: str) -> int | None:
    """The number in `text`, or None where no gate could have minted it."""
    if not 1 <= len(text) <= 19 or not text.isascii() or not text.isdigit() or text[0] == "0":
        return None
    number = int(text)
    return number if number <= NUMBER_MAX else None
