"""One attempt against real servers: good ones, slow ones, and those it must not reach."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.product import free_port
from tests.support.receiver import receiving

from sluice.delivery.address import Address
from sluice.delivery.sender import ANSWER_BYTES_MAX, Limits, Outcome, Sender
from sluice.domain.signature import Message, verified

HERE = [ipaddress.ip_network("127.0.0.0/8")]
KEYS = [b"a" * 32, b"b" * 32]
MESSAGE = Message("msg_1", 1_794_362_590, b'{"type":"webhook.test","data":{}}')
QUICK = Limits(attempt_s=0.5, connect_s=0.5)


@contextlib.asynccontextmanager
async def sending(**options: Any) -> AsyncIterator[Sender]:
    sender = Sender(options.pop("networks", HERE), **options)
    try:
        yield sender
    finally:
        await sender.close()


async def send(url: str, **options: Any) -> Outcome:
    async with sending(**options) as sender:
        return await sender.send(url, KEYS, MESSAGE)


async def leads_here(_host: str) -> Sequence[Address]:
    """A name server to which every name is this machine's."""
    return [ipaddress.ip_address("127.0.0.1")]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw(handler: Handler) -> AsyncIterator[str]:
    """A server that says whatever it likes; its connections are closed at the end."""
    over: list[asyncio.Future[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.get_running_loop().create_future()
        over.append(ended)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set_result(None)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.gather(*over)


# --- what is sent ---------------------------------------------------------------------------------


async def test_the_message_is_sent_as_it_is_with_a_signature_of_each_key() -> None:
    async with receiving() as shop:
        outcome = await send(f"{shop.url}/hooks?from=sluice")
        [came] = shop.got
    assert (outcome, outcome.delivered) == (Outcome(204), True)
    assert (came.path, came.body) == ("/hooks?from=sluice", MESSAGE.body)
    assert came.headers["content-type"] == "application/json"
    assert came.headers["host"] == shop.url.removeprefix("http://")
    assert came.headers["user-agent"].startswith("sluice/")
    for key in KEYS:
        assert verified([key], came.headers, came.body, MESSAGE.timestamp_s) == MESSAGE


async def test_a_connection_is_used_again() -> None:
    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="thank you")

    async with receiving(answer) as shop, sending() as sender:
        for _ in range(3):
            assert (await sender.send(shop.url, KEYS, MESSAGE)).delivered
    assert len({came.peer for came in shop.got}) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(status: int) -> None:
    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=status)

    async with receiving(answer) as shop:
        assert (await send(shop.url)).delivered


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiving() as inner:

        async def elsewhere(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": f"{inner.url}/secret"})

        async with receiving(elsewhere) as shop:
            outcome = await send(shop.url)
        assert (outcome.delivered, outcome.status) == (False, status)
        assert inner.got == []


async def test_an_endpoint_may_ask_for_a_pause_and_may_say_goodbye() -> None:
    async def answer(path: str, _message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=int(path[1:]), headers={"Retry-After": "120"})

    async with receiving(answer) as shop:
        busy = await send(f"{shop.url}/503")
        gone = await send(f"{shop.url}/410")
    assert (busy.delivered, busy.gone, busy.retry_after_s) == (False, False, 120)
    assert (gone.delivered, gone.gone) == (False, True)


# --- what can go wrong ----------------------------------------------------------------------------


async def test_nobody_there_is_a_failure_with_a_reason() -> None:
    outcome = await send(f"http://127.0.0.1:{free_port()}/")
    assert outcome.status is None
    assert outcome.error


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    never = asyncio.Event()

    async def answer(_path: str, _message: dict[str, Any]) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    async with receiving(answer) as shop:
        outcome = await send(shop.url, limits=QUICK)
    assert outcome == Outcome(None, "no answer within 0.5 s")


async def test_an_answer_that_drips_is_cut_off() -> None:
    """Each byte in time, and never an end."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw(drip) as url:
        outcome = await send(url, limits=QUICK)
    assert outcome == Outcome(None, "no answer within 0.5 s")


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    sent = 0

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with raw(pour) as url:
        outcome = await send(url)
    assert outcome.delivered
    assert sent < 1000 * ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"],
)
async def test_what_is_no_http_is_a_failure(rubbish: bytes) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(rubbish)
        await writer.drain()

    async with raw(answer) as url:
        outcome = await send(url, limits=Limits(5, 5))
    assert (outcome.status, bool(outcome.error)) == (None, True)


# --- where it must not go -------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
async def test_this_machine_is_not_reached_unless_it_is_named(host: str) -> None:
    async with receiving() as shop:
        url = shop.url.replace("127.0.0.1", host)
        for scheme in ("http", "https"):
            outcome = await send(url.replace("http", scheme, 1), networks=[])
            assert outcome.status is None
            assert "public" in (outcome.error or ""), outcome
        assert shop.got == []
        if host == "127.0.0.1":
            assert (await send(url)).delivered


async def test_a_name_that_leads_to_this_machine_is_no_way_around() -> None:
    async with receiving() as shop:
        port = shop.url.rpartition(":")[2]
        outcome = await send(f"http://shop.example:{port}/", networks=[], resolve=leads_here)
        assert outcome.status is None
        assert shop.got == []
        assert (await send(f"http://shop.example:{port}/", resolve=leads_here)).delivered
        assert shop.got[0].headers["host"] == f"shop.example:{port}"


# --- TLS ------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def test_the_certificate_is_for_the_name_though_the_address_is_pinned(
    tmp_path: Path,
) -> None:
    server, client = certificate(tmp_path, "shop.example")
    async with receiving(tls=server) as shop:
        port = shop.url.rpartition(":")[2]
        good = await send(f"https://shop.example:{port}/", tls=client, resolve=leads_here)
        assert good.delivered, good
        for url, tls in (
            (f"https://other.example:{port}/", client),
            (f"https://shop.example:{port}/", ssl.create_default_context()),
        ):
            refused = await send(url, tls=tls, resolve=leads_here)
            assert refused.status is None
            assert "certificate" in (refused.error or "").lower(), refused
        assert len(shop.got) == 1
