"""The OpenAPI document against the running product: what is there is said, what is said holds."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from litestar import Litestar
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi import checks
from tests.support.api import FOR_A_CROWD, a_sale, framework
from tests.support.examples import Stage
from tests.support.http import AGAIN_S, PATIENCE_S, TOLD_LATER, Browser
from tests.support.product import ADMIN_TOKEN, Product
from tests.support.tokens import identity_token

from sluice.web.lane import Lane
from sluice.web.openapi import document
from sluice.web.room_lane import RoomLane
from sluice.web.routes import METHODS

EXAMPLES_MAX, EXAMPLES_MORE = 3, 8
"""Of generated requests to one operation, always and by `make verify`: a few find what is plainly
wrong, more of them take half a minute. With many more Mei would log in more often than she may."""
NOT_IN_THE_DOCUMENT = {"/static/{name:str}"}
"""What pages are made of."""

DOCUMENT = document()
CONFIG = schemathesis.Config.from_dict(
    {
        # Fields of a query that nobody asked for are ignored; who is asking is set by the test.
        "generation": {"allow-extra-parameters": False, "with-security-parameters": False},
        "checks": {
            "negative_data_rejection": {
                "expected-statuses": [401, 403, 404, 409, 413, 415, 422, 429]
            }
        },
    }
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
OPERATIONS = [
    pytest.param(path, method, operation, id=operation["operationId"])
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@dataclass(frozen=True)
class Shop:
    """The running product, with a sale that is on."""

    url: str
    buyer: str
    names: dict[str, str]
    """What an address may name."""
    stage: Stage

    def headers(self, operation: dict[str, Any]) -> dict[str, str]:
        """Whoever may ask for this operation."""
        kind = next((kind for wanted in operation.get("security", []) for kind in wanted), "")
        if kind == "session":  # of its own: some operations end it
            return {"Authorization": f"Bearer {self.stage.session()}"}
        admin = dict.fromkeys(("admin", "merchant", "person"), ADMIN_TOKEN)
        tokens = {**admin, "buyer": self.buyer}
        return {"Authorization": f"Bearer {tokens[kind]}"} if kind else {}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Product(tmp_path_factory.mktemp("shop") / "data") as product:
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        with Browser(product.url, headers=admin) as client:
            new = a_sale(policy=FOR_A_CROWD)
            sale = client.post("/v1/admin/sales", json=new).raise_for_status().json()
            client.post(f"/v1/admin/sales/{sale['id']}/publish").raise_for_status()
        buyer = identity_token(product.identity_secret(), "mei")
        secrets = json.loads((product.data / "secrets.json").read_text())
        item = sale["items"][0]["id"]
        names = {"sale": sale["id"], "item": item, "order": "1", "pass": "x"}
        stage = Stage(product.url, secrets, buyer)
        stage.session()  # before a generated request takes Mei's name
        yield Shop(product.url, buyer, names, stage)
        assert '"level": "error"' not in product.log(), product.log()[-4000:]


# --- what is there is said ------------------------------------------------------------------------


def test_every_route_of_the_framework_is_in_the_document(framework_app: Litestar) -> None:
    for route in framework_app.routes:
        path = re.sub(r":\w+}", "}", route.path)
        if route.path in NOT_IN_THE_DOCUMENT:
            continue
        methods = {method.lower() for method in route.methods} & set(METHODS)
        assert methods <= DOCUMENT["paths"][path].keys(), path


@pytest.fixture
def framework_app(tmp_path: Path) -> Litestar:
    return framework(tmp_path)


def test_every_route_of_the_hot_lane_is_in_the_document() -> None:
    handlers = {
        name
        for name, value in [*vars(Lane).items(), *vars(RoomLane).items()]
        if not name.startswith("_")
        and inspect.isfunction(value)
        and value.__code__.co_varnames[1:3] == ("scope", "proto")
    }
    found = {hot(path, method) for path, method, _ in each()} - {None}
    assert found == handlers


def each() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def hot(path: str, method: str) -> str | None:
    """The hot lane's handler for an operation."""
    lane = Lane.__new__(Lane)  # finding needs none of its parts
    lane.room = RoomLane.__new__(RoomLane)
    handler = lane.find(method.upper(), re.sub(r"\{\w+\}", "7", path))
    return None if handler is None else cast(Any, handler).__name__


