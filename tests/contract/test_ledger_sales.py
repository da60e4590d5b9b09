"""Sales: created once, published, paused, resumed and closed by compare-and-set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.contract.ledger_shop import HOUR_MS, Shop, unit

from sluice.domain.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from sluice.domain.money import Money
from sluice.domain.sale import (
    Challenge,
    ItemChange,
    Limits,
    Policy,
    Sale,
    SaleState,
    SaleStatus,
    WaitingRoom,
)
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Answered, Once

# --- creating -----------------------------------------------------------------------------------


async def test_a_sale_is_created_as_a_draft_just_as_it_was_written(shop: Shop) -> None:
    policy = Policy(
        challenge=Challenge.SLIDER,
        payment_window_seconds=600,
        waitlist_until_ms=shop.now_ms,
        limits=Limits(per_buyer_per_minute=3),
        waiting_room=WaitingRoom(enabled=True, admit_per_second=12.5),
    )
    new = shop.new_sale(
        unit(5, price=0), unit(7, per_buyer=3, group="尺码 'S' \U0001f456"), policy=policy
    )

    sale = await shop.ledger.create_sale(new, shards=1)

    assert isinstance(sale, Sale)
    assert sale == (await shop.ledger.sales([sale.id]))[sale.id]
    assert (sale.status, sale.publication, sale.policy) == (SaleStatus.DRAFT, 0, policy)
    assert (sale.title, sale.starts_at_ms, sale.ends_at_ms) == (
        new.title,
        new.starts_at_ms,
        new.ends_at_ms,
    )
    free, variant = sale.items
    assert (free.stock, free.available, free.price) == (5, 5, Money(0, "CNY"))
    assert (variant.per_buyer, variant.limit_group_label) == (3, "尺码 'S' \U0001f456")
    assert await shop.broken() == set()


async def test_items_with_the_same_label_share_a_limit_group_and_a_shard(shop: Shop) -> None:
    new = shop.new_sale(unit(group="a"), unit(), unit(group="a"), unit(group="b"), unit())
    sale = await shop.ledger.create_sale(new, shards=4)
    assert isinstance(sale, Sale)
    one, two, three, four, five = sale.items
    assert (one.limit_group, three.limit_group) == (one.id, one.id)
    assert one.shard == three.shard
    assert [item.limit_group for item in (two, four, five)] == [two.id, four.id, five.id]
    assert {one.shard, two.shard, four.shard, five.shard} == {0, 1, 2, 3}


async def test_the_same_key_gives_the_first_answer(shop: Shop) -> None:
    once: Once[Sale] = Once("admin:create:1", b"body", lambda sale: f"sale {sale.id}".encode())

    made = await shop.ledger.create_sale(shop.new_sale(), shards=1, once=once)
    again = await shop.ledger.create_sale(shop.new_sale(), shards=1, once=once)

    assert isinstance(made, Sale)
    assert again == Answered(201, f"sale {made.id}".encode())
    assert await shop.count("sales") == 1


async def test_the_same_key_with_another_body_is_refused(shop: Shop) -> None:
    await shop.ledger.create_sale(shop.new_sale(), shards=1, once=Once("key", b"one", _nothing))
    with pytest.raises(IdempotencyMismatch):
        await shop.ledger.create_sale(shop.new_sale(), shards=1, once=Once("key", b"2", _nothing))
    assert await shop.count("sales") == 1


async def test_the_same_key_in_parallel_makes_one_sale(shop: Shop) -> None:
    once: Once[Sale] = Once("key", b"body", lambda sale: str(sale.id).encode())
    answers = await asyncio.gather(
        *(shop.ledger.create_sale(shop.new_sale(), shards=1, once=once) for _ in range(6))
    )
    made = [answer for answer in answers if isinstance(answer, Sale)]
    assert len(made) == 1
    assert {a.body for a in answers if isinstance(a, Answered)} == {str(made[0].id).encode()}
    assert await shop.count("sales") == 1


async def test_keys_differ_by_case_and_by_trailing_spaces(shop: Shop) -> None:
    for key in ("key", "KEY", "key "):
        await shop.ledger.create_sale(shop.new_sale(), shards=1, once=Once(key, b"", _nothing))
    assert await shop.count("sales") == 3


async def test_an_answer_whose_rendering_fails_leaves_no_sale(shop: Shop) -> None:
    def fails(_sale: Sale) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await shop.ledger.create_sale(shop.new_sale(), shards=1, once=Once("key", b"", fails))
    assert await shop.count("sales") == 0


async def test_old_answers_can_be_forgotten(shop: Shop) -> None:
    await shop.ledger.create_sale(shop.new_sale(), shards=1, once=Once("key", b"one", _nothing))
    assert await shop.ledger.forget_answers(shop.now_ms - HOUR_MS) == 0
    assert await shop.ledger.forget_answers(shop.now_ms + HOUR_MS) == 1


# --- life ---------------------------------------------------------------------------------------

Command = Callable[[Ledger, int], Awaitable[Sale]]
COMMANDS: dict[str, Command] = {
    "publish": lambda ledger, sale: ledger.publish(sale),
    "pause": lambda ledger, sale: ledger.pause(sale, "a fault"),
    "resume": lambda ledger, sale: ledger.resume(sale),
    "close": lambda ledger, sale: ledger.close_sale(sale),
}
ALLOWED = {
    ("draft", "publish"): "published",
    ("published", "publish"): "published",
    ("published", "pause"): "paused",
    ("published", "resume"): "published",
    ("published", "close"): "closed",
    ("paused", "pause"): "paused",
    ("paused", "resume"): "published",
    ("paused", "close"): "closed",
    ("closed", "close"): "closed",
}
WAYS: dict[str, list[str]] = {
    "draft": [],
    "published": ["publish"],
    "paused": ["publish", "pause"],
    "closed": ["publish", "close"],
}


@pytest.mark.parametrize("state", WAYS)
async def test_commands_do_what_the_state_allows_and_else_nothing(shop: Shop, state: str) -> None:
    for name, command in COMMANDS.items():
        sale = await shop.draft()
        for step in WAYS[state]:
            sale = await COMMANDS[step](shop.ledger, sale.id)
        after = ALLOWED.get((state, name))
        if after is None:
            with pytest.raises(Conflict):
                await command(shop.ledger, sale.id)
            assert (await shop.ledger.sales([sale.id]))[sale.id] == sale
        else:
            assert (await command(shop.ledger, sale.id)).status == after


async def test_publishing_counts_the_publication_once(shop: Shop) -> None:
    sale = await shop.draft()
    published = await asyncio.gather(*(shop.ledger.publish(sale.id) for _ in range(4)))
    assert {each.publication for each in published} == {1}
    await shop.ledger.pause(sale.id, "lunch")
    assert (await shop.ledger.resume(sale.id)).publication == 1


async def test_a_pause_says_why_until_it_is_over(shop: Shop) -> None:
    sale = await shop.sale()
    assert (await shop.ledger.pause(sale.id, "lunch")).pause_reason == "lunch"
    with pytest.raises(Conflict):
        await shop.ledger.pause(sale.id, "dinner")
    assert (await shop.ledger.resume(sale.id)).pause_reason is None


async def test_a_sale_that_is_over_cannot_be_published_or_paused(shop: Shop) -> None:
    draft = await shop.draft(starts_in_ms=-9 * HOUR_MS)
    with pytest.raises(Conflict):
        await shop.ledger.publish(draft.id)
    sale = await shop.sale()
    await shop.ledger.update_sale(sale.id, ends_at_ms=shop.now_ms - 1)
    with pytest.raises(Conflict):
        await shop.ledger.pause(sale.id, "too late")
    assert (await shop.ledger.close_sale(sale.id)).status is SaleStatus.CLOSED


async def test_a_sale_that_is_not_there_is_not_found(shop: Shop) -> None:
    for command in COMMANDS.values():
        with pytest.raises(NotFound):
            await command(shop.ledger, 999_999)


# --- changing -----------------------------------------------------------------------------------


async def test_everything_of_a_draft_can_be_changed(shop: Shop) -> None:
    draft = await shop.draft(unit(group="a"), unit(group="a"))
    changed = await shop.ledger.update_sale(
        draft.id,
        title="New",
        starts_at_ms=draft.starts_at_ms - 1,
        ends_at_ms=draft.ends_at_ms + 1,
        policy=Policy(waitlist=False),
        item_changes=[
            ItemChange(item_id=draft.items[0].id, title="T", price=Money(5, "EUR"), per_buyer=3)
        ],
    )
    assert (changed.title, changed.policy.waitlist, changed.publication) == ("New", False, 0)
    assert changed.items[0].title == "T"
    assert changed.items[0].price == Money(5, "EUR")
    assert [item.per_buyer for item in changed.items] == [3, 3], "the limit is the group's"
    assert changed.items[1].price == draft.items[1].price


async def test_whoever_changes_a_policy_undoes_nothing_that_others_changed_meanwhile(
    shop: Shop,
) -> None:
    room = WaitingRoom(enabled=True, factor=2.0)
    was = Policy(waiting_room=room)
    sale = await shop.ledger.create_sale(shop.new_sale(unit(5), policy=was), shards=1)
    assert isinstance(sale, Sale)
    paced = replace(was, waiting_room=replace(room, admit_per_second=5.0))
    narrowed = Policy(
        waitlist=False, limits=Limits(per_buyer_per_minute=3), waiting_room=replace(room, factor=1)
    )
    for wanted in (paced, narrowed):
        await shop.ledger.update_sale(sale.id, policy=wanted, policy_was=was)
    kept = (await shop.ledger.sales([sale.id]))[sale.id].policy
    assert kept == replace(
        narrowed, waiting_room=WaitingRoom(enabled=True, factor=1, admit_per_second=5.0)
    )


async def test_times_of_a_policy_that_belong_together_stay_together(shop: Shop) -> None:
    was = Policy(payment_window_seconds=900, payment_reminder_seconds=450)
    sale = await shop.ledger.create_sale(shop.new_sale(unit(5), policy=was), shards=1)
    assert isinstance(sale, Sale)
    for wanted in (
        replace(was, payment_reminder_seconds=800),
        replace(was, payment_window_seconds=600),
    ):
        await shop.ledger.update_sale(sale.id, policy=wanted, policy_was=was)
    kept = (await shop.ledger.sales([sale.id]))[sale.id].policy
    assert (kept.payment_window_seconds, kept.payment_reminder_seconds) == (600, 450)


async def test_price_limit_and_start_of_a_live_sale_are_fixed(shop: Shop) -> None:
    sale = await shop.sale()
    item = sale.items[0].id
    for change in (
        ItemChange(item_id=item, price=Money(1, "CNY")),
        ItemChange(item_id=item, per_buyer=9),
    ):
        with pytest.raises(Conflict):
            await shop.ledger.update_sale(sale.id, item_changes=[change])
    with pytest.raises(Conflict):
        await shop.ledger.update_sale(sale.id, starts_at_ms=shop.now_ms + HOUR_MS)
    assert (await shop.ledger.sales([sale.id]))[sale.id] == sale


async def test_title_policy_and_end_of_a_live_sale_may_change(shop: Shop) -> None:
    sale = await shop.sale()
    changed = await shop.ledger.update_sale(
        sale.id,
        title="New",
        ends_at_ms=sale.ends_at_ms + HOUR_MS,
        policy=Policy(payment_window_seconds=60),
        starts_at_ms=sale.starts_at_ms,
    )
    assert (changed.title, changed.ends_at_ms) == ("New", sale.ends_at_ms + HOUR_MS)
    assert changed.publication == sale.publication
    order = shop.accepted(changed.items[0])
    await shop.record(order)
    pay_by_ms = (await shop.ledger.orders([order.number]))[order.number].pay_by_ms
    assert pay_by_ms is not None
    assert pay_by_ms < shop.now_ms + 900_000, "the new payment window counts"


async def test_new_terms_of_a_scheduled_sale_are_a_new_publication_to_be_loaded(
    shop: Shop,
) -> None:
    sale = await shop.sale(starts_in_ms=HOUR_MS)
    item = sale.items[0]
    await shop.ledger.mark_loaded(item.id, 1, 0)

    same = await shop.ledger.update_sale(sale.id, title="New")
    assert (same.publication, same.items[0].loaded_epoch) == (1, 1)

    changed = await shop.ledger.update_sale(sale.id, starts_at_ms=sale.starts_at_ms + 1)
    assert (changed.publication, changed.items[0].loaded_epoch) == (2, None)


async def test_terms_are_fixed_a_moment_before_the_start(shop: Shop) -> None:
    sale = await shop.sale(starts_in_ms=8_000)
    assert sale.state_at(shop.now_ms) is SaleState.SCHEDULED
    with pytest.raises(Conflict):
        await shop.ledger.update_sale(sale.id, starts_at_ms=shop.now_ms + HOUR_MS)
    later = await shop.sale(starts_in_ms=HOUR_MS)
    with pytest.raises(Conflict):
        await shop.ledger.update_sale(later.id, starts_at_ms=shop.now_ms)


async def test_changes_that_make_no_sense_are_refused(shop: Shop) -> None:
    draft = await shop.draft()
    with pytest.raises(Invalid):
        await shop.ledger.update_sale(draft.id, ends_at_ms=draft.starts_at_ms)
    with pytest.raises(NotFound):
        await shop.ledger.update_sale(draft.id, item_changes=[ItemChange(item_id=1 << 40)])
    closed = await shop.sale()
    await shop.ledger.close_sale(closed.id)
    with pytest.raises(Conflict):
        await shop.ledger.update_sale(closed.id, title="Too late")


# --- finding ------------------------------------------------------------------------------------


async def test_sales_are_listed_newest_first_in_pages(shop: Shop) -> None:
    made = [(await shop.sale()).id for _ in range(5)]
    draft = (await shop.draft()).id

    first = await shop.ledger.list_sales(drafts=False, limit=3)
    rest = await shop.ledger.list_sales(drafts=False, limit=3, after_id=first[-1].id)

    assert [sale.id for sale in first + rest] == made[::-1]
    assert (await shop.ledger.list_sales(drafts=True, limit=1))[0].id == draft
    assert await shop.ledger.list_sales(drafts=True, limit=3, after_id=made[0]) == []


async def test_sales_are_found_by_their_items(shop: Shop) -> None:
    one, two = await shop.sale(unit(), unit()), await shop.draft()
    wanted = [one.items[1].id, two.items[0].id, 1 << 40]
    found = await shop.ledger.sales_of_items(wanted)
    assert found == {one.items[1].id: one, two.items[0].id: two}
    assert await shop.ledger.sales([]) == {}
    assert await shop.ledger.sales_of_items([]) == {}


async def test_open_sales_are_those_the_gate_has_to_follow(shop: Shop) -> None:
    live, paused, closed = [await shop.sale() for _ in range(3)]
    await shop.draft()
    ended, over = await shop.sale(), await shop.sale()
    await shop.ledger.pause(paused.id, "lunch")
    await shop.ledger.close_sale(closed.id)
    await shop.ledger.update_sale(ended.id, ends_at_ms=shop.now_ms - HOUR_MS // 2)
    await shop.execute(
        "UPDATE sales SET starts_at_ms = 0, ends_at_ms = 1 WHERE id = :id", id=over.id
    )

    found = await shop.ledger.open_sales()

    assert [sale.id for sale in found] == [live.id, paused.id, closed.id, ended.id]


def _nothing(_sale: Sale) -> bytes:
    return b""
