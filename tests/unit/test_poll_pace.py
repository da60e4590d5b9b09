"""`poll_after_ms`: soon for few, later for many, never all at once."""

from __future__ import annotations

from sluice.web.pace import AFTER_MS, AFTER_MS_MAX, POLLS_MAX, SPREAD, PollPace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def crowd(pace: PollPace, clock: Clock, pollers: int, seconds: float) -> float:
    """Pollers who come back as they were told; how many requests came in the last second."""
    due = [(n / pollers) * AFTER_MS / 1000 + clock.now for n in range(pollers)]
    end, last = clock.now + seconds, 0
    while clock.now < end:
        clock.now += 0.02
        for n, at in enumerate(due):
            if at <= clock.now:
                due[n] = clock.now + pace.ms() / 1000
                last += clock.now > end - 1
    return last


def test_whoever_is_alone_comes_back_soon() -> None:
    pace = PollPace(Clock())
    given = [pace.ms() for _ in range(200)]
    assert min(given) >= AFTER_MS * (1 - SPREAD) - 1
    assert max(given) <= AFTER_MS * (1 + SPREAD)
    assert len(set(given)) > 50


def test_the_rate_settles_at_what_a_process_wants() -> None:
    clock = Clock()
    rate = crowd(PollPace(clock), clock, 4000, 20)
    assert 0.6 * POLLS_MAX < rate < 1.5 * POLLS_MAX


def test_nobody_is_sent_away_for_longer_than_the_bound() -> None:
    clock = Clock()
    pace = PollPace(clock)
    for _ in range(200_000):
        clock.now += 0.00001
        assert pace.ms() <= AFTER_MS_MAX * (1 + SPREAD)
    assert pace._after_ms == AFTER_MS_MAX


def test_when_the_crowd_has_gone_it_is_soon_again() -> None:
    clock = Clock()
    pace = PollPace(clock)
    crowd(pace, clock, 4000, 5)
    assert pace._after_ms > AFTER_MS
    for _ in range(40):
        clock.now += 1
        pace.ms()
    assert pace._after_ms == AFTER_MS
