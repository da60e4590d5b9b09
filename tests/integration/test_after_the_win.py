"""The whole product after the win: people pay, or not, or late; the line turns over; all adds up.

At full size the process that records, expires, releases and refunds is killed in the middle.

Nobody here looks into the product's memory: buyers go over HTTP and WebSocket, the simulator's
callbacks come over HTTP with real signatures, and what is checked at the end is what the ledger's
file, the provider's books, `sluice audit` and the buyers themselves say.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.api import FOR_A_CROWD
from tests.support.http import Client
from tests.support.product import ADMIN_TOKEN, Product, until
from tests.support.winners import Found, Plan

PRICE_MINOR = 39_900


@dataclass(frozen=True)
class Size:
    stock: int
    buyers: int
    window_s: int
    crowds: int
    """Client processes."""
    patience_s: float
    refund_fail: float
    kill: bool
    """The worker's process in the middle: what it had taken is somebody else's after 20 s."""


SMALL = Size(20, 150, window_s=2, crowds=1, patience_s=60, refund_fail=0.3, kill=False)
FULL = Size(200, 3_000, window_s=8, crowds=3, patience_s=300, refund_fail=0.3, kill=True)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(FULL, id="full", marks=[pytest.mark.verify, pytest.mark.timeout(600)]),
    ],
)
def test_money_units_orders_lines_and_history_agree_when_all_is_over(
    size: Size, tmp_path: Path
) -> None:
    with Product(tmp_path / "data") as product:
        sale, item = open_sale(product, size)
        crowds = [Crowd(product, size, sale, item, n) for n in range(size.crowds)]
        try:
            if size.kill:
                kill_the_releaser(product, size)
            wait_until_all_is_over(product, size, sale, crowds)
            close(product, sale)
            found = [each for crowd in crowds for each in crowd.ask()]
        finally:
            for crowd in crowds:
                crowd.end()

        check_people(found)
        check_units(product, size, item)
        check_money(product)
        check_what_happened(product, found)
        until(lambda: product.audit()["ok"], within_s=60, what="every invariant holds")
        check_log(product)


# --- the crowd ------------------------------------------------------------------------------------


class Crowd:
    """One process of buyers."""

    def __init__(self, product: Product, size: Size, sale: str, item: str, nth: int) -> None:
        share = size.buyers // size.crowds
        plan = Plan(
            url=product.url,
            secret=product.identity_secret().decode(),
            sale=sale,
            item=item,
            first=nth * share,
            count=share,
            waiting=0.7,
            refund_fail=size.refund_fail,
            patience_s=size.patience_s,
        )
        self._log = product.data / f"crowd-{nth}.stderr"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.winners", json.dumps(asdict(plan))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.busy = share
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"busy"'):
                self.busy = json.loads(line)["busy"]
            else:
                self._lines.append(line)

    def check(self) -> None:
        assert self._process.poll() is None, self._log.read_text()[-3000:]

    def ask(self) -> list[Found]:
        """What each buyer has seen, after they have compared it with what polling says."""
        assert self._process.stdin is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        assert self._process.wait(120) == 0, self._log.read_text()[-3000:]
        self._reader.join(10)
        return [Found(**json.loads(line)) for line in self._lines]

    def end(self) -> None:
        self._process.kill()
        self._process.wait(30)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def open_sale(product: Product, size: Size) -> tuple[str, str]:
    body = {
        "title": "After the win",
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": "2080-01-01T00:00:00Z",
        "items": [
            {
                "title": "Teapot",
                "price": {"amount": "399.00", "currency": "CNY"},
                "stock": size.stock,
            }
        ],
        "policy": {**FOR_A_CROWD, "payment_window_seconds": size.window_s},
    }
    with Client(product.url) as client:
        status, sale = client.post("/v1/admin/sales", ADMIN_TOKEN, body)
        assert status == 201, sale
        status, shown = client.post(f"/v1/admin/sales/{sale['id']}/publish", ADMIN_TOKEN, {})
        assert status == 200, shown
    return sale["id"], sale["items"][0]["id"]


def close(product: Product, sale: str) -> None:
    """Who still waits is told that nothing more will come."""
    with Client(product.url) as client:
        status, shown = client.post(f"/v1/admin/sales/{sale}/close", ADMIN_TOKEN, {})
        assert status == 200, shown
    waiting = "SELECT count(*) FROM waitlist WHERE state = 'waiting'"
    until(lambda: one(product, waiting) == 0, within_s=60, what="the line is closed")


def kill_the_releaser(product: Product, size: Size) -> None:
    """In the middle: some units have come back, others are on their way, somebody is paying."""
    back = "SELECT count(*) FROM releases"
    until(
        lambda: one(product, back) >= size.stock // 4, within_s=60, what="the first units come back"
    )
    product.kill("work")


# --- when it is over ------------------------------------------------------------------------------

UNDER_WAY = {
    "orders": "SELECT count(*) FROM orders WHERE state IN ('awaiting_payment', 'refunding')",
    "payments": "SELECT count(*) FROM payments WHERE open_for IS NOT NULL",
    "refunds": "SELECT count(*) FROM refunds WHERE closed_at_ms IS NULL",
    "calls": "SELECT count(*) FROM simulator_calls",
    "callbacks": "SELECT count(*) FROM inbox WHERE applied_at_ms IS NULL",
    "releases": "SELECT count(*) FROM releases WHERE applied_at_ms IS NULL",
}


def waiting_beside_units(product: Product, sale: str) -> int:
    """How many stand in line although there are units: never for long."""
    with Client(product.url) as client:
        status, shown = client.get(f"/v1/admin/sales/{sale}/live", ADMIN_TOKEN)
    if status == 503:
        return 1  # not known
    [item] = shown["items"]
    return int(item["waitlisted"]) if item["available"] else 0


def wait_until_all_is_over(product: Product, size: Size, sale: str, crowds: list[Crowd]) -> None:
    left: dict[str, int] = {}

    def over() -> bool:
        for crowd in crowds:
            crowd.check()
        retry_refunds(product)
        nonlocal left
        left = {
            "busy": sum(crowd.busy for crowd in crowds),
            **{name: int(one(product, sql)) for name, sql in UNDER_WAY.items()},
            "beside units": waiting_beside_units(product, sale),
        }
        return not any(left.values())

    try:
        until(over, within_s=size.patience_s, what="all is over", every_s=0.3)
    except AssertionError:
        raise AssertionError(f"still under way: {left}\n{product.log()[-3000:]}") from None


def retry_refunds(product: Product) -> None:
    """What the operator does about refunds that failed."""
    with Client(product.url) as client:
        _, listed = client.get("/v1/admin/money?limit=100", ADMIN_TOKEN)
        for owed in listed.get("data", ()):  # or a 503: the ledger has other things to do
            if owed["state"] == "failed":
                path = f"/v1/admin/money/{owed['refund_id']}/retry"
                status, again = client.post(path, ADMIN_TOKEN, {})
                assert status in (200, 503), again


def one(product: Product, statement: str) -> Any:
    with product.ledger() as ledger:
        return ledger.execute(statement).fetchone()[0]


def rows(product: Product, statement: str) -> list[Any]:
    with product.ledger() as ledger:
        ledger.row_factory = sqlite3.Row
        return list(ledger.execute(statement).fetchall())


# --- what must hold -------------------------------------------------------------------------------


def check_people(found: list[Found]) -> None:
    wrong = {each.buyer: each.wrong for each in found if each.wrong}
    assert not wrong, f"{len(wrong)} buyers: {dict(list(wrong.items())[:3])}"
    problems = Counter(problem for each in found for problem in each.problems)
    assert not problems, problems
    for each in found:
        assert list(each.orders.values()).count("paid") <= 1, each
        assert each.line != "waiting", each


def check_units(product: Product, size: Size, item: str) -> None:
    """Somebody was always next: every unit is paid for, or the line was empty."""
    stock = rows(product, f"SELECT * FROM items WHERE id = {item}")[0]
    states = Counter(row["state"] for row in rows(product, "SELECT state FROM orders"))
    assert stock["stock"] == size.stock
    assert stock["paid"] == states["paid"]
    assert stock["available"] == size.stock - stock["paid"]
    assert stock["awaiting_payment"] == stock["written_off"] == 0
    assert states.keys() <= {"paid", "expired", "cancelled"}
    ended = Counter(row["state"] for row in rows(product, "SELECT state FROM waitlist"))
    if ended["closed"]:
        assert stock["available"] == 0, "somebody waited while there were units"
    assert ended["promoted"] == one(
        product, "SELECT count(*) FROM orders WHERE substr(nonce, 1, 4) = X'77616974'"
    )


def check_money(product: Product) -> None:
    """By the provider's books: what it took is what is paid for, and nothing else is kept."""
    taken = one(product, "SELECT coalesce(sum(captured_minor), 0) FROM simulator_checkouts")
    back = one(
        product,
        "SELECT coalesce(sum(amount_minor), 0) FROM simulator_refunds WHERE state = 'completed'",
    )
    paid = rows(product, "SELECT * FROM orders WHERE state = 'paid'")
    assert taken - back == sum(order["amount_minor"] for order in paid)
    assert all(order["amount_minor"] == PRICE_MINOR for order in paid)
    for payment in rows(product, "SELECT * FROM payments WHERE captured_minor IS NOT NULL"):
        kept = payment["pays_for"] is not None and payment["state"] == "captured"
        returned = payment["refunded_minor"] == payment["captured_minor"]
        assert kept != returned, dict(payment)
        assert returned == (payment["state"] == "refunded"), dict(payment)
    assert {order["number"] for order in paid} == {
        row["pays_for"]
        for row in rows(product, "SELECT pays_for FROM payments WHERE state = 'captured'")
    }


def check_log(product: Product) -> None:
    """No errors but of what was killed."""
    errors = [line for line in product.log().splitlines() if '"level": "error"' in line]
    assert [line for line in errors if '"child.restarted"' not in line] == []


def check_what_happened(product: Product, found: list[Found]) -> None:
    """The test has seen what it is about."""
    acts = Counter(act for each in found for act in each.acts)
    assert acts["never"] + acts["opens"] >= sum(acts.values()) // 6, acts
    assert acts["cancels"] + acts["cancels_at_once"] > 0, acts
    reasons = Counter(row["reason"] for row in rows(product, "SELECT reason FROM refunds"))
    assert reasons, "no money came at the wrong time"
    assert one(product, "SELECT count(*) FROM waitlist WHERE state = 'promoted'") > 0
    with Client(product.url) as client:
        text = client.text("/metrics")
    forged = [line for line in text.splitlines() if "webhooks/payments" in line and "401" in line]
    assert forged, "nobody forged a callback"
