"""Whatever is sent, in either lane: a 4xx that says why, never a 5xx, and the server lives on."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.api import a_sale
from tests.support.http import Browser
from tests.support.product import ADMIN_TOKEN, Product
from tests.support.tokens import identity_token

TIMEOUT_S = 15.0
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Shop:
    url: str
    buyer: str
    pass_path: str
    buy_path: str

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        token = ADMIN_TOKEN if path.startswith("/v1/admin") else self.buyer
        headers = {"Authorization": f"Bearer {token}", **request.pop("headers", {})}
        with Browser(self.url) as client:
            return client.request(method, path, headers=headers, **request)

    def raw(self, request: bytes) -> bytes:
        """What comes back for exactly these bytes, up to the server's closing."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), TIMEOUT_S) as line:
            answer = b""
            with contextlib.suppress(OSError):  # refused in the middle, and that is fine
                line.sendall(request)
                line.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while piece := line.recv(65_536):
                    answer += piece
            return answer


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Product(tmp_path_factory.mktemp("shop") / "data") as product:
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        buyer = identity_token(product.identity_secret(), "mei")
        with Browser(product.url, headers=admin) as client:
            sale = client.post("/v1/admin/sales", json=a_sale()).raise_for_status().json()
            client.post(f"/v1/admin/sales/{sale['id']}/publish").raise_for_status()
        item = sale["items"][0]["id"]
        path = f"/v1/sales/{sale['id']}/items/{item}/pass"
        with Browser(product.url) as client:
            asked = client.post(path, headers={"Authorization": f"Bearer {buyer}"})
        yield Shop(product.url, buyer, path, asked.raise_for_status().json()["buy_url"])
        assert '"level": "error"' not in product.log(), product.log()[-4000:]


