"""The report of a sale, put together from what the ledger keeps: as JSON, and as CSV.

Everything that counts orders, units and money comes from durable rows. What was asked and refused
comes from the ticks, which may have holes; `coverage` says how many of the accepted orders they
saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sluice.catalog.view import Json, render_money
from sluice.domain import tally
from sluice.domain.money import Money
from sluice.domain.sale import Sale, SaleState
from sluice.domain.times import render_time
from sluice.ledger.sale_facts import Rows
from sluice.ledger.ticks import Tick
from sluice.web.watch import funnel

STEPS_S = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
STEPS_MAX = 240
"""Points of the timeline: its step is the smallest that needs no more of them."""


def step_for(first_ms: int, last_ms: int) -> int:
    """Seconds of one point of the timeline between these times."""
    length_s = max(0, last_ms - first_ms) // 1000 + 1
    return next((s for s in STEPS_S if length_s // s + 1 <= STEPS_MAX), STEPS_S[-1])


def span_of(facts: Rows, ticks: Sequence[Tick]) -> tuple[int, int] | None:
    """From the first thing that happened to the last, in Unix ms; None where nothing did."""
    times = [row["first_ms"] for row in facts["first"]] + [row["last_ms"] for row in facts["first"]]
    times += [tick.at_s * 1000 for tick in (*ticks[:1], *ticks[-1:])]
    return (min(times), max(times)) if times else None


def report(
    sale: Sale,
    *,
    facts: Rows,
    pace: Rows,
    ticks: Sequence[Tick],
    step_s: int,
    audit: Json | None,
    missing: Iterable[str],
    now_ms: int,
) -> Json:
    state = sale.state_at(now_ms)
    cell = tally.summed(tick.counts for tick in ticks)
    traffic = tally.traffic(cell)
    steps = funnel(facts)
    coverage = _coverage(traffic, facts, steps)
    return {
        "sale": {
            "id": str(sale.id),
            "title": sale.title,
            "state": state.value,
            "starts_at": render_time(sale.starts_at_ms),
            "ends_at": render_time(sale.ends_at_ms),
        },
        "at": render_time(now_ms),
        "status": _status(state, steps, traffic),
        "items": _items(sale, facts),
        "timeline": {"step_seconds": step_s, "points": _timeline(sale, ticks, pace, step_s)},
        "traffic": traffic,
        "refused": _refused(traffic),
        "funnel": {
            "passes_asked": traffic["passes"]["asked"],
            "passes_given": traffic["passes"]["given"],
            "asked": traffic["purchases"]["asked"],
            **steps,
        },
        "fairness": _fairness(sale, facts),
        "returns": _returns(facts),
        "waitlist": _waitlist(facts),
        "money": _money(facts),
        "audit": audit,
        "coverage": coverage,
        "notes": [*missing, *_notes(sale, coverage, traffic)],
    }


def _status(state: SaleState, steps: Json, traffic: Json) -> str:
    if state is SaleState.DRAFT or state is SaleState.SCHEDULED:
        return "not_started"
    if state is not SaleState.ENDED:
        return "running"
    return "ended" if steps["accepted"] or traffic["purchases"]["asked"] else "empty"


def _items(sale: Sale, facts: Rows) -> list[Json]:
    states = {(row["item_id"], row["state"]): row for row in facts["states"]}
    gone = {row["item_id"]: row["at_ms"] for row in facts["sold_out"]}
    first = {row["item_id"]: row for row in facts["first"]}
    shown = []
    for item in sale.items:
        began_ms = max(sale.starts_at_ms, 0)
        gone_ms = gone.get(item.id)
        seen = first.get(item.id)

        def orders(*wanted: str, of: int = item.id) -> int:
            return sum(states[of, s]["orders"] for s in wanted if (of, s) in states)

        shown.append(
            {
                "id": str(item.id),
                "title": item.title,
                "price": render_money(item.price),
                "stock": item.stock,
                "available": item.available,
                "awaiting_payment": item.awaiting_payment,
                "paid": item.paid,
                "written_off": item.written_off,
                "orders": sum(row["orders"] for (of, _), row in states.items() if of == item.id),
                "orders_paid": orders("paid", "refunding", "refunded"),
                "first_order_at": None if seen is None else render_time(seen["first_ms"]),
                "sold_out_at": None if gone_ms is None else render_time(gone_ms),
                "sold_out_after_ms": None if gone_ms is None else max(0, gone_ms - began_ms),
            }
        )
    return shown


def _timeline(sale: Sale, ticks: Sequence[Tick], pace: Rows, step_s: int) -> list[Json]:
    """A point for each step in which anything happened."""
    cells: dict[int, list[dict[str, int]]] = {}
    for tick in ticks:
        cells.setdefault(tick.at_s // step_s * step_s, []).append(tick.counts)
    placed = {row["at_ms"] // 1000: row["orders"] for row in pace["placed"]}
    moved: dict[int, dict[str, int]] = {}
    for row in pace["moved"]:
        moved.setdefault(row["at_ms"] // 1000, {})[row["state"]] = row["orders"]
    points = []
    for at_s in sorted({*cells, *placed, *moved}):
        seen = tally.traffic(tally.summed(cells.get(at_s, [])))
        refused: dict[str, int] = {}
        for kind in ("passes", "purchases"):
            for reason, count in seen[kind]["refused"].items():
                refused[reason] = refused.get(reason, 0) + count
        steps = moved.get(at_s, {})
        points.append(
            {
                "at": render_time(at_s * 1000),
                "after_s": at_s - sale.starts_at_ms // 1000,
                "views": seen["views"],
                "passes_asked": seen["passes"]["asked"],
                "purchases_asked": seen["purchases"]["asked"],
                "accepted": placed.get(at_s, 0),
                "refused": sum(refused.values()),
                "refused_by": refused,
                "paid": steps.get("paid", 0),
                "expired": steps.get("expired", 0),
                "cancelled": steps.get("cancelled", 0),
                "p50_ms": seen["latency_ms"]["p50"],
                "p99_ms": seen["latency_ms"]["p99"],
            }
        )
    return points


def _refused(traffic: Json) -> list[Json]:
    """Most frequent first."""
    passes, purchases = traffic["passes"]["refused"], traffic["purchases"]["refused"]
    rows = [
        {
            "reason": reason,
            "passes": passes.get(reason, 0),
            "purchases": purchases.get(reason, 0),
        }
        for reason in {**passes, **purchases}
    ]
    return sorted(rows, key=lambda row: (-row["passes"] - row["purchases"], row["reason"]))


def _fairness(sale: Sale, facts: Rows) -> Json:
    """By tenth of the order in which the gate accepted. A number says its second and no finer, so
    times to the ledger are right to a second."""
    tenths = [
        {
            "tenth": row["tenth"],
            "orders": row["orders"],
            "first_at": render_time(row["first_ms"]),
            "last_at": render_time(row["last_ms"]),
            "recorded_after_ms": {"mean": round(row["mean_ms"]), "max": row["max_ms"]},
            "paid": row["paid"],
        }
        for row in facts["deciles"]
    ]
    return {
        "orders": sum(row["orders"] for row in facts["deciles"]),
        "recorded_out_of_order": sum(row["overtaken"] for row in facts["deciles"]),
        "tenths": tenths,
        "shards": len({item.shard for item in sale.items}),
    }


def _returns(facts: Rows) -> list[Json]:
    found: dict[str, Json] = {}
    for row in facts["returns"]:
        each = found.setdefault(row["reason"], {"reason": row["reason"], "orders": 0, "units": 0})
        each["orders"] += row["orders"]
        each["units"] += row["units"]
    return sorted(found.values(), key=lambda row: -row["units"])


def _waitlist(facts: Rows) -> Json:
    counts = dict.fromkeys(("waiting", "promoted", "left", "closed"), 0)
    longest, waited, promoted = None, 0.0, 0
    for row in facts["lines"]:
        counts[row["state"]] += row["entries"]
        if row["state"] == "promoted":
            promoted += row["entries"]
            waited += (row["mean_ms"] or 0) * row["entries"]
            longest = max(longest or 0, row["longest_ms"] or 0)
    return {
        "joined": sum(counts.values()),
        **counts,
        "promoted_after_ms": {
            "mean": round(waited / promoted) if promoted else None,
            "max": longest,
        },
    }


def _money(facts: Rows) -> list[Json]:
    """By provider and currency."""
    found: dict[tuple[str, str], dict[str, int]] = {}

    def of(row: dict[str, Any]) -> dict[str, int]:
        empty = dict.fromkeys(("payments", "captured", "refunded", "owed", "failed", "failures"), 0)
        return found.setdefault((row["provider"], row["currency"]), empty)

    for row in facts["captured"]:
        each = of(row)
        each["payments"] += row["payments"]
        each["captured"] += row["captured"]
        each["refunded"] += row["refunded"]
    for row in facts["owed"]:
        each = of(row)
        each["owed"] += row["amount"]
        if row["state"] == "failed":
            each["failed"] += row["amount"]
            each["failures"] += row["refunds"]
    return [
        {
            "provider": provider,
            "currency": currency,
            "payments": each["payments"],
            "captured": render_money(Money(each["captured"], currency)),
            "refunded": render_money(Money(each["refunded"], currency)),
            "net": render_money(Money(each["captured"] - each["refunded"], currency)),
            "to_be_refunded": render_money(Money(each["owed"], currency)),
            "failed_refunds": {
                "count": each["failures"],
                "amount": render_money(Money(each["failed"], currency)),
            },
        }
        for (provider, currency), each in sorted(found.items())
    ]


def _coverage(traffic: Json, facts: Rows, steps: Json) -> Json:
    """How much of what is durable the ticks have seen. Promoted orders are nobody's request."""
    promoted = sum(row["entries"] for row in facts["lines"] if row["state"] == "promoted")
    durable = max(0, steps["accepted"] - promoted)
    seen = traffic["purchases"]["accepted"]
    share = None if not durable else round(min(1.0, seen / durable), 4)
    return {"accepted_seen": seen, "accepted": durable, "share": share, "lost": traffic["lost"]}


