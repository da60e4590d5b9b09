"""Guest lists and codes on every database: uses are counted exactly, whoever comes at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.ledger_shop import Shop, unit

from sluice.domain.errors import NotFound
from sluice.domain.guest import CodeBatch, NewCodes, code_hash, code_text
from sluice.ledger.ledger import Ledger

SECRET = b"k" * 32
SEED = b"s" * 16


async def a_sale(shop: Shop) -> int:
    return (await shop.sale(unit(5))).id


def codes(sale_id: int, count: int, *, uses: int = 1, priority: int = 0) -> NewCodes:
    return NewCodes(
        seed=SEED,
        hashes=tuple(
            code_hash(sale_id, code_text(SECRET, sale_id, SEED, place)) for place in range(count)
        ),
        uses_max=uses,
        priority=priority,
        chosen=False,
    )


def chosen(sale_id: int, text: str, *, uses: int, priority: int = 0) -> NewCodes:
    return NewCodes(
        seed=text.encode().ljust(16, b".")[:16],
        hashes=(code_hash(sale_id, text),),
        uses_max=uses,
        priority=priority,
        chosen=True,
    )


async def used(ledger: Ledger, batch: CodeBatch) -> int:
    [found] = await ledger.code_batches(batch.sale_id, batch_id=batch.id)
    return found.used


async def test_a_code_for_one_invites_one_of_many(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    batch = await ledger.make_codes(sale, codes(sale, 2, priority=3))
    [first, _] = await ledger.codes(batch.id, limit=10)
    found = await asyncio.gather(*(ledger.redeem(sale, f"jwt::{n}", first.hash) for n in range(20)))
    assert sorted(each for each in found if each is not None) == [3]
    assert await used(ledger, batch) == 1


async def test_a_code_for_many_invites_as_many_as_it_says(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    batch = await ledger.make_codes(sale, chosen(sale, "VIP 2026", uses=7))
    found = await asyncio.gather(
        *(ledger.redeem(sale, f"jwt::{n}", code_hash(sale, "vip-2026")) for n in range(20))
    )
    assert sum(each is not None for each in found) == 7
    assert await used(ledger, batch) == 7


async def test_one_buyer_uses_a_code_up_once_however_often_they_send_it(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    batch = await ledger.make_codes(sale, chosen(sale, "ALL", uses=100, priority=1))
    mark = code_hash(sale, "ALL")
    found = await asyncio.gather(*(ledger.redeem(sale, "jwt::ann", mark) for _ in range(15)))
    assert found == [1] * 15
    assert await used(ledger, batch) == 1


async def test_another_code_counts_only_for_a_higher_priority(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    low = await ledger.make_codes(sale, chosen(sale, "LOW1", uses=9, priority=1))
    high = await ledger.make_codes(sale, chosen(sale, "HIGH", uses=9, priority=5))
    assert await ledger.redeem(sale, "jwt::ann", code_hash(sale, "HIGH")) == 5
    assert await ledger.redeem(sale, "jwt::ann", code_hash(sale, "LOW1")) == 5
    assert await ledger.redeem(sale, "jwt::bob", code_hash(sale, "LOW1")) == 1
    assert await ledger.redeem(sale, "jwt::bob", code_hash(sale, "HIGH")) == 5
    assert (await used(ledger, low), await used(ledger, high)) == (1, 2)


async def test_a_code_of_another_sale_or_a_revoked_one_is_none(shop: Shop) -> None:
    ledger, sale, other = shop.ledger, await a_sale(shop), await a_sale(shop)
    batch = await ledger.make_codes(sale, chosen(sale, "CODE", uses=9))
    assert await ledger.redeem(other, "jwt::ann", code_hash(other, "CODE")) is None
    assert await ledger.redeem(sale, "jwt::ann", code_hash(sale, "CODE")) == 0
    await ledger.revoke_codes(sale, batch.id)
    assert await ledger.redeem(sale, "jwt::bob", code_hash(sale, "CODE")) is None
    assert await ledger.redeem(sale, "jwt::ann", code_hash(sale, "CODE")) == 0, "stays a guest"
    with pytest.raises(NotFound):
        await ledger.revoke_codes(other, batch.id)


async def test_the_same_request_makes_its_codes_once(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    made = await asyncio.gather(*(ledger.make_codes(sale, codes(sale, 1500)) for _ in range(4)))
    assert len({batch.id for batch in made}) == 1
    assert len(await ledger.codes(made[0].id, limit=5000)) == 1500
    assert len(await ledger.code_batches(sale, limit=10)) == 1


async def test_a_list_is_a_list(shop: Shop) -> None:
    ledger, sale = shop.ledger, await a_sale(shop)
    assert await ledger.add_guests(sale, ["jwt::b", "jwt::a", "jwt::a", "jwt::B"], 0) == 3
    assert await ledger.add_guests(sale, ["jwt::a", "jwt::c"], 4) == 1
    asked = [(sale, "jwt::a"), (sale, "jwt::b"), (sale, "jwt::A"), (sale + 1, "jwt::a")]
    assert await ledger.guest_priorities(asked) == [4, 0, None, None]
    listed = await ledger.guests(sale, limit=2, offset=1)
    assert [guest.buyer for guest in listed] == ["jwt::a", "jwt::b"]
    assert await ledger.remove_guests(sale, ["jwt::a", "jwt::nobody"]) == 1
    assert await ledger.guest_priorities([(sale, "jwt::a")]) == [None]


async def test_a_sale_that_is_not_there_has_no_guests(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.ledger.add_guests(999_999, ["jwt::a"], 0)
    with pytest.raises(NotFound):
        await shop.ledger.make_codes(999_999, codes(999_999, 1))


def test_a_codes_text_follows_from_its_secret_and_reads_well() -> None:
    texts = {code_text(SECRET, 7, SEED, place) for place in range(500)}
    assert len(texts) == 500
    assert all(
        len(text) == 19 and set(text) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ-") for text in texts
    )
    assert code_text(b"o" * 32, 7, SEED, 0) not in texts
    assert code_hash(7, "abc0-1111") == code_hash(7, " ABCO 1IL1 ")
    assert code_hash(7, "ABCD") != code_hash(8, "ABCD")