def check_problem(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in (statuses or range(400, 500)), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text


NOT_JSON = {
    "empty word": b" ",
    "cut off": b'{"quantity": 1',
    "not utf-8": b'{"quantity": "\xff\xfe"}',
    "nul": b'{"quantity": 1}\x00',
    "lone surrogate": b'{"quantity": "\\ud800"}',
    "byte order mark": b'\xef\xbb\xbf{"quantity": 1}',
    "deep": b"[" * 900,
    "deep objects": b'{"a":' * 180,
    "huge whole": b'{"quantity": ' + b"9" * 900 + b"}",
    "huge exponent": b'{"quantity": 1e999}',
    "not a number": b'{"quantity": NaN}',
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "number": b"1",
    "unknown field": b'{"colour": "red"}',
    "twice, at last wrong": b'{"quantity": 1, "quantity": -1}',
    "negative": b'{"quantity": -1}',
    "nothing": b'{"quantity": 0}',
    "too many": b'{"quantity": 33}',
    "half": b'{"quantity": 1.5}',
    "as text": b'{"quantity": "1"}',
    "truth": b'{"quantity": true}',
    "null in it": b'{"quantity": null}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_cannot_be_used_is_422(shop: Shop, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    for path in ("/v1/admin/sales", "/v1/admin/sales/1/pause", "/v1/admin/items/1/stock"):
        check_problem(shop.send("POST", path, content=body, headers=headers), 422)
    check_problem(shop.send("PATCH", "/v1/admin/sales/1", content=body, headers=headers), 422)
    check_problem(shop.send("POST", shop.buy_path, content=body, headers=headers), 422)


def test_a_refused_purchase_did_not_use_its_pass_up(shop: Shop) -> None:
    bought = shop.send("POST", shop.buy_path, json={"quantity": 1})
    assert bought.status_code == 202
    check_problem(shop.send("POST", shop.buy_path, json={"quantity": 2}), 422)
    again = shop.send("POST", shop.buy_path, json={"quantity": 1})
    assert again.json()["order"]["id"] == bought.json()["order"]["id"]


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP],
    ids=["lists", "objects"],
)
def test_nesting_without_end_is_refused(shop: Shop, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    check_problem(shop.send("POST", "/v1/admin/sales", content=body, headers=headers), 422)


@pytest.mark.parametrize(
    "title",
    ["\x00", "a\x00b", "\u202e", "a\nb", "x" * 201, "", " ", 1, None, True, [], {}],
    ids=repr,
)
def test_a_title_is_a_plain_text(shop: Shop, title: Any) -> None:
    answer = shop.send("POST", "/v1/admin/sales", json=a_sale(title=title))
    if title == "\u202e":
        assert answer.status_code in (201, 422)
    else:
        check_problem(answer, 422)
        assert answer.json()["errors"][0]["field"] == "title"


@pytest.mark.parametrize(
    "time",
    [
        *("", "now", "2026-11-11", "2026-11-11T10:00:00", "2026-13-01T00:00:00Z"),
        *("0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-11T10:00:00+99:99"),
        *(1_800_000_000, None, "2026-02-30T00:00:00Z", "٢٠٢٦-11-11T10:00:00Z"),
    ],
)
def test_a_time_is_one_with_an_offset(shop: Shop, time: Any) -> None:
    answer = shop.send("POST", "/v1/admin/sales", json=a_sale(starts_at=time))
    check_problem(answer, 422)
    assert answer.json()["errors"][0]["field"] == "starts_at"


@pytest.mark.parametrize(
    "amount",
    ["-1", "1e3", "1.001", "NaN", "Infinity", "9" * 40, "", " 1", "1,00", "٣", "0x10", 1, 1.5],
)
def test_an_amount_is_a_plain_decimal(shop: Shop, amount: Any) -> None:
    item = {"title": "x", "price": {"amount": amount, "currency": "CNY"}, "stock": 1}
    check_problem(shop.send("POST", "/v1/admin/sales", json=a_sale(items=[item])), 422)


@pytest.mark.parametrize("stock", [-1, 10**8, 10**30, 1.0, "1", None, True])
def test_stock_is_a_whole_number_in_bounds(shop: Shop, stock: Any) -> None:
    item = {"title": "x", "price": {"amount": "1.00", "currency": "CNY"}, "stock": stock}
    check_problem(shop.send("POST", "/v1/admin/sales", json=a_sale(items=[item])), 422)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"],
)
def test_another_content_type_is_415(shop: Shop, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    content = json.dumps(a_sale())
    check_problem(shop.send("POST", "/v1/admin/sales", content=content, headers=headers), 415)
    check_problem(shop.send("POST", shop.buy_path, content='{"quantity":1}', headers=headers), 415)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/v1/admin/sales", MEGABYTE + 1),
        ("/v1/admin/sales", 20 * MEGABYTE),
        ("/v1/admin/sales/1/pause", 17 * 1024),
        ("BUY", 2000),
        ("BUY", 5 * MEGABYTE),
        ("/v1/nowhere", 5 * MEGABYTE),
    ],
)
def test_a_body_that_is_too_large_is_refused(
    shop: Shop, path: str, size: int, chunked: bool
) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65_536):
            yield b" " * min(65_536, size - start)

    answer = shop.send(
        "POST",
        shop.buy_path if path == "BUY" else path,
        content=pieces() if chunked else b" " * size,
        headers={"Content-Type": "application/json"},
    )
    check_problem(answer, 404 if path == "/v1/nowhere" else 413)


BAD_PATHS = [
    *("/v1/buy/", "/v1/buy/x", "/v1/buy/..", "/v1/buy/a.b.c", "/v1/buy/%00", "/v1/buy/%ff%fe"),
    *("/v1/buy/" + "a" * 129, "/v1/buy/" + "a" * 20_000, "/v1/buy/a.b.c/d", "/v1/buy/é.é.é"),
    *("/v1/sales/0/items/0/pass", "/v1/sales/x/items/y/pass", "/v1/sales/1/items/%00/pass"),
    *("/v1/sales/1/items/99999999999999999999/pass", "/v1/sales/1/items/1/pass/"),
    "/v1/sales/" + "9" * 5000 + "/items/1/pass",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=[path[:40] for path in BAD_PATHS])
