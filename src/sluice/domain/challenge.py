"""Challenges made ahead of time: what is shown, what is expected, and where they are kept."""

from __future__ import annotations

from typing import NamedTuple

from sluice.domain.sale import Challenge

LEVEL_MAX = 6
"""Proof of work doubles with each level."""
ALTERNATIVE_LEVEL = 2
"""Of the work that stands in for a picture: it must not be the cheap way in."""

ALTERNATIVES = {
    Challenge.ARITHMETIC: Challenge.PROOF_OF_WORK,
    Challenge.SLIDER: Challenge.PROOF_OF_WORK,
    Challenge.PROOF_OF_WORK: Challenge.ARITHMETIC,
}
"""Who cannot see the picture lets the browser work; whose browser cannot work reads a picture."""


class Shelf(NamedTuple):
    """Where challenges of one kind and level are kept, and how many at most."""

    kind: Challenge
    level: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.kind.value}:{self.level}"


SHELVES = (
    Shelf(Challenge.ARITHMETIC, 0, 1000),
    Shelf(Challenge.SLIDER, 0, 500),
    Shelf(Challenge.PROOF_OF_WORK, 0, 20_000),
    Shelf(Challenge.PROOF_OF_WORK, ALTERNATIVE_LEVEL, 2_000),
)
"""About 4, 8, 8 and 1 MB on the cache server where a sale asks for all of them."""


class Made(NamedTuple):
    """A challenge that nobody was given yet."""

    answer: int
    """Below 2³²; what an answer is compared with depends on the kind."""
    shown: bytes
    """What the buyer is shown: members of a JSON object, such as `"image":"data:…"`."""


def shelf_of(kind: Challenge, level: int) -> Shelf | None:
    """None: made on demand only."""
    for shelf in SHELVES:
        if (shelf.kind, shelf.level) == (kind, level):
            return shelf
    return None


def shelves_for(asked: set[Challenge]) -> list[Shelf]:
    """What must be in stock where sales ask for these: themselves and their alternatives."""
    kinds = asked - {Challenge.NONE}
    wanted = kinds | {ALTERNATIVES[kind] for kind in kinds}
    pictures = kinds - {Challenge.PROOF_OF_WORK}
    return [
        shelf
        for shelf in SHELVES
        if shelf.kind in wanted
        and (
            shelf.kind is not Challenge.PROOF_OF_WORK
            or (shelf.level == 0 and Challenge.PROOF_OF_WORK in kinds)
            or (shelf.level == ALTERNATIVE_LEVEL and pictures)
        )
    ]
