"""`sluice sale`: what a merchant does with sales, straight on the stores."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.catalog.draft import parse_reason, sale_from_file
from sluice.catalog.view import render_admin_sale
from sluice.cli._noted import noted
from sluice.cli._options import AsJson, Data, command, need_ledger, read_settings, run, table
from sluice.domain.errors import Invalid, NotFound, SettingsError
from sluice.domain.money import Money
from sluice.domain.sale import NewSale, Sale
from sluice.domain.times import render_time

if TYPE_CHECKING:
    from sluice.wiring import Stores

app = command("Create, show, publish, pause, resume and close sales.")

PAGE = 100
ID_MAX = 2**63 - 1

SaleId = Annotated[int, typer.Argument(metavar="SALE", min=1, max=ID_MAX, help="Its id.")]


@app.command()
def create(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML or JSON, as in POST /v1/admin/sales.")
    ],
    publish: Annotated[bool, typer.Option("--publish", help="And publish it at once.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a sale, as a draft."""
    new = read_file(file)

    async def step(stores: Stores) -> Sale:
        sale = await create_draft(stores, new)
        return await stores.operator.publish(sale.id) if publish else sale

    _do(data, "create", str(file), step, as_json)


@app.command("list")
def list_sales(data: Data = None, as_json: AsJson = False) -> None:
    """List all sales, drafts too, the newest first."""

    async def step(stores: Stores) -> tuple[list[Sale], int]:
        found: list[Sale] = []
        after: int | None = None
        while page := await stores.ledger.list_sales(drafts=True, limit=PAGE, after_id=after):
            found += page
            after = page[-1].id
        return found, await stores.ledger.now_ms()

    sales, now_ms = _run(data, step)
    if as_json:
        print(json.dumps([render_admin_sale(sale, now_ms) for sale in sales], indent=2))
        return
    rows = [
        (str(sale.id), sale.state_at(now_ms).value, render_time(sale.starts_at_ms), sale.title)
        for sale in sales
    ]
    table(("SALE", "STATE", "STARTS", "TITLE"), rows)


@app.command()
def show(sale: SaleId, data: Data = None, as_json: AsJson = False) -> None:
    """Show one sale with its items and their units."""
    _show(data, lambda stores: _find(stores, sale), as_json)


@app.command()
def publish(sale: SaleId, data: Data = None, as_json: AsJson = False) -> None:
    """Publish a draft: it sells from its start on."""
    _do(data, "publish", f"sale {sale}", lambda stores: stores.operator.publish(sale), as_json)


@app.command()
def pause(
    sale: SaleId,
    reason: Annotated[str, typer.Option("--reason", help="What buyers are told.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Pause a sale: nothing is sold until it is resumed."""
    words = parse_reason({"reason": reason})
    _do(data, "pause", f"sale {sale}", lambda stores: stores.operator.pause(sale, words), as_json)


@app.command()
def resume(sale: SaleId, data: Data = None, as_json: AsJson = False) -> None:
    """Resume a paused sale."""
    _do(data, "resume", f"sale {sale}", lambda stores: stores.operator.resume(sale), as_json)


@app.command()
def close(sale: SaleId, data: Data = None, as_json: AsJson = False) -> None:
    """Close a sale for good."""
    _do(data, "close", f"sale {sale}", lambda stores: stores.operator.close(sale), as_json)


def read_file(path: Path) -> NewSale:
    """Raises `SettingsError` where it cannot be read, and `InvalidFields` for what it says."""
    try:
        return sale_from_file(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None


async def create_draft(stores: Stores, new: NewSale) -> Sale:
    made = await stores.operator.create(new)
    if not isinstance(made, Sale):  # an answer kept for a repeated key, and there was no key
        raise Invalid("file", "was not made into a sale.")
    return made


async def _find(stores: Stores, sale_id: int) -> Sale:
    found = (await stores.ledger.sales([sale_id])).get(sale_id)
    if found is None:
        raise NotFound(f"There is no sale {sale_id}.")
    return found


def _run(data: Path | None, step: Callable[[Stores], Awaitable[Any]]) -> Any:
    settings = read_settings(data, "sale")
    need_ledger(settings)

    from sluice import wiring  # reading a command line must not wait for the stores' clients

    async def with_stores() -> Any:
        async with wiring.parts(settings) as stores:
            return await step(stores)

    return run(with_stores())


def _do(
    data: Path | None,
    verb: str,
    target: str,
    step: Callable[[Stores], Awaitable[Sale]],
    as_json: bool,
) -> None:
    """A step that changes something is in the trail."""
    _show(data, lambda stores: noted(stores, f"sluice sale {verb}", target[:200], step), as_json)


def _show(data: Path | None, step: Callable[[Stores], Awaitable[Sale]], as_json: bool) -> None:
    async def and_time(stores: Stores) -> tuple[Sale, int]:
        sale = await step(stores)
        return sale, await stores.ledger.now_ms()

    sale, now_ms = _run(data, and_time)
    if as_json:
        print(json.dumps(render_admin_sale(sale, now_ms), indent=2))
        return
    print(f"sale {sale.id}: {sale.title} ({sale.state_at(now_ms).value})")
    print(f"{render_time(sale.starts_at_ms)} to {render_time(sale.ends_at_ms)}")
    rows = [
        (
            str(item.id),
            _price(item.price),
            str(item.stock),
            str(item.available),
            str(item.awaiting_payment),
            str(item.paid),
            item.title,
        )
        for item in sale.items
    ]
    table(("ITEM", "PRICE", "STOCK", "AVAILABLE", "AWAITING", "PAID", "TITLE"), rows)


def _price(price: Money) -> str:
    return f"{price.amount} {price.currency}"
