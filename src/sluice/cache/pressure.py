"""How loaded every HTTP process is, told by each of them on the cache server.

Each process tells it about once a second (`PUBLISH_EVERY_S`), and what it told counts for
`LIVES_MS` by the cache server's own clock: a process that died, or hangs so badly that it cannot
tell, is missing from the answer. Whoever paces a crowd reads `all` and goes by the worst of them:

    loads = await pressure.all()           # raises `CacheUnavailable`
    if not loads: …                         # nobody tells: nothing is known, go on as before
    worst = max(load.queue_ms for load in loads.values())

`queue_ms` is what a request waits in that process before anything looks at it; `target_ms` what the
process means to keep it below; `shed_level` what it sheds by now: 0 nothing, up to 1 a part of the
cheap work (sale pages, polls, passes), up to 2 purchases too, up to 3 everything that can be shed.
Below `target_ms` there is room for more people; from there on there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from sluice.cache import keys
from sluice.cache.scripts import script
from sluice.cache.server import CacheServer

LIVES_MS: Final = 3_000
"""Three times `PUBLISH_EVERY_S`: one that is late is not taken for one that is gone."""
PUBLISH_EVERY_S: Final = 1.0
PROCESSES_MAX: Final = 1024
"""More are not kept: their loads are then not known."""
_PRESSURE = script("pressure")


class Load(msgspec.Struct, frozen=True):
    """What one process says of itself."""

    queue_ms: float
    target_ms: float
    shed_level: float
    """0 to 3."""
    answered_per_s: float
    """Requests that were not shed."""
    shed_per_s: float


_load = msgspec.json.Decoder(Load)


class Pressure:
    """Raises `CacheUnavailable` everywhere."""

    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def tell(self, process: str, load: Load) -> Mapping[str, Load]:
        """Tell one's own; what `all` would answer comes back."""
        return await self._run(process, msgspec.json.encode(load))

    async def all(self) -> Mapping[str, Load]:
        """By process, of those who told it within `LIVES_MS`."""
        return await self._run()

    async def _run(self, *told: str | bytes) -> Mapping[str, Load]:
        found = await self._server.run(_PRESSURE, [keys.PRESSURE], [LIVES_MS, PROCESSES_MAX, *told])
        loads = {}
        for process, what in zip(found[::2], found[1::2], strict=True):
            try:
                loads[process.decode()] = _load.decode(what)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # of a process of another version
        return loads
