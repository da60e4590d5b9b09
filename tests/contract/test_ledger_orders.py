"""Orders are found by number, nonce, buyer and sale; a dead letter reads as rejected."""

from __future__ import annotations

from tests.contract.ledger_shop import Shop, unit

from sluice.domain.order import OrderState


async def test_orders_are_found_by_number_and_by_nonce(shop: Shop) -> None:
    item = await shop.item(unit(2))
    sold = [shop.accepted(item) for _ in range(3)]
    await shop.record(*sold)

    found = await shop.ledger.orders([order.number for order in sold] + [1, 2**62])
    by_nonce = await shop.ledger.order_by_nonces([order.nonce for order in sold] + [bytes(12)])

    assert set(found) == {order.number for order in sold}
    assert {nonce: order.number for nonce, order in by_nonce.items()} == {
        order.nonce: order.number for order in sold
    }
    rejected = found[sold[2].number]
    assert (rejected.state, rejected.pay_by_ms) == (OrderState.REJECTED, None)
    assert [step.state for step in rejected.history] == ["queued", "rejected"]
    assert rejected.amount == item.price.times(1)
    assert await shop.ledger.orders([]) == {}
    assert await shop.ledger.order_by_nonces([]) == {}


async def test_a_thousand_orders_are_found_at_once(shop: Shop) -> None:
    item = await shop.item(unit(1200))
    sold = await shop.sell(item, 1200)
    assert len(await shop.ledger.orders([order.number for order in sold])) == 1200
    assert len(await shop.ledger.order_by_nonces([order.nonce for order in sold])) == 1200


async def test_a_buyer_sees_their_own_orders_newest_first_in_pages(shop: Shop) -> None:
    sale = await shop.sale(unit(per_buyer=2), unit(per_buyer=2), unit(1))
    other = shop.accepted(sale.items[2], "acct:you")
    mine = [
        shop.accepted(sale.items[0], "acct:me", slots=0b11),
        shop.accepted(sale.items[1], "acct:me"),
        shop.accepted(sale.items[1], "acct:me", slots=0b10),
        shop.accepted(sale.items[2], "acct:me"),
    ]
    await shop.record(other, *mine)

    first = await shop.ledger.orders_of("acct:me", 2)
    rest = await shop.ledger.orders_of("acct:me", 10, first[-1].number)

    assert [order.number for order in first + rest] == [order.number for order in mine[::-1]]
    assert first[0].state is OrderState.REJECTED
    assert await shop.ledger.orders_of("acct:nobody", 10) == []


async def test_an_order_that_gave_its_units_back_is_still_its_buyers(shop: Shop) -> None:
    item = await shop.item(unit(per_buyer=2))
    order = shop.accepted(item, "acct:me", slots=0b11)
    await shop.record(order)
    await shop.execute(
        "DELETE FROM order_slots WHERE order_number = :number AND slot = 2", number=order.number
    )
    await shop.execute(
        "UPDATE order_slots SET slot = -order_number WHERE order_number = :number",
        number=order.number,
    )

    assert [o.number for o in await shop.ledger.orders_of("acct:me", 10)] == [order.number]
    again = shop.accepted(item, "acct:me", slots=0b11)
    assert (await shop.record(again)).orders == 1


async def test_the_merchant_lists_orders_by_sale_and_state_in_pages(shop: Shop) -> None:
    sale, other = await shop.sale(unit(2), unit(9, price=0)), await shop.sale()
    scarce, free = sale.items
    orders = [shop.accepted(scarce) for _ in range(3)]
    given = [shop.accepted(free) for _ in range(2)]
    await shop.record(*orders, *given, shop.accepted(other.items[0]))

    everything = await shop.ledger.list_orders(limit=100)
    theirs = await shop.ledger.list_orders(sale_id=sale.id, limit=100)
    paid = await shop.ledger.list_orders(sale_id=sale.id, state=OrderState.PAID, limit=100)
    dead = await shop.ledger.list_orders(sale_id=sale.id, state=OrderState.REJECTED, limit=100)
    page = await shop.ledger.list_orders(sale_id=sale.id, limit=2)
    rest = await shop.ledger.list_orders(sale_id=sale.id, limit=9, before_number=page[-1].number)

    assert len(everything) == 6
    assert [o.number for o in theirs] == [o.number for o in (orders + given)[::-1]]
    assert [o.number for o in paid] == [o.number for o in given[::-1]]
    assert [o.number for o in dead] == [orders[2].number]
    assert page + rest == theirs
    assert await shop.ledger.list_orders(sale_id=1 << 40, limit=9) == []


async def test_dead_letters_are_listed_oldest_first_in_pages(shop: Shop) -> None:
    item = await shop.item(unit(1))
    orders = [shop.accepted(item) for _ in range(5)]
    await shop.record(*orders)
    first = await shop.ledger.dead_letters(3)
    rest = await shop.ledger.dead_letters(3, first[-1].id)
    assert [letter.number for letter in first + rest] == [o.number for o in orders[1:]]
    assert {letter.buyer for letter in first + rest} == {o.buyer for o in orders[1:]}
