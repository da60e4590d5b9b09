"""Clocks that are wrong and keys that change, in the running product: the gate's clock decides, and
what an older key signed stays good for as long as that key is listed."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.support.bots import Sale, Street, street
from tests.support.product import Product

HOUR_S = 3600
STEPPED = """
import datetime, time
_time, _ns, _dt = time.time, time.time_ns, datetime.datetime
_by = {by}
time.time = lambda: _time() + _by
time.time_ns = lambda: _ns() + _by * 10**9
class _Stepped(_dt):
    @classmethod
    def now(cls, tz=None):
        return _dt.now(tz) + datetime.timedelta(seconds=_by)
    @classmethod
    def utcnow(cls):
        return _dt.utcnow() + datetime.timedelta(seconds=_by)
datetime.datetime = _Stepped
"""
"""Run at the start of every Python process of the product; the two servers keep their clock."""


@asynccontextmanager
async def running(product: Product) -> AsyncIterator[Street]:
    with product:
        async with street(product) as town:
            yield town
        assert '"level": "error"' not in product.log(), product.log()[-4000:]


def stepped(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of processes whose clock is wrong by so much."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STEPPED.format(by=seconds))
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(HOUR_S, id="ahead"),
        pytest.param(-HOUR_S, id="behind", marks=pytest.mark.verify),
    ],
)
async def test_a_process_whose_clock_is_wrong_opens_and_closes_sales_on_time(
    tmp_path: Path, seconds: int
) -> None:
    product = Product(tmp_path / "data", **stepped(tmp_path / "wrong", seconds))
    async with running(product) as town:
        on, later = await town.sale(), await town.sale(starts_in_s=600)
        dates = [
            format_datetime(datetime.now(UTC) + timedelta(seconds=s), usegmt=True)
            for s in (HOUR_S, -HOUR_S, 0)
        ]
        for n, date in enumerate([*dates, "tomorrow"]):
            early = await later.a_pass(f"early{n}", Date=date)
            assert (early.status, early.code) == (403, "not_started"), early
            challenge = await later.challenge(f"early{n}", Date=date)
            assert challenge.status in (204, 403)
            honest = await on.a_pass(f"honest{n}", Date=date)
            assert honest.status == 200, honest
            bought = await on.buy(f"honest{n}", honest.body["pass"], Date=date)
            assert bought.status == 202, bought
            expires = datetime.fromisoformat(honest.body["expires_at"])
            assert abs((expires - datetime.now(UTC)).total_seconds()) < 300
        at = json.loads(product.log().splitlines()[-1])["at"]
        off_s = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
        assert abs(off_s - seconds) < HOUR_S / 4, "the clock is wrong indeed"


@pytest.mark.verify  # three starts
async def test_keys_change_without_anybody_noticing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(Product(data)) as town:
        sale = await town.sale(challenge="arithmetic")
        before = await _a_pass(sale, town, "before")
    old = json.loads((data / "secrets.json").read_text())["secret_keys"][0]
    new = "n" * 43
    async with running(Product(data, SLUICE_SECRET_KEYS=f"{new},{old}")) as town:
        sale = sale._replace(street=town)
        bought = await sale.buy("before", before)
        assert bought.status == 202, bought
        during = await _a_pass(sale, town, "during")
    async with running(Product(data, SLUICE_SECRET_KEYS=new)) as town:
        sale = sale._replace(street=town)
        assert (await sale.buy("before", before)).code == "bad_pass"
        assert (await sale.buy("during", during)).status == 202


async def _a_pass(sale: Sale, town: Street, who: str) -> str:
    challenge = (await sale.challenge(who)).body
    given = town.given(challenge)
    answer = {"challenge_id": challenge["challenge_id"], "answer": str(given.answer)}
    answered = await sale.a_pass(who, answer)
    assert answered.status == 200, answered
    return str(answered.body["pass"])
