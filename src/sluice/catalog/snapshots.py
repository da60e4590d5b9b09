"""What an HTTP process knows of sales: answered from memory, refreshed behind the answers.

A sale that is open or in use is read again every `REFRESH_S`; one that nobody looks at any more
stays as the last that was known of it, for the day the stores are away. Nothing is remembered of
ids that do not exist: asking for them costs one query in flight for the whole process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from sluice.batching import Batcher
from sluice.catalog.known import ItemRoute, Known, Shown
from sluice.domain.errors import GateUnavailable, Overloaded, Unavailable
from sluice.domain.log import ItemTotals
from sluice.domain.sale import Policy, Sale, SaleStatus
from sluice.telemetry import get_logger

REFRESH_S = 0.5
OPEN_EVERY = 10
"""Every so many refreshes the open sales are asked for, so that a new one is known unasked."""
IDLE_MAX = 20
"""After so many refreshes without a look a sale is no longer refreshed."""
SOLD_OUT_S = 1.0
"""How long "sold out" is believed without being told again."""
SALES_MAX = 1000
LIVE_S = 0.3
"""How long the gate's totals are waited for; without them there is still the ledger."""
IDS_MAX = 200
"""Sales in one query, items in one call to the gate."""
MISSES_MAX = 4096
LIMIT_GROUPS_MAX = 500

log = get_logger("catalog")

Miss = tuple[str, int]
"""("sale", id) or ("item", id)."""
Live = Callable[[int, Sequence[int]], Awaitable[list[ItemTotals]]]
"""The gate's totals of some items of a shard."""


class Sales(Protocol):
    """What snapshots ask of the ledger; `Ledger` does it."""

    async def sales(self, ids: Sequence[int], /) -> dict[int, Sale]: ...

    async def sales_of_items(self, item_ids: Sequence[int], /) -> dict[int, Sale]: ...

    async def open_sales(self) -> list[Sale]: ...

    async def list_sales(self, *, drafts: bool, limit: int, after_id: int | None) -> list[Sale]: ...


