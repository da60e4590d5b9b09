"""What one process knows of one sale: its routes for purchases, its public snapshot as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from sluice.catalog.view import Stock, render_sale, stock_of
from sluice.domain.log import ItemTotals
from sluice.domain.money import Money
from sluice.domain.sale import Item, Policy, Sale, SaleState, SaleStatus, state_at
from sluice.domain.times import render_time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemRoute:
    """What a pass or a purchase needs to know of its item."""

    sale_id: int
    item_id: int
    shard: int
    limit_group: int
    publication: int
    status: SaleStatus
    pause_reason: str | None
    starts_at_ms: int
    ends_at_ms: int
    pass_ttl_s: int
    per_buyer: int
    price: Money
    waits_until_ms: int
    """Until when one can wait for it; 0: one cannot."""
    policy: Policy
    known: Known
    room_opens_at_ms: int
    """From when on its waiting room can be joined."""

    def state_at(self, now_ms: int) -> SaleState:
        """The sale's state at a time of the gate's clock."""
        return state_at(self.status, self.starts_at_ms, self.ends_at_ms, now_ms)


class Shown(NamedTuple):
    """A sale's public snapshot, encoded but for what changes with every answer."""

    head: bytes
    etag: str
    """Weak: it names the facts, not `server_time` and `as_of`."""
    as_of: bytes

    def body(self, now_ms: int) -> bytes:
        """The JSON document; `as_of` is when the stores last confirmed it."""
        server_time = render_time(now_ms).encode()
        return b'%b,"server_time":"%b","as_of":"%b"}' % (self.head, server_time, self.as_of)


class Known:
    """A sale as the stores last told it. `used` is set by whoever looks, cleared by the refresh."""

    __slots__ = (
        "_as_of",
        "_heads",
        "as_of_ms",
        "idle",
        "is_gone",
        "lead",
        "routes",
        "sale",
        "stocks",
        "used",
    )

    def __init__(self, sale: Sale, now_ms: int) -> None:
        self.used = True
        self.idle = 0
        """Refreshes in a row in which nobody looked."""
        self.stocks: dict[int, Stock] = {}
        self._heads: dict[SaleState, tuple[bytes, str]] = {}
        self.as_of_ms = now_ms
        self.learn(sale, {}, None)

    def learn(self, sale: Sale, totals: Mapping[int, ItemTotals], as_of_ms: int | None) -> None:
        """Take what the ledger says, and the gate's `totals`.

        Where the gate said nothing of an item, what it said before still counts; `as_of_ms` is None
        where it did not answer at all, and then all of this is as old as it was.
        """
        self.sale = sale
        stocks = {item.id: self._stock(item, totals.get(item.id)) for item in sale.items}
        self.routes = {item.id: self._route(item) for item in sale.items}
        self.lead = next(iter(self.routes.values()), None)
        """For what holds of all items."""
        self.stocks = stocks
        self.is_gone = all(
            stock.available <= 0 and not stock.may_return for stock in stocks.values()
        )
        """Every unit of every item is sold and paid for: nothing is left to wait for."""
        self.as_of_ms = self.as_of_ms if as_of_ms is None else as_of_ms
        self._as_of = render_time(self.as_of_ms).encode()
        self._heads.clear()

    def shown(self, now_ms: int) -> Shown:
        state = self.sale.state_at(now_ms)
        head = self._heads.get(state)
        if head is None:
            head = self._heads[state] = self._encode(state)
        return Shown(*head, self._as_of)

    def may_return(self, item_id: int) -> bool:
        """Whether units of an item whose last one is taken are not yet paid for, all told."""
        for item in self.sale.items:
            if item.id == item_id:
                return item.available + item.awaiting_payment > 0
        return False

    def _stock(self, item: Item, totals: ItemTotals | None) -> Stock:
        if totals is not None:
            return stock_of(item, totals.available)
        before = self.stocks.get(item.id)
        if before is None or item.loaded_epoch is None:
            return stock_of(item, None)
        return stock_of(item, min(before.available, item.available))

    def _encode(self, state: SaleState) -> tuple[bytes, str]:
        whole = msgspec.json.encode(render_sale(self.sale, state, self.stocks))
        digest = blake2b(whole, digest_size=12).hexdigest()
        return whole[:-1], f'W/"{digest}"'

    def _route(self, item: Item) -> ItemRoute:
        sale = self.sale
        return ItemRoute(
            sale_id=sale.id,
            item_id=item.id,
            shard=item.shard,
            limit_group=item.limit_group,
            publication=sale.publication,
            status=sale.status,
            pause_reason=sale.pause_reason,
            starts_at_ms=sale.starts_at_ms,
            ends_at_ms=sale.ends_at_ms,
            pass_ttl_s=sale.policy.pass_ttl_seconds,
            per_buyer=item.per_buyer,
            price=item.price,
            waits_until_ms=sale.waits_until_ms,
            policy=sale.policy,
            known=self,
            room_opens_at_ms=sale.room_opens_at_ms,
        )
