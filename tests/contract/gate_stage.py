"""A shard to try things on: short words for what the tests do, and a reader of the gate's log."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from sluice.accounts.identity import buyer_digest
from sluice.domain.log import (
    Accepted,
    Edited,
    ItemTotals,
    Joined,
    Left,
    LogEntry,
    Marked,
    Promoted,
    Released,
)
from sluice.domain.number import join, split
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.gate import keys, wire
from sluice.gate.gate import Gate, GateItem, OpenState
from sluice.gate.wire import Attempt, Decision, Held, Hold, Place, Waiter
from sluice.pipe.stream import Pipe, RedisLog

HOUR_MS = 3_600_000
LEASE_MS = 10 * HOUR_MS
_nonces = itertools.count(1)


def attempt(
    buyer: str = "acct:1",
    *,
    item: int = 1,
    group: int = 1,
    quantity: int = 1,
    nonce: int | None = None,
    publication: int = 1,
    expired: bool = False,
) -> Attempt:
    """One try with a pass of its own, unless `nonce` says which."""
    number = next(_nonces) if nonce is None else nonce
    return Attempt(
        item,
        group,
        publication,
        number.to_bytes(12, "big"),
        buyer_digest(buyer.encode()),
        buyer.encode(),
        quantity,
        expired,
    )


def waiter(buyer: str = "acct:1", *, item: int = 1, group: int = 1, publication: int = 1) -> Waiter:
    key = buyer.encode()
    return Waiter(item, group, publication, buyer_digest(key), key)


class Stage:
    """One shard of a gate in one epoch."""

    def __init__(self, gate: Gate, shard: int = 0, epoch: int = 1) -> None:
        self.gate = gate
        self.shard = shard
        self.epoch = epoch
        self.books = Books()

    async def open(self, second_floor: int = 0) -> None:
        """Start the epoch and arm it for longer than any test."""
        await self.gate.begin_epoch(self.shard, self.epoch, second_floor)
        await self.gate.arm(self.shard, self.epoch, LEASE_MS)

    async def put(
        self,
        item: int = 1,
        *,
        stock: int = 10,
        per_buyer: int = 1,
        group: int = 1,
        state: OpenState | None = "open",
        starts_in_ms: int = -HOUR_MS,
        ends_in_ms: int = HOUR_MS,
        publication: int = 1,
        waits_in_ms: int = HOUR_MS,
    ) -> None:
        """An item in the gate; `state` None leaves it loaded and shut."""
        now = await self.gate.time_ms()
        starts, ends = now + starts_in_ms, now + ends_in_ms
        await self.gate.load_item(
            GateItem(
                self.shard,
                self.epoch,
                item,
                stock,
                stock,
                per_buyer,
                publication,
                starts,
                ends,
                0,
                group,
                now + waits_in_ms if waits_in_ms else 0,
            )
        )
        self.books.put(item, stock, per_buyer, group)
        if state is not None:
            await self.gate.set_state(self.shard, self.epoch, [item], state, ends)

    async def buy(self, *attempts: Attempt) -> list[Decision]:
        """One batch."""
        return await self.gate.reserve(self.shard, self.epoch, attempts)

    async def one(self, attempt: Attempt) -> Decision:
        return (await self.buy(attempt))[0]

    async def outcomes(self, *attempts: Attempt) -> list[Outcome]:
        return [decision.outcome for decision in await self.buy(*attempts)]

    async def set_state(self, state: OpenState, *items: int, ends_in_ms: int = HOUR_MS) -> int:
        ends = await self.gate.time_ms() + ends_in_ms
        return await self.gate.set_state(self.shard, self.epoch, items or (1,), state, ends)

    async def release(self, attempt: Attempt, number: int) -> bool:
        return (await self.gate.release(self.shard, self.epoch, [hold(attempt, number)]))[0]

    async def sell_out(self, item: int = 1, *, group: int = 1, units: int = 1) -> list[Hold]:
        """Buyers who hold all there is, one unit each; their holds."""
        tries = [attempt(f"holder:{item}:{n}", item=item, group=group) for n in range(units)]
        decisions = await self.buy(*tries)
        assert all(decision.outcome is Outcome.ACCEPTED for decision in decisions)
        assert await self.available(item) == 0
        return [hold(t, d.number) for t, d in zip(tries, decisions, strict=True)]

    async def join(self, *waiters: Waiter) -> list[Place]:
        return await self.gate.join_waitlist(self.shard, self.epoch, waiters)

    async def queue(self, *buyers: str, item: int = 1, group: int = 1) -> list[int]:
        """These buyers join one after the other; their entries."""
        places = await self.join(*(waiter(buyer, item=item, group=group) for buyer in buyers))
        assert [place.outcome for place in places] == [WaitOutcome.JOINED] * len(buyers)
        return [place.entry for place in places]

    async def leave(self, *waiters: Waiter) -> list[bool]:
        return await self.gate.leave_waitlist(self.shard, self.epoch, waiters)

    async def places(self, *waiters: Waiter) -> list[Place]:
        return await self.gate.waitlist_places(self.shard, waiters)

    async def give_back(self, *holds: Hold) -> list[bool]:
        return await self.gate.release(self.shard, self.epoch, holds)

    async def line(self, item: int = 1) -> int:
        return (await self.gate.waitlist_lengths(self.shard, [item]))[0]

    async def totals(self, *items: int) -> list[ItemTotals]:
        return await self.gate.totals(self.shard, items or (1,))

    async def available(self, item: int = 1) -> int:
        return (await self.totals(item))[0].available

    async def held_by(self, buyer: str = "acct:1", *groups: int) -> list[Held]:
        return await self.gate.find_holds(self.shard, groups or (1,), buyer_digest(buyer.encode()))

    async def run(self, *words: Any) -> Any:
        """One plain command."""
        return await self.gate.client.execute_command(*words)

    async def content(self) -> dict[bytes, Any]:
        """Everything that the server holds of this shard, to see that nothing changed."""
        found: dict[bytes, Any] = {}
        for name in keys_of(self.shard, self.epoch):
            found[name.encode()] = await self.run("DUMP", name)
        return found

    # --- the log ---------------------------------------------------------------------------

    def pipe(self, counter: int = 0) -> Pipe:
        log = RedisLog(self.gate.client.execute_command, keys.stream)
        return Pipe(log, wire.unpack_entry, self.shard, self.epoch, counter)

    async def log(self, after: int = 0) -> list[LogEntry]:
        """Every fact of the log in order; a gap raises."""
        pipe, facts = self.pipe(after), list[LogEntry]()
        while (batch := await pipe.next_batch(facts_max=1000, block_ms=0)) is not None:
            facts += batch.entries
        return facts

    async def audit(self) -> Books:
        """Raises AssertionError where the log, read from its start, breaks an invariant, or where
        it leads to other totals than the gate's own."""
        self.books.read(await self.log())
        told = await self.totals(*self.books.items)
        assert {t.item_id: t for t in told} == self.books.totals()
        return self.books


