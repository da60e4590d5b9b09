"""The gate: every call of its function library, for all shards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from redis import exceptions
from redis.asyncio.cluster import RedisCluster

from sluice.domain.errors import GateUnavailable, SettingsError, SluiceError
from sluice.domain.log import ItemTotals
from sluice.gate import keys, library
from sluice.gate.caller import LostEpoch as LostEpoch
from sluice.gate.client import Client, connect, primaries, translated
from sluice.gate.lines import Lines
from sluice.gate.wire import (
    Attempt,
    Decision,
    Held,
    Hold,
    pack_attempt,
    pack_hold,
    unpack_decisions,
    unpack_held,
)

VERSION_MIN = (7, 0)
RELEASE_MAX = 500
"""Holds in one call."""
FIND_MAX = 500
"""Buyers whose holds are looked up in one call."""
LOOKUPS_MAX = 32
"""Look-ups of holds under way at once: a crowd of them leaves connections to everything else."""

OpenState = Literal["open", "paused", "closed"]
EditOutcome = Literal["applied", "refused", "repeated", "early", "unknown_item"]


class GateStatus(NamedTuple):
    epoch: int | None
    """None where the gate has no memory of this shard."""
    second: int
    sequence: int
    counter: int
    """Last entry of the log."""
    armed_until_ms: int
    """End of the lease by the gate's clock; 0 where it is not armed."""
    now_ms: int

    @property
    def armed(self) -> bool:
        return self.armed_until_ms > self.now_ms


class GateItem(NamedTuple):
    """What the gate is told of an item. Times are Unix milliseconds."""

    shard: int
    epoch: int
    item_id: int
    stock: int
    available: int
    per_buyer: int
    publication: int
    starts_at_ms: int
    ends_at_ms: int
    edit: int
    """Number of the last stock edit that `stock` and `available` include."""
    limit_group: int
    waits_until_ms: int
    """Until when units that come back go to the line first; 0 where nobody may wait."""


class EditResult(NamedTuple):
    outcome: EditOutcome
    stock: int
    available: int


