"""What a scrape tells of webhooks: read from the ledger, so it is the same whoever answers."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sluice.domain.webhook import EndpointState, WebhookFacts


def families(facts: WebhookFacts, now_ms: int) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "sluice_webhook_attempts",
        "Attempts to deliver, by what came of them.",
        labels=["endpoint", "result"],
    )
    states = dict.fromkeys(EndpointState, 0)
    for endpoint, delivered, failed, state in facts.endpoints:
        attempts.add_metric([str(endpoint), "delivered"], delivered)
        attempts.add_metric([str(endpoint), "failed"], failed)
        states[EndpointState(state)] += 1
    endpoints = GaugeMetricFamily(
        "sluice_webhook_endpoints", "Endpoints; one that is off is told nothing.", labels=["state"]
    )
    for state, count in states.items():
        endpoints.add_metric([state], count)
    deliveries = GaugeMetricFamily(
        "sluice_webhook_deliveries",
        "Deliveries that wait, and that were given up in the last 30 days (counted to 100,000).",
        labels=["state"],
    )
    deliveries.add_metric(["pending"], facts.pending)
    deliveries.add_metric(["failed"], facts.failed)
    oldest = facts.oldest_pending_ms
    waits_s = 0.0 if oldest is None else max(0, now_ms - oldest) / 1000
    yield from (attempts, endpoints, deliveries)
    yield GaugeMetricFamily(
        "sluice_webhook_oldest_pending_seconds",
        "Since when the oldest pending delivery waits.",
        value=waits_s,
    )
