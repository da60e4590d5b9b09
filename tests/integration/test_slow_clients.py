"""Clients that say too much, or too slowly: they lose their connection, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.bots import PROXY, Street, honest_buyers, street
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")
SLOW = 300
PATIENCE_S = 90.0
"""Much longer than the product has: a test that waits so long has failed."""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("slow") / "data"
    with Product(folder, SLUICE_TRUSTED_PROXIES=PROXY) as running:
        yield running
        assert '"level": "error"' not in running.log(), running.log()[-4000:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(product: Product) -> AsyncIterator[Street]:
    async with street(product) as found:
        yield found


async def ended(product: Product, said: bytes) -> bytes:
    """What is answered until the connection is closed from over there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", product.port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(said)
            await writer.drain()
        answer = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    answer += piece
        return answer
    finally:
        writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + b"x" * 200_000 + b"\r\n",
        b"".join(b"X-%d: y\r\n" % n for n in range(5000)),
        b"Cookie: " + b"sluice=x; " * 20_000 + b"\r\n",
    ],
    ids=["long", "many", "cookies"],
)
async def test_headers_without_end_end_the_connection(
    town: Street, product: Product, headers: bytes
) -> None:
    sale = await town.sale()
    async with honest_buyers(sale, "198.18"):
        request = b"GET /v1/sales HTTP/1.1\r\nHost: sluice\r\n" + headers + b"\r\n"
        answers = await asyncio.gather(*(ended(product, request) for _ in range(20)))
    assert {answer[9:12] for answer in answers} <= {b"431", b"400", b""}


@pytest.mark.verify
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("begun", "answered"),
    [
        (b"GET /v1/sales HTTP/1.1\r\nHost: slu", {b"", b"408"}),
        (b"POST /v1/buy/x HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{", {b"408", b"401"}),
        (b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", {b"408"}),
        (b"", {b""}),
    ],
    ids=["headers", "body of a purchase", "body of a log-in", "nothing at all"],
)
async def test_who_keeps_the_rest_back_loses_the_connection_and_others_buy(
    town: Street, product: Product, begun: bytes, answered: set[bytes]
) -> None:
    sale = await town.sale()
    slow = [asyncio.ensure_future(ended(product, begun)) for _ in range(SLOW)]
    async with honest_buyers(sale, "198.19"):
        answers = await asyncio.gather(*slow)
    assert {answer[9:12] for answer in answers} <= answered
