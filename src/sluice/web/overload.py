"""Overload at the edge: how long requests wait here, and who is turned away because of it.

While all is well a request pays for two comparisons. `Door.run` looks at the queue fifty times a
second; where the event loop is so far behind that it cannot even do that, the requests that come
look for it. What a kind of work is worth is declared with its route: `@sheds(Work.BUY)` in the hot
lane, `@get("/…", sheds=Work.OWN)` in the framework's.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from sluice.admission.overload import (
    CROWD_MIN,
    GATE_PATIENCE,
    STANDING_S,
    STEP_S,
    Bound,
    ComeAgain,
    Level,
    Standing,
    Work,
    shares,
)
from sluice.cache.pressure import PUBLISH_EVERY_S, Load
from sluice.domain.errors import CacheUnavailable
from sluice.telemetry import get_logger
from sluice.web.metrics import Counts
from sluice.web.problems import encode_fast, headers_fast, instance_of, request_id_of

SHEDS: Final = "sheds"
"""Under this name a route of the framework's declares its kind of work."""
LETTER_EVERY_S: Final = 0.1
LETTER_LOST_S: Final = 2.0
"""A letter that takes longer is sent anew, on a new connection."""
LETTER_TRIES: Final = 0.5
"""Seconds between two tries to reach oneself: another process may take the connection."""
TOLD_EVERY_S: Final = 10.0
"""Between two lines in the log that say how much was shed."""
TARGET_S_TOLD_MAX: Final = 10.0
"""What is told of a target that is none."""

UNREAD_MAX: Final = 64 << 10
"""Bytes of a body that is taken although nobody wants it; with a longer one the connection ends."""

_CODE = "overloaded"
_CLOSE = (("connection", "close"),)
_PLAIN = [pair for pair in headers_fast(_CODE, "")[:-1] if pair[0] != "retry-after"]
log = get_logger("http")

F = TypeVar("F", bound=Callable[..., Any])


def sheds(work: Work) -> Callable[[F], F]:
    """Declares the kind of work that a route of the hot lane is."""

    def declared(route: F) -> F:
        route.work = work  # type: ignore[attr-defined]
        return route

    return declared


class _Done:
    """Awaited, it has ended already: what was answered at once needs no coroutine."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


DONE: Final[Awaitable[None]] = _Done()


class WorkTable:
    """The kind of work that a path of the framework's lane is. What is on no route is BROWSE."""

    def __init__(self, routes: Iterable[tuple[str, str, Work]]) -> None:
        """`routes`: method, path template such as `/v1/orders/{order}/cancel`, kind."""
        self._root: dict[str, Any] = {}
        for method, path, work in routes:
            at = self._root
            for part in _parts(path):
                at = at.setdefault("*" if part.startswith("{") else part, {})
            at.setdefault("", {})[method] = work

    def of(self, method: str, path: str) -> Work:
        at: dict[str, Any] | None = self._root
        for part in _parts(path):
            at = (at.get(part) or at.get("*")) if at is not None else None
            if at is None:
                return Work.BROWSE
        works: dict[str, Work] = {} if at is None else at.get("", {})
        found = works.get("GET" if method == "HEAD" else method)
        return Work.BROWSE if found is None else found


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


