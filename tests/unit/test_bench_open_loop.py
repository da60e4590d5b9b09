"""The open-loop generator: who is late, and who is charged for it."""

from __future__ import annotations

import asyncio
from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from bench.openloop import Generator, Plan, due_times, order_number, read_answer, run, summary


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bed:
    """A generator with a clock of its own, which remembers what it sent over which connection."""

    def __init__(self, due: list[float], connections: int) -> None:
        self.clock = Clock()
        self.sent: list[tuple[str, int]] = []
        names = [f"c{index}" for index in range(connections)]
        self.generator = Generator(
            array("d", due), names, lambda name, index: self.sent.append((name, index)), self.clock
        )

    def at(self, seconds: float) -> None:
        self.clock.now = seconds


def test_nothing_leaves_before_it_is_due() -> None:
    bed = Bed([0.010, 0.020], connections=2)
    bed.at(0.015)
    bed.generator.tick()
    assert bed.sent == [("c0", 0)]
    assert not bed.generator.all_taken_up


def test_requests_leave_when_due_although_none_before_was_answered() -> None:
    bed = Bed([0.001, 0.002, 0.003], connections=3)
    bed.at(0.003)
    bed.generator.tick()
    assert [index for _, index in bed.sent] == [0, 1, 2]


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_left() -> None:
    bed = Bed([0.010], connections=1)
    bed.at(0.050)  # the generator itself slept for 40 ms
    bed.generator.tick()
    bed.at(0.055)
    bed.generator.answered("c0", 0)
    assert bed.generator.latency[0] == pytest.approx(0.045)
    assert bed.generator.late[0] == pytest.approx(0.040)


def test_a_wait_for_a_free_connection_is_part_of_the_latency() -> None:
    bed = Bed([0.001, 0.002], connections=1)
    bed.at(0.002)
    bed.generator.tick()
    assert bed.sent == [("c0", 0)]
    assert bed.generator.no_connection_free == 1
    bed.at(0.102)
    bed.generator.answered("c0", 0)
    assert bed.sent == [("c0", 0), ("c0", 1)]
    bed.at(0.103)
    bed.generator.answered("c0", 1)
    assert bed.generator.latency[1] == pytest.approx(0.101)


def test_a_stalled_server_is_charged_for_everybody_who_came_meanwhile() -> None:
    """With coordinated omission one request would have waited; here a hundred did."""
    bed = Bed([index / 1000 for index in range(100)], connections=1)
    for millisecond in range(100):
        bed.at(millisecond / 1000)
        bed.generator.tick()
    bed.at(1.0)
    for index in range(100):
        bed.generator.answered("c0", index)
    assert all(seconds > 0.9 for seconds in bed.generator.latency)


def test_buyers_come_independently_at_the_rate_that_was_asked_for() -> None:
    times = due_times(rate=1000, count=20_000, seed=7)
    gaps = [after - before for before, after in pairwise(times)]
    assert times[-1] == pytest.approx(20, rel=0.05)
    assert min(gaps) >= 0
    assert max(gaps) > 0.005, "gaps vary, as those of independent buyers do"
    assert times == due_times(rate=1000, count=20_000, seed=7)


def test_a_summary_is_in_milliseconds() -> None:
    told = summary(array("d", [0.001] * 99 + [0.5]))
    assert (told["p50"], told["p99"], told["max"]) == (1.0, 1.0, 500.0)


def test_an_answer_in_pieces_is_read_when_it_is_whole() -> None:
    whole = b'HTTP/1.1 202 Accepted\r\nContent-Length: 23\r\n\r\n{"order":{"id":"71234"}'
    for length in range(len(whole)):
        assert read_answer(whole[:length]) is None
    status_and_body = read_answer(whole)
    assert status_and_body is not None
    status, body = status_and_body
    assert status == 202
    assert order_number(body) == 71234


async def test_every_request_of_a_plan_is_sent_once_and_answered(tmp_path: Path) -> None:
    asked: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                asked.append(await reader.readexactly(5))
                body = b'{"order":{"id":"%d"}}' % len(asked)
                head = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        file = tmp_path / "requests"
        file.write_bytes(b"".join(b"%05d" % index for index in range(200)))
        seen = await run(
            Plan(file=str(file), width=5, port=port, rate=2000, count=200, connections=8)
        )
        for writer in writers:  # none may be left for a later test to stumble over
            writer.close()
            await writer.wait_closed()
    assert sorted(asked) == [b"%05d" % index for index in range(200)]
    assert seen.answered == 200
    assert seen.statuses == {"202": 200}
    assert sorted(seen.orders) == list(range(1, 201))
