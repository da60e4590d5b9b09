"""What a merchant watches: the numbers of a running sale over time, and the report on one."""

from __future__ import annotations

from litestar import Controller, get
from litestar.params import FromPath

from sluice.catalog.view import Json
from sluice.domain.errors import LedgerUnavailable, NotFound
from sluice.domain.sale import Sale
from sluice.domain.times import parse_time, render_time
from sluice.ledger.ticks import Tick
from sluice.web.api.answering import Answer, bytes_answer, json_answer
from sluice.web.api.callers import FOR_MERCHANTS
from sluice.web.api.reading import AnyRequest, read_id, read_query
from sluice.web.api.sheets import MARK, attachment, row
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import Problem, invalid
from sluice.web.report import STEPS_MAX, report, span_of, step_for, table
from sluice.web.watch import shown_tick

TICKS_MAX = 1000
"""In one answer."""
REPORT_TICKS_MAX = 20_000
"""Two hours of seconds, and two weeks of minutes."""
REPORT_MS_MAX = 15_000
"""How long the questions of a report may take, each of its parts."""


class Watching(Controller):
    path = "/v1/admin/sales/{sale:str}"
    opt = FOR_MERCHANTS

    @get("/live")
    async def live(self, sale: FromPath[str], parts: AskedParts) -> Answer:
        """The numbers of a running sale."""
        return json_answer(await parts.watch.live(await _sale(parts, sale)))

    @get("/ticks")
    async def ticks(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """What happened, oldest first, from `since` on; again from `next` on for what is new."""
        since_s = _since_s(read_query(request).get("since"))
        found_sale = await _sale(parts, sale)
        found, after_s, more = await _page(parts, found_sale.id, since_s)
        return json_answer(
            {
                "data": [shown_tick(tick) for tick in found],
                "next": render_time(after_s * 1000) if after_s else None,
                "more": more,
                "at": render_time(parts.clock.now_ms()),
            }
        )

    @get("/report")
    async def report(self, sale: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """The report, as JSON or as a table."""
        wanted = read_query(request).get("format", "json")
        if wanted not in ("json", "csv"):
            raise invalid("format", "must be json or csv")
        found_sale = await _sale(parts, sale)
        found = await _reported(parts, found_sale)
        if wanted == "csv":
            content = MARK + b"".join(row(cells) for cells in table(found))
            return bytes_answer(content, 200, "text/csv", attachment(f"report-{found_sale.id}.csv"))
        return json_answer(found)


async def _sale(parts: Parts, sale: str) -> Sale:
    sale_id = read_id(sale)
    found = (await parts.ledger.sales([sale_id])).get(sale_id)
    if found is None:
        raise NotFound
    return found


async def _page(parts: Parts, sale_id: int, since_s: int) -> tuple[list[Tick], int, bool]:
    """Ticks, where the next page begins, and whether there may be one.

    Several may begin in one second: what is coarse already, and what came late. A page that is full
    ends before such a second, so that none is told twice or never.
    """
    found = list(await parts.watch.ticks(sale_id, since_s, TICKS_MAX))
    if len(found) < TICKS_MAX:
        return found, found[-1].at_s + 1 if found else since_s, False
    after_s = found[-1].at_s
    return [tick for tick in found if tick.at_s < after_s], after_s, True


def _since_s(text: str | None) -> int:
    if text is None:
        return 0
    since_ms = parse_time(text)
    if since_ms is None:
        raise invalid("since", "must be a time such as 2026-11-11T02:00:00Z")
    return since_ms // 1000


async def _reported(parts: Parts, sale: Sale) -> Json:
    if parts.watch.reporting.locked():
        raise Problem("overloaded", "Another report is being made; try again in a moment.")
    async with parts.watch.reporting:
        ticks = await _all_ticks(parts, sale.id)
        facts = await parts.ledger.sale_facts(sale.id, REPORT_MS_MAX)
        first_ms, last_ms = span_of(facts, ticks) or (sale.starts_at_ms, sale.starts_at_ms)
        step_s = step_for(first_ms, last_ms)
        pace = await parts.ledger.sale_pace(sale.id, step_s * 1000, 8 * STEPS_MAX, REPORT_MS_MAX)
        audit = await parts.watch.auditor.of_sale(sale, REPORT_MS_MAX)
    missing = ["ticks_cut"] if len(ticks) >= REPORT_TICKS_MAX else []
    return report(
        sale,
        facts=facts,
        pace=pace,
        ticks=ticks,
        step_s=step_s,
        audit=_shown(audit),
        missing=missing,
        now_ms=parts.clock.now_ms(),
    )


async def _all_ticks(parts: Parts, sale_id: int) -> list[Tick]:
    """Ticks alone are not worth failing for."""
    found: list[Tick] = []
    since_s = 0
    try:
        while len(found) < REPORT_TICKS_MAX:
            page, since_s, more = await _page(parts, sale_id, since_s)
            found += page
            if not more:
                break
    except LedgerUnavailable:
        return found
    return found


def _shown(audit: Json) -> Json:
    return {
        "state": audit["state"],
        "checked_at": render_time(audit["at_ms"]),
        "took_ms": audit["took_ms"],
        "invariants": audit["invariants"],
        "unknown": audit["unknown"],
    }
