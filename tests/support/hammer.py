"""A crowd without manners, in a process of its own: connections that ask again the moment they are
answered, whatever the answer was.

`python -m tests.support.hammer PLAN` runs until its input ends, and prints answers by status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Plan:
    port: int
    connections: int
    requests: list[str]
    """Whole requests; everybody sends them in turn."""


async def main(plan: Plan) -> None:
    told: Counter[int] = Counter()
    turns = count()
    lines = [request.encode() for request in plan.requests]

    async def one() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
                while True:
                    writer.write(lines[next(turns) % len(lines)])
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    told[int(head[9:12])] += 1
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)

    crowd = [asyncio.ensure_future(one()) for _ in range(plan.connections)]
    await asyncio.to_thread(sys.stdin.read)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
