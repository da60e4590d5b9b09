"""What the database refuses by itself, when everything above it has failed."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError
from tests.contract.ledger_shop import Shop, unit

from sluice.ledger.ledger import Ledger
from sluice.ledger.tables import orders

REFUSED = {
    "units that do not add up": "UPDATE items SET available = available + 1",
    "stock that does not add up": "UPDATE items SET stock = stock - 1",
    "an oversold item": "UPDATE items SET available = -1, awaiting_payment = stock + 1, paid = 0",
    "a debt": "UPDATE items SET paid = -1, available = available + 2",
    "a negative price": "UPDATE items SET price_minor = -1",
    "an order of nothing": "UPDATE orders SET quantity = 0, refunded_quantity = 0",
    "more refunded than bought": "UPDATE orders SET refunded_quantity = quantity + 1",
    "a state that does not exist": "UPDATE orders SET state = 'lost'",
    "a short nonce": "UPDATE orders SET nonce = 'short'",
    "an order without an item": "UPDATE orders SET item_id = 999999",
    "a nonce twice": "UPDATE orders SET nonce = 'twelve bytes'",
    "a slot beyond the mask": "UPDATE order_slots SET slot = 33",
    "somebody else's old order": "UPDATE order_slots SET slot = -1",
    "an edit of nothing": "UPDATE stock_edits SET delta = 0",
    "an edit in between": "UPDATE stock_edits SET state = 'maybe'",
    "a sale that ends before it starts": "UPDATE sales SET ends_at_ms = starts_at_ms",
    "a sale in no state": "UPDATE sales SET status = 'Draft'",
    "history rewritten": "UPDATE order_history SET state = 'paid'",
    "history removed": "DELETE FROM order_history",
    "a journal rewritten": "UPDATE stock_journal SET quantity = 0",
    "a journal removed": "DELETE FROM stock_journal",
}


async def test_the_database_refuses_what_must_not_be(shop: Shop) -> None:
    item = await shop.item(unit(10))
    await shop.ledger.request_edit(item.id, +1, "more")
    await shop.sell(item, 2)

    let_through = []
    for what, statement in REFUSED.items():
        try:
            await shop.execute(statement)
        except DBAPIError:
            continue
        let_through.append(what)

    assert let_through == []
    assert await shop.broken() == set()


async def test_the_same_slot_of_a_group_cannot_be_held_twice(shop: Shop) -> None:
    item = await shop.item()
    await shop.sell(item, 1)
    with pytest.raises(DBAPIError):
        await shop.execute(
            "INSERT INTO order_slots (buyer, limit_group, slot, order_number) "
            "SELECT buyer, limit_group, slot, 42 FROM order_slots"
        )


async def test_a_hold_is_released_at_most_once(shop: Shop) -> None:
    item = await shop.item(unit(1))
    await shop.record(shop.accepted(item), shop.accepted(item))
    with pytest.raises(DBAPIError):
        await shop.execute("INSERT INTO releases SELECT * FROM releases")


async def test_an_order_is_always_in_the_audit(shop: Shop) -> None:
    """Planted damage, past the checks of the tables: the audit names each kind."""
    item = await shop.item(unit(10))
    [one, two] = await shop.sell(item, 2)
    assert await shop.broken() == set()

    await shop.execute("UPDATE orders SET state = 'paid' WHERE number = :n", n=one.number)
    assert await shop.broken() == {
        "units_are_those_of_orders",
        "state_is_the_last_of_history",
        "paid_orders_have_their_money",
    }
    await shop.execute("UPDATE orders SET state = 'awaiting_payment'")

    await shop.execute("DELETE FROM order_slots WHERE order_number = :n", n=two.number)
    assert await shop.broken() == {"slots_are_those_of_orders"}
    await shop.execute(
        "INSERT INTO order_slots (buyer, limit_group, slot, order_number) VALUES (:b, :g, 3, :n)",
        b=two.buyer,
        g=item.limit_group,
        n=two.number,
    )
    assert await shop.broken() == {"limit_per_buyer"}
    await shop.execute("UPDATE order_slots SET slot = 1")

    await shop.execute(
        "INSERT INTO order_history (order_number, ordinal, state, at_ms) "
        "VALUES (:n, 2, 'refunded', 0)",
        n=one.number,
    )
    assert await shop.broken() == {"state_is_the_last_of_history", "history_is_legal"}


async def test_history_is_only_ever_added_to(shop: Shop) -> None:
    item = await shop.item()
    [order] = await shop.sell(item, 1)
    with pytest.raises(DBAPIError):
        await shop.execute(
            "INSERT INTO order_history SELECT * FROM order_history WHERE order_number = :n",
            n=order.number,
        )
    await shop.execute(
        "INSERT INTO order_history (order_number, ordinal, state, at_ms) "
        "VALUES (:n, 2, 'expired', 0)",
        n=order.number,
    )
    assert await shop.count("order_history") == 2


async def test_deadlocks_are_tried_again_until_both_are_done(
    shop: Shop, ledger_url: str, database: str
) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    sale = await shop.sale(unit(100), unit(100))
    one, two = sale.items
    met = asyncio.Barrier(2)
    tries = 0

    async def take(ledger: Ledger, first: int, second: int) -> None:
        tried = 0

        async def work(tx: object) -> None:
            nonlocal tried, tries
            tried += 1
            tries += 1
            for item in (first, second):
                statement = (
                    "UPDATE items SET available = available - 1, paid = paid + 1 WHERE id = %d"
                )
                await tx.connection.exec_driver_sql(statement % item)  # type: ignore[attr-defined]
                if tried == 1 and item == first:
                    await met.wait()

        await ledger._write(work)

    await asyncio.gather(take(shop.ledger, one.id, two.id), take(shop.ledger, two.id, one.id))

    assert tries > 2, "one of the two had to start again"
    assert ((await shop.now(one)).paid, (await shop.now(two)).paid) == (2, 2)


def test_an_orders_columns_are_written_in_the_order_of_the_tuples() -> None:
    from sluice.ledger import bulk

    assert set(bulk.ORDER_COLUMNS) == {column.name for column in orders.c}
