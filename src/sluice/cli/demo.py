"""The step of `sluice up --demo`: a sample sale that is open."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from sluice import wiring
from sluice.cli._options import Data, command, read_settings, run
from sluice.domain.errors import Unavailable
from sluice.domain.money import Money
from sluice.domain.sale import NewItem, NewSale, Sale
from sluice.ledger.records import Answered, Once
from sluice.settings import Settings

app = command("Open a sample sale; a step of `sluice up`.")

DAY_MS = 86_400_000
OPEN_WITHIN_S = 20.0
POLL_S = 0.02


@app.command()
def demo(data: Data = None) -> None:
    """Open a sample sale; a step of `sluice up`."""
    run(open_sample(read_settings(data, "demo")))


async def open_sample(settings: Settings) -> None:
    """Create and publish it once, however often this runs; return when the gate sells it."""
    async with wiring.parts(settings) as stores:
        new = sample(await stores.ledger.now_ms())
        once: Once[Sale] = Once(
            "demo", sha256(b"demo").digest(), lambda sale: str(sale.id).encode()
        )
        made = await stores.operator.create(new, once)
        sale_id = int(made.body) if isinstance(made, Answered) else made.id
        async with asyncio.timeout(OPEN_WITHIN_S):
            while not await _open(stores, sale_id):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(POLL_S)


def sample(now_ms: int) -> NewSale:
    return NewSale(
        title="Spring harvest",
        starts_at_ms=now_ms,
        ends_at_ms=now_ms + 30 * DAY_MS,
        items=(
            NewItem(title="Longjing, 50 g tin", price=Money(6800, "CNY"), stock=200),
            NewItem(title="Gaiwan, white porcelain", price=Money(15900, "CNY"), stock=20),
            NewItem(title="Teapot, one of a kind", price=Money(188800, "CNY"), stock=1),
        ),
    )


async def _open(stores: wiring.Stores, sale_id: int) -> bool:
    """Whether it is on sale now; publishing again does no harm."""
    try:
        sale = await stores.operator.publish(sale_id)
    except Unavailable:  # the worker, which starts at the same time, has not come to the gate yet
        return False
    return all(item.loaded_epoch is not None for item in sale.items)