def _notes(sale: Sale, coverage: Json, traffic: Json) -> list[str]:
    """What is not known, as codes that a page has words for."""
    notes = []
    if coverage["share"] is not None and coverage["share"] < 0.995:
        notes.append("ticks_missing")
    if traffic["lost"]:
        notes.append("ticks_lost")
    if len({item.shard for item in sale.items}) > 1:
        notes.append("several_shards")
    return notes


# --- as a table -----------------------------------------------------------------------------------


def table(found: Json) -> Iterable[Sequence[object]]:
    """The report as rows `section, name, detail, value`: one shape for all of it, so that any
    program can read it."""
    yield "section", "name", "detail", "value"
    sale = found["sale"]
    for name in ("id", "title", "state", "starts_at", "ends_at"):
        yield "sale", name, "", sale[name]
    yield "sale", "status", "", found["status"]
    yield "sale", "reported_at", "", found["at"]
    for item in found["items"]:
        for name, value in item.items():
            if name == "price":
                yield "item", item["id"], "price", float(value["amount"])
                yield "item", item["id"], "currency", value["currency"]
            elif name != "id":
                yield "item", item["id"], name, value
    for name, value in found["funnel"].items():
        yield "funnel", name, "", value
    for row in found["refused"]:
        yield "refused", row["reason"], "passes", row["passes"]
        yield "refused", row["reason"], "purchases", row["purchases"]
    for name in ("p50", "p99"):
        yield "latency_ms", name, "purchases", found["traffic"]["latency_ms"][name]
    for row in found["fairness"]["tenths"]:
        tenth = f"tenth {row['tenth']}"
        yield "fairness", tenth, "orders", row["orders"]
        yield "fairness", tenth, "first_at", row["first_at"]
        yield "fairness", tenth, "recorded_after_ms_mean", row["recorded_after_ms"]["mean"]
        yield "fairness", tenth, "recorded_after_ms_max", row["recorded_after_ms"]["max"]
        yield "fairness", tenth, "paid", row["paid"]
    out_of_order = found["fairness"]["recorded_out_of_order"]
    yield "fairness", "recorded_out_of_order", "", out_of_order
    for row in found["returns"]:
        yield "returns", row["reason"], "orders", row["orders"]
        yield "returns", row["reason"], "units", row["units"]
    for name, value in found["waitlist"].items():
        if name != "promoted_after_ms":
            yield "waitlist", name, "", value
    for row in found["money"]:
        of = f"{row['provider']} {row['currency']}"
        for name in ("captured", "refunded", "net", "to_be_refunded"):
            yield "money", of, name, row[name]["amount"]
        yield "money", of, "failed_refunds", row["failed_refunds"]["count"]
    audit = found["audit"]
    yield "audit", "state", "", "unknown" if audit is None else audit["state"]
    for check in [] if audit is None else audit["invariants"]:
        yield "audit", check["name"], check["detail"], "holds" if check["ok"] else "broken"
    for name, value in found["coverage"].items():
        yield "coverage", name, "", value
    for note in found["notes"]:
        yield "note", note, "", ""
    for point in found["timeline"]["points"]:
        for name in ("views", "passes_asked", "purchases_asked", "accepted", "refused", "paid"):
            yield "timeline", point["at"], name, point[name]
