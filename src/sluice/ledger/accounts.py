"""Accounts and roles in SQL, where unique keys decide who was first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from sluice.domain.account import Account, Role
from sluice.domain.errors import Conflict, NotFound
from sluice.ledger.account_tables import account_roles, accounts
from sluice.ledger.faults import Fault, fault_of
from sluice.ledger.store import Store, Transaction

_a, _r = accounts, account_roles


class Accounts(Store):
    async def account(self, account_id: int) -> Account | None:
        return await self._one_account(_a.c.id == account_id)

    async def account_by_login(self, login: str) -> Account | None:
        return await self._one_account(_a.c.login == login)

    async def account_by_phone(self, phone: str) -> Account | None:
        return await self._one_account(_a.c.phone == phone)

    async def _one_account(self, wanted: Any) -> Account | None:
        found = await self._read(lambda c: _accounts(c, select(_a).where(wanted)))
        return found[0] if found else None

    async def accounts(
        self, *, limit: int, after_id: int | None = None, role: Role | None = None
    ) -> list[Account]:
        """Oldest first."""
        query = select(_a).where(_a.c.id > (after_id or 0)).order_by(_a.c.id).limit(limit)
        if role is not None:
            holders = select(_r.c.account_id).where(_r.c.role == role.value)
            query = query.where(_a.c.id.in_(holders))
        return await self._read(lambda c: _accounts(c, query))

    async def register(self, login: str, password_hash: str) -> None:
        """An account for `login`, unless there is one: then nothing of it changes, and neither the
        caller nor the time it takes tells the difference."""

        async def work(tx: Transaction) -> None:
            row = {
                "login": login,
                "password_hash": password_hash,
                "created_at_ms": tx.now_ms,
                "asked_at_ms": tx.now_ms,
            }
            await tx.run(_insert_or_touch(tx.dialect, row))

        await self._write(work)

    async def enter_by_phone(self, phone: str) -> Account:
        """The account of `phone`, made now where there is none. Its owner has proven it."""
        found = await self.account_by_phone(phone)
        if found is not None:
            return found

        async def work(tx: Transaction) -> None:
            row = {"phone": phone, "created_at_ms": tx.now_ms, "asked_at_ms": tx.now_ms}
            await tx.run(insert(_a).values(row))

        try:
            await self._write(work)
        except Exception as error:
            if fault_of(error) is not Fault.BROKEN_ROW:
                raise
            # Another log-in with the same phone was first.
        made = await self.account_by_phone(phone)
        assert made is not None
        return made

    async def change_password(self, account_id: int, before: str, after: str) -> bool:
        """The account's hash is `after` from now on; False where it is not `before` any more."""

        async def work(tx: Transaction) -> int:
            mine = (_a.c.id == account_id) & (_a.c.password_hash == before)
            return await tx.changed(update(_a).where(mine).values(password_hash=after))

        return await self._write(work) == 1

    async def set_roles(
        self, account_id: int, roles: Sequence[Role], *, keep_an_admin: bool = False
    ) -> Account:
        """Exactly these roles from now on. Raises `NotFound`, and with `keep_an_admin` `Conflict`
        where nobody else would be an admin."""
        wanted = {role for role in roles if role is not Role.BUYER}

        async def work(tx: Transaction) -> None:
            account = select(_a.c.id).where(_a.c.id == account_id).with_for_update()
            if (await tx.run(account)).one_or_none() is None:
                raise NotFound
            mine = _r.c.account_id == account_id
            if keep_an_admin and Role.ADMIN not in wanted:
                await _check_another_admin(tx, account_id)
            held = {Role(row.role) for row in await tx.run(select(_r.c.role).where(mine))}
            for role in held - wanted:
                await tx.run(delete(_r).where(mine, _r.c.role == role.value))
            for role in sorted(wanted - held):
                row = {"account_id": account_id, "role": role.value, "granted_at_ms": tx.now_ms}
                await tx.run(insert(_r).values(row))

        await self._write(work)
        changed = await self.account(account_id)
        assert changed is not None
        return changed


async def _check_another_admin(tx: Transaction, account_id: int) -> None:
    """Everybody who takes the role away locks all who have it, in one order: of two admins who
    remove each other, one comes too late."""
    admins = select(_r.c.account_id).where(_r.c.role == Role.ADMIN.value)
    held = await tx.run(admins.order_by(_r.c.account_id).with_for_update())
    others = set(held.scalars())
    if account_id in others and others == {account_id}:
        raise Conflict("This is the last admin; make somebody else one first.")


def _insert_or_touch(dialect: str, row: dict[str, Any]) -> Any:
    touched = {"asked_at_ms": row["asked_at_ms"]}
    if dialect == "sqlite":
        into = sqlite.insert(_a).values(row)
        return into.on_conflict_do_update(index_elements=["login"], set_=touched)
    if dialect == "postgresql":
        pg = postgresql.insert(_a).values(row)
        return pg.on_conflict_do_update(index_elements=["login"], set_=touched)
    return mysql.insert(_a).values(row).on_duplicate_key_update(touched)


async def _accounts(connection: AsyncConnection, query: Any) -> list[Account]:
    """One statement, whether there is such an account or not."""
    wanted = query.subquery()
    joined = (
        select(wanted, _r.c.role)
        .select_from(wanted.outerjoin(_r, _r.c.account_id == wanted.c.id))
        .order_by(wanted.c.id, _r.c.role)
    )
    found: dict[int, Account] = {}
    for row in await connection.execute(joined):
        before = found.get(row.id)
        granted = () if before is None else before.granted
        if row.role is not None:
            granted = (*granted, Role(row.role))
        found[row.id] = Account(
            row.id, row.login, row.phone, row.password_hash, row.created_at_ms, granted
        )
    return list(found.values())
