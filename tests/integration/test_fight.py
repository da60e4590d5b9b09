"""The whole product under a crowd, with things breaking: exactly the stock, to one person once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from tests.support.crowd import Plan, Told
from tests.support.http import Client
from tests.support.product import Product, until

CROWDS = 4
"""Client processes."""


@dataclass(frozen=True)
class Size:
    buyers: int
    stock: tuple[int, int, int]
    patience_s: float


SMALL = Size(1_200, (120, 12, 1), 60)
FULL = Size(20_000, (500, 50, 1), 240)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(FULL, id="full", marks=[pytest.mark.verify, pytest.mark.timeout(600)]),
    ],
)
def test_a_crowd_buys_exactly_the_stock_while_recorder_and_gate_are_killed(
    size: Size, tmp_path: Path
) -> None:
    with Product(tmp_path / "data") as product:
        sale, items = open_drop(product, size.stock)
        told = fight(product, size, sale, items)

        settle(product, told)
        check_ledger(product, size, items, told)
        check_audit(product)
        check_every_pass_again(product, told)
        assert product.audit()["ok"], "replays changed something"


def open_drop(product: Product, stock: tuple[int, int, int]) -> tuple[str, list[str]]:
    """`examples/drop.toml` with this stock, created and published by the command line."""
    text = Path("examples/drop.toml").read_text()
    for was, now in zip(("stock = 500\n", "stock = 50\n", "stock = 1\n"), stock, strict=True):
        assert was in text
        text = text.replace(was, f"stock = {now}\n", 1)
    drop = product.data / "drop.toml"
    drop.write_text(text)
    sale = json.loads(product.run("sale", "create", str(drop), "--json"))
    product.run("sale", "publish", sale["id"])
    return sale["id"], [item["id"] for item in sale["items"]]


def fight(product: Product, size: Size, sale: str, items: list[str]) -> list[Told]:
    """The crowd's processes, with the recorder and then the gate killed in the middle."""
    crowds = [start_crowd(product, size, sale, items, n) for n in range(CROWDS)]
    orders = size.stock[0] + size.stock[1] + size.stock[2]
    told = []
    with ThreadPoolExecutor(1) as beside:
        broken = beside.submit(break_things, product, orders)
        try:
            for crowd in crowds:
                output, errors = crowd.communicate(timeout=size.patience_s * 2)
                assert crowd.returncode == 0, errors[-3000:]
                told += [Told(**json.loads(line)) for line in output.splitlines()]
        finally:
            for crowd in crowds:
                crowd.kill()
        broken.result()
    return told


def start_crowd(
    product: Product, size: Size, sale: str, items: list[str], nth: int
) -> subprocess.Popen[str]:
    share = size.buyers // CROWDS
    plan = Plan(
        url=product.url,
        secret=product.identity_secret().decode(),
        sale=sale,
        items=items,
        weights=[6, 3, 1],
        first=nth * share,
        count=share,
        patience_s=size.patience_s,
    )
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.crowd", json.dumps(asdict(plan))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def break_things(product: Product, orders: int) -> None:
    """When some are sold: the recorder dies. When more are recorded: the gate dies."""
    until(lambda: recorded(product) >= orders // 10, within_s=60, what="a tenth recorded")
    product.kill("work")
    until(lambda: recorded(product) >= orders // 4, within_s=60, what="the recorder came back")
    product.kill("gate.sock")


def recorded(product: Product) -> int:
    with product.ledger() as ledger:
        return int(ledger.execute("SELECT count(*) FROM orders").fetchone()[0])


def settle(product: Product, told: list[Told]) -> None:
    """Everything that was accepted reaches the ledger."""
    accepted = {t.order() for t in told} - {""}
    until(
        lambda: recorded(product) >= len(accepted),
        within_s=60,
        what=f"{len(accepted)} accepted orders in the ledger, {recorded(product)} are",
    )


def check_ledger(product: Product, size: Size, items: list[str], told: list[Told]) -> None:
    with product.ledger() as ledger:
        rows = ledger.execute(
            "SELECT number, item_id, buyer, quantity, state FROM orders"
        ).fetchall()
    sold = Counter({int(item): 0 for item in items})
    for _, item, _, quantity, _ in rows:
        sold[item] += quantity
    assert [sold[int(item)] for item in items] == list(size.stock)
    assert {state for *_, state in rows} == {"awaiting_payment"}
    each = Counter((buyer, item) for _, item, buyer, _, _ in rows)
    assert max(each.values()) == 1, "somebody holds more than the limit"

    owners = {str(number): (buyer, str(item)) for number, item, buyer, _, _ in rows}
    holders = {t.order(): (f"jwt::{t.buyer}", t.item) for t in told if t.order()}
    assert holders == owners, "who was told 202 and who has an order are not the same"


def check_audit(product: Product) -> None:
    report = until(
        lambda: (r := product.audit())["ok"] and r, within_s=60, what=f"{product.audit()}"
    )
    assert report["ok"]


def check_every_pass_again(product: Product, told: list[Told]) -> None:
    """An accepted pass answers with its order for ever; no other buys anything now."""
    secret = product.identity_secret()
    with Client(product.url) as client:
        tokens: dict[str, str] = {}
        for t in told:
            token = tokens.setdefault(t.buyer, client.token(secret, t.buyer))
            status, body = client.post(f"/v1/buy/{t.text}", token, {"quantity": 1})
            if t.order():
                assert (status, body["order"]["id"]) == (202, t.order())
                assert body["order"]["state"] == "awaiting_payment"
            else:
                assert status in {403, 409}, body
