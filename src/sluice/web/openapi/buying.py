"""The buyer's operations; those of the hot lane are described here and nowhere else."""

from __future__ import annotations

from sluice.admission.passes import PASS_MAX
from sluice.admission.receipts import RECEIPT_MAX
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    BUYER,
    PAGING,
    Json,
    answer,
    body,
    header,
    operation,
    page_of,
    path_id,
    path_word,
    ref,
)

_TAG = "Buying"
_SALE = path_id("sale", "The sale's id.")
_ITEM = path_id("item", "The item's id.", "12")
_ETAG: Json = {
    "ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "May be kept for a moment.", "schema": {"type": "string"}},
}
_IF_NONE_MATCH = header(
    "If-None-Match",
    "The ETag of the answer that is at hand.",
    {"type": "string"},
    '"5f2c1a"',
)
_PASS = path_word(
    "pass",
    "The pass.",
    {"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "minLength": 1, "maxLength": PASS_MAX},
    samples.PASS,
)
_RECEIPT = header(
    "Sluice-Receipt",
    "The receipt that came with the acceptance. With it the order is found even where the gate "
    "has lost its memory.",
    {"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "maxLength": RECEIPT_MAX},
    samples.ACCEPTED["receipt"],
)
_SALES, _SALES_EXAMPLE = page_of("Sale", samples.SALE)
_ORDERS, _ORDERS_EXAMPLE = page_of(
    "Order", {k: v for k, v in samples.ORDER.items() if k != "poll_after_ms"}
)

PATHS: dict[str, Json] = {
    "/v1/sales": {
        "get": operation(
            "listSales",
            _TAG,
            "List sales, newest first",
            description="Everything that is published; drafts are not shown.",
            parameters=[*PAGING, _IF_NONE_MATCH],
            answers={
                200: answer("The sales.", _SALES, _SALES_EXAMPLE, headers=_ETAG),
                304: answer("Nothing has changed.", headers=_ETAG),
            },
            problem_codes=["invalid", "unavailable"],
            instance="/v1/sales",
        )
    },
    "/v1/sales/{sale}": {
        "get": operation(
            "getSale",
            _TAG,
            "Show a sale",
            description="Answered from memory. `server_time` is the clock that counts: show the "
            "countdown by it. `remaining_hint` may be a moment old.",
            parameters=[_SALE, _IF_NONE_MATCH],
            answers={
                200: answer("The sale.", ref("Sale"), samples.SALE, headers=_ETAG),
                304: answer("Nothing has changed.", headers=_ETAG),
            },
            problem_codes=["not_found", "unavailable"],
            instance="/v1/sales/7",
        )
    },
    "/v1/sales/{sale}/items/{item}/pass": {
        "post": operation(
            "requestPass",
            _TAG,
            "Ask for a pass",
            description="The pass is the hidden address of one purchase: short-lived, signed, and "
            "bound to the buyer. It is not yet an order, and it promises no unit.",
            parameters=[_SALE, _ITEM],
            request=body("PassRequest", {}, required=False),
            answers={
                200: answer("A pass.", ref("Pass"), samples.PASS_ANSWER),
                202: answer(
                    "Wait: the sale has a waiting room, and the buyer has a place in it now.",
                    ref("Place"),
                    samples.PLACE,
                ),
            },
            problem_codes=[
                *(
                    "not_started",
                    "challenge_failed",
                    "not_allowed",
                    "not_found",
                    "sold_out",
                    "paused",
                    "ended",
                ),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/sales/7/items/12/pass",
            security=BUYER,
        )
    },
    "/v1/buy/{pass}": {
        "post": operation(
            "buy",
            _TAG,
            "Buy with a pass",
            description="202 means: accepted by the gate, and on its disk. The same pass answers "
            "with the same order for ever, also when the first answer was lost; it cannot buy "
            "twice. After a 503 the outcome is unknown: send the same pass again.",
            parameters=[_PASS],
            request=body("BuyRequest", {"quantity": 1}, required=False),
            answers={202: answer("The order.", ref("Accepted"), samples.ACCEPTED)},
            problem_codes=[
                *("not_started", "bad_pass", "not_found", "sold_out", "limit_reached", "paused"),
                *("ended", "too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/buy",
            security=BUYER,
        )
    },
    "/v1/orders/{order}": {
        "get": operation(
            "getOrder",
            _TAG,
            "Show an order",
            description="`queued` becomes `awaiting_payment` when the ledger has committed the "
            "order, `paid` at once where it is free.",
            parameters=[path_id("order", "The order's id.", samples.ORDER["id"]), _RECEIPT],
            answers={200: answer("The order.", ref("Order"), samples.ORDER)},
            problem_codes=["not_found", "overloaded", "unavailable"],
            instance=f"/v1/orders/{samples.ORDER['id']}",
            security=BUYER,
        )
    },
    "/v1/orders": {
        "get": operation(
            "listOrders",
            _TAG,
            "List one's own orders, newest first",
            description="What the ledger has committed. An order that is still `queued` is shown "
            "by its own id.",
            parameters=PAGING,
            answers={200: answer("The orders.", _ORDERS, _ORDERS_EXAMPLE)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/orders",
            security=BUYER,
        )
    },
    "/v1/orders/{order}/cancel": {
        "post": operation(
            "cancelOrder",
            _TAG,
            "Cancel an order that is not paid",
            description="Its units go to whoever waits for them, or back on sale. A payment that "
            "is under way is closed first; who has paid by then keeps the order (409). A `queued` "
            "order may still be `queued` in the answer: it becomes `cancelled` in a moment. "
            "Repeated, it answers the same again.",
            parameters=[path_id("order", "The order's id.", samples.ORDER["id"]), _RECEIPT],
            request=body("Nothing", {}, required=False),
            answers={200: answer("The order.", ref("Order"), samples.CANCELLED)},
            problem_codes=[
                *("not_found", "conflict"),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance=f"/v1/orders/{samples.ORDER['id']}/cancel",
            security=BUYER,
        )
    },
    "/v1/sales/{sale}/items/{item}/waitlist": {
        "post": operation(
            "joinWaitlist",
            _TAG,
            "Stand in line for one unit",
            description="For an item that is gone. Units that come back go to the head of the "
            "line as orders of their own, with a payment window that begins then. Nobody can hold "
            "an item and wait for it. A sale asks of a place what it asks of a pass: its list of "
            "guests, its challenge.",
            parameters=[_SALE, _ITEM],
            request=body("PassRequest", {}, required=False),
            answers={
                200: answer("The entry that there is already.", ref("InLine"), samples.WAITING),
                201: answer("A new entry.", ref("InLine"), samples.WAITING),
            },
            problem_codes=[
                *("not_started", "challenge_failed", "not_allowed", "not_found", "available"),
                *("limit_reached", "sold_out", "ended"),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/sales/7/items/12/waitlist",
            security=BUYER,
        ),
        "get": operation(
            "getWaitlistEntry",
            _TAG,
            "Show one's own entry",
            description="`position` and `ahead` are null for whoever is not in line: `promoted` "
            "(then `order_id` says to which order), `left`, or `closed` because nothing came back "
            "in time.",
            parameters=[_SALE, _ITEM],
            answers={200: answer("The entry.", ref("InLine"), samples.PROMOTED)},
            problem_codes=["not_found", "overloaded", "unavailable"],
            instance="/v1/sales/7/items/12/waitlist",
            security=BUYER,
        ),
        "delete": operation(
            "leaveWaitlist",
            _TAG,
            "Leave the line",
            description="Also answered so where one is not in it. 409 where one's turn has come: "
            "then there is an order, which can be cancelled.",
            parameters=[_SALE, _ITEM],
            answers={204: answer("Not in line.")},
            problem_codes=[
                *("not_found", "conflict", "invalid"),
                *("too_many_requests", "overloaded", "unavailable"),
            ],
            instance="/v1/sales/7/items/12/waitlist",
            security=BUYER,
        ),
    },
    "/v1/live": {
        "get": operation(
            "connectLive",
            _TAG,
            "Hear of changes as they happen",
            description='A WebSocket. The first message is `{"token": …}`, and then, for a sale '
            'of interest, `{"subscribe": "sale:ID"}`. What comes is `{"type", "at", '
            '"data"}`: the buyer\'s orders and places in line, and states of the sales that were '
            "subscribed to, as they are now and whenever they change. Nothing exists only there. "
            "docs/live.md has all of it.",
            answers={101: {"description": "It is a WebSocket from here on."}},
            problem_codes=["upgrade_required"],
            instance="/v1/live",
        )
    },
}
