"""A running product counts what people do, stores it, audits the sale, and reports on it."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.support.api import FOR_A_CROWD, a_sale
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until

WITHIN_S = 60.0


def admin(client: Client, path: str, body: Any = None) -> Any:
    if body is None:
        status, said = client.get(path, ADMIN_TOKEN)
    else:
        status, said = client.post(path, ADMIN_TOKEN, body)
    assert status in (200, 201), (path, status, said)
    return said


def test_what_buyers_do_is_watched_and_reported(product: Product) -> None:
    with Client(product.url) as client:
        price = {"amount": "9.90", "currency": "CNY"}
        items = [{"title": "Cup", "price": price, "stock": 2}]
        sale = admin(client, "/v1/admin/sales", a_sale(items=items, policy=FOR_A_CROWD))
        path = f"/v1/admin/sales/{sale['id']}"
        admin(client, f"{path}/publish", {})
        item = sale["items"][0]["id"]
        tokens = [client.token(product.identity_secret(), f"watched-{n}") for n in range(4)]
        passes = [
            until(partial(a_pass, client, sale, item, token), within_s=40, what="a pass")
            for token in tokens
        ]
        codes = [
            client.post(ticket["buy_url"], token, {})[0]
            for ticket, token in zip(passes, tokens, strict=True)
        ]
        assert codes == [202, 202, 409, 409]
        assert client.post(passes[0]["buy_url"], tokens[0], {})[0] == 202
        assert client.post("/v1/buy/forged", tokens[0], {})[0] == 403
        client.get(f"/v1/sales/{sale['id']}")

        def counted() -> Any:
            found = admin(client, f"{path}/report")
            return found if found["traffic"]["purchases"]["asked"] >= 5 else None

        found = until(counted, within_s=WITHIN_S, what="the counts in the ledger", every_s=0.5)
        assert found["traffic"]["purchases"] == {
            "asked": 5,
            "accepted": 2,
            "replayed": 1,
            "refused": {"sold_out": 2},
        }
        assert found["traffic"]["passes"]["given"] == 4
        assert found["traffic"]["views"] == 1
        assert found["traffic"]["latency_ms"]["measured"] == 5
        assert found["coverage"] == {"accepted_seen": 2, "accepted": 2, "share": 1.0, "lost": 0}
        assert found["notes"] == []
        assert found["items"][0]["sold_out_at"] is not None
        assert found["fairness"]["recorded_out_of_order"] == 0

        def green() -> Any:
            seen = admin(client, f"{path}/live")
            return seen if seen["invariants"]["state"] == "ok" else None

        seen = until(green, within_s=WITHIN_S, what="a green light", every_s=0.5)
        assert seen["invariants"]["broken"] == []
        assert seen["recorder"] == {"backlog": 0}
        assert seen["funnel"]["awaiting_payment"] == 2


def a_pass(client: Client, sale: dict[str, Any], item: str, token: str) -> Any:
    status, said = client.post(f"/v1/sales/{sale['id']}/items/{item}/pass", token, {})
    return said if status == 200 else None
