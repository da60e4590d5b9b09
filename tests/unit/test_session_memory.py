"""What a process remembers of sessions: for a second, and not a moment longer than it may."""

from __future__ import annotations

from sluice.accounts.identity import Identity, session_identity
from sluice.accounts.memory import FRESH_S, GENERATION_MAX, Memory

DIGEST = bytes(32)
SOMEBODY = session_identity(42, DIGEST, 4_000_000_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def listening(clock: Clock) -> Memory:
    memory = Memory(clock)
    memory.listening(True)
    return memory


def keep(memory: Memory, token: str = "t", digest: bytes = DIGEST) -> Identity | None:
    memory.keep(token, digest, SOMEBODY, memory.news)
    return memory.get(token)


def test_what_was_looked_up_is_known() -> None:
    memory = listening(Clock())
    assert memory.get("t") is None
    assert keep(memory) is SOMEBODY


def test_nothing_is_remembered_longer_than_a_second_however_it_is_asked_for() -> None:
    for kept_at in (0.0, 0.1, 0.49, 0.5, 0.9):
        clock = Clock()
        memory = listening(clock)
        clock.now += kept_at
        assert keep(memory) is SOMEBODY
        until = clock.now + FRESH_S
        while clock.now < until:
            memory.get("t")
            clock.now += 0.07
        assert memory.get("t") is None


def test_what_is_used_all_the_time_is_looked_up_again_all_the_same() -> None:
    clock = Clock()
    memory = listening(clock)
    keep(memory)
    found = []
    for _ in range(30):
        clock.now += 0.05
        found.append(memory.get("t") is not None)
    assert found == sorted(found, reverse=True)
    assert not found[-1]


def test_what_is_revoked_is_forgotten_at_once_in_both_generations() -> None:
    clock = Clock()
    memory = listening(clock)
    keep(memory)
    memory.revoked(DIGEST)
    assert memory.get("t") is None
    keep(memory)
    clock.now += FRESH_S / 2
    assert memory.get("t") is SOMEBODY
    memory.revoked(DIGEST)
    assert memory.get("t") is None


def test_an_answer_that_was_on_its_way_while_something_was_revoked_is_not_remembered() -> None:
    memory = listening(Clock())
    before = memory.news
    memory.revoked(DIGEST)
    memory.keep("t", DIGEST, SOMEBODY, before)
    assert memory.get("t") is None


def test_nothing_is_remembered_while_no_news_can_arrive() -> None:
    clock = Clock()
    memory = Memory(clock)
    assert keep(memory) is None
    memory.listening(True)
    before = memory.news
    assert keep(memory) is SOMEBODY
    memory.listening(False)
    assert memory.get("t") is None
    assert keep(memory) is None
    memory.listening(True)
    memory.keep("t", DIGEST, SOMEBODY, before)
    assert memory.get("t") is None


def test_the_memory_is_bounded() -> None:
    memory = listening(Clock())
    for n in range(2 * GENERATION_MAX + 10):
        keep(memory, f"t{n}", n.to_bytes(32, "big"))
    assert memory.get("t0") is None
    assert memory.get(f"t{2 * GENERATION_MAX + 9}") is SOMEBODY
    assert memory.remembered <= 2 * GENERATION_MAX
