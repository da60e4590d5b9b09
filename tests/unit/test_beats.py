"""What workers of several versions say of themselves."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from sluice.cache.beats import Beats
from sluice.domain.beat import Beat

BEAT = Beat("here:1", [], {}, "1.0", 0, 1000)


class Cache:
    async def do(self, command: str, *_: Any) -> Any:
        if command == "TIME":
            return [1, 0]
        return [b"here:1", msgspec.json.encode(BEAT), b"there:2", b'{"of":"another version"}']


async def test_what_a_worker_of_another_version_says_hides_no_other_worker() -> None:
    beats, _ = await Beats(cast(Any, Cache())).all()
    assert beats == [BEAT]
