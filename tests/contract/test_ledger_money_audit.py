"""The audit of money, units and lines names what raw SQL has broken, each kind by its name."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.log import Left
from sluice.domain.money import Money
from sluice.domain.sale import Item

DAMAGE: dict[str, tuple[str, set[str]]] = {
    "a paid order whose payment is gone": (
        "UPDATE payments SET pays_for = NULL WHERE state = 'captured'",
        {"paid_orders_have_their_money", "money_without_an_order_goes_back"},
    ),
    "a paid order that got too little": (
        "UPDATE payments SET captured_minor = captured_minor - 1 WHERE pays_for IS NOT NULL",
        {"paid_orders_have_their_money"},
    ),
    "a capture of nothing": (
        "UPDATE payments SET captured_minor = NULL, captured_currency = NULL "
        "WHERE state = 'refunding'",
        {
            "captured_minus_refunded",
            "refunds_are_those_of_payments",
            "callbacks_are_of_payments",
        },
    ),
    "money kept for an order that is over": (
        "UPDATE payments SET state = 'captured' WHERE state = 'refunding'",
        {"money_without_an_order_goes_back", "refunds_are_those_of_payments"},
    ),
    "a refund that nobody sends": (
        "DELETE FROM refunds WHERE state = 'pending'",
        {"refunds_are_those_of_payments"},
    ),
    "a refund twice": (
        "INSERT INTO refunds (payment_id, order_number, amount_minor, created_at_ms, quantity, "
        "restock, attempts, currency, state, reason) SELECT payment_id, order_number, "
        "amount_minor, 0, 0, 0, 0, currency, 'pending', '' FROM refunds WHERE state = 'pending'",
        {"refunds_are_those_of_payments"},
    ),
    "money that is said to be back and is not": (
        "UPDATE payments SET refunded_minor = captured_minor, state = 'refunded' "
        "WHERE state = 'refunding'",
        {"refunds_are_those_of_payments"},
    ),
    "units refunded without a refund": (
        "UPDATE orders SET refunded_quantity = 1 WHERE state = 'paid'",
        {
            "paid_orders_have_their_money",
            "refunded_units_are_those_of_refunds",
            "units_are_those_of_orders",
            "slots_are_those_of_orders",
        },
    ),
    "an open payment of an order that is over": (
        "UPDATE payments SET state = 'pending', captured_minor = NULL, open_for = order_number, "
        "ask_at_ms = 1 WHERE state = 'refunding'",
        {
            "open_payments_have_a_living_order",
            "refunds_are_those_of_payments",
            "callbacks_are_of_payments",
        },
    ),
    "an open payment that nobody asks for": (
        "UPDATE payments SET ask_at_ms = NULL",
        {"open_payments_have_a_living_order"},
    ),
    "a callback of no payment": (
        "UPDATE inbox SET payment_id = 999999",
        {"callbacks_are_of_payments"},
    ),
    "units that the gate is never told of": (
        "DELETE FROM releases",
        {
            "given_back_once",
            "returned_units_are_those_of_orders",
            "promotions_are_of_units_that_came_back",
        },
    ),
    "units that came from nowhere": (
        "INSERT INTO stock_journal (item_id, kind, delta_stock, delta_available, quantity, shard, "
        "reason, at_ms) SELECT id, 'returned', 0, 1, 1, 0, '', 0 FROM items",
        {"units_are_those_of_the_journal", "returned_units_are_those_of_orders"},
    ),
    "a promotion without an order": (
        "UPDATE waitlist SET order_number = 5 WHERE state = 'promoted'",
        {"promotions_have_their_order"},
    ),
    "a promotion past the head of the line": (
        "UPDATE waitlist SET state = 'waiting', ended_as = 0, order_number = NULL, "
        "ended_at_ms = NULL WHERE state = 'left'",
        {"the_line_moves_in_order"},
    ),
    "somebody who waits for what they hold": (
        "UPDATE waitlist SET buyer = (SELECT buyer FROM orders WHERE state = 'paid') "
        "WHERE state = 'waiting'",
        {"nobody_waits_and_holds"},
    ),
    "a cancellation that was passed over": (
        "INSERT INTO cancellations (number, item_id, at_ms, buyer, reason) "
        "SELECT number, item_id, 0, buyer, '' FROM orders WHERE state = 'paid'",
        {"cancellations_are_applied"},
    ),
    "an order that nothing will ever end": (
        "DELETE FROM deadlines",
        {"overdue_orders_have_a_deadline"},
    ),
}


async def everything(shop: Shop) -> Item:
    """A sale with something of each: paid, late, being paid, overdue, promoted, left, waiting."""
    item = await shop.item(unit(10))
    paid, late, paying, overdue = [
        shop.accepted(item, slots=0b11 if i == 0 else 1) for i in range(4)
    ]
    await shop.record(paid)
    await shop.pay(paid)
    await shop.record(late)
    payment = await shop.opened(late)
    await shop.make_due()
    await shop.record(paying, overdue)
    await shop.opened(paying)
    await shop.ledger.take_callbacks([shop.event(payment, amount=Money(5, "CNY"))])  # and expires
    await shop.execute("UPDATE orders SET pay_by_ms = 1 WHERE number = :n", n=overdue.number)
    gone, promoted, waiting = (shop.joined(item) for _ in range(3))
    await shop.record(gone, promoted, waiting)
    await shop.record(Left(gone.entry, item.id, "left"))
    await shop.record(shop.promoted(promoted))
    return item


@pytest.mark.parametrize(
    "database",
    [
        "sqlite",
        *(pytest.param(name, marks=pytest.mark.verify) for name in ("postgresql", "mariadb")),
    ],
    indirect=True,
)
@pytest.mark.parametrize("what", DAMAGE)
async def test_the_audit_names_what_is_broken(shop: Shop, what: str) -> None:
    await everything(shop)
    assert await shop.broken() == set()
    statement, named = DAMAGE[what]
    await shop.execute(statement)
    assert await shop.broken() == named


async def test_the_databases_refuse_what_money_must_not_be(shop: Shop) -> None:
    await everything(shop)
    let_through = []
    for statement in (
        "UPDATE payments SET refunded_minor = captured_minor + 1 WHERE captured_minor > 0",
        "UPDATE payments SET refunded_minor = 1 WHERE captured_minor IS NULL",
        "UPDATE payments SET state = 'lost'",
        "UPDATE payments SET open_for = 1",
        "UPDATE payments SET pays_for = 1",
        "INSERT INTO payments (order_number, amount_minor, refunded_minor, created_at_ms, "
        "open_for, currency, provider, state) SELECT order_number, 1, 0, 0, open_for, 'CNY', "
        "'simulator', 'pending' FROM payments WHERE open_for IS NOT NULL",
        "INSERT INTO payments (order_number, amount_minor, refunded_minor, created_at_ms, "
        "pays_for, currency, provider, state) SELECT order_number, 1, 0, 0, pays_for, 'CNY', "
        "'simulator', 'captured' FROM payments WHERE pays_for IS NOT NULL",
        "UPDATE refunds SET state = 'maybe'",
        "UPDATE refunds SET amount_minor = -1",
        "INSERT INTO inbox SELECT * FROM inbox",
        "UPDATE inbox SET applied_at_ms = NULL",
        "UPDATE inbox SET kind = 'gift'",
        "UPDATE waitlist SET state = 'gone'",
        "UPDATE waitlist SET ended_as = 0",
        "UPDATE waitlist SET order_number = NULL WHERE state = 'promoted'",
        "INSERT INTO waitlist (id, item_id, ended_as, joined_at_ms, state, buyer) "
        "SELECT id + 1000, item_id, 0, 0, 'waiting', buyer FROM waitlist WHERE ended_as = 0",
        "UPDATE deadlines SET kind = 'rest'",
        "UPDATE deadlines SET last_number = first_number - 1",
    ):
        try:
            await shop.execute(statement)
        except DBAPIError:
            continue
        let_through.append(statement)
    assert let_through == []
    assert await shop.broken() == set()
