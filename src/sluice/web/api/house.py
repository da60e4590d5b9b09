"""For machines around the service, and for readers of its documentation."""

from __future__ import annotations

import asyncio

from litestar import Controller, get
from litestar.params import FromPath
from prometheus_client.core import Metric

from sluice.admission.overload import Work
from sluice.domain.errors import NotFound, SettingsError, Unavailable
from sluice.gate.gate import GateStatus
from sluice.ledger.records import ShardPosition
from sluice.web import metrics, pages, webhook_metrics
from sluice.web.api.answering import JSON, Answer, bytes_answer, json_answer
from sluice.web.metrics import ShardFacts
from sluice.web.openapi import encoded
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import RETRY_AFTER_S, Problem

HTML = "text/html"
_PAGE_HEADERS = pages.HEADERS


class House(Controller):
    @get("/livez", sheds=Work.ALWAYS)
    async def livez(self) -> Answer:
        return json_answer({"alive": True})

    @get("/v1/live", sheds=Work.BROWSE)
    async def live(self) -> Answer:
        """What is no WebSocket handshake comes here; the handshakes go another way."""
        raise Problem("upgrade_required", headers={"upgrade": "websocket"})

    @get("/readyz", sheds=Work.ALWAYS)
    async def readyz(self, parts: AskedParts) -> Answer:
        """Says which store or shard is in the way."""
        statuses, ledger_up = await asyncio.gather(_statuses(parts), _ledger_up(parts))
        shards = [{"shard": shard, "gate": _word(status)} for shard, status in enumerate(statuses)]
        ready = ledger_up and all(shard["gate"] == "armed" for shard in shards)
        body = {
            "ready": ready,
            "ledger": "ok" if ledger_up else "away",
            "shards": shards,
            "breakers": parts.breakers.states(),
        }
        if ready:
            return json_answer(body)
        return json_answer(body, 503, {"retry-after": str(RETRY_AFTER_S)})

    @get("/metrics", sheds=Work.ALWAYS)
    async def metrics(self, parts: AskedParts) -> Answer:
        statuses, positions = await asyncio.gather(_statuses(parts), _positions(parts))
        facts = [
            _facts(shard, status, (positions or {}).get(shard))
            for shard, status in enumerate(statuses)
        ]
        text = metrics.render(
            parts.board, facts, ledger_up=positions is not None, more=await _of_webhooks(parts)
        )
        return bytes_answer(text, 200, metrics.MEDIA_TYPE)

    @get("/openapi.json", sheds=Work.BROWSE)
    async def document(self) -> Answer:
        return bytes_answer(encoded(), 200, JSON, {"cache-control": "public, max-age=60"})

    @get("/docs", sheds=Work.BROWSE)
    async def docs(self) -> Answer:
        return bytes_answer(pages.docs_page(), 200, HTML, _PAGE_HEADERS)

    @get("/docs/problems", sheds=Work.BROWSE)
    async def problems(self) -> Answer:
        return bytes_answer(pages.problems_page(), 200, HTML, _PAGE_HEADERS)

    @get("/inbox", sheds=Work.BROWSE)
    async def inbox(self, parts: AskedParts) -> Answer:
        """For development; an admin's token shows what is in it."""
        if parts.entry.inbox is None:
            raise NotFound
        return bytes_answer(pages.inbox_page(), 200, HTML, _PAGE_HEADERS)

    @get("/static/{name:str}", sheds=Work.BROWSE)
    async def asset(self, name: FromPath[str], parts: AskedParts) -> Answer:
        asset = pages.assets().get(name)
        if name == "tokens.css":
            asset = pages.tokens(parts.settings.pages_tokens)
        if asset is None:
            raise NotFound
        return bytes_answer(asset.content, 200, asset.media_type, _PAGE_HEADERS)


async def _statuses(parts: Parts) -> list[GateStatus | None]:
    """Of every shard; None where the gate did not answer in time."""

    async def one(shard: int) -> GateStatus | None:
        try:
            return await parts.gate.status(shard)
        except Unavailable:
            return None

    return await asyncio.gather(*(one(shard) for shard in range(parts.settings.shards)))


async def _ledger_up(parts: Parts) -> bool:
    try:
        await parts.ledger.check_ready()
    except (Unavailable, SettingsError):
        return False
    return True


async def _positions(parts: Parts) -> dict[int, ShardPosition] | None:
    try:
        return await parts.ledger.positions()
    except Unavailable:
        return None


async def _of_webhooks(parts: Parts) -> list[Metric]:
    """Nothing where the ledger is away."""
    try:
        facts = await parts.ledger.webhook_facts()
    except Unavailable:
        return []
    return list(webhook_metrics.families(facts, parts.clock.now_ms()))


def _word(status: GateStatus | None) -> str:
    if status is None:
        return "away"
    return "armed" if status.armed else "not_armed"


def _facts(shard: int, status: GateStatus | None, position: ShardPosition | None) -> ShardFacts:
    if status is None:
        return ShardFacts(shard=shard, armed=None, lag=None)
    lag: int | None = None
    if position is not None and position.epoch == status.epoch:
        lag = max(0, status.counter - position.counter)
    return ShardFacts(shard=shard, armed=status.armed, lag=lag)
