"""Who may record a shard, and how far its log has been recorded."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.errors import FenceLost
from sluice.ledger.records import Lease, ShardPosition
from sluice.ledger.store import Store, Transaction
from sluice.ledger.tables import closed_epochs, items, shards
from sluice.ledger.upsert import insert_ignore


class Shards(Store):
    async def claim_shard(self, shard: int, owner: str, lease_ms: int) -> Lease | None:
        """The lease, if the shard is free, its lease has run out, or it is `owner`'s already.

        Every change of owner counts the fence up. `owner` names one run of one process.
        """

        async def claim(tx: Transaction) -> Lease | None:
            await insert_ignore(tx, shards, [_new_shard(shard)])
            row = (
                await tx.run(select(shards).where(shards.c.shard == shard).with_for_update())
            ).one()
            mine = row.owner == owner
            if not mine and row.owner and row.lease_until_ms > tx.now_ms:
                return None
            lease = Lease(
                shard=shard,
                epoch=row.epoch,
                fence=row.fence if mine else row.fence + 1,
                owner=owner,
                lease_until_ms=tx.now_ms + lease_ms,
            )
            await tx.run(
                update(shards)
                .where(shards.c.shard == shard)
                .values(owner=owner, fence=lease.fence, lease_until_ms=lease.lease_until_ms)
            )
            return lease

        return await self._write(claim)

    async def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Raises `FenceLost` where somebody else has the shard now."""

        async def prolong(tx: Transaction) -> Lease:
            row = await _held(tx, lease)
            until_ms = tx.now_ms + lease_ms
            await tx.run(
                update(shards).where(shards.c.shard == lease.shard).values(lease_until_ms=until_ms)
            )
            return Lease(
                shard=lease.shard,
                epoch=row.epoch,
                fence=lease.fence,
                owner=lease.owner,
                lease_until_ms=until_ms,
            )

        return await self._write(prolong)

    async def yield_shard(self, lease: Lease) -> None:
        """Lets the next one claim the shard at once; does nothing where it is not ours."""
        theirs = (shards.c.shard == lease.shard) & (shards.c.fence == lease.fence)
        free = update(shards).where(theirs).values(owner="", lease_until_ms=0)
        await self._write(lambda tx: tx.changed(free))

    async def begin_epoch(self, lease: Lease) -> Lease:
        """Counts the epoch up; its log starts at counter 1. How far the old one had been recorded
        is kept in `closed_epochs`. Raises `FenceLost`."""

        async def begin(tx: Transaction) -> Lease:
            row = await _held(tx, lease)
            if row.epoch != lease.epoch:
                raise FenceLost()
            if row.epoch:
                await tx.run(
                    insert(closed_epochs).values(
                        shard=lease.shard,
                        epoch=row.epoch,
                        counter=row.counter,
                        closed_at_ms=tx.now_ms,
                    )
                )
            await tx.run(
                update(shards)
                .where(shards.c.shard == lease.shard)
                .values(epoch=row.epoch + 1, counter=0)
            )
            return Lease(
                shard=lease.shard,
                epoch=row.epoch + 1,
                fence=lease.fence,
                owner=lease.owner,
                lease_until_ms=row.lease_until_ms,
            )

        return await self._write(begin)

    async def positions(self) -> dict[int, ShardPosition]:
        """Of every shard that was ever claimed."""
        return await self._read(_positions)

    async def leases(self) -> dict[int, Lease]:
        """Who owns each shard, or did last; an empty owner where nobody does."""
        columns = [shards.c[each.name] for each in fields(Lease)]

        async def query(connection: AsyncConnection) -> dict[int, Lease]:
            rows = await connection.execute(select(*columns))
            return {row.shard: Lease(**row._mapping) for row in rows}

        return await self._read(query)

    async def loaded_items(self, shard: int) -> list[int]:
        """Items that the gate was given on this shard: what it must know unless it lost memory."""
        wanted = (
            select(items.c.id)
            .where(items.c.shard == shard, items.c.loaded_epoch.is_not(None))
            .order_by(items.c.id)
        )

        async def query(connection: AsyncConnection) -> list[int]:
            return list((await connection.execute(wanted)).scalars())

        return await self._read(query)


async def _held(tx: Transaction, lease: Lease) -> Any:
    theirs = (shards.c.shard == lease.shard) & (shards.c.fence == lease.fence)
    row = (await tx.run(select(shards).where(theirs).with_for_update())).one_or_none()
    if row is None or row.owner != lease.owner:
        raise FenceLost()
    return row


async def _positions(connection: AsyncConnection) -> dict[int, ShardPosition]:
    rows = await connection.execute(
        select(shards.c.shard, shards.c.epoch, shards.c.counter, shards.c.highest_number)
    )
    return {
        shard: ShardPosition(shard=shard, epoch=epoch, counter=counter, highest_number=highest)
        for shard, epoch, counter, highest in rows
    }


def _new_shard(shard: int) -> dict[str, object]:
    return {
        "shard": shard,
        "epoch": 0,
        "counter": 0,
        "fence": 0,
        "owner": "",
        "lease_until_ms": 0,
        "highest_number": 0,
    }
