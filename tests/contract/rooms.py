"""A waiting room on a real server whose scripts go by a clock that the test moves on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from sluice.cache.scripts import Script
from sluice.cache.server import CacheServer
from sluice.cache.waiting_room import RoomCells
from sluice.domain.waiting_room import Admitted, Let, Place, RoomAsk, RoomRequest

START_MS = 1_800_000_000_000
CALL_MS, TURN_MS, GRACE_MS = 10_000, 20_000, 60_000
OWNER = "pacer-1"


def digest(name: object) -> bytes:
    return blake2b(str(name).encode(), digest_size=16).digest()


class ByHand:
    """The cache server with the test's clock; `bugs` are put into its scripts."""

    def __init__(self, server: CacheServer, bugs: Sequence[tuple[str, str]] = ()) -> None:
        self._server = server
        self._bugs = bugs
        self.ms = START_MS

    async def run(self, which: Script, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        text = which.text
        for guard, bug in self._bugs:
            text = text.replace(guard, bug)
        now = f"{{{self.ms // 1000}, {self.ms % 1000 * 1000}}}"
        text = text.replace("redis.call('TIME')", now)
        return await self._server.do("EVAL", text, len(keys), *keys, *arguments)

    async def do(self, *command: Any) -> Any:
        return await self._server.do(*command)

    async def do_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        return await self._server.do_all(commands)

    async def delete(self, *names: Any) -> None:
        await self._server.delete(*names)


class Room:
    """One sale's room, which starts at `START_MS`."""

    def __init__(
        self, server: CacheServer, sale_id: int = 7, bugs: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.clock = ByHand(server, bugs)
        self.sale_id = sale_id
        self.cells = RoomCells(
            self.clock,  # type: ignore[arg-type]
            call_ms=CALL_MS,
            turn_ms=TURN_MS,
            grace_ms=GRACE_MS,
        )

    def at(self, seconds: float) -> None:
        """Seconds after the start; negative ones are before it."""
        self.clock.ms = START_MS + round(seconds * 1000)

    def later(self, seconds: float) -> None:
        self.clock.ms += round(seconds * 1000)

    async def ask_all(
        self, ask: RoomAsk, names: Sequence[object], priority: int = 0, pass_ms: int = 0
    ) -> list[Place]:
        return await self.cells.ask(
            [
                RoomRequest(ask, self.sale_id, START_MS, digest(name), priority, pass_ms)
                for name in names
            ]
        )

    async def ask(self, ask: RoomAsk, name: object, priority: int = 0, pass_ms: int = 0) -> Place:
        [place] = await self.ask_all(ask, [name], priority, pass_ms)
        return place

    async def join(self, name: object, priority: int = 0) -> Place:
        return await self.ask(RoomAsk.JOIN, name, priority)

    async def join_all(self, names: Sequence[object]) -> list[Place]:
        return await self.ask_all(RoomAsk.JOIN, names)

    async def look(self, name: object) -> Place:
        return await self.ask(RoomAsk.LOOK, name)

    async def admit(
        self,
        rate: float = 1000.0,
        *,
        active_max: int | None = None,
        stock_max: int | None = None,
        is_open: bool = True,
        owner: str = OWNER,
    ) -> Admitted:
        await self.cells.lead(owner)
        admitted = await self.cells.admit(
            self.sale_id, owner, Let(rate, active_max, stock_max, is_open, "fixed")
        )
        assert admitted is not None
        return admitted

    async def let_in(self, count: int) -> list[bytes]:
        """So many, however fast."""
        found: list[bytes] = []
        while len(found) < count:
            self.later(1)
            inside = await self.cells.numbers(self.sale_id)
            admitted = await self.admit(1e6, active_max=inside.active + count - len(found))
            assert admitted.digests
            found += admitted.digests
        return found