class Snapshots:
    """One for each HTTP process. `run` must be running for what is known to stay fresh."""

    def __init__(
        self, ledger: Sales, live: Live, clock: Callable[[], int], *, deadline_s: float = 0.9
    ) -> None:
        self._ledger = ledger
        self._live = live
        self._now_ms = clock
        self._known: dict[int, Known] = {}
        self._routes: dict[int, ItemRoute] = {}
        """Of sales that are kept fresh, and of no others."""
        self._sale_of: dict[int, int] = {}
        self._open: set[int] = set()
        self._sold_out: dict[int, float] = {}
        self._groups: dict[int, list[int]] = {}
        self._pending: dict[Miss, asyncio.Future[Sale | None]] = {}
        self._misses: Batcher[Miss, Sale | None] = Batcher(
            self._load, batch_max=IDS_MAX, queue_max=MISSES_MAX, deadline_s=deadline_s, calls_max=1
        )
        self._wake = asyncio.Event()
        self._ask_open = True
        self._fault: Unavailable | None = None
        self._away = False

    # --- from memory -----------------------------------------------------------------------

    def item_route(self, item_id: int) -> ItemRoute | None:
        """How to sell this item; None where `load_route` must be asked."""
        route = self._routes.get(item_id)
        if route is not None:
            route.known.used = True
        return route

    def sale_route_now(self, sale_id: int) -> ItemRoute | None:
        """As `sale_route`, from fresh memory alone; None where that must be asked."""
        known = self._known.get(sale_id)
        if known is None or known.lead is None or known.lead.item_id not in self._routes:
            return None
        known.used = True
        return known.lead

    async def sale_route(self, sale_id: int) -> ItemRoute | None:
        """The route of any item of a published sale, for what holds of all of them, or None.

        Raises as `load_route` does.
        """
        known = self._known.get(sale_id)
        if known is None or not self._is_fresh(known):
            known = await self._find("sale", sale_id, sale_id)
        if known is None:
            return None
        known.used = True
        return next(iter(known.routes.values()), None)

    def policies_until(self, ms: int) -> list[Policy]:
        """Of sales that are on, or ask something of buyers before `ms`."""
        now_ms = self._now_ms()
        return [
            known.sale.policy
            for known in self._known.values()
            if known.sale.room_opens_at_ms < ms and known.sale.ends_at_ms > now_ms
        ]

    def known_sold_out(self, item_id: int) -> bool:
        """Whether the gate had no unit left a moment ago. Never the last word on a purchase."""
        until = self._sold_out.get(item_id)
        return until is not None and until > monotonic()

    def note_sold_out(self, item_id: int) -> None:
        """The gate has just said so."""
        if item_id in self._sale_of:
            self._sold_out[item_id] = monotonic() + SOLD_OUT_S

    def may_return(self, item_id: int) -> bool:
        """Of an item without a unit left: whether held ones may still come back."""
        known = self._known.get(self._sale_of.get(item_id, 0))
        return known is not None and known.may_return(item_id)

    def limit_groups(self, shard: int) -> list[int]:
        """Limit groups of the sales that are known, newest first, at most `LIMIT_GROUPS_MAX`."""
        groups = self._groups.get(shard)
        if groups is None:
            found = dict.fromkeys(
                item.limit_group
                for sale_id in sorted(self._known, reverse=True)
                for item in self._known[sale_id].sale.items
                if item.shard == shard
            )
            groups = self._groups[shard] = list(found)[:LIMIT_GROUPS_MAX]
        return groups

    def sold_out_routes(self) -> list[ItemRoute]:
        """Items of sales that are kept fresh and have no unit left: where a line may stand."""
        return [
            route
            for item_id, route in self._routes.items()
            if (stock := route.known.stocks.get(item_id)) is not None and stock.available <= 0
        ]

    def sale_routes(self) -> list[ItemRoute]:
        """One of each sale that is kept fresh, for what holds of all its items."""
        found: dict[int, ItemRoute] = {}
        for route in self._routes.values():
            found.setdefault(route.sale_id, route)
        return list(found.values())

    def invalidate(self, sale_id: int | None) -> None:
        """A sale has changed, or with None: anything may have. What is known is read again now."""
        self._ask_open = True
        if sale_id is not None and sale_id in self._known:
            self._known[sale_id].used = True
        self._wake.set()

    # --- with a look at the stores where memory has nothing -----------------------------------

    async def load_route(self, item_id: int) -> ItemRoute | None:
        """The route of an item of a published sale, or None.

        Raises `Unavailable` where nothing is known and the ledger is away, `Overloaded` where too
        many ask for what is not known.
        """
        route = self.item_route(item_id)
        if route is None:
            known = await self._find("item", item_id, self._sale_of.get(item_id))
            route = None if known is None else known.routes.get(item_id)
        return route

    async def shown(self, sale_id: int) -> Shown | None:
        """The public snapshot of a published sale, or None. Raises as `load_route` does."""
        known = self._known.get(sale_id)
        if known is None or not self._is_fresh(known):
            known = await self._find("sale", sale_id, sale_id)
            if known is None:
                return None
        known.used = True
        return known.shown(self._now_ms())

    async def renew(self, sale_id: int) -> None:
        """Read a sale again now: whoever changed it, or met the change, must not be told the old.

        Raises `LedgerUnavailable`; what was known stays.
        """
        await self._learn((await self._ledger.sales([sale_id])).values())

    async def page(self, limit: int, after_id: int | None) -> tuple[list[Shown], int | None]:
        """Published sales, newest first, and the id to go on after (None at the end).

        Raises `LedgerUnavailable`.
        """
        sales = await self._ledger.list_sales(drafts=False, limit=limit + 1, after_id=after_id)
        shown_sales = sales[:limit]
        unknown = [sale for sale in shown_sales if not self._is_known_fresh(sale.id)]
        await self._learn(unknown)
        now_ms = self._now_ms()
        shown = [self._shown_or_bare(sale, now_ms) for sale in shown_sales]
        return shown, shown_sales[-1].id if len(sales) > limit else None

    # --- keeping it fresh ------------------------------------------------------------------

    async def run(self) -> None:
        """Refreshes until cancelled. A store that is away leaves what is known as it is."""
        turn = 0
        while True:
            if turn % OPEN_EVERY == 0:
                self._ask_open = True
            try:
                await self.refresh()
            except Unavailable as error:
                self._fault = error
            self._settled()
            turn += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._wake.wait()
            self._wake.clear()

    async def refresh(self) -> None:
        """Read again what is open or in use. Raises `LedgerUnavailable`."""
        self._fault = None
        if self._ask_open:
            opened = await self._ledger.open_sales()
            self._ask_open = False
            self._open = {sale.id for sale in opened}
            new = [sale for sale in opened if sale.id not in self._known]
            await self._learn(new[:SALES_MAX])
        wanted = self._in_use()
        for start in range(0, len(wanted), IDS_MAX):
            part = wanted[start : start + IDS_MAX]
            found = await self._ledger.sales(part)
            for sale_id in part:
                if sale_id not in found:
                    self._forget(sale_id)
            await self._learn(found.values())

    def _in_use(self) -> list[int]:
        wanted = []
        for sale_id, known in self._known.items():
            known.idle = 0 if known.used else known.idle + 1
            known.used = False
            if known.idle <= IDLE_MAX or sale_id in self._open:
                wanted.append(sale_id)
            else:
                self._cool(known)
        return wanted

    def _settled(self) -> None:
        fault = self._fault
        if fault is not None and not self._away:
            log.warning(
                "Sales are shown as last known.", action="snapshots.stale", detail=str(fault)
            )
        elif fault is None and self._away:
            log.info("Sales are fresh again.", action="snapshots.fresh")
        self._away = fault is not None

    # --- learning --------------------------------------------------------------------------

    async def _find(self, kind: str, wanted: int, sale_id: int | None) -> Known | None:
        """A sale that is not in fresh memory: asked for together with others, or as last known."""
        pending = self._pending.get((kind, wanted))
        try:
            if pending is None:
                pending = self._ask((kind, wanted))
            sale = await asyncio.shield(pending)
        except (Unavailable, Overloaded):
            stale = self._known.get(sale_id or 0)
            if stale is None:
                raise
            return stale
        return None if sale is None else self._known.get(sale.id)

    def _ask(self, miss: Miss) -> asyncio.Future[Sale | None]:
        pending = self._pending[miss] = self._misses.submit(miss)

        def answered(future: asyncio.Future[Sale | None]) -> None:
            del self._pending[miss]
            if not future.cancelled():
                future.exception()  # seen, even if everyone who waited has gone

        pending.add_done_callback(answered)
        return pending

    async def _load(self, misses: list[Miss]) -> list[Sale | None]:
        """One query for each kind; what is found is learned before it is answered."""
        sale_ids = list({wanted for kind, wanted in misses if kind == "sale"})
        item_ids = list({wanted for kind, wanted in misses if kind == "item"})
        by_sale = await self._ledger.sales(sale_ids) if sale_ids else {}
        by_item = await self._ledger.sales_of_items(item_ids) if item_ids else {}
        found = {sale.id: sale for sale in (*by_sale.values(), *by_item.values())}
        await self._learn(found.values())
        answers = {"sale": by_sale, "item": by_item}
        return [answers[kind].get(wanted) for kind, wanted in misses]

    async def _learn(self, sales: Iterable[Sale]) -> None:
        """Take sales as the ledger tells them, with the gate's totals where it answers."""
        public = []
        for sale in sales:
            if sale.status is SaleStatus.DRAFT:
                self._forget(sale.id)
            else:
                public.append(sale)
        totals = await self._totals(public)
        now_ms = self._now_ms()
        as_of_ms = None if totals is None else now_ms
        for sale in public:
            known = self._known.get(sale.id)
            if known is None:
                self._make_room()
                known = self._known[sale.id] = Known(sale, now_ms)
            known.learn(sale, totals or {}, as_of_ms)
            self._warm(known)
        until = monotonic() + SOLD_OUT_S
        for item_id, of_item in (totals or {}).items():
            if of_item.available <= 0:
                self._sold_out[item_id] = until
            else:
                self._sold_out.pop(item_id, None)

    async def _totals(self, sales: Sequence[Sale]) -> dict[int, ItemTotals] | None:
        """The gate's totals of these sales' items; None where it is away."""
        by_shard: dict[int, list[int]] = {}
        for sale in sales:
            for item in sale.items:
                if item.loaded_epoch is not None:
                    by_shard.setdefault(item.shard, []).append(item.id)
        found: dict[int, ItemTotals] = {}
        try:
            async with asyncio.timeout(LIVE_S):
                for shard, ids in by_shard.items():
                    for start in range(0, len(ids), IDS_MAX):
                        for totals in await self._live(shard, ids[start : start + IDS_MAX]):
                            found[totals.item_id] = totals
        except (Unavailable, TimeoutError) as error:
            self._fault = GateUnavailable(str(error))
            return None
        return found

    def _warm(self, known: Known) -> None:
        self._routes.update(known.routes)
        for item_id in known.routes:
            self._sale_of[item_id] = known.sale.id
        self._groups.clear()

    def _cool(self, known: Known) -> None:
        for item_id in known.routes:
            self._routes.pop(item_id, None)
            self._sold_out.pop(item_id, None)

    def _forget(self, sale_id: int) -> None:
        known = self._known.pop(sale_id, None)
        if known is not None:
            self._cool(known)
            self._groups.clear()
            for item_id in known.routes:
                self._sale_of.pop(item_id, None)

    def _make_room(self) -> None:
        """Bounded: the sale that was looked at longest ago goes, the open ones last."""
        if len(self._known) >= SALES_MAX:
            self._forget(max(self._known, key=lambda i: (i not in self._open, self._known[i].idle)))

    def _is_fresh(self, known: Known) -> bool:
        return any(item_id in self._routes for item_id in known.routes)

    def _is_known_fresh(self, sale_id: int) -> bool:
        known = self._known.get(sale_id)
        return known is not None and self._is_fresh(known)

    def _shown_or_bare(self, sale: Sale, now_ms: int) -> Shown:
        known = self._known.get(sale.id) or Known(sale, now_ms)
        return known.shown(now_ms)


__all__ = ["ItemRoute", "Shown", "Snapshots"]
