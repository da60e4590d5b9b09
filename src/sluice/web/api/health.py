"""How the stores and the workers are, and what an operator should look at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.cache.beats import Beats
from sluice.catalog.form import Form, finish
from sluice.catalog.view import Json
from sluice.domain.beat import Beat
from sluice.domain.errors import Unavailable
from sluice.domain.incident import Incident
from sluice.domain.times import render_time
from sluice.domain.webhook import WebhookFacts
from sluice.gate.gate import GateStatus
from sluice.ledger.records import Lease, ShardPosition
from sluice.web.api.answering import Answer, json_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import repeatable
from sluice.web.api.reading import AnyRequest, read_body, read_once, read_query
from sluice.web.parts import AskedParts
from sluice.web.problems import invalid

T = TypeVar("T")
QUIET_MS = 10_000
"""A worker that was not heard of for this long is late: it says so every two seconds."""
NOTE_MAX = 500
KEY_MAX = 100


class Health(Controller):
    path = "/v1/admin"
    opt = FOR_MERCHANTS

    @get("/health")
    async def health(self, parts: AskedParts) -> Answer:
        """Every store is asked now, all at once; what does not answer is `away`."""
        shards = range(parts.settings.shards)
        (statuses, servers, heard), (ledger, positions, leases, webhooks) = await asyncio.gather(
            asyncio.gather(
                asyncio.gather(*(_asked(parts.gate.status(shard)) for shard in shards)),
                _asked(parts.gate.server_facts()),
                _asked(Beats(parts.cache).all()),
            ),
            asyncio.gather(
                _asked(parts.ledger.facts()),
                _asked(parts.ledger.positions()),
                _asked(parts.ledger.leases()),
                _asked(parts.ledger.webhook_facts()),
            ),
        )
        now_ms = parts.clock.now_ms()
        shown = [
            _shard(shard, status, (positions.got or {}).get(shard), (leases.got or {}).get(shard))
            for shard, status in enumerate(statuses)
        ]
        beats, beats_at_ms = heard.got or ([], 0)
        workers = [_worker(beat, beats_at_ms) for beat in beats]
        stores_up = None not in (ledger.got, heard.got, servers.got)
        armed = all(shard["state"] == "armed" for shard in shown)
        alive = any(not worker["late"] for worker in workers)
        return json_answer(
            {
                "ok": stores_up and armed and alive,
                "at": render_time(now_ms),
                "gate": {**_store(servers), "servers": servers.got or [], "shards": shown},
                "ledger": {**_store(ledger), "facts": ledger.got or {}},
                "cache": {**_store(heard), "failures": parts.cache.failures},
                "workers": workers,
                "webhooks": _webhooks(webhooks.got, now_ms),
                "payments": {
                    "provider": parts.settings.payment_provider,
                    "simulated": parts.simulator is not None,
                },
            }
        )

    @get("/incidents")
    async def incidents(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """The newest first; `open=true` for those that last and that nobody has seen. The newest
        hundred of each kind are one page."""
        wanted = read_query(request).get("open", "false")
        if wanted not in ("true", "false"):
            raise invalid("open", "must be true or false")
        found = await parts.ledger.told_incidents()
        if wanted == "true":
            found = [each for each in found if each.seen is None]
        return json_answer({"data": [_shown(each) for each in found], "next_cursor": None})

    @post("/incidents/{incident:str}/seen", status_code=200)
    async def see(self, incident: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """Somebody looks after it; who said so first stays."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        form = Form(body.value, "", [])
        note = form.text("note", NOTE_MAX, required=False) or ""
        finish(form)
        actor = request.scope["state"]["actor"]
        named = incident if len(incident.encode()) <= KEY_MAX else ""
        return await repeatable(
            parts.ledger, key, lambda: parts.ledger.see_incident(named, actor, note), _shown
        )


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What a store answered, None where it did not, and after how long."""

    got: T | None
    ms: float


async def _asked(call: Awaitable[T]) -> Told[T]:
    began = perf_counter()
    try:
        got: T | None = await call
    except Unavailable:
        got = None
    return Told(got, (perf_counter() - began) * 1000)


def _store(told: Told[T]) -> Json:
    return {"state": "away" if told.got is None else "ok", "latency_ms": round(told.ms, 1)}


def _shard(
    shard: int, told: Told[GateStatus], at: ShardPosition | None, lease: Lease | None
) -> Json:
    """`backlog`: entries of the gate's log that are not in the ledger yet."""
    status = told.got
    backlog = None
    if status is not None and at is not None:
        backlog = at.behind(status.epoch, status.counter)
    return {
        "shard": shard,
        "state": "away" if status is None else ("armed" if status.armed else "not_armed"),
        "latency_ms": round(told.ms, 1),
        "epoch": None if status is None else status.epoch,
        "armed_for_ms": None if status is None else max(0, status.armed_until_ms - status.now_ms),
        "recorded": None if at is None else at.counter,
        "backlog": backlog,
        "owner": lease.owner if lease and lease.owner else None,
        "lease_until": render_time(lease.lease_until_ms) if lease and lease.owner else None,
    }


def _worker(beat: Beat, now_ms: int) -> Json:
    age_ms = max(0, now_ms - beat.at_ms)
    return {
        "name": beat.worker,
        "runs": beat.runs,
        "version": beat.version,
        "since": render_time(beat.since_ms),
        "seen_at": render_time(beat.at_ms),
        "age_ms": age_ms,
        "late": age_ms > QUIET_MS,
        "shut": [{"shard": int(shard), "why": why} for shard, why in sorted(beat.shut.items())],
    }


def _webhooks(facts: WebhookFacts | None, now_ms: int) -> Json | None:
    if facts is None:
        return None
    oldest = facts.oldest_pending_ms
    return {
        "pending": facts.pending,
        "failed": facts.failed,
        "oldest_pending_ms": None if oldest is None else max(0, now_ms - oldest),
    }


def _shown(incident: Incident) -> Json:
    seen, until = incident.seen, incident.until_ms
    return {
        "id": incident.key,
        "kind": incident.kind.value,
        "subject": incident.subject or None,
        "detail": incident.detail,
        "since": render_time(incident.since_ms),
        "until": None if until is None else render_time(until),
        "seen": (
            None
            if seen is None
            else {"by": seen.by, "at": render_time(seen.at_ms), "note": seen.note}
        ),
    }