class Gate(Lines):
    """One client of the gate. Faults of the server are `GateUnavailable`; outcomes are returned."""

    def __init__(self, client: Client, *, timeout_s: float = 0.9) -> None:
        super().__init__(client)
        self._timeout_s = timeout_s
        self._lookups = asyncio.Semaphore(LOOKUPS_MAX)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.9) -> Gate:
        return cls(connect(url, timeout_s=timeout_s), timeout_s=timeout_s)

    async def close(self) -> None:
        await self.client.aclose()

    async def time_ms(self) -> int:
        """The gate's clock: Unix milliseconds."""
        if isinstance(self.client, RedisCluster):
            await translated(self.client.initialize())
        seconds, micros = await translated(primaries(self.client)[0]("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    async def load_library(self) -> None:
        """Put the function library into every server that does not hold exactly it, and verify.

        A server that had another version forgets that it was armed, which is the point.
        """
        if isinstance(self.client, RedisCluster):
            await translated(self.client.initialize())
        wanted = library.source()
        for execute in primaries(self.client):
            if await self._library_of(execute) == wanted:
                continue
            try:
                await translated(execute("FUNCTION", "LOAD", "REPLACE", wanted))
            except GateUnavailable as error:
                if isinstance(error.__cause__, exceptions.ResponseError):
                    raise SettingsError(
                        f"The gate's server refuses the function library ({error.__cause__}); "
                        "use Redis or Valkey 7.0 or later and a user who may run FUNCTION LOAD."
                    ) from error
                raise
            if await self._library_of(execute) != wanted:
                raise SluiceError("The gate's server did not keep the function library.")

    async def library_is_current(self) -> bool:
        if isinstance(self.client, RedisCluster):
            await translated(self.client.initialize())
        wanted = library.source()
        for execute in primaries(self.client):
            if await self._library_of(execute) != wanted:
                return False
        return True

    @staticmethod
    async def _library_of(execute: Any) -> str | None:
        reply = await translated(
            execute("FUNCTION", "LIST", "LIBRARYNAME", library.LIBRARY, "WITHCODE")
        )
        for entry in reply:
            pairs = list(entry.items()) if isinstance(entry, dict) else None
            if pairs is None:
                pairs = list(zip(entry[::2], entry[1::2], strict=True))
            for name, value in pairs:
                if name in (b"library_code", "library_code"):
                    return value.decode() if isinstance(value, bytes) else str(value)
        return None

    async def server_facts(self) -> list[dict[str, str]]:
        """What `doctor` asks of each server: version, durability, eviction."""
        if isinstance(self.client, RedisCluster):
            await translated(self.client.initialize())
        return [await self._facts_of(execute) for execute in primaries(self.client)]

    @staticmethod
    async def _facts_of(execute: Any) -> dict[str, str]:
        raw = await translated(execute("INFO", "server"))
        info = raw if isinstance(raw, dict) else _parse_info(raw)
        facts = {
            "server": "valkey" if "valkey_version" in info else "redis",
            "version": str(info.get("valkey_version") or info.get("redis_version", "0")),
        }
        for name in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
            try:
                reply = await translated(execute("CONFIG", "GET", name))
            except GateUnavailable as error:
                if not isinstance(error.__cause__, exceptions.ResponseError):
                    raise
                facts[name] = "unknown"  # a managed server may forbid CONFIG
                continue
            facts[name] = _config_value(reply)
        return facts

    # --- a shard ---------------------------------------------------------------------------

    async def status(self, shard: int) -> GateStatus:
        epoch, *rest = await self._call("sluice_status_v1", [keys.shard(shard)])
        return GateStatus(None if epoch < 0 else epoch, *rest)

    async def begin_epoch(self, shard: int, epoch: int, second_floor: int) -> bool:
        """True where the epoch was started; False where the gate holds it or a later one."""
        args = (epoch, shard, second_floor)
        return bool(await self._call("sluice_begin_v1", [keys.shard(shard)], *args))

    async def arm(self, shard: int, epoch: int, lease_ms: int) -> int:
        """Let the gate sell until the returned time (ms, its clock)."""
        return int(await self._call("sluice_arm_v1", [keys.shard(shard)], epoch, lease_ms))

    async def disarm(self, shard: int) -> None:
        await self._call("sluice_disarm_v1", [keys.shard(shard)])

    # --- the decision ----------------------------------------------------------------------

    async def reserve(self, shard: int, epoch: int, attempts: Sequence[Attempt]) -> list[Decision]:
        """Decide a batch (at most 255 different items) in one atomic step, in order."""
        names: list[str] = [keys.shard(shard), keys.stream(shard, epoch)]
        places: dict[int, int] = {}
        packed: list[bytes] = []
        for attempt in attempts:
            place = places.get(attempt.item_id)
            if place is None:
                place = places[attempt.item_id] = len(places) + 1
                names += (
                    keys.item(shard, attempt.item_id),
                    keys.attempts(shard, attempt.limit_group),
                    keys.holders(shard, attempt.limit_group),
                    keys.line(shard, attempt.item_id),
                )
            packed.append(pack_attempt(attempt, place))
        _, counter, decisions = await self._call("sluice_reserve_v2", names, epoch, *packed)
        return unpack_decisions(decisions, counter)

    async def release(self, shard: int, epoch: int, holds: Sequence[Hold]) -> list[bool]:
        """True for each hold that was released now; False where there was none to release.

        The units go to whoever waits for them, in the same step, and else back on sale.
        """
        answers: list[bool] = []
        unfinished: set[int] = set()
        for start in range(0, len(holds), RELEASE_MAX):
            part = holds[start : start + RELEASE_MAX]
            names = [keys.shard(shard), keys.stream(shard, epoch)]
            for hold in part:
                names.append(keys.item(shard, hold.item_id))
                names.append(keys.holders(shard, hold.limit_group))
                names.append(keys.line(shard, hold.item_id))
            reply = await self._call("sluice_release_v2", names, epoch, *map(pack_hold, part))
            answers += (answer > 0 for answer in reply)
            unfinished |= {
                hold.item_id for hold, answer in zip(part, reply, strict=True) if answer > 1
            }
        await self.promote_waitlist(shard, epoch, sorted(unfinished))
        return answers

    async def find_holds(
        self, shard: int, limit_groups: Sequence[int], digest: bytes
    ) -> list[Held]:
        """What a buyer holds in these limit groups."""
        if not limit_groups:
            return []
        names = [keys.holders(shard, group) for group in limit_groups]
        try:
            async with asyncio.timeout(self._timeout_s), self._lookups:
                reply = await self._call("sluice_find_v1", names, digest)
        except TimeoutError as error:
            raise GateUnavailable() from error
        return [held for packed in reply for held in unpack_held(packed)]

    async def holds_of(
        self, shard: int, limit_group: int, digests: Sequence[bytes]
    ) -> list[list[Held]]:
        """What each of these buyers holds in a limit group."""
        found: list[list[Held]] = []
        names = [keys.holders(shard, limit_group)]
        for start in range(0, len(digests), FIND_MAX):
            part = digests[start : start + FIND_MAX]
            found += map(unpack_held, await self._call("sluice_find_all_v1", names, *part))
        return found

    # --- what is on sale -------------------------------------------------------------------

    async def load_item(self, item: GateItem) -> bool:
        """Put an item's stock in, shut until `set_state`. False where it is open already."""
        fields: dict[str, int] = {
            "available": item.available,
            "held": item.stock - item.available,
            "stock": item.stock,
            "limit": item.per_buyer,
            "starts": item.starts_at_ms,
            "ends": item.ends_at_ms,
            "group": item.limit_group,
            "waits": item.waits_until_ms,
        }
        names = [keys.shard(item.shard), keys.item(item.shard, item.item_id)]
        flat = [part for pair in fields.items() for part in pair]
        head = (item.epoch, item.publication, item.edit)
        return bool(await self._call("sluice_load_v1", names, *head, *flat))

    async def set_state(
        self,
        shard: int,
        epoch: int,
        item_ids: Sequence[int],
        state: OpenState,
        ends_at_ms: int,
        waits_until_ms: int | None = None,
    ) -> int:
        """Open, pause or close items; how many of them the gate knows. The end of their waitlists
        stays where it is if `waits_until_ms` is None."""
        names = [keys.shard(shard), *(keys.item(shard, i) for i in item_ids)]
        waits = "" if waits_until_ms is None else waits_until_ms
        return int(await self._call("sluice_set_state_v2", names, epoch, state, ends_at_ms, waits))

    async def edit_stock(
        self, shard: int, epoch: int, item_id: int, edit: int, delta: int
    ) -> EditResult:
        """Apply one stock edit. An increase goes to whoever waits first; `available` is then what
        is left of it."""
        names = await self._line_keys(shard, epoch, item_id)
        outcome, stock, available, more = await self._call(
            "sluice_edit_v2", names, epoch, item_id, edit, delta
        )
        if more:
            available -= await self.promote_waitlist(shard, epoch, [item_id])
        return EditResult(outcome.decode(), stock, available)

    async def totals(self, shard: int, item_ids: Sequence[int]) -> list[ItemTotals]:
        """The gate's numbers of these items, without the ones it does not know."""
        if not item_ids:
            return []
        reply = await self._call("sluice_totals_v2", _with_lines(shard, item_ids))
        rows = zip(item_ids, reply, strict=True)
        return [ItemTotals(item_id, *numbers) for item_id, numbers in rows if numbers]

    async def mark(self, shard: int, epoch: int, item_ids: Sequence[int]) -> int:
        """Append an audit mark of these items to the log; its counter."""
        names = [keys.shard(shard), keys.stream(shard, epoch), *_with_lines(shard, item_ids)]
        return int(await self._call("sluice_mark_v2", names, epoch))


def _with_lines(shard: int, item_ids: Sequence[int]) -> list[str]:
    return [name for i in item_ids for name in (keys.item(shard, i), keys.line(shard, i))]


def _parse_info(raw: bytes) -> dict[str, str]:
    rows = (line.partition(":") for line in raw.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in rows}


def _config_value(reply: Any) -> str:
    values: Iterable[Any] = reply.values() if isinstance(reply, dict) else reply[1::2]
    for value in values:
        return value.decode() if isinstance(value, bytes) else str(value)
    return "unknown"
