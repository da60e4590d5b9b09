"""News of orders and waitlists as they go over the cache server's channel: compact, and only a
hint. Who hears it looks up what is so now; what is lost on the way is made good by looking anyway.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

_ONE = struct.Struct(">BQ16s")
DIGEST_BYTES = 16
BATCH_MAX = 1000
"""News in one message: 25 KB."""


class About(IntEnum):
    ORDER = 1
    PAYMENT_DUE_SOON = 2
    PROMOTED = 3
    """`id` is the new order's number."""
    LINE = 4
    """A buyer joined or left the line of item `id`."""
    ROOM = 5
    """A buyer joined the waiting room of sale `id`, or it is their turn."""


class News(NamedTuple):
    about: About
    id: int
    digest: bytes
    """Of the buyer whom it concerns."""


def pack(news: Iterable[News]) -> bytes:
    return b"".join(_ONE.pack(*one) for one in news)


def unpack(packed: bytes) -> list[News]:
    """What another version says and this one does not know is left out."""
    if len(packed) % _ONE.size:
        return []
    known = {about.value for about in About}
    return [
        News(About(about), id_, digest)
        for about, id_, digest in _ONE.iter_unpack(packed)
        if about in known
    ]
