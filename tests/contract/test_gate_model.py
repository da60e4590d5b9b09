"""Any sequence of calls against a model of a few lines: same decisions, same totals, same log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.contract.gate_servers import Server, empty
from tests.contract.gate_stage import HOUR_MS, LEASE_MS, Stage, attempt, hold, waiter

from sluice.domain.log import ItemTotals, Promoted
from sluice.domain.outcome import Outcome, WaitOutcome
from sluice.gate.gate import Gate, OpenState
from sluice.gate.wire import Attempt, Decision, Place, Waiter

T = TypeVar("T")
GROUPS = {1: 1, 2: 1, 3: 2}
"""Item → limit group."""
LIMITS = {1: 3, 2: 3, 3: 1}
STOCKS = {1: 3, 2: 2, 3: 3}
BUYERS = 4


@dataclass
class Line:
    """One item of the model."""

    stock: int
    available: int
    state: str = "open"
    edit: int = 0
    waits: bool = True
    line: dict[str, int] = field(default_factory=dict)
    """Buyer → entry, in the order of the line."""

    @property
    def moves(self) -> bool:
        return self.waits and self.state != "closed"


@dataclass
class Model:
    """What the gate should do, one attempt after the other."""

    items: dict[int, Line] = field(
        default_factory=lambda: {item: Line(stock, stock) for item, stock in STOCKS.items()}
    )
    armed: bool = True
    orders: dict[int, tuple[Attempt, int]] = field(default_factory=dict)
    """Number → the attempt and its slots, while it is held."""
    accepted: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Nonce → number and quantity, for ever."""
    unknown: int = 0
    promoted: list[tuple[int, int]] = field(default_factory=list)
    """(stand-in, entry) of orders whose number the gate has still to tell."""

    def decide(self, one: Attempt, told: Decision) -> Decision:
        """The right answer; `told` only lends the number and log entry of a new order."""
        nothing = Decision(Outcome.NOT_ARMED, 0, 0, 0, 0)
        if not self.armed:
            return nothing
        prior = self.accepted.get(one.nonce)
        if prior is not None:
            if prior[1] != one.quantity:
                return nothing._replace(outcome=Outcome.OTHER_QUANTITY)
            return Decision(Outcome.REPLAYED, prior[0], prior[1], 0, 0)
        line = self.items[one.item_id]
        if one.replay_only:
            return nothing._replace(outcome=Outcome.BAD_PASS)
        if line.state != "open":
            closed = Outcome.PAUSED if line.state == "paused" else Outcome.ENDED
            return nothing._replace(outcome=closed)
        return self._buy(one, line, told)

    def _buy(self, one: Attempt, line: Line, told: Decision) -> Decision:
        mine = self.held(one)
        used = sum(slots for _, slots in mine)
        free = [bit for bit in range(LIMITS[one.item_id]) if not used >> bit & 1]
        if len(free) < one.quantity:
            return Decision(Outcome.LIMIT_REACHED, mine[0][0] if mine else 0, 0, 0, 0)
        if line.available < one.quantity or (line.moves and line.line):
            return Decision(Outcome.SOLD_OUT, 0, 0, 0, 0)
        slots = sum(1 << bit for bit in free[: one.quantity])
        line.available -= one.quantity
        self.accepted[one.nonce] = (told.number, one.quantity)
        self.orders[told.number] = (one, slots)
        return Decision(Outcome.ACCEPTED, told.number, one.quantity, slots, told.counter)

    def held(self, one: Attempt) -> list[tuple[int, int]]:
        """(number, slots) of the buyer's holds in this limit group, oldest first."""
        return [
            (number, slots)
            for number, (other, slots) in self.orders.items()
            if (other.limit_group, other.digest) == (one.limit_group, one.digest)
        ]

    def release(self, *numbers: int) -> None:
        """Everything comes back first, and is then given out, item by item."""
        items = []
        for number in numbers:
            one, slots = self.orders.pop(number)
            self.items[one.item_id].available += slots.bit_count()
            items.append(one.item_id)
        for item in items:
            self.promote(item)

    def edit(self, item: int, number: int, delta: int) -> str:
        line = self.items[item]
        if number != line.edit + 1:
            return "repeated" if number <= line.edit else "early"
        line.edit = number
        if line.available + delta < 0:
            return "refused"
        line.stock += delta
        line.available += delta
        self.promote(item)
        return "applied"

    # --- the line --------------------------------------------------------------------------

    def join(self, one: Waiter, told: Place) -> Place:
        """The right answer; `told` only lends the number of a new entry."""
        line, buyer = self.items[one.item_id], one.buyer.decode()
        if not self.armed:
            return Place(WaitOutcome.NOT_ARMED, 0, 0)
        if buyer in line.line:
            return Place(WaitOutcome.WAITING, line.line[buyer], list(line.line).index(buyer))
        if not line.waits:
            return Place(WaitOutcome.NO_WAITLIST, 0, 0)
        if line.state == "closed":
            return Place(WaitOutcome.ENDED, 0, 0)
        if (held := self.hinders(one.item_id, buyer)) is not None:
            return Place(WaitOutcome.LIMIT_REACHED, held, 0)
        if line.available and not line.line:
            return Place(WaitOutcome.AVAILABLE, 0, 0)
        line.line[buyer] = told.entry
        return Place(WaitOutcome.JOINED, told.entry, len(line.line) - 1)

    def hinders(self, item: int, buyer: str) -> int | None:
        """The order for whose sake this buyer can neither wait for the item nor get it."""
        mine = self.held(attempt(buyer, item=item, group=GROUPS[item], nonce=0))
        for number, _ in mine:
            if self.orders[number][0].item_id == item:
                return number
        used = sum(slots.bit_count() for _, slots in mine)
        return mine[0][0] if used >= LIMITS[item] else None

    def leave(self, one: Waiter) -> bool:
        return self.items[one.item_id].line.pop(one.buyer.decode(), None) is not None

    def promote(self, item: int) -> int:
        """How many orders came of it. Their numbers are learned from the gate; see `learn`."""
        line, orders = self.items[item], 0
        while self.armed and line.moves and line.available and line.line:
            buyer = next(iter(line.line))
            entry = line.line.pop(buyer)
            if self.hinders(item, buyer) is None:
                one = attempt(buyer, item=item, group=GROUPS[item], nonce=0)
                used = sum(slots for _, slots in self.held(one))
                free = next(bit for bit in range(LIMITS[item]) if not used >> bit & 1)
                line.available -= 1
                self.unknown += 1
                self.orders[-self.unknown] = (one, 1 << free)
                self.promoted.append((-self.unknown, entry))
                orders += 1
        return orders

    def learn(self, numbers: dict[int, int]) -> None:
        """Entry → the number that the gate gave its order."""
        mine = dict(self.promoted)
        self.orders = {
            numbers[mine[number]] if number < 0 else number: order
            for number, order in self.orders.items()
        }
        self.promoted.clear()

    def close(self, item: int, limit: int) -> int:
        line = self.items[item].line
        for buyer in list(line)[:limit]:
            del line[buyer]
        return len(line)

    def totals(self) -> list[ItemTotals]:
        return [
            ItemTotals(
                item, line.available, line.stock - line.available, line.stock, len(line.line)
            )
            for item, line in self.items.items()
        ]


