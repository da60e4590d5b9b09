"""The merchant's and the operator's operations."""

from __future__ import annotations

from sluice.domain.order import OrderState
from sluice.web.openapi import samples
from sluice.web.openapi.parts import (
    ID,
    MERCHANT,
    PAGING,
    Json,
    answer,
    body,
    once,
    operation,
    page_of,
    path_id,
    query,
    ref,
)

_SALES, _OVERSIGHT = "Sales", "Oversight"
_SALE = path_id("sale", "The sale's id.")
_SALE_PAGE = page_of("AdminSale", samples.ADMIN_SALE)
_ORDER_PAGE = page_of(
    "AdminOrder",
    {
        **{k: v for k, v in samples.ORDER.items() if k != "poll_after_ms"},
        "buyer": "jwt:shop:42",
    },
)
_ORDERS = answer("The orders.", *_ORDER_PAGE)
_ORDERS["content"]["text/csv"] = {"schema": {"type": "string"}}
_LETTER_PAGE = page_of("DeadLetter", samples.DEAD_LETTER)
_MONEY_PAGE = page_of("OpenMoney", samples.OPEN_MONEY)
_LINE_PAGE = page_of("WaitEntry", samples.WAIT_ENTRY)
_ORDER = path_id("order", "The order's id.", samples.ORDER["id"])
_WHY = {"reason": "The glaze was cracked."}
_ANSWER = answer("The sale.", ref("AdminSale"), samples.ADMIN_SALE)
_REASON = {"reason": "The photographs were mixed up."}


def _step(name: str, summary: str, description: str, path: str, request: Json) -> Json:
    """A command that moves a sale from state to state."""
    return {
        "post": operation(
            name,
            _SALES,
            summary,
            description=f"{description} Repeated, it answers the same again.",
            parameters=[_SALE, once(required=False)],
            request=request,
            answers={200: _ANSWER},
            problem_codes=[
                *("not_found", "conflict", "idempotency_mismatch", "unavailable"),
            ],
            instance=f"/v1/admin/sales/7/{path}",
            security=MERCHANT,
        )
    }


_EMPTY = body("Nothing", {}, required=False)

