"""Payments come in: a signed callback each over HTTP, answered when inbox, payment, order and units
are committed in the ledger (SQLite), by one HTTP worker.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.buyers import Prepared
from bench.held import take_all, writing
from bench.processes import BenchError, wait_until
from bench.product import Product, product
from bench.run import Bench, Figure, Outcome
from bench.stats import median
from bench.wrk import CONNECTIONS, Sample, shoot

AT_LEAST = 1_500
FIRST_PAYMENT = 1_000_000
"""Payment ids of one width, so that every request has the same length."""
ROUNDS = 3
AGREE_S = 10.0
_OPEN = """
INSERT INTO payments (id, order_number, amount_minor, refunded_minor, created_at_ms, ask_at_ms,
                      open_for, currency, provider, state)
SELECT ? + row_number() OVER (ORDER BY number), number, amount_minor, 0, placed_at_ms, pay_by_ms,
       number, currency, 'simulator', 'pending'
FROM orders
"""


def run(bench: Bench) -> Outcome:
    count = bench.sizes.callbacks
    with product(bench.subfolder("callbacks") / "data") as shop:
        target = shop.open_sale(stock=count)
        bench.say(f"callbacks: {count:,} orders, each at its checkout")
        take_all(shop, target.publication, target.item_id, count)
        with closing(writing(shop)) as ledger, ledger:
            ledger.execute(_OPEN, [FIRST_PAYMENT])
            ledger.execute("UPDATE orders SET payment_state = 'pending'")
            rows = ledger.execute("SELECT id, order_number FROM payments ORDER BY id").fetchall()
        share = count // ROUNDS
        samples: list[Sample] = []
        for index in range(ROUNDS):
            bench.say(f"callbacks: round {index + 1} of {ROUNDS}")
            samples.append(_round(bench, shop, rows[index * share : (index + 1) * share], index))
            _check(shop, samples)
    return Outcome(
        figures=[
            Figure(
                name="captures, 1 worker",
                value=median([s.per_s for s in samples]),
                unit="/s",
                at_least=AT_LEAST,
            ),
            Figure(name="captures, p99", value=median([s.p99_ms for s in samples]), unit="ms"),
        ],
        notes=[
            f"Callbacks: {CONNECTIONS} connections; no payment twice; after each round as many "
            "orders are paid as were answered 200."
        ],
        details={"cores": samples[-1].cpu},
    )


def _round(bench: Bench, shop: Product, rows: list[tuple[int, int]], index: int) -> Sample:
    file = bench.subfolder("callbacks") / f"requests-{index}.bin"
    requests = _write(file, shop, rows)
    sample = shoot(
        shop.url,
        "prepared.lua",
        requests.file,
        requests.width,
        seconds=bench.sizes.seconds,
        watched=shop.pids(),
    )
    file.unlink()
    if sample.refused or sample.socket_errors or sample.asked > len(rows):
        raise BenchError(
            f"callbacks: {sample.refused} were refused, {sample.socket_errors} got no answer, "
            f"{sample.asked:,} of {len(rows):,} prepared ones were sent."
        )
    return sample


def _check(shop: Product, samples: list[Sample]) -> None:
    """Up to one answer a connection goes unread when wrk stops, and is paid all the same."""
    told = sum(sample.answers for sample in samples)
    most = told + len(samples) * CONNECTIONS
    wait_until(
        "as many paid orders as answers",
        lambda: told <= shop.orders_in("paid") <= most,
        seconds=AGREE_S,
        every_s=0.1,
    )


def _write(file: Path, shop: Product, rows: list[tuple[int, int]]) -> Prepared:
    widths = set()
    with file.open("wb") as out:
        for request in _requests(shop, rows):
            out.write(request)
            widths.add(len(request))
    assert len(widths) == 1, "requests must have one width"
    return Prepared(file, widths.pop(), len(rows))


def _requests(shop: Product, rows: list[tuple[int, int]]) -> Iterator[bytes]:
    """As the provider signs them: Standard Webhooks."""
    key, now = shop.settings().payment_keys[0], int(time.time())
    for payment_id, number in rows:
        body = json.dumps(
            {
                "type": "payment.captured",
                "data": {
                    "order_id": str(number),
                    "payment_id": str(payment_id),
                    "amount": "9.90",
                    "currency": "CNY",
                    "reference": f"sim_{payment_id}",
                },
            }
        ).encode()
        event = f"evt_{payment_id}"
        signed = hmac.digest(key, f"{event}.{now}.".encode() + body, hashlib.sha256)
        yield (
            "POST /v1/webhooks/payments/simulator HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{shop.port}\r\nContent-Type: application/json\r\n"
            f"webhook-id: {event}\r\nwebhook-timestamp: {now}\r\n"
            f"webhook-signature: v1,{base64.b64encode(signed).decode()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
