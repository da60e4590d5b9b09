"""Sessions against the running product: they buy, they end in every worker, and no secret of
anybody's is ever in a log."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.api import a_sale
from tests.support.http import Client
from tests.support.people import PASSWORD, give, log_in, somebody
from tests.support.product import ADMIN_TOKEN, Product, until

PHONE = "+8613912345678"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, str, str]]:
    """Two workers, and a sale that is on."""
    with Product(tmp_path_factory.mktemp("lane") / "data", "--workers", "2") as product:
        with Client(product.url) as client:
            _, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, a_sale())
            client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, {})
        yield product, sale["id"], sale["items"][0]["id"]


def buy(client: Client, sale: str, item: str, token: str) -> tuple[int, Any]:
    status, said = client.post(f"/v1/sales/{sale}/items/{item}/pass", token, {})
    assert status == 200, said
    return client.post(said["buy_url"], token, {"quantity": 1})


def test_a_session_buys_and_sees_its_order(shop: tuple[Product, str, str]) -> None:
    product, sale, item = shop
    token = somebody(product, "buys")
    with Client(product.url) as client:
        status, said = buy(client, sale, item, token)
        assert status == 202, said
        order = said["order"]["id"]
        assert client.get(f"/v1/orders/{order}", token)[0] == 200
        stranger = somebody(product, "stranger")
        assert client.get(f"/v1/orders/{order}", stranger)[0] == 404


def test_whoever_has_nothing_to_say_sends_no_body(shop: tuple[Product, str, str]) -> None:
    product, sale, item = shop
    token = somebody(product, "few-words")
    with Client(product.url) as client:
        status, said = client.post(f"/v1/sales/{sale}/items/{item}/pass", token, None)
        assert status == 200, said
        status, said = client.post(said["buy_url"], token, None)
        assert (status, said["order"]["quantity"]) == (202, 1)


def test_a_pass_is_of_the_session_that_asked_for_it(shop: tuple[Product, str, str]) -> None:
    product, sale, item = shop
    here, there = [somebody(product, "two-devices") for _ in range(2)]
    with Client(product.url) as client:
        _, said = client.post(f"/v1/sales/{sale}/items/{item}/pass", here, {})
        status, refused = client.post(said["buy_url"], there, {"quantity": 1})
        assert (status, refused["code"]) == (403, "bad_pass")
        assert client.post(said["buy_url"], here, {"quantity": 1})[0] == 202


def test_a_page_buys_with_its_cookie_and_its_word_alone(shop: tuple[Product, str, str]) -> None:
    product, sale, item = shop
    somebody(product, "page")
    path = f"/v1/sales/{sale}/items/{item}/pass"
    with Client(product.url) as client:
        person = {"login": "page", "password": PASSWORD, "cookie": True}
        status, said, headers = client.whole("POST", "/v1/login", person, {})
        assert status == 200
        assert headers["set-cookie"].startswith("sluice=st_")
        cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
        word = {**cookie, "Sluice-CSRF": said["csrf"]}
        for sent in (cookie, {**word, "Origin": "https://evil.example"}):
            # A refusal does not wait for the body, and may end the connection that brings it.
            with Client(product.url) as page:
                status, refused, _ = page.whole("POST", path, {}, sent)
            assert (status, refused["code"]) == (403, "not_allowed")
        ours = {**word, "Origin": product.url}
        status, said, _ = client.whole("POST", path, {}, ours)
        assert status == 200, said
        status, said, _ = client.whole("POST", said["buy_url"], {"quantity": 1}, ours)
        assert status == 202, said
        order = f"/v1/orders/{said['order']['id']}"
        assert client.whole("GET", order, None, cookie)[0] == 200


def test_a_session_that_has_ended_buys_nothing_in_any_worker(
    shop: tuple[Product, str, str],
) -> None:
    product, sale, item = shop
    token = somebody(product, "leaves")
    path = f"/v1/sales/{sale}/items/{item}/pass"
    clients = [Client(product.url) for _ in range(8)]  # enough to meet both workers
    assert {client.post(path, token, {})[0] for client in clients} == {200}
    assert clients[0].send("DELETE", "/v1/session", token, None, {})[0] == 204
    # The news is on its way to the other worker; nobody remembers longer than a second.
    until(
        lambda: {client.post(path, token, {})[0] for client in clients} == {401},
        within_s=30,
        what="the session has ended everywhere",
    )
    for client in clients:
        client.__exit__()


def test_a_token_that_nobody_was_given_is_told_nothing_more(
    shop: tuple[Product, str, str],
) -> None:
    product, sale, item = shop
    with Client(product.url) as client:
        for token in ("st_" + "A" * 43, "st_short", "st_" + "A" * 43 + ".b.c"):
            status, said = client.post(f"/v1/sales/{sale}/items/{item}/pass", token, {})
            assert (status, said["code"]) == (401, "unauthenticated")


def test_no_secret_and_no_phone_is_in_any_log(shop: tuple[Product, str, str]) -> None:
    product, sale, item = shop
    secrets = [PASSWORD, PHONE, PHONE[3:], ADMIN_TOKEN]
    with Client(product.url) as client:
        assert client.post("/v1/login/code", "", {"phone": PHONE})[0] == 202
        code = until(lambda: _code(client), within_s=30, what="the code is in the inbox")
        secrets.append(code)
        for wrong in (f"{(int(code) + 1) % 10**6:06}", code):
            status, said = client.post("/v1/login", "", {"phone": PHONE, "code": wrong})
        assert status == 200, said
        secrets += [said["token"], said["csrf"]]
        status, passed = client.post(f"/v1/sales/{sale}/items/{item}/pass", said["token"], {})
        secrets.append(passed["pass"])
        client.post(passed["buy_url"], said["token"], {"quantity": 1})
        for path in (f"/v1/me?token={said['token']}", f"/v1/sessions/{said['token']}"):
            client.get(path, said["token"])
        token = log_in(client, "logged")
        secrets.append(token)
        give(client, "logged", "merchant")
        client.post("/v1/admin/sales", token, {"password": PASSWORD})
        client.raw("POST", "/v1/login", "", json.dumps({"login": PASSWORD}).encode()[:-1])
    logs = {path: path.read_text(errors="replace") for path in _logs(product.data)}
    assert any("accounts.code_sent" in text for text in logs.values())
    assert any("accounts.login" in text for text in logs.values())
    for secret in secrets:
        digits = secret.isdigit() and len(secret) == 6
        pattern = rf"(?<![0-9a-f.:-]){secret}(?![0-9a-f.:-])" if digits else re.escape(secret)
        found = [path for path, text in logs.items() if re.search(pattern, text)]
        assert found == [], (secret, found)


def test_the_trail_holds_no_secret_either(shop: tuple[Product, str, str]) -> None:
    product, _, _ = shop
    with Client(product.url) as client:
        client.post("/v1/admin/sales", ADMIN_TOKEN, {"password": PASSWORD, "token": "hunter2"})
    with product.ledger() as ledger:
        ledger.row_factory = sqlite3.Row
        kept = " ".join(str(tuple(row)) for row in ledger.execute("SELECT * FROM admin_results"))
    assert "[hidden]" in kept
    assert PASSWORD not in kept
    assert "hunter2" not in kept


def _code(client: Client) -> str | None:
    _, said = client.get("/v1/admin/inbox", ADMIN_TOKEN)
    return next((str(each["code"]) for each in said["data"] if each["phone"] == PHONE), None)


def _logs(data: Path) -> list[Path]:
    """Everything that is written for people to read."""
    return [p for p in data.rglob("*") if p.is_file() and p.suffix in (".log", ".stderr")]