def test_a_bad_address_of_a_purchase_is_refused(shop: Shop, path: str) -> None:
    answer = shop.send("POST", path, json={})
    check_problem(answer, 403, 404, 405)
    assert "a.b.c" not in answer.json()["instance"], "a pass is never repeated"


GET_PATHS = [
    *("/v1/orders/0", "/v1/orders/x", "/v1/orders/-1", "/v1/orders/%00", "/v1/orders/1/"),
    *("/v1/orders/99999999999999999999", "/v1/orders/" + "9" * 5000, "/v1/orders/٣"),
    *("/v1/sales/0", "/v1/sales/x", "/v1/sales/%00", "/v1/sales/%ff", "/v1/sales/1%2f2"),
    *("/v1/sales/" + "9" * 5000, "/v1/sales/1'--", "/v1/sales/1/", "/nothing", "/%2e%2e/", "/v1"),
    *("/v1/admin/sales/%00", "/v1/admin/sales/" + "9" * 5000, "/v1/admin/sales/1'--"),
    *("/v1/admin/orders?sale=%00", "/v1/admin/orders?state=%ff", "/v1/orders?limit=%00"),
    "/v1/orders?" + "&".join(f"f{n}=1" for n in range(1000)),
    "/v1/orders?cursor=" + "A" * 20_000,
]


@pytest.mark.parametrize("path", GET_PATHS, ids=[path[:40] for path in GET_PATHS])
def test_a_bad_address_is_refused(shop: Shop, path: str) -> None:
    check_problem(shop.send("GET", path), 404, 422)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer " + "a" * 20_000},
        {"Authorization": "Bearer \u00ff.\u00ff.\u00ff".encode("latin-1")},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer " + "." * 2},
    ],
    ids=["long", "not ascii", "no token", "bare", "empty", "basic", "dots"],
)
def test_a_bad_token_is_401_in_both_lanes(shop: Shop, headers: dict[str, Any]) -> None:
    for method, path in (
        *(("POST", shop.buy_path), ("POST", shop.pass_path), ("GET", "/v1/orders/1")),
        *(("GET", "/v1/orders"), ("GET", "/v1/me"), ("GET", "/v1/admin/sales")),
    ):
        answer = shop.send(method, path, headers=headers)
        check_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("receipt", ["", "x", "a.b.c", "a" * 5000, b"\xff\xfe"])
def test_a_bad_receipt_is_as_good_as_none(shop: Shop, receipt: Any) -> None:
    headers = {"Sluice-Receipt": receipt}
    check_problem(shop.send("GET", "/v1/orders/7000000000", headers=headers), 404)


@pytest.mark.parametrize("given", ['"><script>', "x" * 5000, "a b", "short", b"\xff" * 20])
def test_an_odd_request_id_is_not_repeated(shop: Shop, given: Any) -> None:
    for path in ("/v1/orders/1", "/v1/me", "/v1/nowhere"):
        answer = shop.send("GET", path, headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"].isalnum()
        assert len(answer.headers["x-request-id"]) == 26


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/sales HTTP/9.9\r\n\r\n",
        b"GET /v1/sales HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 600_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 600_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/buy/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/buy/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/buy/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/admin/sales HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
        b"GET /v1/sales HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /v1/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"BREW /v1/sales HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://x/v1/sales/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda request_bytes: request_bytes[:30].decode("latin-1"),
)
def test_no_bytes_bring_out_a_5xx_or_the_server_down(shop: Shop, request_bytes: bytes) -> None:
    answer = shop.raw(request_bytes)
    assert b" 5" not in answer[8:10], answer[:200]
    assert shop.send("GET", "/livez").status_code == 200


def test_nothing_of_all_that_was_bought_or_made(shop: Shop) -> None:
    """One purchase went through in this file; the sales made are those that were well-formed."""
    orders = shop.send("GET", "/v1/orders").json()["data"]
    assert len(orders) <= 1


def test_files_of_the_server_cannot_be_read(shop: Shop) -> None:
    target = Path("/etc/passwd").as_posix()
    for path in (f"/static/..{target}", f"/static/%2e%2e{target}", f"/docs/../..{target}"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert b"root:" not in shop.raw(request.encode())
