"""The gate's waitlist: joining, leaving and asking for one's place, and keeping the line moving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sluice.gate import keys
from sluice.gate.caller import Caller
from sluice.gate.client import translated
from sluice.gate.wire import Entry, Place, Waiter, pack_waiter, pack_waiting, unpack_places

T = TypeVar("T")

WAITERS_MAX = 250
"""In one call; so there are never more items among its keys than the byte of a place can name."""
ENTRIES_MAX = 1000
"""Entries closed or loaded in one call."""


class Lines(Caller):
    """The part of `Gate` that deals with those who wait."""

    async def join_waitlist(self, shard: int, epoch: int, waiters: Sequence[Waiter]) -> list[Place]:
        """Put buyers at the end of the lines that they ask for, in order; see `WaitOutcome`.

        Whoever stands in line already keeps that place. Raises `LostEpoch`.
        """
        places: list[Place] = []
        for part in _parts(waiters, WAITERS_MAX):
            names, packed = _packed(part, lambda w: _with_holders(shard, w))
            head = [keys.shard(shard), keys.stream(shard, epoch)]
            places += unpack_places(
                await self._call("sluice_join_v1", [*head, *names], epoch, *packed)
            )
        return places

    async def leave_waitlist(self, shard: int, epoch: int, waiters: Sequence[Waiter]) -> list[bool]:
        """True for each buyer who stood in line until now; False where there was none to leave."""
        left: list[bool] = []
        for part in _parts(waiters, WAITERS_MAX):
            names, packed = _packed(part, lambda w: [keys.line(shard, w.item_id)])
            head = [keys.shard(shard), keys.stream(shard, epoch)]
            left += map(bool, await self._call("sluice_leave_v1", [*head, *names], epoch, *packed))
        return left

    async def waitlist_places(self, shard: int, waiters: Sequence[Waiter]) -> list[Place]:
        """Each buyer's place, WAITING or NONE. Raises `LostEpoch` where the gate's memory of the
        shard is gone: then it cannot say that nobody waits."""
        places: list[Place] = []
        for part in _parts(waiters, WAITERS_MAX):
            names, packed = _packed(part, lambda w: [keys.line(shard, w.item_id)])
            reply = await self._call("sluice_places_v1", [keys.shard(shard), *names], *packed)
            places += unpack_places(reply)
        return places

    async def waitlist_lengths(self, shard: int, item_ids: Sequence[int]) -> list[int]:
        """How many wait for each of these items."""
        if not item_ids:
            return []
        names = [keys.line(shard, item_id) for item_id in item_ids]
        return list(map(int, await self._call("sluice_lengths_v1", names)))

    async def promote_waitlist(self, shard: int, epoch: int, item_ids: Sequence[int]) -> int:
        """Give what is available of these items to whoever waits for them; how many orders.

        Releases and stock increases do so by themselves. This is for what they had to leave: while
        the gate was not armed, or more at once than one call may do. Nothing else can buy those
        units meanwhile.
        """
        promoted = 0
        for item_id in item_ids:
            names = await self._line_keys(shard, epoch, item_id)
            more = True
            while more:
                orders, more = await self._call("sluice_promote_v1", names, epoch)
                promoted += orders
        return promoted

    async def close_waitlist(self, shard: int, epoch: int, item_id: int, limit: int) -> int:
        """End up to `limit` entries from the head of a line (at most `ENTRIES_MAX` in one call);
        how many are left in it."""
        names = [keys.shard(shard), keys.stream(shard, epoch), keys.line(shard, item_id)]
        count = min(limit, ENTRIES_MAX)
        return int(await self._call("sluice_close_v1", names, epoch, item_id, count))

    async def load_waitlist(
        self, shard: int, epoch: int, item_id: int, entries: Sequence[tuple[int, bytes, bytes]]
    ) -> int:
        """Put entries (entry, buyer, digest) back into the line of an item that is loaded and not
        yet open; how many of them the line took. Not logged: the ledger has them already."""
        names = [keys.shard(shard), keys.item(shard, item_id), keys.line(shard, item_id)]
        count = 0
        for part in _parts(entries, ENTRIES_MAX):
            packed = [pack_waiting(Entry(*entry)) for entry in part]
            count += int(await self._call("sluice_load_line_v1", names, epoch, *packed))
        return count

    async def _line_keys(self, shard: int, epoch: int, item_id: int) -> list[str]:
        """What giving units to a line touches. The gate itself knows the item's limit group; an
        item without one was never given a line."""
        item = keys.item(shard, item_id)
        group = await translated(self.client.execute_command("HGET", item, "group"))
        holders = keys.holders(shard, int(group or 0))
        return [
            *(keys.shard(shard), keys.stream(shard, epoch)),
            *(item, holders, keys.line(shard, item_id)),
        ]


def _with_holders(shard: int, waiter: Waiter) -> list[str]:
    return [
        keys.item(shard, waiter.item_id),
        keys.holders(shard, waiter.limit_group),
        keys.line(shard, waiter.item_id),
    ]


def _packed(
    waiters: Sequence[Waiter], keys_of: Callable[[Waiter], list[str]]
) -> tuple[list[str], list[bytes]]:
    """The keys of the items, each named once, and the packed waiters that point at them."""
    names: list[str] = []
    places: dict[int, int] = {}
    packed: list[bytes] = []
    for waiter in waiters:
        place = places.get(waiter.item_id)
        if place is None:
            place = places[waiter.item_id] = len(places) + 1
            names += keys_of(waiter)
        packed.append(pack_waiter(waiter, place))
    return names, packed


def _parts(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