passes = st.tuples(st.integers(0, 40), st.integers(1, 3), st.sampled_from([False] * 5 + [True]))
"""Nonce (which also says the buyer and the item), quantity, expired."""


waiters = st.builds(
    lambda buyer, item: waiter(f"acct:{buyer}", item=item, group=GROUPS[item]),
    st.integers(0, BUYERS + 1),
    st.sampled_from(list(GROUPS)),
)


def attempt_of(nonce: int, quantity: int, expired: bool) -> Attempt:
    item = nonce // BUYERS % len(GROUPS) + 1
    return attempt(
        f"acct:{nonce % BUYERS}",
        item=item,
        group=GROUPS[item],
        quantity=quantity,
        nonce=nonce,
        expired=expired,
    )


class Machine(RuleBasedStateMachine):
    """Does the same to the gate and to the model. `run` and `gate` are filled in by the test."""

    run: Callable[[Awaitable[Any]], Any]
    gate: Gate

    @initialize(sold_out=st.sampled_from([True, True, False]))
    def begin(self, sold_out: bool) -> None:
        """Most of what matters to a line begins where all is taken."""
        self.model = Model()
        self.stage = Stage(self.gate)
        self.run(self._fresh())
        if sold_out:
            for item, stock in STOCKS.items():
                for unit in range(stock):
                    buyer, nonce = f"holder:{unit}", 1000 + 10 * item + unit
                    one = attempt(buyer, item=item, group=GROUPS[item], nonce=nonce)
                    [told] = self.run(self.stage.buy(one))
                    assert told == self.model.decide(one, told)

    async def _fresh(self) -> None:
        await empty(self.gate)
        await self.stage.open()
        for item, stock in STOCKS.items():
            await self.stage.put(item, stock=stock, per_buyer=LIMITS[item], group=GROUPS[item])

    @rule(batch=st.lists(passes, min_size=1, max_size=8))
    def reserve(self, batch: list[tuple[int, int, bool]]) -> None:
        attempts = [attempt_of(*one) for one in batch]
        told = self.run(self.stage.buy(*attempts))
        assert told == [self.model.decide(*pair) for pair in zip(attempts, told, strict=True)]

    @rule(picks=st.lists(st.integers(0, 50), min_size=1, max_size=4), times=st.integers(1, 2))
    def release(self, picks: list[int], times: int) -> None:
        held = list(self.model.orders)
        if not held:
            return
        numbers = list(dict.fromkeys(held[pick % len(held)] for pick in picks))
        holds = [hold(self.model.orders[number][0], number) for number in numbers]
        for turn in range(times):
            assert self.run(self.stage.give_back(*holds)) == [turn == 0] * len(holds)
        self.model.release(*numbers)
        self.learn()

    def learn(self) -> None:
        """Take from the log what the gate called the orders that it should have made."""
        if self.model.promoted:
            facts = self.run(self.stage.log())
            self.model.learn({fact.entry: fact.number for fact in facts if type(fact) is Promoted})

    @rule(nonce=st.integers(0, 40), number=st.integers(0, 2**63 - 1))
    def release_of_nothing(self, nonce: int, number: int) -> None:
        if number not in self.model.orders:
            assert not self.run(self.stage.release(attempt_of(nonce, 1, False), number))

    @rule(item=st.sampled_from(list(GROUPS)), skip=st.integers(-1, 2), delta=st.integers(-4, 4))
    def edit(self, item: int, skip: int, delta: int) -> None:
        number = self.model.items[item].edit + skip
        told = self.run(self.gate.edit_stock(0, 1, item, number, delta))
        assert told.outcome == self.model.edit(item, number, delta)
        self.learn()
        line = self.model.items[item]
        assert told[1:] == (line.stock, line.available)

    @rule(
        item=st.sampled_from(list(GROUPS)),
        state=st.sampled_from(["open"] * 4 + ["paused", "closed"]),
    )
    def set_state(self, item: int, state: OpenState) -> None:
        self.run(self.stage.set_state(state, item))
        self.model.items[item].state = state

    @rule(item=st.sampled_from(list(GROUPS)), waits=st.sampled_from([True] * 4 + [False]))
    def set_waits(self, item: int, waits: bool) -> None:
        line = self.model.items[item]
        ends = self.run(self.gate.time_ms()) + HOUR_MS
        state: Any = line.state
        self.run(self.gate.set_state(0, 1, [item], state, ends, ends if waits else 0))
        line.waits = waits

    @rule(batch=st.lists(waiters, min_size=1, max_size=6))
    def join(self, batch: list[Waiter]) -> None:
        told = self.run(self.stage.join(*batch))
        assert told == [self.model.join(*pair) for pair in zip(batch, told, strict=True)]

    @rule(batch=st.lists(waiters, min_size=1, max_size=3))
    def leave(self, batch: list[Waiter]) -> None:
        assert self.run(self.stage.leave(*batch)) == [self.model.leave(one) for one in batch]

    @rule(items=st.lists(st.sampled_from(list(GROUPS)), min_size=1, max_size=3))
    def promote(self, items: list[int]) -> None:
        told = self.run(self.gate.promote_waitlist(0, 1, items))
        assert told == sum(self.model.promote(item) for item in items)
        self.learn()

    @rule(item=st.sampled_from(list(GROUPS)), limit=st.integers(0, 2))
    def close(self, item: int, limit: int) -> None:
        told = self.run(self.gate.close_waitlist(0, 1, item, limit))
        assert told == self.model.close(item, limit)

    @rule(armed=st.sampled_from([True] * 4 + [False]))
    def arm(self, armed: bool) -> None:
        if armed:
            self.run(self.gate.arm(0, 1, LEASE_MS))
        else:
            self.run(self.gate.disarm(0))
        self.model.armed = armed

    @rule()
    def mark(self) -> None:
        self.run(self.gate.mark(0, 1, list(GROUPS)))

    @invariant()
    def totals_agree(self) -> None:
        if hasattr(self, "model"):
            assert self.run(self.stage.totals(*GROUPS)) == self.model.totals()

    @invariant()
    def holds_agree(self) -> None:
        if hasattr(self, "model") and self.model.orders:
            one, _ = next(iter(self.model.orders.values()))
            held = self.run(self.stage.held_by(one.buyer.decode(), one.limit_group))
            assert [(h.number, h.slots) for h in held] == self.model.held(one)

    @invariant()
    def places_agree(self) -> None:
        if hasattr(self, "model"):
            asked, right = [], []
            for item, line in self.model.items.items():
                for ahead, (buyer, entry) in enumerate(line.line.items()):
                    asked.append(waiter(buyer, item=item, group=GROUPS[item]))
                    right.append(Place(WaitOutcome.WAITING, entry, ahead))
            assert self.run(self.stage.places(*asked)) == right

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.run(self.gate.mark(0, 1, list(GROUPS)))
            for shelf in self.stage.books.items.values():
                shelf.open_to_all = True  # the model knows when it was
            books = self.run(self.stage.audit())
            assert set(books.held) == set(self.model.orders)


def test_the_gate_does_what_the_model_does_in_any_order(gate_server: Server) -> None:
    with asyncio.Runner() as runner:
        gate = Gate.from_url(gate_server.url, timeout_s=5)

        class Both(Machine):
            pass

        async def wait(call: Awaitable[T]) -> T:
            return await call

        Both.run = staticmethod(lambda call: runner.run(wait(call)))
        Both.gate = gate
        try:
            run_state_machine_as_test(
                Both,
                settings=settings(
                    max_examples=50,
                    stateful_step_count=30,
                    deadline=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(gate.close())