class Letters:
    """Letters of a process to itself, over its own listening socket: how long one takes is what a
    request waits in the kernel, in the HTTP server and for the event loop together.
    """

    def __init__(self, own_url: str, clock: Callable[[], float] = perf_counter) -> None:
        self._url = urlsplit(own_url)
        self._clock = clock
        self.path = f"/.queue/{secrets.token_hex(16)}"
        self._sent_s: float | None = None
        self._took_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """What the last one took, or the one under way has taken so far."""
        sent_s = self._sent_s
        return self._took_s if sent_s is None else max(self._took_s, now_s - sent_s)

    def arrived(self) -> None:
        if self._sent_s is not None:
            self._took_s = self._clock() - self._sent_s
            self._sent_s = None

    async def run(self) -> None:
        """Writes until cancelled; where the letters do not come back nothing is known from them."""
        while True:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                await self._correspond()
            self._sent_s, self._took_s = None, 0.0
            await asyncio.sleep(LETTER_TRIES)

    async def _correspond(self) -> None:
        async with asyncio.timeout(LETTER_LOST_S):
            reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        letter = f"GET {self.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n\r\n".encode()
        try:
            while True:
                self._sent_s = self._clock()
                writer.write(letter)
                async with asyncio.timeout(LETTER_LOST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                if self._sent_s is not None or not head.startswith(b"HTTP/1.1 204"):
                    return  # another process has it
                await asyncio.sleep(LETTER_EVERY_S)
        finally:
            writer.close()


class Door:
    """One for each process. `run` must be running for anything to be shed."""

    def __init__(
        self,
        counts: Counts,
        *,
        works: WorkTable,
        gate_wait_s: Callable[[], float],
        target_s: float,
        letters: Letters | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`gate_wait_s` tells how long the oldest attempt has been waiting for the gate. A request
        may wait for `target_s`; `math.inf`: nobody is ever turned away."""
        self.works = works
        self.letters = letters
        self._counts = counts
        self._gate_wait_s = gate_wait_s
        self._clock = clock
        self._target_s = target_s
        self._queue = Level(target_s)
        self._gate = Standing()
        self._bound = Bound(target_s)
        self._shares: tuple[float, ...] = (0.0,) * len(Work)
        self._owed = [0.0] * len(Work)
        self._again = ComeAgain()
        self._due_s = clock() + STEP_S
        self.late_s = self._due_s + target_s
        """From then on `run` is late, and a request that comes looks for it."""
        self._next_look_s = 0.0
        self.shedding = False
        self.wait_s = 0.0
        """How long a request waits by now, as far as it is known."""
        self._waited_s = 0.0
        self._told_s = 0.0
        self._knocked = 0
        """Requests that came while somebody might have been turned away."""
        self._crowd = (self._due_s, 0)
        """When was counted last how many had come, and how many those were."""
        self._crowded = False

    @property
    def level(self) -> float:
        """What is shed by now, from 0 to 3; see `Load`."""
        return self._shares[Work.ENTER] + self._shares[Work.BUY] + self._shares[Work.OWN]

    def turns_away(self, work: Work) -> bool:
        """Whether this request is one of those that are shed. Only for who found `shedding`, or
        that it is past `late_s`."""
        self._knocked += 1
        now_s = self._clock()
        if now_s > self.late_s and now_s >= self._next_look_s:
            self._look(now_s, now_s - self._due_s)
            self._next_look_s = now_s + STEP_S
        if work is Work.BUY and self._bound.is_full(now_s):
            return True
        owed = self._owed[work] + self._shares[work]
        if owed < 1.0:
            self._owed[work] = owed
            return False
        self._owed[work] = owed - 1.0
        return True

    def let_in(self, work: Work, answer: Awaitable[None]) -> Awaitable[None]:
        """What answers a request that was not turned away. For the same callers."""
        return self._bought(answer) if work is Work.BUY else answer

    async def _bought(self, answer: Awaitable[None]) -> None:
        self._bound.under_way += 1
        try:
            await answer
        finally:
            self._bound.under_way -= 1

    def answer(self, scope: Any, proto: Any, work: Work) -> Awaitable[None]:
        """503 with Retry-After; neither who asks nor what with has been looked at."""
        self._counts.shed[work] += 1
        more: Sequence[tuple[str, str]] = ()
        length = scope.headers.get("content-length", "0") if scope.method != "GET" else "0"
        if length != "0":
            if len(length) <= 6 and length.isdigit() and int(length) <= UNREAD_MAX:
                # Many clients send the body after the head, and one that is answered in between
                # would find its connection closed. A read that has begun goes on by itself.
                proto()
            else:
                more = _CLOSE
        request_id = request_id_of(scope.headers.get("x-request-id"))
        proto.response_bytes(
            503,
            [
                *_PLAIN,
                *more,
                ("retry-after", str(self._again.seconds())),
                ("x-request-id", request_id),
            ],
            encode_fast(_CODE, request_id, instance_of(scope.path)),
        )
        return DONE

    def hang_up(self, proto: Any, work: Work) -> Awaitable[None]:
        """The same to a live connection that is asked for."""
        self._counts.shed[work] += 1
        proto.close(503)
        return DONE

    async def run(self) -> None:
        """Looks at the queue until cancelled."""
        while True:
            began_s = self._clock()
            self._due_s = began_s + STEP_S
            self.late_s = self._due_s + self._target_s
            await asyncio.sleep(STEP_S)
            now_s = self._clock()
            # The event loop got round to this only after everything that had come before it.
            lag_s = max(now_s - self._due_s, 0.0)
            self._look(now_s, max(lag_s, self.letters.wait_s(now_s) if self.letters else 0.0))

    def _look(self, now_s: float, wait_s: float) -> None:
        self.wait_s = wait_s
        self._waited_s = max(self._waited_s, wait_s)
        self._count(now_s)
        queue = self._queue.look(now_s, wait_s if self._crowded else 0.0)
        gate_s = self._gate.look(now_s, self._gate_wait_s())
        too_many = queue >= 1.0 or gate_s > self._target_s * GATE_PATIENCE
        self._bound.look(now_s, sum(self._counts.attempts), too_many=too_many)
        was = self.shedding
        self.shedding = queue > 0 or self._bound.limit < math.inf
        if self.shedding or was:
            self._shares = shares(queue, self._bound.level)
            self._again.look(now_s)
            self._tell(now_s)

    def _count(self, now_s: float) -> None:
        since_s, before = self._crowd
        came = self._counts.answered_in_all() + sum(self._counts.shed) + self._knocked
        if came - before >= CROWD_MIN:
            self._crowded = True
        if now_s - since_s >= STANDING_S:
            self._crowded = came - before >= CROWD_MIN
            self._crowd = now_s, came

    def _tell(self, now_s: float) -> None:
        if self._told_s + TOLD_EVERY_S < now_s and max(self._shares) >= 0.5:
            self._told_s = now_s
            log.warning(
                "Too much is asked for; some of it is turned away.",
                action="http.shedding",
                wait_ms=round(self.wait_s * 1000),
                shares={work.name.lower(): round(self._shares[work], 2) for work in Work},
            )

    async def tell_others(self, tell: Callable[[Load], Awaitable[object]]) -> None:
        """Says once a second how loaded this process is, until cancelled."""
        answered, shed = self._counts.answered_in_all(), sum(self._counts.shed)
        while True:
            await asyncio.sleep(PUBLISH_EVERY_S)
            now = self._counts.answered_in_all(), sum(self._counts.shed)
            self._counts.queue_s, self._waited_s = self._waited_s, self.wait_s
            self._counts.shed_level = self.level
            load = Load(
                queue_ms=round(self._counts.queue_s * 1000, 3),
                target_ms=min(self._target_s, TARGET_S_TOLD_MAX) * 1000,
                shed_level=round(self.level, 3),
                answered_per_s=(now[0] - answered) / PUBLISH_EVERY_S,
                shed_per_s=(now[1] - shed) / PUBLISH_EVERY_S,
            )
            answered, shed = now
            with suppress(CacheUnavailable):
                await tell(load)
