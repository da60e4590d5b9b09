"""Every invariant, looked at now: what the ledger says of itself, the gate of itself, and both.

The two stores are compared by audit marks: the gate writes its totals into its log, the recorder
compares them with the ledger's at exactly that place. So there is no false alarm under traffic.
The numbers are those of the list of invariants in the documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from sluice.accounts.identity import buyer_digest
from sluice.domain.errors import Unavailable
from sluice.domain.log import ItemTotals
from sluice.domain.sale import Sale
from sluice.gate.gate import Gate, GateStatus
from sluice.gate.wire import Hold
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Check, Mark, ShardPosition

PATIENCE_S = 5.0
"""How long the recorder may take to come to an audit mark."""
POLL_S = 0.02
ITEMS_MAX = 500
"""Items in one audit mark or one call for totals."""
RELEASES_MAX = 1000
WAIT_MS_MAX = 30_000
"""What the ledger has decided reaches the gate within this time, unless something is down."""
STUCK_S = 1.5
"""A line that stands still beside units for this long is stuck."""
SHOWN = 5

_LEDGER_CHECKS: dict[str, tuple[str, ...]] = {
    "2_ledger_balance": (
        "ledger_balance",
        "units_are_those_of_orders",
        "units_are_those_of_the_journal",
    ),
    "3_never_oversold": ("never_oversold",),
    "5_limit_per_buyer": ("limit_per_buyer",),
    "6_one_order_one_reservation": ("slots_are_those_of_orders", "slots_have_their_order"),
    "8_state_is_history": ("state_is_the_last_of_history", "history_is_legal"),
    "9_released_once": (
        "released_or_held",
        "rejected_are_released",
        "given_back_once",
        "returned_units_are_those_of_orders",
    ),
    "10_money_has_its_order": (
        "paid_orders_have_their_money",
        "money_without_an_order_goes_back",
        "captured_minus_refunded",
        "refunds_are_those_of_payments",
        "refunded_units_are_those_of_refunds",
        "open_payments_have_a_living_order",
        "callbacks_are_of_payments",
    ),
    "12_one_attempt_one_order": ("one_attempt_one_end",),
    "15_orders_stay": ("history_has_its_order",),
}
"""Invariant → what of the ledger's own checks it consists of. The others follow below."""
_LINES = (
    "promotions_have_their_order",
    "promotions_are_of_units_that_came_back",
    "the_line_moves_in_order",
    "nobody_waits_and_holds",
)
_DONE = ("cancellations_are_applied", "overdue_orders_have_a_deadline")
_ACCOUNTED = "recorded_units_are_those_of_orders"
_EDITS = "edits_in_order"
_BY_MARKS = "gate_and_ledger_agree"
_OF_SALE: dict[str, tuple[str, ...]] = {
    **_LEDGER_CHECKS,
    "7_accepted_is_accounted_for": (_ACCOUNTED,),
    "11_the_line_moves": _LINES,
    "13_armed_and_edited_in_order": (_EDITS,),
    "14_nothing_waits": ("cancellations_are_applied",),
}
"""The same of one sale."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    invariants: list[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.invariants)

    def to_json(self) -> dict[str, Any]:
        """`{"ok": …, "invariants": [{"name", "ok", "detail"}]}`"""
        return {"ok": self.ok, "invariants": [check._asdict() for check in self.invariants]}


@dataclass(slots=True)
class _Shard:
    """What was seen of one shard. `unseen` says why gate and ledger could not be compared."""

    position: ShardPosition
    items: list[int]
    status: GateStatus | None = None
    totals: dict[int, ItemTotals] = field(default_factory=dict)
    unseen: str = ""

    @property
    def number(self) -> int:
        return self.position.shard

    @property
    def armed(self) -> bool:
        return self.status is not None and self.status.armed

    def stuck(self) -> list[int]:
        """Items that somebody waits for although there are units."""
        return [item for item, totals in self.totals.items() if _is_stuck(totals)]


class Auditor:
    """Raises `LedgerUnavailable`; a gate that is away leaves what it is asked about not known."""

    def __init__(
        self,
        ledger: Ledger,
        gate: Gate,
        *,
        keep_in_step: Callable[[], Awaitable[None]] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._keep_in_step = keep_in_step
        self._patience_s = patience_s

    async def audit(self) -> dict[str, Any]:
        """The report as `GET /v1/admin/audit` and `sluice audit --json` show it."""
        return (await self.run()).to_json()

    async def run(self) -> AuditReport:
        """Looks at everything. What could not be seen is not reported as holding."""
        positions = [at for at in (await self._ledger.positions()).values() if at.epoch > 0]
        shards = await asyncio.gather(*(self._look(at) for at in positions))
        failed = await self._ledger.failed_marks()
        checks = {check.name: check for check in await self._ledger.audit()}
        found = [
            _joined(name, [checks.pop(part) for part in parts])
            for name, parts in _LEDGER_CHECKS.items()
        ]
        found += [
            _gate_totals(shards, failed),
            _never_more_generous(shards, failed),
            _accounted_for(shards, failed, checks.pop(_ACCOUNTED)),
            _armed_and_edited(shards, failed, checks.pop(_EDITS)),
            await self._line_moves(shards, [checks.pop(part) for part in _LINES]),
            await self._nothing_waits([checks.pop(part) for part in _DONE]),
        ]
        checks.pop(_BY_MARKS, None)
        found += checks.values()
        return AuditReport(sorted(found, key=_place))

    async def of_sale(self, sale: Sale, deadline_ms: int) -> dict[str, Any]:
        """The invariants of one sale, as far as they can be seen in its own rows and totals:
        `{"state": "ok" | "broken" | "unknown", "at_ms", "took_ms", "invariants": [{"name", "ok",
        "detail"}], "unknown": […]}`. `ok` means that all of it was looked at, and holds."""
        began = monotonic()
        at_ms = await self._ledger.now_ms()
        found: list[Check] = []
        unknown: list[str] = []
        try:
            checks = {c.name: c for c in await self._ledger.audit_sale(sale.id, deadline_ms)}
            for name, parts in _OF_SALE.items():
                found.append(_joined(name, [checks[part] for part in parts if part in checks]))
        except Unavailable as error:
            unknown.append(f"ledger: {error}")
        try:
            found.append(_sale_totals(await self._totals_of(sale)))
        except Unavailable as error:
            unknown.append(f"gate: {error}")
        marks = await self._marks_of(sale, unknown)
        found.append(_told("4_gate_never_more_generous", _disagreeing(marks)))
        state = "unknown" if unknown else "ok"
        return {
            "state": state if all(check.ok for check in found) else "broken",
            "at_ms": at_ms,
            "took_ms": round((monotonic() - began) * 1000),
            "invariants": [check._asdict() for check in sorted(found, key=_place)],
            "unknown": unknown,
        }

    async def _totals_of(self, sale: Sale) -> list[ItemTotals]:
        """The gate's word on the items that it holds."""
        by_shard: dict[int, list[int]] = {}
        for item in sale.items:
            if item.loaded_epoch is not None:
                by_shard.setdefault(item.shard, []).append(item.id)
        found: list[ItemTotals] = []
        for shard, ids in by_shard.items():
            for part in _parts(ids):
                found += await self._gate.totals(shard, part)
        return found

    async def _marks_of(self, sale: Sale, unknown: list[str]) -> list[Mark]:
        """The last comparisons of gate and ledger; items that were never compared are unknown."""
        try:
            marks = await self._ledger.marks([item.id for item in sale.items])
        except Unavailable as error:
            unknown.append(f"marks: {error}")
            return []
        never = [i.id for i in sale.items if i.loaded_epoch is not None and i.id not in marks]
        if never:
            unknown.append(f"gate and ledger were not compared yet: items {never[:SHOWN]}")
        return list(marks.values())

    async def repair(self) -> int:
        """Drive again what the ledger has decided: releases, states, stock edits. Nothing is
        invented, and all of it is harmless where it was done before. How many holds went back.
        """
        released = 0
        for at in (await self._ledger.positions()).values():
            if at.epoch > 0:
                released += await self._release(at)
        if self._keep_in_step is not None:
            await self._keep_in_step()
        return released

    # --- looking ---------------------------------------------------------------------------

    async def _look(self, at: ShardPosition) -> _Shard:
        """The gate's word on a shard, and a mark that the recorder has come to."""
        shard = _Shard(at, await self._ledger.loaded_items(at.shard))
        try:
            shard.status = await self._gate.status(at.shard)
            for part in _parts(shard.items):
                for totals in await self._gate.totals(at.shard, part):
                    shard.totals[totals.item_id] = totals
            if shard.status.epoch == at.epoch:
                shard.unseen = await self._compare(shard)
            else:
                shard.unseen = f"the gate is in epoch {shard.status.epoch}, not {at.epoch}"
        except Unavailable as error:
            shard.unseen = f"the gate did not answer ({error})"
        return shard

    async def _compare(self, shard: _Shard) -> str:
        """Have gate and ledger compared by a mark; why that was not done, or nothing."""
        counter = 0
        for part in _parts(shard.items):
            counter = await self._gate.mark(shard.number, shard.position.epoch, part)
        recorded = shard.position.counter
        try:
            async with asyncio.timeout(self._patience_s):
                while recorded < counter:
                    await asyncio.sleep(POLL_S)
                    now = (await self._ledger.positions())[shard.number]
                    if now.epoch != shard.position.epoch:
                        return f"epoch {now.epoch} has begun meanwhile"
                    recorded = now.counter
        except TimeoutError:
            return f"the recorder is {counter - recorded} log entries behind"
        return ""

    async def _line_moves(self, shards: Sequence[_Shard], parts: Sequence[Check]) -> Check:
        """11: what the ledger says of the lines, and that nobody waits beside a unit for longer
        than it takes. A gate that is not armed gives nothing away, so there they may."""
        stuck = {(at.number, item) for at in shards if at.armed for item in at.stuck()}
        if stuck:
            await asyncio.sleep(STUCK_S)
            stuck = {at for at in stuck if await self._is_still_stuck(*at)}
        where = ", ".join(str(item) for _, item in sorted(stuck)[:SHOWN])
        moving = Check("units_and_waiters_meet", not stuck, f"items {where}" if stuck else "")
        return _joined("11_the_line_moves", [*parts, moving])

    async def _is_still_stuck(self, shard: int, item: int) -> bool:
        try:
            return any(map(_is_stuck, await self._gate.totals(shard, [item])))
        except Unavailable:
            return True

    async def _nothing_waits(self, parts: Sequence[Check]) -> Check:
        """14, as far as it can be seen at one moment."""
        name = "14_nothing_waits"
        done = _joined(name, parts)
        since = await self._ledger.waiting_since()
        if not since or not done.ok:
            return done
        try:
            now_ms = await self._ledger.now_ms()
        except Unavailable as error:
            return Check(name, False, f"not known: {error}")
        ages = {kind: (now_ms - at_ms) // 1000 for kind, at_ms in since.items()}
        told = ", ".join(f"oldest {kind} {age} s" for kind, age in ages.items())
        return Check(name, max(ages.values()) * 1000 <= WAIT_MS_MAX, told)

    # --- repairing -------------------------------------------------------------------------

    async def _release(self, at: ShardPosition) -> int:
        pending = await self._ledger.pending_releases(at.shard, RELEASES_MAX)
        holds = [
            Hold(p.number, p.item_id, p.limit_group, buyer_digest(p.buyer.encode()))
            for p in pending
        ]
        return sum(await self._gate.release(at.shard, at.epoch, holds)) if holds else 0


# --- what was seen, as invariants -----------------------------------------------------------------


def _is_stuck(totals: ItemTotals) -> bool:
    return totals.waiting > 0 and totals.available > 0


def _joined(name: str, parts: Sequence[Check]) -> Check:
    broken = [f"{part.name}: {part.detail}" for part in parts if not part.ok]
    return Check(name, not broken, "; ".join(broken))


def _gate_totals(shards: Iterable[_Shard], failed: Sequence[Mark]) -> Check:
    """1: A + H = S and A ≥ 0 (transfers between buckets, T, do not exist yet)."""
    wrong = {
        totals.item_id: f"item {totals.item_id}: A {totals.available} + H {totals.held}"
        f" is not S {totals.stock}"
        for shard in shards
        for totals in shard.totals.values()
        if totals.available + totals.held != totals.stock or totals.available < 0
    }
    for mark in failed:
        if not _adds_up(mark):
            wrong.setdefault(mark.item_id, f"item {mark.item_id} at log entry {mark.counter}")
    unseen = [_not_known(shard) for shard in shards if shard.status is None]
    return _told("1_gate_totals", [*wrong.values(), *unseen])


def _sale_totals(found: Sequence[ItemTotals]) -> Check:
    """1, of one sale."""
    wrong = [
        f"item {at.item_id}: A {at.available} + H {at.held} is not S {at.stock}"
        for at in found
        if at.available + at.held != at.stock or at.available < 0
    ]
    return _told("1_gate_totals", wrong)


def _disagreeing(marks: Iterable[Mark]) -> list[str]:
    return [
        f"item {mark.item_id}: the gate has {mark.gate_available}, the ledger {_expected(mark)}"
        for mark in marks
        if not mark.ok
    ]


def _never_more_generous(shards: Iterable[_Shard], failed: Sequence[Mark]) -> Check:
    """4: A ≤ L − F − X, compared where F = 0."""
    wrong = [
        f"item {mark.item_id}: the gate has {mark.gate_available}, the ledger {_expected(mark)}"
        for mark in failed
        if mark.gate_available > _expected(mark)
    ]
    return _told("4_gate_never_more_generous", [*wrong, *_unseen(shards)])


def _accounted_for(shards: Iterable[_Shard], failed: Sequence[Mark], recorded: Check) -> Check:
    """7: what the gate took is in the ledger, as an order or a dead letter, or on its way."""
    wrong = [
        f"item {mark.item_id}: the gate holds {_expected(mark) - mark.gate_available} units "
        "of which the ledger knows nothing"
        for mark in failed
        if mark.gate_available < _expected(mark)
    ]
    for shard in shards:
        status, at = shard.status, shard.position
        if status is not None and status.epoch == at.epoch and status.counter < at.counter:
            wrong.append(
                f"shard {shard.number}: the gate's log ends at {status.counter}, before the "
                f"ledger's position {at.counter}"
            )
        missing = [str(item) for item in shard.items if item not in shard.totals]
        if status is not None and missing:
            wrong.append(f"shard {shard.number}: the gate has lost items {', '.join(missing)}")
    if not recorded.ok:
        wrong.append(f"{recorded.name}: {recorded.detail}")
    return _told("7_accepted_is_accounted_for", [*wrong, *_unseen(shards)])


def _armed_and_edited(shards: Iterable[_Shard], failed: Sequence[Mark], edits: Check) -> Check:
    """13: armed for the ledger's epoch alone; stock edits applied in order, once."""
    wrong = [
        f"shard {shard.number}: the gate is armed for epoch {shard.status.epoch}, the ledger is "
        f"in {shard.position.epoch}"
        for shard in shards
        if shard.status is not None
        and shard.status.armed
        and shard.status.epoch != shard.position.epoch
    ]
    wrong += [
        f"item {mark.item_id}: the gate's stock {mark.gate_stock} is not the ledger's"
        for mark in failed
        if _adds_up(mark) and mark.gate_available == _expected(mark)
    ]
    if not edits.ok:
        wrong.append(f"{edits.name}: {edits.detail}")
    return _told("13_armed_and_edited_in_order", wrong)


def _expected(mark: Mark) -> int:
    return mark.ledger_available - mark.decided_not_applied


def _adds_up(mark: Mark) -> bool:
    return mark.gate_available + mark.gate_held == mark.gate_stock and mark.gate_available >= 0


def _unseen(shards: Iterable[_Shard]) -> list[str]:
    return [_not_known(shard) for shard in shards if shard.unseen]


def _not_known(shard: _Shard) -> str:
    return f"shard {shard.number}: not known, {shard.unseen}"


def _told(name: str, wrong: Sequence[str]) -> Check:
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return Check(name, not wrong, "; ".join(wrong[:SHOWN]) + more)


def _place(check: Check) -> tuple[int, str]:
    number, _, _ = check.name.partition("_")
    return (int(number) if number.isdigit() else 99, check.name)


def _parts(items: Sequence[int]) -> Iterable[Sequence[int]]:
    return (items[start : start + ITEMS_MAX] for start in range(0, len(items), ITEMS_MAX))
