"""What the console asks of every database: keys, incidents, dead letters, and finding orders."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.ledger_shop import Shop, released, unit

from sluice.domain.api_key import KEYS_MAX, ApiKey, Scope
from sluice.domain.errors import Conflict, NotFound
from sluice.domain.incident import IncidentKind
from sluice.domain.order import OrderState
from sluice.domain.webhook import FAMILIES, Endpoint, EndpointChange, EndpointState
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import LetterState

FAR_MS = 4_000_000_000_000
UNKNOWN_ITEM = 2**40


async def a_key(ledger: Ledger, digest: bytes, expires_at_ms: int | None = None) -> ApiKey:
    made = await ledger.add_api_key(
        name="warehouse",
        scope=Scope.READ,
        digest=digest.ljust(32, b"."),
        tail="wxyz",
        created_by="acct:1",
        expires_at_ms=expires_at_ms,
    )
    assert isinstance(made, ApiKey)
    return made


async def test_a_key_is_found_by_its_digest_alone_and_no_more_once_revoked(shop: Shop) -> None:
    ledger = shop.ledger
    made = await a_key(ledger, b"one", FAR_MS)
    found = await ledger.api_key_of(b"one".ljust(32, b"."))
    assert found == made
    assert found.counts(FAR_MS - 1)
    assert not found.counts(FAR_MS)
    assert await ledger.api_key_of(b"two".ljust(32, b".")) is None

    await ledger.revoke_api_key(made.id)
    await ledger.revoke_api_key(made.id)

    found = await ledger.api_key_of(b"one".ljust(32, b"."))
    assert found is not None
    assert not found.counts(0)
    with pytest.raises(NotFound):
        await ledger.revoke_api_key(made.id + 1)


async def test_keys_are_listed_newest_first_and_their_last_use_with_them(shop: Shop) -> None:
    ledger = shop.ledger
    keys = [await a_key(ledger, name) for name in (b"a", b"b", b"c")]
    assert keys[1].used_at_ms is None
    await ledger.api_key_used(keys[1].id)
    await ledger.api_key_used(keys[1].id)
    listed = await ledger.api_keys(limit=2)
    assert [key.id for key in listed] == [keys[2].id, keys[1].id]
    assert listed[1].used_at_ms is not None
    rest = await ledger.api_keys(limit=2, before_id=listed[-1].id)
    assert [key.id for key in rest] == [keys[0].id]


async def test_there_are_not_more_keys_than_somebody_can_look_after(shop: Shop) -> None:
    ledger = shop.ledger
    keys = [await a_key(ledger, str(n).encode()) for n in range(KEYS_MAX - 1)]
    await a_key(ledger, b"over", expires_at_ms=1)
    await a_key(ledger, b"last")
    with pytest.raises(Conflict):
        await a_key(ledger, b"one too many")
    await ledger.revoke_api_key(keys[0].id)
    await a_key(ledger, b"one too many")


async def test_orders_are_found_by_their_buyer_among_those_of_others(shop: Shop) -> None:
    first, second = await shop.item(), await shop.item()
    mine = [shop.accepted(first, "acct:1"), shop.accepted(second, "acct:1")]
    gone = shop.accepted(UNKNOWN_ITEM, "acct:1")
    await shop.record(*mine, gone, shop.accepted(first, "acct:2"), shop.accepted(first, "ACCT:1"))

    async def found(**narrowed: object) -> list[int]:
        listed = await shop.ledger.list_orders(buyer="acct:1", limit=10, **narrowed)  # type: ignore[arg-type]
        return [order.number for order in listed]

    numbers = sorted([order.number for order in (*mine, gone)], reverse=True)
    assert await found() == numbers
    assert await found(sale_id=first.sale_id) == [mine[0].number]
    assert await found(state=OrderState.REJECTED) == [gone.number]
    assert await found(state=OrderState.PAID) == []
    assert await found(before_number=numbers[0]) == numbers[1:]


async def test_a_retried_dead_letter_gives_its_units_back_once(shop: Shop) -> None:
    ledger, item = shop.ledger, await shop.item()
    lost = shop.accepted(item, "acct:1", slots=0b1000_0000)
    await shop.record(lost)
    [letter] = await ledger.dead_letters(10)
    assert letter.state is LetterState.RETURNING
    # As if the decision itself had been lost with an older version's row.
    await shop.execute("DELETE FROM releases")
    [letter] = await ledger.dead_letters(10)
    assert letter.state is LetterState.STUCK

    retried = await asyncio.gather(*(ledger.retry_dead_letter(letter.id) for _ in range(4)))

    assert {each.state for each in retried} == {LetterState.RETURNING}
    [release] = await ledger.pending_releases(0, 10)
    assert (release.number, release.buyer, release.quantity) == (lost.number, "acct:1", 1)
    assert release.limit_group == item.limit_group
    await shop.record(released(lost))
    done = await ledger.retry_dead_letter(letter.id)
    assert (done.state, await ledger.pending_releases(0, 10)) == (LetterState.RETURNED, [])
    assert done.returned_at_ms is not None
    assert await shop.broken() == set()
    with pytest.raises(NotFound):
        await ledger.retry_dead_letter(letter.id + 1)


async def test_a_retry_never_takes_the_units_of_the_order_that_has_the_number(shop: Shop) -> None:
    item = await shop.item()
    [sold] = await shop.sell(item, 1)
    twin = shop.accepted(item, "acct:9")._replace(number=sold.number)
    await shop.record(twin)
    [letter] = await shop.ledger.dead_letters(10)
    again = await shop.ledger.retry_dead_letter(letter.id)
    assert again.state is LetterState.KEPT
    assert await shop.ledger.pending_releases(0, 10) == []


async def test_incidents_are_told_until_they_are_over_and_say_who_saw_them(shop: Shop) -> None:
    ledger = shop.ledger
    assert await ledger.told_incidents() == []
    lost = shop.accepted(UNKNOWN_ITEM, "acct:1")
    await shop.record(lost, shop.accepted(await shop.item()))
    endpoint = await ledger.add_endpoint(url="u", description="", events=FAMILIES, secret="s")
    assert isinstance(endpoint, Endpoint)
    await shop.execute("UPDATE webhook_endpoints SET state = 'off', off_reason = 'it answered 410'")

    told = {each.kind: each for each in await ledger.told_incidents()}
    assert told.keys() == {IncidentKind.DEAD_LETTER, IncidentKind.WEBHOOK_OFF}
    letter = told[IncidentKind.DEAD_LETTER]
    assert (letter.subject, letter.until_ms) == (f"order:{lost.number}", None)

    seen = await asyncio.gather(
        *(ledger.see_incident(letter.key, f"acct:{n}", "on it") for n in (1, 2))
    )
    by = {each.seen and each.seen.by for each in seen}
    assert len(by) == 1
    with pytest.raises(NotFound):
        await ledger.see_incident("dead_letter-999", "acct:1", "")

    await shop.record(released(lost))
    await ledger.change_endpoint(endpoint.id, EndpointChange(state=EndpointState.ACTIVE))
    [left] = await ledger.told_incidents()
    assert left.until_ms is not None
    assert left.seen is not None
    assert (left.seen.by, left.seen.note) == (by.pop(), "on it")


async def test_an_endpoint_that_its_merchant_switched_off_is_no_incident(shop: Shop) -> None:
    made = await shop.ledger.add_endpoint(url="u", description="", events=FAMILIES, secret="s")
    assert isinstance(made, Endpoint)
    await shop.ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.OFF))
    assert await shop.ledger.told_incidents() == []


async def test_a_refund_that_its_provider_refused_is_an_incident_until_it_is_retried(
    shop: Shop,
) -> None:
    item = await shop.item(unit(5))
    [order] = await shop.sell(item, 1)
    await shop.pay(order)
    await shop.ledger.request_refund(order.number, None, True, "cracked")
    [owed] = await shop.ledger.open_money(10)
    await shop.ledger.refund_failed(owed.refund.id, "The card was closed.", None)
    [told] = await shop.ledger.told_incidents()
    assert (told.kind, told.detail) == (IncidentKind.REFUND_FAILED, "The card was closed.")
    await shop.ledger.retry_refund(owed.refund.id)
    assert await shop.ledger.told_incidents() == []
