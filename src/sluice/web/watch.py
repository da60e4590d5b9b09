"""What a merchant watches while a sale runs: each figure with its age, none of them for free.

What many monitors ask for is looked up once and shown to all, and the dearer a look is, the longer
it has to do. A store that is away leaves its figures out, and the others stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

from sluice.audit import Auditor
from sluice.cache.server import CacheServer
from sluice.cache.tally import TallyBoard
from sluice.cache.waiting_room import RoomCells
from sluice.catalog.view import Json
from sluice.domain import tally
from sluice.domain.errors import CacheUnavailable, GateUnavailable, LedgerUnavailable, Unavailable
from sluice.domain.log import ItemTotals
from sluice.domain.sale import Item, Sale
from sluice.domain.times import render_time
from sluice.gate.gate import Gate
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Mark
from sluice.ledger.sale_facts import Rows
from sluice.ledger.ticks import Tick

RATE_S = 10
"""Rates and latencies are of the last whole ten seconds."""
KEPT_MAX = 64
"""Sales of which counts are remembered."""
COUNTS_MS_MAX = 5000
REST_S = 2.0
REST_SHARE = 20
"""A look at the orders rests for two seconds, and for twenty times what it took."""
STALE_AUDIT_MS = 60_000
"""An audit that is older says nothing about now, unless its own length is what keeps it."""

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by sale: looked up by one for all, and again only after a rest."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[float, float, T]] = {}
        """Sale → when it was begun, when it is due again, and what was found."""
        self._running: dict[int, asyncio.Task[T]] = {}

    async def get(self, key: int, look: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """The value, and how old it is in seconds."""
        kept = self._values.get(key)
        if kept is not None and monotonic() < kept[1]:
            return kept[2], monotonic() - kept[0]
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(self._look(key, look))
        value = await asyncio.shield(running)
        return value, monotonic() - self._values[key][0] if key in self._values else 0.0

    async def _look(self, key: int, look: Callable[[], Awaitable[T]]) -> T:
        began = monotonic()
        try:
            value = await look()
        finally:
            self._running.pop(key, None)
        rest_s = max(REST_S, REST_SHARE * (monotonic() - began))
        if len(self._values) >= KEPT_MAX:
            self._values.pop(next(iter(self._values)))
        self._values.pop(key, None)
        self._values[key] = (began, began + rest_s, value)
        return value


class Watch:
    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        cache: CacheServer,
        board: TallyBoard,
        auditor: Auditor,
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._cache = cache
        self._board = board
        self.auditor = auditor
        self._now_ms = now_ms
        self._counts: Kept[Rows] = Kept()
        self.reporting = asyncio.Semaphore(1)
        """Reports in this process: each reads a whole sale."""

    async def live(self, sale: Sale) -> Json:
        """The numbers of a running sale. They come from several stores, one after the other, so
        they are of about one moment; `ages` says of each how old it is, in ms, null where it is
        not known at all. Raises `LedgerUnavailable` where nothing could be said of the items."""
        ids = [item.id for item in sale.items]
        (
            (totals, marks, (rows, counts_age_s), backlog),
            (traffic, audit, rates, room),
        ) = await asyncio.gather(
            asyncio.gather(
                self._totals(sale),
                self._ledger.marks(ids),
                self._funnel(sale.id),
                self._backlog(sale),
            ),
            asyncio.gather(
                self._traffic(sale.id),
                self._audit(sale.id),
                self._rates(),
                self._room(sale),
            ),
        )
        now_ms = self._now_ms()
        returning = _by_item(rows, "returning", "units")
        items = [
            _item(item, totals.get(item.id), marks.get(item.id), returning.get(item.id))
            for item in sale.items
        ]
        light = _light(audit, list(marks.values()), now_ms)
        return {
            "items": items,
            "rates": rates,
            "at": render_time(now_ms),
            "sale": {
                "id": str(sale.id),
                "title": sale.title,
                "state": sale.state_at(now_ms).value,
                "pause_reason": sale.pause_reason,
                "starts_at": render_time(sale.starts_at_ms),
                "ends_at": render_time(sale.ends_at_ms),
            },
            "traffic": traffic,
            "recorder": None if backlog is None else {"backlog": backlog},
            "waiting_room": room,
            "funnel": None if rows is None else funnel(rows, _queued(items)),
            "invariants": light,
            "ages": {
                "items": 0 if totals or not _loaded(sale) else None,
                "traffic": None if traffic is None else 1000,
                "recorder": None if backlog is None else 0,
                "funnel": None if rows is None else round(counts_age_s * 1000),
                "invariants": _age(audit, now_ms),
                "waiting_room": None if room is None else 0,
            },
        }

    async def ticks(self, sale_id: int, since_s: int, limit: int) -> list[Tick]:
        """Raises `LedgerUnavailable`."""
        return await self._ledger.ticks(sale_id, since_s=since_s, limit=limit)

    # --- parts, each of which may be missing -------------------------------------------------

    async def _totals(self, sale: Sale) -> dict[int, ItemTotals]:
        """The gate's numbers of the items that it holds; empty where it is away."""
        found: dict[int, ItemTotals] = {}
        try:
            for shard, ids in _loaded(sale).items():
                found.update({each.item_id: each for each in await self._gate.totals(shard, ids)})
        except GateUnavailable:
            return {}
        return found

    async def _funnel(self, sale_id: int) -> tuple[Rows | None, float]:
        try:
            return await self._counts.get(
                sale_id, lambda: self._ledger.sale_counts(sale_id, COUNTS_MS_MAX)
            )
        except LedgerUnavailable:
            return None, 0.0

    async def _traffic(self, sale_id: int) -> Json | None:
        try:
            cells = await self._board.recent(sale_id, RATE_S)
        except CacheUnavailable:
            return None
        return {"seconds": RATE_S, **tally.traffic(tally.summed(cells))}

    async def _rates(self) -> dict[str, float]:
        """Outcomes per second; rates are for looking at, so a cache that is away leaves them
        empty."""
        try:
            return await self._cache.rates()
        except CacheUnavailable:
            return {}

    async def _room(self, sale: Sale) -> Json | None:
        """None where there is no room, or nobody can be asked."""
        cells = RoomCells(self._cache)
        try:
            if not sale.policy.waiting_room.enabled and sale.id not in await cells.engaged():
                return None
            numbers = await cells.numbers(sale.id)
        except CacheUnavailable:
            return None
        return {
            "waiting": numbers.waiting,
            "admitted": numbers.admitted,
            "active": numbers.active,
            "pace_per_second": round(numbers.measured, 2),
            "wanted_per_second": round(numbers.wanted, 2),
            "mode": numbers.mode,
        }

    async def _backlog(self, sale: Sale) -> int | None:
        """Entries of the log of the sale's shards that are not recorded yet."""
        try:
            positions = await self._ledger.positions()
            behind = 0
            for shard in _loaded(sale):
                status, at = await self._gate.status(shard), positions.get(shard)
                waits = None if at is None else at.behind(status.epoch, status.counter)
                if waits is None:
                    return None
                behind += waits
        except Unavailable:
            return None
        return behind

    async def _audit(self, sale_id: int) -> Json | None:
        """The last audit of the sale; that it is being watched is what has a worker look again."""
        try:
            await self._board.watch(sale_id)
            return await self._board.last_audit(sale_id)
        except CacheUnavailable:
            return None


