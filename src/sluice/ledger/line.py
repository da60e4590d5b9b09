"""What the gate's log says of the waitlists, written down: who joined, who left, who was promoted.

The gate alone decides; a line is written by its shard's recorder and by nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import case, insert, select, update

from sluice.domain import number as numbers_
from sluice.domain.log import Joined, Left, Promoted
from sluice.ledger.among import among
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.intake import ItemFacts, NeedsCare
from sluice.ledger.journal import announce, report
from sluice.ledger.rejects import storable
from sluice.ledger.store import Transaction
from sluice.ledger.tables import waitlist

LineEntry = Joined | Left | Promoted
Row = dict[str, Any]

CHUNK = 250
"""Entries in one statement."""


class Told(NamedTuple):
    joined: int
    promoted: int


async def record_line(
    tx: Transaction, facts: Mapping[int, ItemFacts], entries: Sequence[LineEntry], *, care: bool
) -> Told:
    """Each entry once, whatever happens to it within the batch.

    Without `care`, an entry that breaks a rule raises `NeedsCare`; with it, it is an incident.
    """
    joined: dict[int, Row] = {}
    ends: dict[int, Left | Promoted] = {}
    for entry in entries:
        if type(entry) is Left or type(entry) is Promoted:
            ends[entry.entry] = entry
        elif (
            type(entry) is Joined
            and entry.item_id in facts
            and entry.entry > 0
            and storable(entry.buyer)
        ):
            joined[entry.entry] = _waiting(entry)
        else:
            await report(tx, "waitlist_entry_unreadable", {"entry": repr(entry)})
    ended = await _end_earlier(tx, {e: end for e, end in ends.items() if e not in joined})
    for number, row in joined.items():
        if number in ends:  # joined and over within this batch
            row.update(_ended(ends[number], tx.now_ms))
            ended.append((ends[number], row["buyer"]))
    await _insert(tx, list(joined.values()), care)
    await _announce(tx, ended)
    return Told(len(joined), sum(type(end) is Promoted for end, _buyer in ended))


def _waiting(entry: Joined) -> Row:
    return {
        "id": entry.entry,
        "item_id": entry.item_id,
        "ended_as": 0,
        "order_number": None,
        "joined_at_ms": numbers_.split(entry.entry).minted_at_ms,
        "ended_at_ms": None,
        "state": "waiting",
        "reason": None,
        "buyer": entry.buyer,
    }


def _ended(end: Left | Promoted, now_ms: int) -> Row:
    if type(end) is Promoted:
        state, reason, number = "promoted", None, end.number
    else:
        assert type(end) is Left
        state = "closed" if end.reason == "closed" else "left"
        reason, number = end.reason, None
    return {
        "ended_as": end.entry,
        "order_number": number,
        "ended_at_ms": now_ms,
        "state": state,
        "reason": reason,
    }


async def _end_earlier(
    tx: Transaction, ends: Mapping[int, Left | Promoted]
) -> list[tuple[Left | Promoted, str]]:
    """Those that an earlier batch told of; with their buyers. Nothing for what is over already."""
    if not ends:
        return []
    wanted = select(waitlist.c.id, waitlist.c.state, waitlist.c.buyer)
    rows = (await tx.run(wanted.where(among(tx, waitlist.c.id, list(ends))))).all()
    unknown = sorted(set(ends) - {row.id for row in rows})
    if unknown:
        await report(tx, "waitlist_entry_unknown", {"entries": unknown})
    waiting = [row for row in rows if row.state == "waiting"]
    await _write_ends(tx, [ends[row.id] for row in waiting])
    return [(ends[row.id], row.buyer) for row in waiting]


async def _write_ends(tx: Transaction, ends: Sequence[Left | Promoted]) -> None:
    """In a few statements: MariaDB's driver would make a journey of each row."""
    alike: dict[tuple[str, str | None], list[Left | Promoted]] = {}
    for end in ends:
        over = _ended(end, tx.now_ms)
        alike.setdefault((over["state"], over["reason"]), []).append(end)
    for (state, reason), group in alike.items():
        for start in range(0, len(group), CHUNK):
            part = group[start : start + CHUNK]
            numbers = {end.entry: end.number for end in part if type(end) is Promoted}
            over = {
                "ended_as": waitlist.c.id,
                "order_number": case(numbers, value=waitlist.c.id) if numbers else None,
                "ended_at_ms": tx.now_ms,
                "state": state,
                "reason": reason,
            }
            mine = among(tx, waitlist.c.id, [end.entry for end in part])
            await tx.run(update(waitlist).where(mine).values(over))


async def _insert(tx: Transaction, rows: Sequence[Row], care: bool) -> None:
    if not rows:
        return
    if not care:
        try:
            await tx.run(insert(waitlist), list(rows))
        except Exception as error:
            if fault_of(error) is Fault.BROKEN_ROW:
                raise NeedsCare from error
            raise
        return
    for row in rows:
        try:
            async with tx.savepoint():
                await tx.run(insert(waitlist), [row])
        except Exception as error:
            if fault_of(error) is not Fault.BROKEN_ROW:
                raise
            if not await _is_known(tx, row["id"]):
                await report(tx, "waitlist_entry_refused", {"entry": row["id"], "why": str(error)})


async def _is_known(tx: Transaction, entry: int) -> bool:
    return (await tx.run(select(waitlist.c.id).where(waitlist.c.id == entry))).first() is not None


async def _announce(tx: Transaction, ended: Sequence[tuple[Left | Promoted, str]]) -> None:
    promoted: list[Row] = []
    left: list[Row] = []
    for end, buyer in ended:
        told: Row = {"id": end.entry, "item_id": end.item_id, "buyer": buyer}
        if type(end) is Promoted:
            promoted.append(told | {"number": end.number})
        elif type(end) is Left:
            left.append(told | {"reason": end.reason})
    for kind, entries in (("waitlist.promoted", promoted), ("waitlist.left", left)):
        if entries:
            await announce(tx, kind, {"entries": entries})
