"""Accounts, roles and the trail on three databases: unique keys decide, nothing is rewritten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sluice.domain.account import NewAction, Role
from sluice.domain.errors import NotFound
from sluice.ledger.engine import driver_url
from sluice.ledger.ledger import Ledger

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
PHONE = "+8613800138000"


async def test_a_registered_login_can_be_found_in_its_one_spelling(ledger: Ledger) -> None:
    await ledger.register("mei", HASH)
    account = await ledger.account_by_login("mei")
    assert account is not None
    assert (account.login, account.phone, account.password_hash) == ("mei", None, HASH)
    assert account.roles == [Role.BUYER]
    assert account.buyer == f"acct:{account.id}"
    for other in ("Mei", "mei ", "me", "méi"):
        assert await ledger.account_by_login(other) is None


async def test_a_login_that_is_taken_stays_whose_it_is(ledger: Ledger) -> None:
    await ledger.register("mei", HASH)
    before = await ledger.account_by_login("mei")
    await ledger.register("mei", "$another")
    assert await ledger.account_by_login("mei") == before


async def test_a_registration_that_is_refused_writes_as_much_as_one_that_is_not(
    ledger: Ledger, ledger_url: str
) -> None:
    await ledger.register("mei", HASH)
    [first] = await _rows(ledger_url, "SELECT asked_at_ms FROM accounts")
    while True:  # until the database's clock has moved on
        await ledger.register("mei", "$another")
        [again] = await _rows(ledger_url, "SELECT asked_at_ms FROM accounts")
        if again.asked_at_ms > first.asked_at_ms:
            break


async def test_one_of_many_registrations_at_once_counts(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.register("mei", f"$hash-{n}") for n in range(8)))
    assert len(await ledger.accounts(limit=10)) == 1


async def test_a_phone_leads_to_one_account_however_many_ask_at_once(ledger: Ledger) -> None:
    entered = await asyncio.gather(*(ledger.enter_by_phone(PHONE) for _ in range(8)))
    assert len({account.id for account in entered}) == 1
    assert await ledger.account_by_phone(PHONE) == entered[0]
    assert await ledger.enter_by_phone(PHONE) == entered[0]


async def test_a_password_is_changed_by_who_knows_the_one_there_is(ledger: Ledger) -> None:
    await ledger.register("mei", HASH)
    account = await ledger.account_by_login("mei")
    assert account is not None
    changes = (ledger.change_password(account.id, HASH, f"$new-{n}") for n in range(4))
    changed = await asyncio.gather(*changes)
    assert sorted(changed) == [False, False, False, True]
    after = await ledger.account(account.id)
    assert after is not None
    assert after.password_hash == f"$new-{changed.index(True)}"
    assert not await ledger.change_password(account.id + 1, HASH, "$new")


async def test_roles_are_what_was_set_last(ledger: Ledger) -> None:
    account = await ledger.enter_by_phone(PHONE)
    await ledger.set_roles(account.id, [Role.MERCHANT, Role.ADMIN, Role.BUYER])
    both = await ledger.account(account.id)
    assert both is not None
    assert both.roles == [Role.BUYER, Role.MERCHANT, Role.ADMIN]
    less = await ledger.set_roles(account.id, [Role.MERCHANT])
    assert less.roles == [Role.BUYER, Role.MERCHANT]
    assert (await ledger.set_roles(account.id, [])).roles == [Role.BUYER]


async def test_the_same_roles_at_once_are_set_once(ledger: Ledger) -> None:
    account = await ledger.enter_by_phone(PHONE)
    await asyncio.gather(*(ledger.set_roles(account.id, [Role.ADMIN]) for _ in range(4)))
    assert (await ledger.account(account.id) or account).roles == [Role.BUYER, Role.ADMIN]


async def test_nobody_has_no_roles(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        await ledger.set_roles(17, [Role.ADMIN])
    assert await ledger.account(17) is None


async def test_accounts_are_listed_oldest_first_and_by_role(ledger: Ledger) -> None:
    for login in ("mei", "lan", "zhu"):
        await ledger.register(login, HASH)
    mei, lan, zhu = await ledger.accounts(limit=10)
    assert [each.login for each in (mei, lan, zhu)] == ["mei", "lan", "zhu"]
    assert await ledger.accounts(limit=1, after_id=mei.id) == [lan]
    merchant = await ledger.set_roles(zhu.id, [Role.MERCHANT, Role.ADMIN])
    assert await ledger.accounts(limit=10, role=Role.MERCHANT) == [merchant]


async def test_the_trail_says_what_began_and_what_came_of_it(ledger: Ledger) -> None:
    first = await ledger.note_action(_action("admin"))
    second = await ledger.note_action(_action("acct:7"))
    await ledger.note_result(first, 409, '{"reason":"报告"}')
    cut_off, ended = await ledger.actions(limit=10)
    assert (cut_off.id, cut_off.actor, cut_off.status, cut_off.detail) == (
        second,
        "acct:7",
        None,
        None,
    )
    assert (ended.id, ended.actor, ended.status, ended.detail) == (
        first,
        "admin",
        409,
        '{"reason":"报告"}',
    )
    assert ended.answered_at_ms is not None
    assert ended.at_ms <= ended.answered_at_ms
    assert (ended.action, ended.target, ended.address) == (
        "POST /v1/admin/sales/{sale}/pause",
        "/v1/admin/sales/7/pause",
        "2001:db8:1:2::/64",
    )
    assert await ledger.actions(limit=10, actor="acct:7") == [cut_off]
    assert await ledger.actions(limit=10, before_id=second) == [ended]


@pytest.mark.parametrize("table", ["admin_actions", "admin_results"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at_ms = 0", "DELETE FROM {}"])
async def test_raw_sql_cannot_rewrite_the_trail(
    ledger: Ledger, ledger_url: str, table: str, change: str
) -> None:
    await ledger.note_result(await ledger.note_action(_action("admin")), 200, None)
    with pytest.raises(Exception, match="append-only"):
        await _rows(ledger_url, change.format(table))
    assert len(await ledger.actions(limit=10)) == 1


def _action(actor: str) -> NewAction:
    return NewAction(
        actor,
        "POST /v1/admin/sales/{sale}/pause",
        "/v1/admin/sales/7/pause",
        "2001:db8:1:2::/64",
        "3f2a9c5b7d1e8f400000000042",
    )


async def _rows(url: str, statement: str) -> Any:
    engine = create_async_engine(driver_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            done = await connection.execute(text(statement))
            return done.all() if done.returns_rows else []
    finally:
        await engine.dispose()
