"""Endpoints and deliveries on each database: written once, taken by one, in order, replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select
from tests.contract.ledger_shop import Shop

from sluice.domain.errors import Conflict, NotFound
from sluice.domain.webhook import (
    ENDPOINTS_MAX,
    Attempted,
    Claim,
    Cursor,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointChange,
    EndpointState,
    News,
)
from sluice.ledger import deliveries as module
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Answered, Once
from sluice.ledger.webhook_tables import webhook_deliveries

KEEP_MS = 86_400_000
CLAIM_MS = 60_000
HOUR_MS = 3_600_000
SECRET = "whsec_" + "A" * 43 + "="

_S = DeliveryState


async def endpoint(ledger: Ledger, *events: str, url: str = "https://shop.example/") -> Endpoint:
    made = await ledger.add_endpoint(
        url=url, description="", events=events or ("order.*", "sale.*"), secret=SECRET
    )
    assert isinstance(made, Endpoint)
    return made


async def tell(ledger: Ledger, *news: tuple[str, str]) -> int | None:
    """Types and subjects, each an event of its own; how many deliveries that made."""
    before = await ledger.webhook_cursor()
    now_ms = await ledger.now_ms() + 1000  # surely after the endpoint was made
    told = [
        News(before.position + i, kind, subject, now_ms)
        for i, (kind, subject) in enumerate(news, start=1)
    ]
    return await ledger.fan_out(before, Cursor(before.position + len(told), 0), told, KEEP_MS)


async def take(ledger: Ledger, which: Endpoint, limit: int = 100) -> Claim:
    return await ledger.claim_deliveries(which.id, limit, CLAIM_MS)


def types(found: Claim | Sequence[Delivery]) -> list[str]:
    deliveries = found.deliveries if isinstance(found, Claim) else found
    return [f"{each.type} {each.subject}" for each in deliveries]


def result(
    claim: Claim,
    delivery: Delivery,
    *,
    delivered: bool = True,
    status: int | None = 204,
    retry_in_ms: int | None = None,
    version: int = 1,
) -> Attempted:
    return Attempted(
        delivery=delivery,
        claim=claim.token,
        endpoint_version=version,
        delivered=delivered,
        status=status,
        error=None,
        retry_in_ms=retry_in_ms,
        gone=status == 410,
    )


async def deliver(ledger: Ledger, claim: Claim) -> None:
    await ledger.settle_deliveries([result(claim, each) for each in claim.deliveries])


async def fail(ledger: Ledger, claim: Claim, retry_in_ms: int | None, status: int = 500) -> None:
    await ledger.settle_deliveries(
        [
            result(claim, each, delivered=False, status=status, retry_in_ms=retry_in_ms)
            for each in claim.deliveries
        ]
    )


# --- endpoints ------------------------------------------------------------------------------------


async def test_an_endpoint_is_kept_as_it_was_given(ledger: Ledger) -> None:
    made = await endpoint(ledger, "order.paid")
    assert (made.state, made.version, made.secret) == (EndpointState.ACTIVE, 1, SECRET)
    assert await ledger.endpoints() == [made] == [await ledger.endpoint(made.id)]
    with pytest.raises(NotFound):
        await ledger.endpoint(made.id + 1)


async def test_an_endpoint_is_made_once_per_key(ledger: Ledger) -> None:
    once: Once[Endpoint] = Once("key", b"body", lambda made: str(made.id).encode())
    values = {"url": "https://x/", "description": "", "events": ("sale.*",), "secret": SECRET}
    made = await ledger.add_endpoint(**values, once=once)  # type: ignore[arg-type]
    again = await ledger.add_endpoint(**values, once=once)  # type: ignore[arg-type]
    assert isinstance(made, Endpoint)
    assert again == Answered(201, str(made.id).encode())
    assert len(await ledger.endpoints()) == 1


async def test_there_are_only_so_many_endpoints(ledger: Ledger) -> None:
    made = [await endpoint(ledger) for _ in range(ENDPOINTS_MAX)]
    with pytest.raises(Conflict):
        await endpoint(ledger)
    await ledger.delete_endpoint(made[0].id)
    await endpoint(ledger)


async def test_what_a_change_names_is_changed_and_counted(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    same = await ledger.change_endpoint(made.id, EndpointChange(url=made.url))
    assert same == made
    changed = await ledger.change_endpoint(
        made.id, EndpointChange(url="https://other/", events=("sale.closed",))
    )
    assert (changed.url, changed.events, changed.version) == (
        "https://other/",
        ("sale.closed",),
        2,
    )
    off = await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.OFF))
    assert (off.state, bool(off.off_reason)) == (EndpointState.OFF, True)
    on = await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.ACTIVE))
    assert (on.state, on.off_reason) == (EndpointState.ACTIVE, None)
    assert on.active_since_ms >= made.active_since_ms


async def test_two_secrets_sign_for_a_while_and_then_one(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    rotated = await ledger.rotate_secret(made.id, "whsec_new", HOUR_MS)
    assert isinstance(rotated, Endpoint)
    now_ms = await ledger.now_ms()
    assert rotated.secrets_at(now_ms) == ["whsec_new", SECRET]
    assert rotated.secrets_at(now_ms + HOUR_MS) == ["whsec_new"]
    at_once = await ledger.rotate_secret(made.id, "whsec_newer", 0)
    assert isinstance(at_once, Endpoint)
    assert at_once.secrets_at(now_ms) == ["whsec_newer"]


async def test_a_deleted_endpoint_is_gone_and_its_secret_with_it(
    ledger: Ledger, shop: Shop
) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("sale.paused", "sale:1"))
    await ledger.delete_endpoint(made.id)
    assert await ledger.endpoints() == []
    assert await shop.rows("SELECT secret FROM webhook_endpoints") in ([("",)], [(b"",)])
    for refused in (
        ledger.delete_endpoint(made.id),
        ledger.change_endpoint(made.id, EndpointChange(description="x")),
        ledger.add_test(made.id, KEEP_MS),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await ledger.waiting_endpoints() == ([], set())
    while await ledger.clear_deliveries(100):
        pass
    assert await shop.count("webhook_deliveries") == await shop.count("webhook_endpoints") == 0


# --- from the outbox ------------------------------------------------------------------------------


async def test_news_becomes_a_delivery_for_each_endpoint_that_wants_it(ledger: Ledger) -> None:
    orders = await endpoint(ledger, "order.*")
    paid = await endpoint(ledger, "order.paid", "sale.closed")
    off = await endpoint(ledger)
    await ledger.change_endpoint(off.id, EndpointChange(state=EndpointState.OFF))
    told = await tell(
        ledger, ("order.paid", "order:1"), ("order.expired", "order:2"), ("sale.closed", "sale:7")
    )
    assert told == 4
    assert types(await take(ledger, orders)) == ["order.paid order:1", "order.expired order:2"]
    assert types(await take(ledger, paid)) == ["order.paid order:1", "sale.closed sale:7"]
    assert types(await take(ledger, off)) == []


async def test_an_endpoint_is_not_told_of_what_was_before_it(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    old = News(1, "order.paid", "order:1", made.active_since_ms - 1)
    new = News(1, "order.paid", "order:2", made.active_since_ms)
    assert await ledger.fan_out(Cursor(0, 0), Cursor(1, 0), [old, new], KEEP_MS) == 1


async def test_the_outbox_is_fanned_out_once_whoever_comes(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    news = [News(5, "order.paid", f"order:{n}", made.active_since_ms) for n in range(50)]
    written = await asyncio.gather(
        *(ledger.fan_out(Cursor(0, 0), Cursor(5, 0), news, KEEP_MS) for _ in range(4))
    )
    assert sorted(written, key=str) == [50, None, None, None]
    assert await ledger.webhook_cursor() == Cursor(5, 0)
    assert len((await take(ledger, made)).deliveries) == 50


async def test_the_same_message_cannot_be_there_twice(ledger: Ledger) -> None:
    """The guard behind the cursor."""
    made = await endpoint(ledger)
    news = [News(1, "order.paid", "order:1", made.active_since_ms)]
    await ledger.fan_out(Cursor(0, 0), Cursor(1, 0), news, KEEP_MS)
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await ledger.fan_out(Cursor(1, 0), Cursor(2, 0), news, KEEP_MS)
    assert await ledger.webhook_cursor() == Cursor(1, 0)


# --- taking ---------------------------------------------------------------------------------------


async def test_what_one_has_taken_nobody_else_takes(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, *[("order.paid", f"order:{n}") for n in range(40)])
    claims = await asyncio.gather(*(take(ledger, made, 10) for _ in range(6)))
    taken = [each.id for claim in claims for each in claim.deliveries]
    assert len(taken) == len(set(taken))
    while (more := await take(ledger, made)).deliveries:
        taken += [each.id for each in more.deliveries]
    assert len(taken) == len(set(taken)) == 40


async def test_what_a_sender_left_behind_is_taken_by_another(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.paid", "order:1"))
    left = await ledger.claim_deliveries(made.id, 1, 0)
    again = await take(ledger, made)
    assert types(again) == types(left) == ["order.paid order:1"]
    await fail(ledger, left, None)  # too late: it is somebody else's
    await deliver(ledger, again)
    [shown] = await ledger.deliveries(10)
    assert (shown.state, shown.status, shown.attempts) == (_S.DELIVERED, 204, 1)


async def test_what_is_given_back_is_anybodys_at_once(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.paid", "order:1"))
    claim = await take(ledger, made)
    assert types(await take(ledger, made)) == []
    await ledger.unclaim_deliveries(claim.token, [each.id for each in claim.deliveries])
    assert types(await take(ledger, made)) == ["order.paid order:1"]


async def test_a_subject_is_told_one_thing_after_the_other(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(
        ledger,
        ("order.awaiting_payment", "order:1"),
        ("order.paid", "order:1"),
        ("order.awaiting_payment", "order:2"),
    )
    first = await take(ledger, made)
    assert types(first) == ["order.awaiting_payment order:1", "order.awaiting_payment order:2"]
    assert types(await take(ledger, made)) == []
    await deliver(ledger, first)
    assert types(await take(ledger, made)) == ["order.paid order:1"]


async def test_two_endpoints_do_not_wait_for_each_other(ledger: Ledger) -> None:
    slow, quick = await endpoint(ledger), await endpoint(ledger)
    await tell(ledger, ("order.awaiting_payment", "order:1"), ("order.paid", "order:1"))
    await take(ledger, slow)
    await deliver(ledger, await take(ledger, quick))
    assert types(await take(ledger, quick)) == ["order.paid order:1"]
    assert types(await take(ledger, slow)) == []


async def test_what_failed_holds_back_what_comes_after_it(ledger: Ledger, shop: Shop) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.awaiting_payment", "order:1"), ("order.paid", "order:1"))
    await fail(ledger, await take(ledger, made), HOUR_MS)
    await tell(ledger, ("order.refunding", "order:1"))
    # None is due before the head is, so that nobody has to look past them.
    [(due,)] = await shop.rows("SELECT DISTINCT due_at_ms FROM webhook_deliveries")
    assert due > await ledger.now_ms()
    assert await ledger.waiting_endpoints() == ([await ledger.endpoint(made.id)], set())
    await ledger.replay_delivery((await ledger.deliveries(10))[-1].id, KEEP_MS)
    for kind in ("awaiting_payment", "paid", "refunding"):
        claim = await take(ledger, made)
        assert types(claim) == [f"order.{kind} order:1"]
        await deliver(ledger, claim)


async def test_what_is_given_up_holds_back_nothing(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.awaiting_payment", "order:1"), ("order.paid", "order:1"))
    await fail(ledger, await take(ledger, made), HOUR_MS)
    head = (await ledger.deliveries(10))[-1]
    await ledger.replay_delivery(head.id, KEEP_MS)
    await fail(ledger, await take(ledger, made), None)
    assert types(await take(ledger, made)) == ["order.paid order:1"]
    [_, over] = await ledger.deliveries(10)
    assert (over.state, over.due_at_ms, over.status) == (_S.FAILED, None, 500)


async def test_planted_bug_without_the_order_two_of_a_subject_are_taken_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = module._heads

    def unordered(endpoint_id: int, now_ms: int, limit: int) -> Any:
        statement = whole(endpoint_id, now_ms, limit)
        conditions = list(statement.whereclause.clauses)[:-1]
        return select(webhook_deliveries.c.id).where(*conditions).limit(limit)

    monkeypatch.setattr(module, "_heads", unordered)
    made = await endpoint(ledger)
    await tell(ledger, ("order.awaiting_payment", "order:1"), ("order.paid", "order:1"))
    assert len((await take(ledger, made)).deliveries) == 2


# --- what came of them ----------------------------------------------------------------------------


async def test_an_endpoint_shows_its_health(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, *[("order.paid", f"order:{n}") for n in range(3)])
    claim = await take(ledger, made)
    await ledger.settle_deliveries(
        [result(claim, d, delivered=False, retry_in_ms=0) for d in claim.deliveries]
    )
    failing = await ledger.endpoint(made.id)
    assert (failing.delivered, failing.failed) == (0, 3)
    assert failing.failing_since_ms is not None
    await deliver(ledger, await take(ledger, made))
    well = await ledger.endpoint(made.id)
    assert (well.delivered, well.failed, well.failing_since_ms) == (3, 3, None)


async def test_410_switches_the_endpoint_off(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.paid", "order:1"), ("order.paid", "order:2"))
    await fail(ledger, await take(ledger, made, 1), None, status=410)
    off = await ledger.endpoint(made.id)
    assert (off.state, off.off_reason) == (EndpointState.OFF, "it answered 410 Gone")
    assert await tell(ledger, ("order.paid", "order:3")) == 0
    assert await ledger.waiting_endpoints() == ([], set())
    await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.ACTIVE))
    assert types(await take(ledger, made)) == ["order.paid order:2"]


async def test_410_of_the_address_before_does_not_count(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.paid", "order:1"))
    claim = await take(ledger, made)
    await ledger.change_endpoint(made.id, EndpointChange(url="https://moved.example/"))
    await fail(ledger, claim, None, status=410)
    assert (await ledger.endpoint(made.id)).state is EndpointState.ACTIVE


# --- the log --------------------------------------------------------------------------------------


async def test_the_log_is_paged_and_narrowed_down(ledger: Ledger) -> None:
    one, other = await endpoint(ledger), await endpoint(ledger, "sale.*")
    await tell(
        ledger, ("order.paid", "order:1"), ("sale.closed", "sale:1"), ("order.paid", "order:2")
    )
    await deliver(ledger, await take(ledger, other))
    everything = await ledger.deliveries(10)
    assert [each.id for each in everything] == sorted((e.id for e in everything), reverse=True)
    page = await ledger.deliveries(2)
    rest = await ledger.deliveries(10, before_id=page[-1].id)
    assert page + rest == everything
    assert len(await ledger.deliveries(10, endpoint_id=one.id)) == 3
    assert types(await ledger.deliveries(10, state=_S.DELIVERED)) == ["sale.closed sale:1"]
    assert types(await ledger.deliveries(10, subject="order:2")) == ["order.paid order:2"]


async def test_a_delivery_can_be_sent_again_in_its_place(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.awaiting_payment", "order:1"), ("order.paid", "order:1"))
    first = await take(ledger, made)
    await deliver(ledger, first)
    replayed = await ledger.replay_delivery(first.deliveries[0].id, KEEP_MS)
    assert isinstance(replayed, Delivery)
    assert (replayed.state, replayed.attempts) == (_S.PENDING, 0)
    assert replayed.uid == first.deliveries[0].uid
    assert types(await take(ledger, made)) == ["order.awaiting_payment order:1"]


async def test_what_is_being_sent_is_not_taken_from_its_sender(ledger: Ledger) -> None:
    made = await endpoint(ledger)
    await tell(ledger, ("order.paid", "order:1"))
    claim = await take(ledger, made)
    await ledger.replay_delivery(claim.deliveries[0].id, KEEP_MS)
    assert types(await take(ledger, made)) == []
    await deliver(ledger, claim)
    assert (await ledger.deliveries(1))[0].state is _S.DELIVERED


async def test_all_that_failed_since_a_time_can_be_sent_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.ledger.delivery_log.REPLAY_CHUNK", 2)
    made = await endpoint(ledger)
    now_ms = await ledger.now_ms() + 1000
    news = [News(1, "order.paid", f"order:{n}", now_ms + n) for n in range(6)]
    await ledger.fan_out(Cursor(0, 0), Cursor(1, 0), news, KEEP_MS)
    await fail(ledger, await take(ledger, made), None)
    assert await ledger.replay_failed(made.id, now_ms + 1, KEEP_MS) == 5
    assert await ledger.replay_failed(made.id, now_ms + 1, KEEP_MS) == 0
    assert len((await take(ledger, made)).deliveries) == 5
    await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.OFF))
    with pytest.raises(Conflict):
        await ledger.replay_failed(made.id, 0, KEEP_MS)
    with pytest.raises(Conflict):
        await ledger.replay_delivery((await ledger.deliveries(1))[0].id, KEEP_MS)
    with pytest.raises(NotFound):
        await ledger.replay_failed(made.id + 1, 0, KEEP_MS)
    with pytest.raises(NotFound):
        await ledger.replay_delivery(10**9, KEEP_MS)


async def test_a_test_message_is_a_delivery_like_others(ledger: Ledger) -> None:
    made = await endpoint(ledger, "sale.closed")
    for _ in range(2):
        await ledger.add_test(made.id, KEEP_MS)
    taken = (await take(ledger, made)).deliveries
    assert [delivery.type for delivery in taken] == ["webhook.test"] * 2
    await ledger.change_endpoint(made.id, EndpointChange(state=EndpointState.OFF))
    with pytest.raises(Conflict):
        await ledger.add_test(made.id, KEEP_MS)


async def test_what_nobody_could_try_is_given_up_in_the_end(ledger: Ledger, shop: Shop) -> None:
    made = await endpoint(ledger)
    await tell(ledger, *[("order.paid", f"order:{n}") for n in range(3)])
    assert await ledger.give_up_deliveries(0, 100) == 0
    await shop.execute("UPDATE webhook_deliveries SET give_up_at_ms = 1 WHERE subject <> 'order:0'")
    assert await ledger.give_up_deliveries(0, 2) == 1  # of the two oldest
    assert await ledger.give_up_deliveries(0, 100) == 1
    assert types(await ledger.deliveries(10, state=_S.PENDING)) == ["order.paid order:0"]
    assert types(await take(ledger, made)) == ["order.paid order:0"]


async def test_what_is_over_for_long_is_forgotten_some_at_a_time(
    ledger: Ledger, shop: Shop
) -> None:
    made = await endpoint(ledger)
    await tell(ledger, *[("order.paid", f"order:{n}") for n in range(4)])
    await deliver(ledger, await take(ledger, made, 2))
    await fail(ledger, await take(ledger, made, 1), None)
    assert await ledger.clear_deliveries(10) == 0
    await shop.execute("UPDATE webhook_deliveries SET created_at_ms = 1")
    assert await ledger.clear_deliveries(10) == 0  # it was only just tried
    await shop.execute("UPDATE webhook_deliveries SET attempted_at_ms = 1 WHERE attempts > 0")
    assert await ledger.clear_deliveries(1) == 2  # one delivered, one failed
    assert await ledger.clear_deliveries(10) == 1
    assert [each.state for each in await ledger.deliveries(10)] == [_S.PENDING]


async def test_the_facts_are_counted(ledger: Ledger) -> None:
    nothing = await ledger.webhook_facts()
    assert (nothing.endpoints, nothing.pending, nothing.oldest_pending_ms) == ((), 0, None)
    made = await endpoint(ledger)
    await tell(ledger, *[("order.paid", f"order:{n}") for n in range(3)])
    await deliver(ledger, await take(ledger, made, 1))
    await fail(ledger, await take(ledger, made, 1), None)
    facts = await ledger.webhook_facts()
    assert facts.endpoints == ((made.id, 1, 1, "active"),)
    assert (facts.pending, facts.failed) == (1, 1)
    assert facts.oldest_pending_ms is not None
