"""Codes over the operator's own hook: signed, tried again, and never in the way of a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.polling import until

from sluice.accounts import outbound
from sluice.accounts.outbound import Outbound
from sluice.delivery import codes as hook_codes
from sluice.delivery.codes import ATTEMPTS, CodeHook
from sluice.domain.account import NewCode
from sluice.domain.errors import Overloaded, Unavailable
from sluice.domain.signature import verified

KEY = b"k" * 32
CODE = NewCode("+8613800138000", "042117", 1_800_000_000_000, "code_1")


class Texter:
    """The operator's service: answers as it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lines = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        status = self.answers.pop(0) if self.answers else 204
        writer.write(
            f"HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def texter(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Texter]:
    monkeypatch.setattr(hook_codes, "LATER_S", (0.0, 0.0))
    service = Texter()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/codes"
    yield service
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def hooked(url: str) -> AsyncIterator[CodeHook]:
    hook = CodeHook(url, [KEY])
    try:
        yield hook
    finally:
        await hook.close()


async def test_the_hook_is_sent_the_code_signed(texter: Texter) -> None:
    async with hooked(texter.url) as hook:
        await hook.deliver(CODE)
    [(headers, body)] = texter.got
    verified([KEY], headers, body, float(headers["webhook-timestamp"]))
    assert headers["webhook-id"] == "code_1"
    assert json.loads(body) == {
        "type": "login.code",
        "data": {
            "phone": "+8613800138000",
            "code": "042117",
            "expires_at": "2027-01-15T08:00:00.000Z",
        },
    }


async def test_what_was_not_taken_is_sent_again_under_the_same_name(texter: Texter) -> None:
    texter.answers = [500, 503]
    async with hooked(texter.url) as hook:
        await hook.deliver(CODE)
    assert [headers["webhook-id"] for headers, _ in texter.got] == ["code_1"] * 3


@pytest.mark.parametrize(("status", "attempts"), [(500, ATTEMPTS), (302, ATTEMPTS), (422, 1)])
async def test_who_does_not_take_it_is_left_alone_soon(
    texter: Texter, status: int, attempts: int
) -> None:
    texter.answers = [status] * 10
    async with hooked(texter.url) as hook:
        with pytest.raises(Unavailable, match=f"answered {status}"):
            await hook.deliver(CODE)
    assert len(texter.got) == attempts


async def test_nobody_waits_for_a_code_to_be_delivered() -> None:
    going = asyncio.Event()
    delivered: list[NewCode] = []

    async def deliver(code: NewCode) -> None:
        await going.wait()
        delivered.append(code)

    out = Outbound(deliver)
    out.submit(CODE)
    assert delivered == []
    going.set()
    await out.close()
    assert delivered == [CODE]


async def test_so_many_codes_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "WAITING_MAX", 3)
    monkeypatch.setattr(outbound, "CLOSE_S_MAX", 0.01)
    out = Outbound(_never)
    for _ in range(3):
        out.submit(CODE)
    with pytest.raises(Overloaded):
        out.submit(CODE)
    await out.close()


async def test_a_code_that_is_lost_is_counted_and_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def refuse(_code: NewCode) -> None:
        raise Unavailable("the hook answered 500")

    out = Outbound(refuse)
    out.submit(CODE)
    await until(lambda: out.failures == 1)
    await out.close()
    said = capsys.readouterr()
    assert "accounts.code_lost" in said.out + said.err
    for secret in (CODE.code, CODE.phone):
        assert secret not in said.out + said.err


async def test_a_delivery_that_breaks_is_no_end_of_deliveries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    delivered: list[str] = []

    async def deliver(code: NewCode) -> None:
        if not delivered:
            delivered.append("broke")
            raise RuntimeError(f"{code.phone} {code.code}")
        delivered.append(code.message_id)

    out = Outbound(deliver)
    out.submit(CODE)
    out.submit(CODE._replace(message_id="code_2"))
    await until(lambda: len(delivered) == 2)
    await out.close()
    assert out.failures == 1
    said = capsys.readouterr()
    assert CODE.code not in said.out + said.err


def test_a_code_does_not_say_itself_by_accident() -> None:
    say: list[Callable[[Any], str]] = [repr, str, "{}".format]
    for speak in say:
        assert CODE.code not in speak(CODE)
        assert CODE.phone not in speak(CODE)


async def _never(_code: NewCode) -> None:
    await asyncio.Event().wait()
