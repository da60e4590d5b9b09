"""The first second of a sale pays for no pictures: `sluice work` has made them before."""

from __future__ import annotations

from pathlib import Path

from tests.polling import until_it_is
from tests.support.api import a_sale
from tests.support.http import Browser
from tests.support.product import ADMIN_TOKEN, Product

from sluice.cache.challenges import ChallengePool
from sluice.cache.server import CacheServer
from sluice.domain.challenge import shelves_for
from sluice.domain.sale import Challenge
from sluice.settings import Settings


def publish(product: Product) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with Browser(product.url, headers=headers) as admin:
        new = a_sale(policy={"challenge": "arithmetic"})
        sale = admin.post("/v1/admin/sales", json=new).raise_for_status().json()
        admin.post(f"/v1/admin/sales/{sale['id']}/publish").raise_for_status()


async def test_challenges_are_there_before_anybody_asks_for_one(tmp_path: Path) -> None:
    # A product of its own: another's pool may be full already.
    with Product(tmp_path / "data") as product:
        server = CacheServer.from_url(Settings.read({}, product.data).cache_server_url)
        pool, shelves = ChallengePool(server), shelves_for({Challenge.ARITHMETIC})
        try:
            empty = await pool.missing(shelves)
            publish(product)

            async def made() -> bool:
                missing = await pool.missing(shelves)
                return all(now < then for now, then in zip(missing, empty, strict=True))

            await until_it_is(made)
        finally:
            await server.close()
