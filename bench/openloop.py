"""An open-loop load generator: requests leave when they are due, whatever became of those before.

Latency counts from the moment at which a request was *due*, so that a server (or a generator) that
stalls is charged for everybody who would have come meanwhile: no coordinated omission.

`python -m bench.openloop PLAN` runs one plan (JSON) in a process of its own and prints what it saw.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.stats import quantile

TICK_S = 0.001
PATIENCE_S = 5.0
"""How long answers are awaited after the last request was due."""
BEHIND_MS = 5.0
"""A generator that starts 1 % of its requests later than this after they were due is too slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    file: str
    """Whole requests of `width` bytes, each sent once, in order."""
    width: int
    port: int
    rate: float
    """Requests per second."""
    count: int
    connections: int = 512
    unmeasured: int = 0
    """So many at the start are sent and answered like all others, but not among the latencies."""
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Seen:
    """What became of a plan. Milliseconds."""

    answered: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    orders: list[int] = field(default_factory=list)
    """Numbers of the orders in answers of 202."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)
    """How long after it was due a request was taken up: the generator's own slowness."""
    no_connection_free: int = 0
    """Requests that waited for a connection; their wait is part of their latency."""

    @property
    def kept_up(self) -> bool:
        return self.late_ms["p99"] <= BEHIND_MS


def due_times(rate: float, count: int, seed: int) -> array[float]:
    """Seconds from the start at which independent buyers come: exponential gaps, mean `1/rate`."""
    draw = random.Random(seed).expovariate
    times, at = array("d"), 0.0
    for _ in range(count):
        at += draw(rate)
        times.append(at)
    return times


class Generator:
    """Keeps the plan's times. `send(connection, index)` and `clock` are its only outside world."""

    def __init__(
        self,
        due: array[float],
        connections: list[Any],
        send: Callable[[Any, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._due = due
        self._free = deque(connections)
        self._send = send
        self._clock = clock
        self._began = clock()
        self._next = 0
        self._waiting: deque[int] = deque()
        self.latency = array("d", bytes(8 * len(due)))
        """Seconds from due to answered, by request; 0 where there is no answer yet."""
        self.late = array("d", bytes(8 * len(due)))
        self.no_connection_free = 0

    @property
    def all_taken_up(self) -> bool:
        return self._next == len(self._due)

    def tick(self) -> None:
        """Take up everything that is due by now."""
        now = self._clock() - self._began
        while self._next < len(self._due) and self._due[self._next] <= now:
            index, self._next = self._next, self._next + 1
            self.late[index] = now - self._due[index]
            if self._free:
                self._send(self._free.popleft(), index)
            else:
                self.no_connection_free += 1
                self._waiting.append(index)

    def answered(self, connection: Any, index: int) -> None:
        """The connection is free again; who waited longest goes first."""
        self.latency[index] = self._clock() - self._began - self._due[index]
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with one request under way at a time."""

    def __init__(self, answered: Callable[[Connection, int, int, bytes], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._index = 0
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is a kin by shape alone

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True

    def ask(self, request: bytes, index: int) -> None:
        assert self._transport is not None
        self._index = index
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        whole = read_answer(self._buffer)
        if whole is not None:
            self._buffer = b""
            self._answered(self, self._index, *whole)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def read_answer(raw: bytes) -> tuple[int, bytes] | None:
    """Status and body of a whole HTTP/1.1 answer with a content-length; None: more must come."""
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return None
    at = head.lower().find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
    return (int(head[9:12]), body) if len(body) >= length else None


def order_number(body: bytes) -> int:
    """The order's number in an answer of 202."""
    return int(body.partition(b'"id":"')[2].partition(b'"')[0])


async def run(plan: Plan) -> Seen:
    """Send the whole plan, and wait for the answers."""
    requests = memoryview(await asyncio.to_thread(Path(plan.file).read_bytes))
    seen, statuses, complete = Seen(), Counter[int](), asyncio.Event()

    def answered(connection: Connection, index: int, status: int, body: bytes) -> None:
        generator.answered(connection, index)
        seen.answered += 1
        statuses[status] += 1
        if status == 202:
            seen.orders.append(order_number(body))
        if seen.answered == plan.count:
            complete.set()

    def send(connection: Connection, index: int) -> None:
        start = index * plan.width
        connection.ask(bytes(requests[start : start + plan.width]), index)

    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(plan.connections):
        _, made = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", plan.port)
        connections.append(made)
    due = due_times(plan.rate, plan.count, plan.seed)
    generator = Generator(due, connections, send, time.perf_counter)
    while not generator.all_taken_up:
        generator.tick()
        await asyncio.sleep(TICK_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await complete.wait()
    for connection in connections:
        connection.close()
    seen.statuses = {str(status): count for status, count in statuses.items()}
    seen.no_connection_free = generator.no_connection_free
    seen.latency_ms = summary(generator.latency[plan.unmeasured :])
    seen.late_ms = summary(generator.late[plan.unmeasured :])
    return seen


def summary(seconds: array[float]) -> dict[str, float]:
    """Quantiles in milliseconds."""
    ordered = sorted(seconds)
    marks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: round(quantile(ordered, q) * 1000, 3) for name, q in marks.items()}


def main() -> None:
    import uvloop

    plan = Plan(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(uvloop.run(run(plan)))))


if __name__ == "__main__":
    main()
