"""What connected buyers have, many buyers at once, on each database."""

from __future__ import annotations

from tests.contract.ledger_shop import Shop, unit

ALL = 100


async def test_each_buyer_has_their_own_newest_and_what_was_rejected(shop: Shop) -> None:
    sale = await shop.sale(unit(per_buyer=3), unit(per_buyer=1), unit(1))
    you = shop.accepted(sale.items[2], "acct:you")
    mine = [
        shop.accepted(sale.items[0], "acct:me", slots=0b11),  # two units are one order
        shop.accepted(sale.items[1], "acct:me"),
        shop.accepted(sale.items[2], "acct:me"),  # the one unit was yours: rejected
    ]
    await shop.record(you, *mine)
    numbers = [order.number for order in mine]

    found = await shop.ledger.newest_numbers(["acct:me", "acct:you", "acct:nobody"], ALL)
    assert found == {"acct:me": numbers, "acct:you": [you.number]}

    newest = await shop.ledger.newest_numbers(["acct:me"], 1)
    assert newest == {"acct:me": numbers[1:]}  # the newest order, and the newest rejected one
    assert await shop.ledger.newest_numbers([], ALL) == {}


async def test_names_are_told_apart_byte_for_byte(shop: Shop) -> None:
    item = await shop.item(unit())
    order = shop.accepted(item, "acct:Ü")
    await shop.record(order)
    found = await shop.ledger.newest_numbers(["acct:u", "acct:ü", "acct:Ü"], ALL)
    assert found == {"acct:Ü": [order.number]}


async def test_a_thousand_buyers_are_looked_up_at_once(shop: Shop) -> None:
    item = await shop.item(unit(1200))
    sold = await shop.sell(item, 1200)
    found = await shop.ledger.newest_numbers([order.buyer for order in sold], ALL)
    assert found == {order.buyer: [order.number] for order in sold}