def keys_of(shard: int, epoch: int) -> list[str]:
    """The keys that a test with items 1..3 in groups 1..2 can have touched."""
    names = [keys.shard(shard), keys.stream(shard, epoch)]
    for item in (1, 2, 3):
        names += [keys.item(shard, item), keys.line(shard, item)]
    for group in (1, 2):
        names += [keys.attempts(shard, group), keys.holders(shard, group)]
    return names


def hold(attempt: Attempt, number: int) -> Hold:
    return Hold(number, attempt.item_id, attempt.limit_group, attempt.digest)


@dataclass
class Shelf:
    """One item as the log tells it."""

    stock: int
    available: int
    limit: int
    group: int
    edit: int = 0
    line: dict[int, str] = field(default_factory=dict)
    """Entry → buyer, in the order of the line."""
    open_to_all: bool = False
    """The test has let the line's time run out: what comes back is for everybody."""


@dataclass
class Books:
    """What must hold of a log, checked fact by fact."""

    items: dict[int, Shelf] = field(default_factory=dict)
    held: dict[int, Accepted] = field(default_factory=dict)
    entries: set[int] = field(default_factory=set)
    nonces: set[bytes] = field(default_factory=set)
    last_number: int = 0
    jumps: list[int] = field(default_factory=list)
    """Numbers that the test has put into the shard's memory as the last one minted."""
    taken: dict[tuple[int, str], int] = field(default_factory=dict)
    """(limit group, buyer) → mask of the slots in use."""
    marks: int = 0

    def put(self, item: int, stock: int, limit: int, group: int) -> None:
        self.items[item] = Shelf(stock, stock, limit, group)

    def totals(self) -> dict[int, ItemTotals]:
        return {
            item: ItemTotals(
                item,
                shelf.available,
                shelf.stock - shelf.available,
                shelf.stock,
                len(shelf.line),
            )
            for item, shelf in self.items.items()
        }

    def read(self, facts: list[LogEntry]) -> None:
        """`facts` from the first on."""
        for fact in facts:
            match fact:
                case Accepted():
                    self._accepted(fact)
                case Released():
                    self._released(fact)
                case Edited():
                    self._edited(fact)
                case Marked():
                    self._marked(fact)
                case Joined():
                    self._joined(fact)
                case Left():
                    self._left(fact)
                case Promoted():
                    self._promoted(fact)

    def _accepted(self, fact: Accepted) -> None:
        shelf = self.items[fact.item_id]
        assert shelf.open_to_all or not shelf.line, "somebody overtook those who wait"
        self._in_line(fact.number)
        self._take(fact)

    def _take(self, fact: Accepted) -> None:
        assert fact.nonce not in self.nonces, "one attempt was accepted twice"
        self.nonces.add(fact.nonce)
        shelf = self.items[fact.item_id]
        assert fact.quantity == fact.slots.bit_count() > 0, "as many slots as units"
        assert fact.slots < 1 << shelf.limit, "the buyer's limit was passed"
        whose = (shelf.group, fact.buyer)
        assert not self.taken.get(whose, 0) & fact.slots, "a slot was given twice"
        self.taken[whose] = self.taken.get(whose, 0) | fact.slots
        shelf.available -= fact.quantity
        assert shelf.available >= 0, "more was sold than there is"
        self.held[fact.number] = fact

    def _joined(self, fact: Joined) -> None:
        shelf = self.items[fact.item_id]
        assert fact.entry not in self.entries, "an entry was given twice"
        self.entries.add(fact.entry)
        self._in_line(fact.entry)
        assert shelf.available == 0 or shelf.line, "nobody has to wait for what is on sale"
        assert fact.buyer not in shelf.line.values(), "a buyer stands in a line once"
        assert not self._full(shelf, fact), "who cannot hold it cannot wait for it"
        shelf.line[fact.entry] = fact.buyer

    def _left(self, fact: Left) -> None:
        shelf = self.items[fact.item_id]
        assert fact.entry in shelf.line, "who does not wait cannot leave"
        head = next(iter(shelf.line))
        buyer = shelf.line.pop(fact.entry)
        if fact.reason == "limit_reached":
            assert fact.entry == head, "whose turn it is not is not passed over"
            assert self._full(shelf, Joined(0, fact.item_id, buyer)), "the buyer had a slot"

    def _full(self, shelf: Shelf, who: Joined) -> bool:
        used = self.taken.get((shelf.group, who.buyer), 0)
        holds = any(
            (held.item_id, held.buyer) == (who.item_id, who.buyer) for held in self.held.values()
        )
        return holds or used == (1 << shelf.limit) - 1

    def _promoted(self, fact: Promoted) -> None:
        shelf = self.items[fact.item_id]
        assert shelf.line, "nobody waits"
        assert (fact.entry, fact.buyer) == next(iter(shelf.line.items())), (
            "not the head of the line"
        )
        assert not self._full(shelf, Joined(0, fact.item_id, fact.buyer)), "no slot was left"
        del shelf.line[fact.entry]
        self._in_line(fact.number)
        self._take(Accepted(fact.number, fact.item_id, 1, fact.slots, fact.nonce, fact.buyer))

    def jump_to(self, second: int, sequence: int) -> None:
        self.jumps.append(join(second, 0, sequence))

    def _in_line(self, number: int) -> None:
        while self.jumps and self.last_number < self.jumps[0] < number:
            self.last_number = self.jumps.pop(0)
        before, now = split(self.last_number), split(number)
        assert number > self.last_number, "numbers only grow"
        expected = before.sequence + 1 if now.second == before.second else 1
        assert now.sequence == expected, "no number of a second is left out"
        self.last_number = number

    def _released(self, fact: Released) -> None:
        assert fact.number in self.held, "what is not held cannot be released"
        held = self.held.pop(fact.number)
        assert (held.item_id, held.quantity) == (fact.item_id, fact.quantity)
        shelf = self.items[fact.item_id]
        self.taken[shelf.group, held.buyer] &= ~held.slots
        shelf.available += fact.quantity
        assert shelf.available <= shelf.stock, "more came back than went out"

    def _edited(self, fact: Edited) -> None:
        shelf = self.items[fact.item_id]
        assert fact.edit == shelf.edit + 1, "edits go in order, each once"
        shelf.edit = fact.edit
        if fact.applied:
            shelf.stock += fact.delta
            shelf.available += fact.delta
        assert shelf.available >= 0, "a decrease took what was held"

    def _marked(self, fact: Marked) -> None:
        here = self.totals()
        assert fact.totals, "a mark says something"
        for told in fact.totals:
            assert told == here[told.item_id], "the mark is true at its place of the log"
            assert told.available + told.held == told.stock
        self.marks += 1
