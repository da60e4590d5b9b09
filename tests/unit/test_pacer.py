"""The pacer: which rooms move, how fast, and what makes the load ask for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from sluice.admission.pace import PACE_MAX, PACE_MIN, PACE_START, Engaged, Governor, Strain
from sluice.cache.news import About, News
from sluice.domain.errors import CacheUnavailable, LedgerUnavailable
from sluice.domain.money import Money
from sluice.domain.sale import Item, Policy, Sale, SaleStatus, WaitingRoom
from sluice.domain.waiting_room import Admitted, Blocked, Let
from sluice.workers.pacer import LOOK_S, STANDBY_S, STEP_S, Pacer

CALM = Strain(queue=0.1, shed_level=0.0, backlog=0.0)
BUSY = Strain(queue=1.2, shed_level=0.7, backlog=0.6)
OVERRUN = Strain(queue=4.0, shed_level=1.5, backlog=0.0)
NOW_MS = 1_800_000_000_000


# --- the pace that a service can keep -------------------------------------------------------------


def test_the_pace_grows_while_nobody_waits_and_people_come_at_it() -> None:
    governor = Governor()
    for _ in range(30):
        governor.look(CALM, used=True)
    assert 800 < governor.rate < 2000


def test_a_pace_that_was_not_tried_proves_nothing() -> None:
    governor = Governor()
    assert governor.look(CALM, used=False) == PACE_START


@pytest.mark.parametrize(
    "strain", [OVERRUN, Strain(2.0, 0, 0), Strain(0, 1.0, 0), Strain(0, 0, 1.0)]
)
def test_the_pace_falls_at_once_where_it_is_too_much(strain: Strain) -> None:
    governor = Governor(1000.0)
    governor.look(strain, used=True)
    assert governor.rate == pytest.approx(700.0)


def test_between_too_much_and_little_the_pace_stays() -> None:
    governor = Governor(1000.0)
    assert governor.look(BUSY, used=True) == 1000.0


def test_a_pace_has_bounds() -> None:
    governor = Governor()
    for _ in range(100):
        governor.look(OVERRUN, used=True)
    assert governor.rate == PACE_MIN
    for _ in range(300):
        governor.look(CALM, used=True)
    assert governor.rate == PACE_MAX


def test_a_service_of_known_capacity_is_found_and_held() -> None:
    """It bears 400 people a second: the pace settles around that and does not run away."""
    governor = Governor()
    rates = []
    for _ in range(200):
        queue = max(0.0, governor.rate / 400 - 0.9) * 10
        governor.look(Strain(queue, 0.0, 0.0), used=True)
        rates.append(governor.rate)
    assert 300 < sum(rates[50:]) / 150 < 440
    assert max(rates[50:]) < 500


def test_the_load_asks_for_a_room_when_it_was_too_much_for_some_time() -> None:
    engaged = Engaged(3, released_after_s=2)
    assert [engaged.look(BUSY, waiting=0) for _ in range(3)] == [False, False, True]
    assert engaged.look(CALM, waiting=5)
    assert engaged.look(CALM, waiting=5)
    assert engaged.look(CALM, waiting=0)
    assert not engaged.look(CALM, waiting=0)


def test_a_moment_of_too_much_asks_for_nothing() -> None:
    engaged = Engaged(3)
    assert not any(engaged.look(s, waiting=0) for s in (BUSY, BUSY, CALM) * 5)


def test_the_load_never_asks_where_it_may_not() -> None:
    engaged = Engaged(0)
    assert not any(engaged.look(OVERRUN, waiting=0) for _ in range(100))


# --- the pacer ------------------------------------------------------------------------------------


def sale(sale_id: int, *, units: int = 10, starts_ms: int = 0, **room: object) -> Sale:
    item = Item(
        id=sale_id * 10,
        sale_id=sale_id,
        title="Teapot",
        price=Money(990, "CNY"),
        stock=units,
        available=units,
        awaiting_payment=0,
        paid=0,
        per_buyer=1,
        limit_group=sale_id * 10,
        limit_group_label=None,
        shard=0,
    )
    return Sale(
        id=sale_id,
        title="Drop",
        status=SaleStatus.PUBLISHED,
        publication=1,
        pause_reason=None,
        starts_at_ms=NOW_MS + starts_ms - 1000,
        ends_at_ms=NOW_MS + 3_600_000,
        policy=Policy(waiting_room=WaitingRoom(**{"enabled": True, **room})),  # type: ignore[arg-type]
        items=(item,),
        created_at_ms=0,
    )


class World:
    """Rooms and stores made of plain dicts."""

    def __init__(self, *sales: Sale) -> None:
        self.sales = list(sales)
        self.leads = True
        self.away: Exception | None = None
        self.begins_away: Exception | None = None
        self.strain = CALM
        self.waiting = 100
        self.blocked = Blocked.NO
        self.let: dict[int, Let] = {}
        self.ended: list[int] = []
        self.engagements: list[list[int]] = []
        self.asked_for: list[int] = []
        self.told: list[News] = []
        self.known = {each.id for each in sales}
        self.pacer = Pacer(
            "me",
            self,
            sales=self._sales,
            now_ms=self._now_ms,
            available=self._available,
            strain=self._strain,
            accepted=self._accepted,
            tell=self._tell,
            engage_after_s=2,
        )

    async def _sales(self) -> Sequence[Sale]:
        if self.away is not None:
            raise self.away
        return self.sales

    async def _now_ms(self) -> int:
        return NOW_MS

    async def _available(self, sale: Sale) -> Mapping[int, int]:
        return {item.id: item.available for item in sale.items}

    async def _strain(self) -> Strain:
        return self.strain

    async def _accepted(self) -> float:
        return 333.0

    async def _tell(self, news: Sequence[News]) -> None:
        self.told += news

    async def lead(self, owner: str, /) -> bool:
        return self.leads

    async def resign(self, owner: str, /) -> None:
        return None

    async def admit(self, sale_id: int, owner: str, let: Let, /) -> Admitted | None:
        self.let[sale_id] = let
        digests = [b"d" * 16] if let.is_open else []
        return Admitted(digests, self.waiting, 1, 1, let.rate, self.blocked)

    async def rooms(self) -> list[int]:
        return sorted(self.known)

    async def end(self, sale_id: int, /) -> None:
        self.known.discard(sale_id)
        self.ended.append(sale_id)

    async def engage(self, sale_ids: Collection[int], /) -> None:
        self.engagements.append(list(sale_ids))

    async def engaged(self) -> Collection[int]:
        return self.asked_for

    async def pace_of(self, sale_id: int, /) -> float | None:
        if self.begins_away is not None:
            raise self.begins_away
        return 400.0

    async def look_again(self) -> float:
        """As if the last look at sales and load were long ago."""
        self.pacer._next_look = 0.0
        return await self.pacer.turn()


async def test_a_room_moves_at_its_own_pace_and_within_its_bounds() -> None:
    world = World(sale(1, admit_per_second=7.0, active_max=50, factor=1.5))
    assert await world.pacer.turn() == STEP_S
    assert world.let[1] == Let(7.0, 50, 15, True, "fixed")
    assert world.told == [News(About.ROOM, 1, b"d" * 16)]


async def test_nobody_is_let_in_before_the_start_or_in_a_pause() -> None:
    paused = replace(sale(2), status=SaleStatus.PAUSED)
    world = World(sale(1, starts_ms=60_000), paused)
    await world.pacer.turn()
    assert not world.let[1].is_open
    assert not world.let[2].is_open
    assert world.told == []


async def test_automatic_rooms_go_on_where_the_last_pacer_was_and_share_the_pace() -> None:
    world = World(sale(1), sale(2))
    await world.pacer.turn()
    assert world.let[1].rate == world.let[2].rate == pytest.approx(400.0)
    assert world.let[1].mode == "automatic"
    world.strain = OVERRUN
    await world.look_again()
    assert world.let[1].rate == pytest.approx(800 * 0.7 / 2)


async def test_only_who_leads_lets_people_in() -> None:
    world = World(sale(1))
    world.leads = False
    assert await world.pacer.turn() == STANDBY_S
    assert world.let == {}


async def test_without_a_room_there_is_little_to_do() -> None:
    world = World(sale(1, enabled=False))
    assert await world.pacer.turn() == LOOK_S
    assert world.let == {}


async def test_the_load_gives_every_sale_that_is_on_a_room() -> None:
    world = World(sale(1, enabled=False), sale(2, enabled=False, starts_ms=60_000))
    world.strain = BUSY
    await world.pacer.turn()
    assert world.let == {}
    await world.look_again()
    assert world.engagements[-1] == [1]
    assert world.let[1] == Let(333.0, None, 20, True, "load")
    world.strain, world.waiting = CALM, 0
    for _ in range(6):
        await world.look_again()
    assert world.engagements[-1] == []


async def test_lines_for_what_is_gone_keep_no_rooms_that_the_load_asked_for() -> None:
    world = World(sale(1, enabled=False), sale(2, enabled=False))
    world.strain = BUSY
    await world.pacer.turn()
    await world.look_again()
    world.strain, world.blocked = CALM, Blocked.STOCK
    for _ in range(6):
        await world.look_again()
    assert world.engagements[-1] == [1, 2], "units that are left but spoken for are waited for"
    world.sales = [sale(1, enabled=False, units=0), sale(2, enabled=False, units=0)]
    for _ in range(7):
        await world.look_again()
    assert world.engagements[-1] == []


async def test_what_the_load_asked_for_outlives_the_pacer() -> None:
    world = World(sale(1, enabled=False))
    world.asked_for = [1]
    await world.pacer.turn()
    assert world.let[1].mode == "load"


async def test_the_room_of_a_sale_that_is_long_over_ends() -> None:
    world = World(sale(1))
    world.known.add(9)
    await world.pacer.turn()
    assert world.ended == [9]


@pytest.mark.parametrize("fault", [LedgerUnavailable(), CacheUnavailable()])
async def test_while_a_store_is_away_nobody_is_let_in(fault: Exception) -> None:
    world = World(sale(1))
    world.away = fault
    with pytest.raises(type(fault)):
        await world.pacer.turn()
    assert world.let == {}
    world.away = None
    await world.pacer.turn()
    assert 1 in world.let


async def test_nobody_is_let_in_between_two_looks_that_failed() -> None:
    world = World(sale(1))
    await world.pacer.turn()
    world.let.clear()
    world.away = LedgerUnavailable()
    with pytest.raises(LedgerUnavailable):
        await world.look_again()
    with pytest.raises(LedgerUnavailable):
        await world.pacer.turn()
    assert world.let == {}


async def test_a_pacer_that_could_not_begin_begins_again_where_the_last_one_was() -> None:
    world = World(sale(1))
    world.begins_away = CacheUnavailable()
    with pytest.raises(CacheUnavailable):
        await world.pacer.turn()
    world.begins_away = None
    await world.pacer.turn()
    assert world.let[1].rate == pytest.approx(400.0)
