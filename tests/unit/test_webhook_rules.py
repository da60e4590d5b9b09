"""When a delivery is tried again, who is told of what, and how events become news."""

from __future__ import annotations

import pytest

from sluice.delivery.schedule import (
    DELAYS_S,
    GIVE_UP_AFTER_MS,
    JITTER,
    RETRY_AFTER_S_MAX,
    retry_in_ms,
)
from sluice.domain.webhook import EVENT_TYPES, FAMILIES, Cursor, Endpoint, EndpointState, wants
from sluice.ledger.records import Event
from sluice.workers.news import news_of, subjects_of

LONG_MS = 10 * GIVE_UP_AFTER_MS


# --- the schedule ---------------------------------------------------------------------------------


def test_pauses_grow_and_then_stay() -> None:
    pauses = [retry_in_ms(n, LONG_MS, spread=0) for n in range(1, 15)]
    assert pauses[: len(DELAYS_S)] == [delay * 1000 for delay in DELAYS_S]
    assert set(pauses[len(DELAYS_S) :]) == {DELAYS_S[-1] * 1000}
    assert list(DELAYS_S) == sorted(DELAYS_S)


def test_chance_keeps_within_a_fifth() -> None:
    assert retry_in_ms(1, LONG_MS, spread=-1) == round(DELAYS_S[0] * 1000 * (1 - JITTER))
    assert retry_in_ms(1, LONG_MS, spread=1) == round(DELAYS_S[0] * 1000 * (1 + JITTER))
    pauses = {retry_in_ms(5, LONG_MS) for _ in range(50)}
    assert len(pauses) > 10


def test_the_last_attempt_is_at_the_end_of_three_days_and_none_after_it() -> None:
    assert retry_in_ms(20, 7000, spread=0) == 7000
    assert retry_in_ms(20, 0) is None
    assert retry_in_ms(1, -1) is None
    left_ms, attempts = GIVE_UP_AFTER_MS, 1
    while (pause_ms := retry_in_ms(attempts, left_ms)) is not None:
        left_ms -= pause_ms
        attempts += 1
    assert left_ms == 0
    assert 15 <= attempts <= 30


def test_an_endpoint_can_ask_for_longer_pauses_within_bounds() -> None:
    assert retry_in_ms(1, LONG_MS, asked_s=100, spread=0) == 100_000
    assert retry_in_ms(1, LONG_MS, asked_s=1, spread=0) == DELAYS_S[0] * 1000
    assert retry_in_ms(1, LONG_MS, asked_s=10**6, spread=0) == RETRY_AFTER_S_MAX * 1000


# --- who is told of what --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_family_has_all_its_types_and_no_others(kind: str) -> None:
    for family in FAMILIES:
        assert wants([family], kind) == (kind.split(".")[0] == family.split(".")[0])
    assert wants([kind], kind)
    assert not wants([], kind)
    assert not wants([other for other in EVENT_TYPES if other != kind], kind)


def test_the_old_secret_signs_until_its_end_and_after_the_new_one() -> None:
    endpoint = Endpoint(
        id=1,
        url="https://shop.example/",
        description="",
        events=FAMILIES,
        state=EndpointState.ACTIVE,
        off_reason=None,
        secret="new",
        old_secret="old",
        old_secret_until_ms=1000,
        version=1,
        active_since_ms=0,
        failing_since_ms=None,
        delivered=0,
        failed=0,
        created_at_ms=0,
    )
    assert endpoint.secrets_at(999) == ["new", "old"]
    assert endpoint.secrets_at(1000) == ["new"]


# --- events ---------------------------------------------------------------------------------------


def orders(event_id: int, *numbers: int, at_ms: int = 100) -> Event:
    return Event(event_id, "order.paid", {"numbers": list(numbers)}, at_ms)


def test_each_subject_of_an_event_is_a_piece_of_news_once() -> None:
    assert subjects_of(orders(1, 7, 8, 7)) == ["order:7", "order:8"]
    assert subjects_of(Event(2, "sale.closed", {"sale_id": 3}, 0)) == ["sale:3"]
    assert subjects_of(Event(3, "payment.captured", {"payments": [1], "numbers": [7]}, 0)) == []
    assert subjects_of(Event(4, "waitlist.left", {"entries": []}, 0)) == []


def test_events_are_worked_off_in_parts_and_nothing_is_left_out() -> None:
    events = [orders(1, 1, 2), orders(2), orders(3, *range(3, 10)), orders(5, 10)]
    cursor, told = Cursor(0, 0), []
    while True:
        news, after = news_of([e for e in events if e.id > cursor.position], cursor, 3, 0)
        if after == cursor:
            break
        assert len(news) <= 3
        told += [(each.event_id, each.subject) for each in news]
        cursor = after
    assert cursor == Cursor(5, 0)
    assert told == [
        *[(1, f"order:{n}") for n in (1, 2)],
        *[(3, f"order:{n}") for n in range(3, 10)],
        (5, "order:10"),
    ]


def test_old_events_are_passed_over_in_one_go() -> None:
    events = [orders(n, *range(100), at_ms=n) for n in range(1, 50)]
    news, after = news_of(events, Cursor(0, 0), 10, since_ms=49)
    assert after == Cursor(48, 10)
    assert {each.event_id for each in news} == {49}