PATHS: dict[str, Json] = {
    "/v1/admin/sales": {
        "get": operation(
            "listAllSales",
            _SALES,
            "List all sales, drafts too, newest first",
            parameters=PAGING,
            answers={200: answer("The sales.", *_SALE_PAGE)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/sales",
            security=MERCHANT,
        ),
        "post": operation(
            "createSale",
            _SALES,
            "Create a sale, as a draft",
            description="All that is wrong with it is said at once. Items with the same "
            "`limit_group` (variants of one product) share `per_buyer`.",
            parameters=[once(required=False)],
            request=body("NewSale", samples.NEW_SALE),
            answers={201: answer("The draft.", ref("AdminSale"), samples.ADMIN_SALE)},
            problem_codes=["idempotency_mismatch", "unavailable"],
            instance="/v1/admin/sales",
            security=MERCHANT,
        ),
    },
    "/v1/admin/sales/{sale}": {
        "get": operation(
            "getAnySale",
            _SALES,
            "Show a sale with the ledger's counts",
            parameters=[_SALE],
            answers={200: _ANSWER},
            problem_codes=["not_found", "unavailable"],
            instance="/v1/admin/sales/7",
            security=MERCHANT,
        ),
        "patch": operation(
            "changeSale",
            _SALES,
            "Change a sale",
            description="Only what is named is changed.",
            parameters=[_SALE],
            request=body("SaleChange", {"title": "The last drop of November"}),
            answers={200: _ANSWER},
            problem_codes=["not_found", "conflict", "unavailable"],
            instance="/v1/admin/sales/7",
            security=MERCHANT,
        ),
    },
    "/v1/admin/sales/{sale}/publish": _step(
        "publishSale",
        "Publish a draft",
        "The gate is given its items; it opens by itself at `starts_at`.",
        "publish",
        _EMPTY,
    ),
    "/v1/admin/sales/{sale}/pause": _step(
        "pauseSale",
        "Pause a sale",
        "Nothing is sold until it is resumed; what was accepted stays.",
        "pause",
        body("Reason", _REASON),
    ),
    "/v1/admin/sales/{sale}/resume": _step(
        "resumeSale", "Resume a paused sale", "It sells again.", "resume", _EMPTY
    ),
    "/v1/admin/sales/{sale}/close": _step(
        "closeSale", "Close a sale for good", "It cannot be opened again.", "close", _EMPTY
    ),
    "/v1/admin/items/{item}/stock": {
        "post": operation(
            "editStock",
            _SALES,
            "Add units, or take some away",
            description="Units that are held or sold cannot be taken away.",
            parameters=[path_id("item", "The item's id.", "12"), once(required=True)],
            request=body("StockForm", {"delta": 5, "reason": samples.STOCK_EDIT["reason"]}),
            answers={200: answer("The edit.", ref("StockEdit"), samples.STOCK_EDIT)},
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/items/12/stock",
            security=MERCHANT,
        )
    },
    "/v1/admin/orders": {
        "get": operation(
            "listAllOrders",
            _OVERSIGHT,
            "List orders, newest first, or all of them as CSV",
            description="`q` is exact: nobody is found by a piece of a phone. The file is UTF-8 "
            "with its mark, and a cell that begins like a formula has an apostrophe before it.",
            parameters=[
                query(
                    "q",
                    "An order's number, a buyer's key, or the whole login or phone of an account.",
                    {"type": "string", "maxLength": 255},
                    "acct:42",
                ),
                query(
                    "format",
                    "`csv`: all that is found, a million at most.",
                    {"type": "string", "enum": ["json", "csv"], "default": "json"},
                    "json",
                ),
                query("sale", "Only of this sale.", ID, "7"),
                query(
                    "state",
                    "Only in this state.",
                    {"type": "string", "enum": list(OrderState)},
                    "awaiting_payment",
                ),
                *PAGING,
            ],
            answers={200: _ORDERS},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/orders",
            security=MERCHANT,
        )
    },
    "/v1/admin/orders/{order}/refund": {
        "post": operation(
            "refundOrder",
            _OVERSIGHT,
            "Refund a paid order, in full or by unit",
            description="The money goes back through the provider; the order is `refunded` when "
            "it has. Refunded units go to whoever waits for them or back on sale, and with "
            "`restock: false` are written off. Without `quantity` everything that is left is "
            "refunded.",
            parameters=[_ORDER, once(required=True)],
            request=body("RefundForm", {"quantity": 1, "restock": True, **_WHY}),
            answers={200: answer("The order.", ref("AdminOrder"), samples.REFUNDING)},
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance=f"/v1/admin/orders/{samples.ORDER['id']}/refund",
            security=MERCHANT,
        )
    },
    "/v1/admin/orders/{order}/cancel": {
        "post": operation(
            "cancelAnyOrder",
            _OVERSIGHT,
            "Cancel an order that is not paid",
            description="As its buyer could. A paid order is refunded instead.",
            parameters=[_ORDER, once(required=False)],
            request=body("Reason", _WHY),
            answers={
                200: answer(
                    "The order.", ref("AdminOrder"), {**samples.CANCELLED, "buyer": "jwt:shop:42"}
                )
            },
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance=f"/v1/admin/orders/{samples.ORDER['id']}/cancel",
            security=MERCHANT,
        )
    },
    "/v1/admin/money": {
        "get": operation(
            "listOpenMoney",
            _OVERSIGHT,
            "List money that is owed back and not yet back, oldest first",
            description="What came late, twice or in the wrong amount, and what was refunded by "
            "an operator: on its way, or `failed` and waiting for somebody to look. Empty when "
            "all is well.",
            parameters=PAGING,
            answers={200: answer("The payments.", *_MONEY_PAGE)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/money",
            security=MERCHANT,
        )
    },
    "/v1/admin/money/{refund}/retry": {
        "post": operation(
            "retryRefund",
            _OVERSIGHT,
            "Try a refund again that failed",
            description="To the provider it is a new refund, so somebody decides it: see there "
            "first that the money did not go back after all. The answer is the new one.",
            parameters=[path_id("refund", "The refund's id.", "3"), once(required=False)],
            request=_EMPTY,
            answers={
                200: answer(
                    "The new refund.",
                    ref("OpenMoney"),
                    {
                        **samples.OPEN_MONEY,
                        "refund_id": "4",
                        "state": "pending",
                        "attempts": 0,
                        "error": None,
                    },
                )
            },
            problem_codes=["not_found", "conflict", "idempotency_mismatch", "unavailable"],
            instance="/v1/admin/money/3/retry",
            security=MERCHANT,
        )
    },
    "/v1/admin/items/{item}/waitlist": {
        "get": operation(
            "listWaitlist",
            _OVERSIGHT,
            "List who waits for an item, first in line first",
            parameters=[path_id("item", "The item's id.", "12"), *PAGING],
            answers={200: answer("The entries.", *_LINE_PAGE)},
            problem_codes=["not_found", "invalid", "unavailable"],
            instance="/v1/admin/items/12/waitlist",
            security=MERCHANT,
        )
    },
    "/v1/admin/dead-letters": {
        "get": operation(
            "listDeadLetters",
            _OVERSIGHT,
            "List orders that could not be recorded, oldest first",
            parameters=PAGING,
            answers={200: answer("The dead letters.", *_LETTER_PAGE)},
            problem_codes=["invalid", "unavailable"],
            instance="/v1/admin/dead-letters",
            security=MERCHANT,
        )
    },
    "/v1/admin/audit": {
        "get": operation(
            "audit",
            _OVERSIGHT,
            "Check every invariant",
            description="The same as `sluice audit --json`.",
            answers={200: answer("What was found.", ref("Audit"), samples.AUDIT)},
            problem_codes=["unavailable"],
            instance="/v1/admin/audit",
            security=MERCHANT,
        )
    },
}
