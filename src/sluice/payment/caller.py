"""The simulator's own calls to our webhook: real HTTP, real signatures, tried again like anybody's.

One small HTTP/1.1 client, because the product needs no library for it: plain HTTP to ourselves, a
known short answer, connections kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from sluice.domain.errors import SluiceError
from sluice.domain.signature import KEY_BYTES, Message, signed_headers
from sluice.domain.simulation import SimulatedCall
from sluice.payment.simulator import NAME, Simulator
from sluice.telemetry import get_logger

AT_ONCE = 8
"""Connections to the webhook."""
BATCH_MAX = 400
CLAIM_MS = 30_000
ANSWER_S_MAX = 10.0
HEADER_BYTES_MAX = 16 << 10
LOOK_EVERY_S = 0.5
"""How often other processes' plans are looked for."""
ATTEMPTS_MAX = 20
RETRY_MS_MAX = 60_000
STRANGERS_KEY = bytes(KEY_BYTES)
"""Signs what is forged."""

log = get_logger("payment")


class Caller:
    """Makes the calls that the simulator has planned. `run` until cancelled, in any process."""

    def __init__(self, simulator: Simulator, *, base_url: str, now_ms: Callable[[], int]) -> None:
        self._simulator = simulator
        self._now_ms = now_ms
        url = urlsplit(base_url)
        self._host, self._port = url.hostname or "127.0.0.1", url.port or 80
        self._head = f"POST /v1/webhooks/payments/{NAME} HTTP/1.1\r\nhost: {url.netloc}\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._next_s = LOOK_EVERY_S

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            await self.aclose()

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                made = await self.turn()
                failing = False
            except (SluiceError, OSError) as error:
                if not failing:
                    log.warning("the simulator waits", action="simulator.wait", error=str(error))
                failing, made = True, 0
            if made < BATCH_MAX:
                await self._wait()

    async def aclose(self) -> None:
        """Ends the connections that are kept."""
        while self._idle:
            self._idle.pop()[1].close()

    async def turn(self) -> int:
        """Make the calls that are due, once; how many there were."""
        planned = self._simulator.planned
        planned.clear()
        books = self._simulator.books
        due_ms = await books.simulator_call_due_ms()
        self._next_s = LOOK_EVERY_S if due_ms is None else min(due_ms / 1000, LOOK_EVERY_S)
        if due_ms != 0:
            return 0
        calls = await books.simulator_calls(BATCH_MAX, CLAIM_MS)
        answers = await self._make(calls)
        done = [c.id for c, status in zip(calls, answers, strict=True) if _is_done(c, status)]
        again = [
            (c.id, min(1000 << c.attempts, RETRY_MS_MAX))
            for c, status in zip(calls, answers, strict=True)
            if not _is_done(c, status)
        ]
        await books.simulator_called(done, again)
        return len(calls)

    async def _wait(self) -> None:
        """Until this process plans a call, one is due, or it is time to look for others' plans."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._next_s):
                await self._simulator.planned.wait()

    async def _make(self, calls: Sequence[SimulatedCall]) -> list[int]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(call: SimulatedCall) -> int:
            async with places:
                try:
                    async with asyncio.timeout(ANSWER_S_MAX):
                        return await self._call(call)
                except (OSError, TimeoutError, ValueError, EOFError):
                    return 0

        return await asyncio.gather(*(one(call) for call in calls))

    async def _call(self, call: SimulatedCall) -> int:
        """The answer's status. A kept connection may have ended meanwhile: then a new one."""
        keys = (STRANGERS_KEY,) if call.forged else self._simulator.keys[:1]
        message = Message(call.event_id, self._now_ms() // 1000, call.body)
        signed = "".join(f"{n}: {v}\r\n" for n, v in signed_headers(keys, message).items())
        length = f"content-length: {len(call.body)}\r\n\r\n"
        head = f"{self._head}content-type: application/json\r\n{signed}{length}"
        request = head.encode() + call.body
        if self._idle:
            with suppress(OSError, ValueError, EOFError):
                return await self._exchange(*self._idle.pop(), request)
        return await self._exchange(*await self._connect(), request)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, limit=HEADER_BYTES_MAX)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> int:
        kept = False
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(head.split(" ", 2)[1])
            await reader.readexactly(_length(head))
            kept = "connection: close" not in head
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return status


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name == "content-length":
            return int(value)
    raise ValueError("an answer without a length")


def _is_done(call: SimulatedCall, status: int) -> bool:
    """Taken, or given up. Nobody takes what is forged, and nobody sends it twice."""
    return 200 <= status < 300 or call.forged or call.attempts >= ATTEMPTS_MAX
