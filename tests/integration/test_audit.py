"""The auditor finds what is broken, names it, and is quiet while business goes on.

Each break here is done by raw SQL or raw Redis: what a bug behind every guard would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.shop import Shop, buyers, opened
from tests.valkey import Valkey, running

from sluice.audit import Auditor, AuditReport
from sluice.domain.outcome import Outcome
from sluice.domain.sale import Sale
from sluice.gate import keys

NUMBERS = {
    "1_gate_totals",
    "2_ledger_balance",
    "3_never_oversold",
    "4_gate_never_more_generous",
    "5_limit_per_buyer",
    "6_one_order_one_reservation",
    "7_accepted_is_accounted_for",
    "8_state_is_history",
    "9_released_once",
    "10_money_has_its_order",
    "11_the_line_moves",
    "12_one_attempt_one_order",
    "13_armed_and_edited_in_order",
    "14_nothing_waits",
    "15_orders_stay",
}


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running(durable=True) as server:
        yield server


@pytest.fixture
async def shop(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(valkey, tmp_path) as shop:
        yield shop


def auditor(shop: Shop, patience_s: float = 30) -> Auditor:
    return Auditor(
        shop.ledger, shop.gate, keep_in_step=shop.operator.keep_in_step, patience_s=patience_s
    )


async def look(shop: Shop, patience_s: float = 30) -> AuditReport:
    return await auditor(shop, patience_s).run()


def broken(report: AuditReport) -> set[str]:
    """Numbers of the invariants that do not hold."""
    return {check.name.partition("_")[0] for check in report.invariants if not check.ok}


async def sold(shop: Shop) -> Sale:
    """Ten units, three of them sold to three buyers and recorded."""
    sale = await shop.open(10, per_buyer=2)
    await shop.buy(sale.items[0], *buyers(3))
    await shop.drained()
    return await shop.sale(sale.id)


async def test_with_nothing_sold_everything_holds(shop: Shop) -> None:
    report = await look(shop)
    assert report.ok
    assert {check.name for check in report.invariants} == NUMBERS
    assert report.to_json()["invariants"][0] == {"name": "1_gate_totals", "ok": True, "detail": ""}


async def test_after_a_sale_everything_holds(shop: Shop) -> None:
    sale = await sold(shop)
    await shop.operator.edit_stock(sale.items[0].id, -2, "broken", "key-1")
    await shop.operator.edit_stock(sale.items[0].id, 4, "found", "key-2")
    report = await look(shop)
    assert report.ok, report


async def test_there_is_no_false_alarm_while_orders_pour_in(shop: Shop) -> None:
    sale = await shop.open(3000)
    [tea] = sale.items
    selling = True

    async def sell() -> None:
        for start in range(0, 3000, 25):
            await shop.buy(tea, *buyers(25, f"jwt:shop:{start}-"))
        nonlocal selling
        selling = False

    pouring = asyncio.create_task(sell())
    audits = 0
    while selling:
        report = await look(shop)
        assert report.ok, report
        audits += 1
    await pouring
    assert audits >= 2
    assert await shop.outcome(tea, "late") is Outcome.SOLD_OUT


async def test_shards_are_looked_at_one_by_one(valkey: Valkey, tmp_path: Path) -> None:
    async with opened(valkey, tmp_path, shards=3) as shop:
        sale = await shop.open(5, 5, 5)
        for item in sale.items:
            await shop.buy(item, "b1")
        assert (await look(shop)).ok
        await shop.redis("HINCRBY", keys.item(item.shard, item.id), "held", 1)
        [wrong] = [check for check in (await look(shop)).invariants if not check.ok]
        assert wrong.name == "1_gate_totals"


GATE_BREAKS = {
    "a unit appears in the gate's books": ({"held": 1}, {"1"}),
    "a held unit goes on sale again": ({"available": 1, "held": -1}, {"4"}),
    "a unit is held by nobody": ({"available": -1, "held": 1}, {"7"}),
    "the gate's stock is edited past the ledger": ({"stock": 1, "held": 1}, {"13"}),
    "an edit is applied twice": ({"stock": 2, "available": 2}, {"4"}),
}


@pytest.mark.parametrize(
    ("changes", "expected"), GATE_BREAKS.values(), ids=list(GATE_BREAKS.keys())
)
async def test_what_is_broken_in_the_gate_is_named(
    shop: Shop, changes: dict[str, int], expected: set[str]
) -> None:
    sale = await sold(shop)
    for name, delta in changes.items():
        await shop.redis("HINCRBY", keys.item(0, sale.items[0].id), name, delta)
    report = await look(shop)
    assert broken(report) == expected, report


async def test_a_line_beside_units_is_named(shop: Shop) -> None:
    sale = await sold(shop)
    await shop.stop()  # or it would be mended at once
    await shop.gate.arm(0, 1, 60_000)
    await shop.redis("ZADD", keys.line(0, sale.items[0].id), 1, b"d" * 16 + b"jwt:shop:waits")
    report = await look(shop, patience_s=0.05)
    assert "11" in broken(report), report


async def test_an_item_that_the_gate_has_lost_is_named(shop: Shop) -> None:
    sale = await sold(shop)
    await shop.redis("DEL", keys.item(0, sale.items[0].id))
    assert broken(await look(shop)) == {"7"}


FIRST = "(SELECT MIN(number) FROM orders)"
RELEASE = "INSERT INTO releases (number, shard, item_id, limit_group, quantity, decided_at_ms, "
LETTER = (
    "INSERT INTO dead_letters (number, shard, item_id, quantity, at_ms, nonce, buyer, reason, "
    "detail) SELECT number + 9, 0, item_id, 1, 0, {nonce}, buyer, 'sold_out', '' FROM orders "
    "WHERE number = " + FIRST
)
EDIT = (
    "INSERT INTO stock_edits (item_id, edit, delta, reason, state, requested_at_ms) "
    "SELECT item_id, {edit}, -1, 'x', '{state}', {at} FROM orders WHERE number = " + FIRST
)
NOW = "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
LEDGER_BREAKS = {
    "units appear in the ledger": (["UPDATE items SET available = available + 1"], {"2", "7"}),
    "a unit moves from awaiting to paid without an order": (
        ["UPDATE items SET paid = paid + 1, awaiting_payment = awaiting_payment - 1"],
        {"2"},
    ),
    "stock changes without a journal row": (
        ["UPDATE items SET stock = stock + 1, written_off = written_off + 1"],
        {"2", "13"},
    ),
    "less stock than was sold": (
        ["UPDATE items SET stock = 2, available = -1"],
        {"2", "3", "4"},
    ),
    "a slot above the limit": (
        [f"UPDATE order_slots SET slot = 9 WHERE order_number = {FIRST}"],
        {"5"},
    ),
    "another buyer's slot": (
        [f"UPDATE order_slots SET buyer = 'x' WHERE order_number = {FIRST}"],
        {"5"},
    ),
    "an order without its slot": (
        [f"DELETE FROM order_slots WHERE order_number = {FIRST}"],
        {"6"},
    ),
    "a slot without its order": (["INSERT INTO order_slots VALUES (1, 'x', 1, 77)"], {"6"}),
    "a state that nobody came to": (
        [f"UPDATE orders SET state = 'paid' WHERE number = {FIRST}"],
        {"2", "8", "10"},
    ),
    "a step that is not legal": (
        [
            f"INSERT INTO order_history VALUES ({FIRST}, 2, 'refunded', 0)",
            f"UPDATE orders SET state = 'refunded' WHERE number = {FIRST}",
        ],
        {"2", "6", "8", "10"},
    ),
    "a history with a hole": (
        [f"UPDATE order_history SET ordinal = 2 WHERE order_number = {FIRST}"],
        {"8"},
    ),
    "a release of an order that is alive": (
        [
            RELEASE + "applied_at_ms, buyer, reason) "
            f"SELECT number, 0, item_id, 1, 1, 0, 1, buyer, 'x' FROM orders WHERE number = {FIRST}"
        ],
        {"9"},
    ),
    "a rejected order that is not given back": ([LETTER.format(nonce="zeroblob(12)")], {"9"}),
    "one attempt as an order and as a dead letter": (
        [
            LETTER.format(nonce="nonce"),
            RELEASE + "applied_at_ms, buyer, reason) "
            "SELECT number, 0, item_id, 1, 1, 0, 1, buyer, 'x' FROM dead_letters",
        ],
        {"12"},
    ),
    "an edit settled before an earlier one": (
        [
            EDIT.format(edit=1, state="pending", at=NOW),
            EDIT.format(edit=2, state="applied", at=NOW),
        ],
        {"13"},
    ),
    "an edit that the gate does not follow": (
        [EDIT.format(edit=1, state="pending", at=f"{NOW} - 60000")],
        {"14"},
    ),
    "money that came for nothing and is kept": (
        [
            "INSERT INTO payments (order_number, amount_minor, captured_minor, refunded_minor, "
            "created_at_ms, currency, captured_currency, provider, state) SELECT number, 990, 990, "
            f"0, 0, 'CNY', 'CNY', 'simulator', 'captured' FROM orders WHERE number = {FIRST}"
        ],
        {"10"},
    ),
    "a promotion of nobody's unit": (
        [
            "INSERT INTO waitlist (id, item_id, ended_as, order_number, joined_at_ms, state, "
            "buyer) SELECT 1, item_id, 1, number, 0, 'promoted', buyer FROM orders "
            f"WHERE number = {FIRST}"
        ],
        {"11"},
    ),
    "somebody waits for what they hold": (
        [
            "INSERT INTO waitlist (id, item_id, ended_as, joined_at_ms, state, buyer) "
            f"SELECT 1, item_id, 0, 0, 'waiting', buyer FROM orders WHERE number = {FIRST}"
        ],
        {"11"},
    ),
    "a cancelled order that is not": (
        [
            "INSERT INTO cancellations (number, item_id, at_ms, buyer, reason) "
            f"SELECT number, item_id, 0, buyer, 'x' FROM orders WHERE number = {FIRST}"
        ],
        {"14"},
    ),
    "an order over its time of which nobody thinks": (
        ["UPDATE orders SET pay_by_ms = 1", "DELETE FROM deadlines"],
        {"14"},
    ),
    "an order that is gone": (
        [f"DELETE FROM orders WHERE number = {FIRST}"],
        {"2", "6", "7", "15"},
    ),
    "an acceptance that was never recorded": (
        [
            f"DELETE FROM order_slots WHERE order_number = {FIRST}",
            f"DELETE FROM order_history WHERE order_number = {FIRST}",
            f"DELETE FROM orders WHERE number = {FIRST}",
            "UPDATE items SET available = available + 1, awaiting_payment = awaiting_payment - 1",
            "UPDATE stock_journal SET quantity = quantity - 1, "
            "delta_available = delta_available + 1 WHERE id = "
            "(SELECT MAX(id) FROM stock_journal WHERE kind = 'recorded')",
        ],
        {"7"},
    ),
}


@pytest.mark.parametrize(
    ("statements", "expected"), LEDGER_BREAKS.values(), ids=list(LEDGER_BREAKS.keys())
)
async def test_what_is_broken_in_the_ledger_is_named(
    shop: Shop, statements: list[str], expected: set[str]
) -> None:
    await sold(shop)
    await shop.sql(*statements)
    report = await look(shop)
    assert broken(report) == expected, report


async def test_what_cannot_be_compared_is_not_said_to_hold(shop: Shop) -> None:
    sale = await sold(shop)
    await shop.stop()
    report = await look(shop, patience_s=0.05)
    assert broken(report) == {"4", "7"}
    assert "not known, the recorder is" in str(report)
    del sale


async def test_with_the_gate_away_the_ledger_is_still_looked_at(shop: Shop) -> None:
    await sold(shop)
    await shop.stop()
    shop.valkey.kill()
    report = await look(shop)
    assert broken(report) == {"1", "4", "7", "14"}, "on SQLite the gate's clock decides deadlines"
    assert "the gate did not answer" in str(report)
    shop.valkey.start()
    await shop.start()
    assert (await look(shop)).ok


async def test_a_gate_armed_for_another_epoch_is_named(shop: Shop) -> None:
    await sold(shop)
    await shop.stop()
    await shop.gate.arm(0, 1, 60_000)
    await shop.sql("UPDATE shards SET epoch = 2")
    assert "13" in broken(await look(shop, patience_s=0.05))


async def test_repair_drives_again_what_was_decided_and_nothing_else(shop: Shop) -> None:
    sale = await sold(shop)
    [tea] = sale.items
    await shop.stop()
    await shop.sql(
        f"INSERT INTO order_history VALUES ({FIRST}, 2, 'cancelled', 0)",
        f"UPDATE orders SET state = 'cancelled' WHERE number = {FIRST}",
        f"DELETE FROM order_slots WHERE order_number = {FIRST}",
        "UPDATE items SET available = available + 1, awaiting_payment = awaiting_payment - 1",
        "INSERT INTO stock_journal (item_id, kind, delta_stock, delta_available, quantity, shard, "
        "reason, at_ms) SELECT id, 'returned', 0, 1, 1, 0, 'x', 0 FROM items",
        RELEASE + "buyer, reason) SELECT number, 0, item_id, item_id, 1, 0, buyer, 'cancelled' "
        f"FROM orders WHERE number = {FIRST}",
    )
    await shop.ledger.request_edit(tea.id, 2, "died here", "key-1")
    assert await shop.totals(tea) == (7, 3, 10)
    assert await auditor(shop).repair() == 1
    assert await shop.totals(tea) == (10, 2, 12)
    assert await auditor(shop).repair() == 0
    assert await shop.totals(tea) == (10, 2, 12)
    await shop.start()
    await shop.drained()
    report = await look(shop)
    assert report.ok, report