def funnel(rows: Rows, queued: int = 0) -> Json:
    """Orders by how far they came: `rows` as `SaleFacts.sale_counts` gives them."""
    states: dict[str, int] = {}
    for row in rows["states"]:
        states[row["state"]] = states.get(row["state"], 0) + row["orders"]
    rejected = sum(row["orders"] for row in rows["dead"])
    once_paid = sum(states.get(state, 0) for state in ("paid", "refunding", "refunded"))
    return {
        "accepted": sum(states.values()) + rejected + queued,
        "queued": queued,
        "awaiting_payment": states.get("awaiting_payment", 0),
        "checkout_opened": sum(row["orders"] for row in rows["opened"]),
        "paid": once_paid,
        "expired": states.get("expired", 0),
        "cancelled": states.get("cancelled", 0),
        "rejected": rejected,
        "refunding": states.get("refunding", 0),
        "refunded": states.get("refunded", 0),
    }


def shown_tick(tick: Tick) -> Json:
    return {
        "at": render_time(tick.at_s * 1000),
        "seconds": tick.span_s,
        **tally.traffic(tally.summed([tick.counts])),
    }


def _item(item: Item, totals: ItemTotals | None, mark: Mark | None, returning: int | None) -> Json:
    recorded = item.awaiting_payment + item.paid
    held = recorded if totals is None else totals.held
    # What the ledger has released and the gate still holds is on its way back, and not queued.
    back = returning or 0
    return {
        "id": str(item.id),
        "title": item.title,
        "stock": item.stock,
        "available": item.available if totals is None else totals.available,
        "queued": max(0, held - recorded - back),
        "awaiting_payment": item.awaiting_payment,
        "paid": item.paid,
        "returning": back,
        "waitlisted": 0 if totals is None else totals.waiting,
        "invariant_ok": None if mark is None else bool(mark.ok),
    }


def _light(audit: Json | None, marks: Sequence[Mark], now_ms: int) -> Json:
    """Green only where an audit that is not old looked at everything and all of it holds, and the
    last comparisons of gate and ledger say the same."""
    wrong = [mark for mark in marks if not mark.ok]
    broken = [each for each in (audit or {}).get("invariants", []) if not each["ok"]]
    state = "unknown"
    if wrong or broken:
        state = "broken"
    elif audit is not None and not _is_old(audit, now_ms):
        state = audit["state"]
    return {
        "state": state,
        "checked_at": None if audit is None else render_time(audit["at_ms"]),
        "took_ms": None if audit is None else audit["took_ms"],
        "checked": 0 if audit is None else len(audit["invariants"]),
        "broken": [
            *({"name": each["name"], "detail": each["detail"]} for each in broken),
            *(
                {"name": "gate_and_ledger_agree", "detail": f"item {mark.item_id}"}
                for mark in wrong
            ),
        ],
        "unknown": [] if audit is None else audit["unknown"],
        "compared_at": render_time(min(m.at_ms for m in marks)) if marks else None,
    }


def _is_old(audit: Json, now_ms: int) -> bool:
    good_for_ms = max(STALE_AUDIT_MS, 2 * REST_SHARE * int(audit["took_ms"]))
    return now_ms - int(audit["at_ms"]) > good_for_ms


def _age(audit: Json | None, now_ms: int) -> int | None:
    return None if audit is None else max(0, now_ms - int(audit["at_ms"]))


def _loaded(sale: Sale) -> dict[int, list[int]]:
    """Shard → items that the gate holds."""
    by_shard: dict[int, list[int]] = {}
    for item in sale.items:
        if item.loaded_epoch is not None:
            by_shard.setdefault(item.shard, []).append(item.id)
    return by_shard


def _by_item(rows: Rows | None, name: str, column: str) -> dict[int, int]:
    return {} if rows is None else {row["item_id"]: row[column] for row in rows[name]}


def _queued(items: Sequence[Json]) -> int:
    return sum(item["queued"] for item in items)
