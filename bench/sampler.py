"""What a single person notices: a few requests a second beside whatever else is going on.

They leave when they are due, each on a free connection of its own, and every answer is kept with
its kind, its status and how long it took from when it was due. `python -m bench.sampler PLAN` runs
one plan (JSON) in a process of its own and writes what it saw to a file.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.openloop import Connection

CONNECTIONS = 64
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    port: int
    seconds: float
    every_s: float
    """Between two requests."""
    requests: list[tuple[str, str, int]]
    """Kind, file of whole requests, bytes of each; the kinds take turns."""
    out: str
    """File for what was seen, as JSON."""


Seen = list[tuple[float, str, int, float]]
"""Seconds from the start at which a request was due, its kind, status and milliseconds."""


async def run(plan: Plan) -> Seen:
    data = [await asyncio.to_thread(Path(file).read_bytes) for _, file, _ in plan.requests]
    seen: Seen = []
    due: dict[int, float] = {}
    free: deque[Connection] = deque()

    def answered(connection: Connection, index: int, status: int, _body: bytes) -> None:
        at = due.pop(index)
        kind = plan.requests[index % len(data)][0]
        seen.append((at - began, kind, status, (time.perf_counter() - at) * 1000))
        free.append(connection)

    loop = asyncio.get_running_loop()
    made = []
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(
            lambda: Connection(answered), "127.0.0.1", plan.port
        )
        free.append(connection)
        made.append(connection)
    began = time.perf_counter()
    for index in range(int(plan.seconds / plan.every_s)):
        at = began + index * plan.every_s
        await asyncio.sleep(max(at - time.perf_counter(), 0.0))
        while not free:  # noqa: ASYNC110 - a callback of the transport frees one
            await asyncio.sleep(0.001)
        width = plan.requests[index % len(data)][2]
        requests = data[index % len(data)]
        start = index // len(data) * width % len(requests)
        due[index] = at
        free.popleft().ask(requests[start : start + width], index)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while due:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    now = time.perf_counter()
    seen += [
        (at - began, plan.requests[index % len(data)][0], 0, (now - at) * 1000)
        for index, at in due.items()
    ]
    for connection in made:
        connection.close()
    return seen


def main() -> None:
    import uvloop

    plan = Plan(**json.loads(sys.argv[1]))
    Path(plan.out).write_text(json.dumps(uvloop.run(run(plan))))


if __name__ == "__main__":
    main()