# --- what is said is there ------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_operation_answers_as_its_examples_say(
    shop: Shop, path: str, method: str, operation: dict[str, Any]
) -> None:
    tried = shop.stage.prepare(operation["operationId"], shop.names)
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), "")
    shown: dict[str, Any] = content.get(media_type, {})
    headers = {**shop.headers(operation), **(tried.headers or {})}
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "Idempotency-Key":
            headers["Idempotency-Key"] = f"key-{operation['operationId']}"
    body = shown.get("example") if tried.body is None else tried.body
    sent: dict[str, Any] = {"data": body} if "form" in media_type else {"json": body}
    if isinstance(body, bytes):
        headers["Content-Type"], sent = media_type, {"content": body}
    with Browser(shop.url, headers=headers) as http:
        answer = http.request(method, path.format(**tried.names), **sent)
    expected = tried.status or min(int(status) for status in operation["responses"])
    assert answer.status_code == expected, answer.text
    SCHEMA[path][method.upper()].validate_response(_as_requests_would(answer))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"]
    assert answer.headers["x-request-id"]


def _as_requests_would(answer: httpx.Response) -> Any:
    """What schemathesis takes; it knows httpx's answers only from its own transport."""
    return schemathesis.Response.from_any(answer)


def test_the_audit_looks_at_every_invariant_and_finds_them_holding(shop: Shop) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with Browser(shop.url, headers=headers) as http:
        report = http.get("/v1/admin/audit").json()
    assert [each for each in report["invariants"] if not each["ok"]] == []
    assert report["ok"] is True
    assert len(report["invariants"]) > 5


@pytest.mark.parametrize("path", ["/v1/sales/7", "/v1/buy/x", "/v1/orders/7", "/v1/sales"])
def test_a_wrong_method_is_405_and_says_which_are_right(shop: Shop, path: str) -> None:
    with Browser(shop.url) as http:
        answer = http.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        allowed = set(answer.headers["allow"].split(", "))
        assert "OPTIONS" in allowed
        assert allowed & {"GET", "POST"}
        assert http.options(path).headers["allow"] == answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/v1/sales", "/v1/sales/1", "/v1/orders/1", "/livez", "/docs", "/v1/me"]
)
def test_head_says_what_get_says_without_the_body(shop: Shop, path: str) -> None:
    with Browser(shop.url) as http:
        head, got = http.head(path), http.get(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


# --- and what nobody thought of -------------------------------------------------------------------

CHECKS: list[Callable[..., Any]] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.ignored_auth,
]


ALWAYS = settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@SCHEMA.parametrize()
@ALWAYS
def test_no_request_breaks_what_the_document_says(case: schemathesis.Case[Any], shop: Shop) -> None:
    _validate(case, shop)


@pytest.mark.verify
@SCHEMA.parametrize()
@settings(ALWAYS, max_examples=EXAMPLES_MORE)
def test_none_of_many_requests_breaks_what_the_document_says(
    case: schemathesis.Case[Any], shop: Shop
) -> None:
    _validate(case, shop)


def _validate(case: schemathesis.Case[Any], shop: Shop) -> None:
    operation = case.operation.definition.raw
    headers = shop.headers(operation)
    until_s = monotonic() + PATIENCE_S
    while True:
        answer = case.call(base_url=shop.url, headers=headers, timeout=30)
        if answer.status_code != 503 or monotonic() > until_s:
            break
        if answer.json().get("code") not in TOLD_LATER:
            break
        sleep(AGAIN_S)
    case.validate_response(
        answer,
        checks=cast("list[CheckFunction]", CHECKS),
        headers=headers,
        transport_kwargs={"base_url": shop.url, "headers": headers},  # for requests of its own
    )
