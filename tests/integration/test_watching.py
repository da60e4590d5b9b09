"""A running sale is watched and reported on: counted in the lane, stored, audited, added up."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.support.api import ADMIN, Api, api
from tests.valkey import Valkey, running

from sluice.cache.server import CacheServer
from sluice.cache.tally import TallyBoard
from sluice.domain.errors import CacheUnavailable
from sluice.domain.sale import Sale
from sluice.workers.tally import Watchman

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- the board ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def board(valkey: Valkey) -> AsyncIterator[TallyBoard]:
    cache = CacheServer.from_url(valkey.url)
    await cache.do("FLUSHALL")
    yield TallyBoard(cache)
    await cache.close()


async def test_counts_of_all_processes_are_one_cell_a_second(board: TallyBoard) -> None:
    assert await board.add({7: {"views": 2, "buys.accepted": 1}, 8: {"views": 1}})
    assert await board.add({7: {"views": 3}})
    cells = await board.to_store(older_than_s=-1)
    seven = [cell for cell in cells if cell.sale_id == 7]
    assert sum(cell.counts["views"] for cell in seven) == 5
    assert sum(cell.total for cell in seven) == 6
    assert sum(cell.counts.get("buys.accepted", 0) for cell in seven) == 1


async def test_what_is_stored_is_not_given_out_again(board: TallyBoard) -> None:
    await board.add({7: {"views": 1}})
    cells = await board.to_store(older_than_s=-1)
    await board.stored(cells)
    assert await board.to_store(older_than_s=-1) == []


async def test_what_is_added_while_a_cell_is_stored_is_stored_too(board: TallyBoard) -> None:
    await board.add({7: {"views": 1}})
    [cell] = await board.to_store(older_than_s=-1)
    late = ("HINCRBY", f"sluice:tally:7:{cell.at_s}")
    server: Any = board._server
    await server.do_all([(*late, "views", 4), (*late, "n", 4)])
    await board.stored([cell])
    [again] = await board.to_store(older_than_s=-1)
    assert (again.at_s, again.counts, again.total) == (cell.at_s, {"views": 5}, 5)


async def test_an_audit_is_kept_and_who_is_watched_is_known(board: TallyBoard) -> None:
    assert await board.last_audit(7) is None
    await board.watch(7)
    await board.watch(7)
    await board.keep_audit(7, {"state": "ok", "at_ms": 1})
    assert await board.watched() == [7]
    assert await board.last_audit(7) == {"state": "ok", "at_ms": 1}


async def test_a_board_that_is_away_takes_nothing_and_says_so(
    valkey: Valkey, board: TallyBoard
) -> None:
    valkey.kill()
    try:
        assert not await board.add({7: {"views": 1}})
        with pytest.raises(CacheUnavailable):
            await board.to_store(older_than_s=-1)
    finally:
        valkey.start()


# --- over HTTP ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[Api]:
    async with api() as client:
        yield client


def watchman(http: Api) -> Watchman:
    parts = http.parts
    return Watchman(parts.ledger, parts.watch._board, parts.auditor)


async def sale_of(http: Api, sale_id: str) -> Sale:
    return (await http.parts.ledger.sales([int(sale_id)]))[int(sale_id)]


async def live(http: Api, sale: dict[str, Any]) -> dict[str, Any]:
    answer = await http.get(f"/v1/admin/sales/{sale['id']}/live", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def told(http: Api, sale: dict[str, Any], what: str, **query: str) -> Any:
    answer = await http.get(f"/v1/admin/sales/{sale['id']}/{what}", headers=ADMIN, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_sale_that_nobody_bought_from_shows_zeros_and_no_light(http: Api) -> None:
    sale = await http.open_sale()
    seen = await live(http, sale)
    [item] = seen["items"]
    counts = [item[k] for k in ("available", "queued", "awaiting_payment", "paid", "returning")]
    assert counts == [50, 0, 0, 0, 0]
    assert seen["sale"]["state"] == "live"
    assert seen["traffic"]["purchases"]["asked"] == 0
    assert seen["funnel"]["accepted"] == 0
    assert seen["invariants"]["state"] == "unknown"
    assert seen["ages"]["invariants"] is None
    assert seen["waiting_room"] is None


async def test_the_light_is_green_only_after_an_audit_that_saw_everything(http: Api) -> None:
    sale = await http.open_sale()
    await live(http, sale)
    await watchman(http).audit_watched()
    seen = await live(http, sale)
    # The gate was never compared with the ledger here: no recorder runs in this test.
    assert seen["invariants"]["state"] == "unknown"
    assert "not compared" in seen["invariants"]["unknown"][0]
    report = await http.parts.auditor.of_sale(await sale_of(http, sale["id"]), 5000)
    await http.parts.watch._board.keep_audit(
        int(sale["id"]), {**report, "state": "ok", "unknown": []}
    )
    assert (await live(http, sale))["invariants"]["state"] == "ok"
    old = {**report, "state": "ok", "at_ms": report["at_ms"] - 3_600_000}
    await http.parts.watch._board.keep_audit(int(sale["id"]), old)
    assert (await live(http, sale))["invariants"]["state"] == "unknown"


async def test_the_light_is_red_and_says_what_is_wrong(http: Api) -> None:
    sale = await http.open_sale()
    await live(http, sale)
    report = await http.parts.auditor.of_sale(await sale_of(http, sale["id"]), 5000)
    wrong = {"name": "3_never_oversold", "ok": False, "detail": "never_oversold: 1"}
    report = {**report, "state": "broken", "invariants": [wrong]}
    await http.parts.watch._board.keep_audit(int(sale["id"]), report)
    found = (await live(http, sale))["invariants"]
    assert found["state"] == "broken"
    assert found["broken"] == [{"name": "3_never_oversold", "detail": "never_oversold: 1"}]


async def test_what_was_counted_becomes_ticks_once(http: Api) -> None:
    sale = await http.open_sale()
    sale_id, board = int(sale["id"]), http.parts.watch._board
    assert await board.add({sale_id: {"views": 3, "buys.accepted": 2, "buys.sold_out": 5}})
    worker = watchman(http)
    cells = await board.to_store(older_than_s=-1)
    await worker.drain(older_than_s=-1)
    # A worker that died before it noted what it had stored: the next one stores it again.
    await http.parts.ledger.store_ticks([])
    assert await worker.drain(older_than_s=-1) == 0
    assert [cell.sale_id for cell in cells if cell.sale_id == sale_id] == [sale_id]
    found = await told(http, sale, "ticks")
    [tick] = found["data"]
    assert (tick["seconds"], tick["views"]) == (1, 3)
    assert tick["purchases"]["refused"] == {"sold_out": 5}
    assert not found["more"]
    assert (await told(http, sale, "ticks", since=found["next"]))["data"] == []


async def test_ticks_are_asked_for_since_a_time(http: Api) -> None:
    sale = await http.open_sale()
    path = f"/v1/admin/sales/{sale['id']}/ticks"
    answer = await http.get(path, headers=ADMIN, params={"since": "yesterday"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "since")


@pytest.mark.parametrize("what", ["live", "ticks", "report"])
async def test_of_a_sale_that_is_not_there_nothing_is_told(http: Api, what: str) -> None:
    answer = await http.get(f"/v1/admin/sales/999999/{what}", headers=ADMIN)
    assert answer.status_code == 404


async def test_a_report_says_how_much_of_the_crowd_it_has_seen(http: Api) -> None:
    sale = await http.open_sale()
    board = http.parts.watch._board
    await board.add({int(sale["id"]): {"buys.accepted": 2, "buys.sold_out": 5, "lost": 1}})
    await watchman(http).drain(older_than_s=-1)
    found = await told(http, sale, "report")
    assert found["status"] == "running"
    assert found["refused"] == [{"reason": "sold_out", "passes": 0, "purchases": 5}]
    assert found["coverage"] == {"accepted_seen": 2, "accepted": 0, "share": None, "lost": 1}
    assert "ticks_lost" in found["notes"]
    assert [point["refused"] for point in found["timeline"]["points"]] == [5]


async def test_a_sale_that_has_not_begun_is_reported_as_that(http: Api) -> None:
    sale = await http.open_sale(starts_at="2079-01-01T00:00:00Z")
    assert (await told(http, sale, "report"))["status"] == "not_started"


async def test_a_sale_that_ended_without_anybody_is_reported_as_empty(http: Api) -> None:
    sale = await http.open_sale()
    await http.post(f"/v1/admin/sales/{sale['id']}/close", headers=ADMIN)
    found = await told(http, sale, "report")
    assert (found["status"], found["funnel"]["accepted"]) == ("empty", 0)


async def test_the_table_is_csv_and_no_cell_of_it_is_a_formula(http: Api) -> None:
    sale = await http.open_sale(
        title='=HYPERLINK("http://evil","x")',
        items=[
            {"title": "@SUM(A1), 茶壶", "price": {"amount": "1.50", "currency": "CNY"}, "stock": 5}
        ],
    )
    path = f"/v1/admin/sales/{sale['id']}/report"
    answer = await http.get(path, headers=ADMIN, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert (
        answer.headers["content-disposition"] == f'attachment; filename="report-{sale["id"]}.csv"'
    )
    assert answer.content.count(b"\r\n") == answer.content.count(b"\n")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert {len(row) for row in rows} == {4}
    said = {(section, name, detail): value for section, name, detail, value in rows}
    assert said["sale", "title", ""] == '\'=HYPERLINK("http://evil","x")'
    assert said["item", sale["items"][0]["id"], "title"] == "'@SUM(A1), 茶壶"
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "@", "+"))]
    answer = await http.get(path, headers=ADMIN, params={"format": "xlsx"})
    assert answer.status_code == 422
