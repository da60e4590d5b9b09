"""Circuit breakers: a store that does not answer is not asked by everybody, one by one.

closed → open, where a store fails again and again → half-open after a pause: one call may try →
closed where that was answered, else open for a longer pause. While it is open a call ends at once,
with the fault of that store which says that nothing reached it. docs/decisions/overload.md has the
reasons for the constants.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from enum import StrEnum
from time import monotonic
from typing import Any, Final, TypeVar

from sluice.domain.errors import Unavailable
from sluice.telemetry import get_logger

T = TypeVar("T")

FAULTS_MAX: Final = 3
"""In a row; one that took as long as a timeout does counts for two."""
SLOW_S: Final = 0.25
"""A call that ends without an answer after so long was waited for."""
RECENT: Final = 20
"""Calls of which no more than half may fail."""
PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 1.0
"""A store that is back is found out within about this time."""
SPREAD: Final = 0.25
TRY_LOST_S: Final = 3.0
"""When the one call that tries does not come back, another may."""

log = get_logger("breaker")


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Of one store, in one process."""

    def __init__(
        self,
        store: str,
        away: Callable[[], Unavailable],
        is_fault: Callable[[Exception], bool],
        *,
        clock: Callable[[], float] = monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`away` makes the fault that is told while it is open. `is_fault` says of an exception
        whether the store did not answer; any other exception is an answer."""
        self.store = store
        self.state = State.CLOSED
        self.opened = 0
        """How often, since the start."""
        self._away = away
        self._is_fault = is_fault
        self._clock = clock
        self._draw = draw
        self._in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._pause_s = PAUSE_S
        self._until_s = 0.0
        """Of the pause; of the try while it is half-open."""

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What the call gives. Raises what it raises, and `away()` at once while it is open."""
        if self.state is not State.CLOSED and not self._may_try():
            call.close()
            raise self._away()
        tries = self.state is State.HALF_OPEN
        began_s = self._clock()
        try:
            answer = await call
        except Exception as error:
            if self._is_fault(error):
                self._failed(tries, self._clock() - began_s, error)
            else:
                self._answered(tries)
            raise
        except asyncio.CancelledError as error:
            # Whoever waited gave up. After a while that is a timeout, and before it means nothing.
            if self._clock() - began_s >= SLOW_S:
                self._failed(tries, SLOW_S, error)
            elif tries:
                self._pause()
            raise
        self._answered(tries)
        return answer

    def _may_try(self) -> bool:
        now_s = self._clock()
        if now_s < self._until_s:
            return False
        self.state, self._until_s = State.HALF_OPEN, now_s + TRY_LOST_S
        return True

    def _answered(self, tries: bool) -> None:
        if self.state is State.CLOSED:
            self._in_a_row = 0
            self._recent.append(False)
        elif tries:
            self.state, self._pause_s = State.CLOSED, PAUSE_S
            self._in_a_row = 0
            self._recent.clear()
            log.info("A store is back.", action="breaker.closed", store=self.store)

    def _failed(self, tries: bool, took_s: float, error: BaseException) -> None:
        if self.state is State.CLOSED:
            self._in_a_row += 2 if took_s >= SLOW_S else 1
            self._recent.append(True)
            if self._in_a_row >= FAULTS_MAX or sum(self._recent) > RECENT // 2:
                self.opened += 1
                log.warning(
                    "A store does not answer and is left alone.",
                    action="breaker.opened",
                    store=self.store,
                    detail=str(error),
                )
                self._pause()
        elif tries and self.state is State.HALF_OPEN:
            self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)
            self._pause()

    def _pause(self) -> None:
        self.state = State.OPEN
        self._until_s = self._clock() + self._pause_s * self._draw(1 - SPREAD, 1 + SPREAD)


class Breakers:
    """Those of one process, by store; made when a store is first asked."""

    def __init__(self) -> None:
        self._made: dict[str, Breaker] = {}

    def of(
        self, store: str, away: Callable[[], Unavailable], is_fault: Callable[[Exception], bool]
    ) -> Breaker:
        """`store`: such as `gate:0`."""
        made = self._made.get(store)
        if made is None:
            made = self._made[store] = Breaker(store, away, is_fault)
        return made

    def __iter__(self) -> Iterator[Breaker]:
        return iter(list(self._made.values()))

    def states(self) -> dict[str, str]:
        """By store."""
        return {store: str(breaker.state) for store, breaker in self._made.items()}
