"""The OpenAPI document is valid, complete in itself, and its examples are what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from sluice.web.openapi import document, encoded
from sluice.web.problems import KINDS
from sluice.web.routes import METHODS, Routes

DOCUMENT: dict[str, Any] = json.loads(encoded())


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def contents(node: Any) -> Iterator[dict[str, Any]]:
    """Every media type object, parameter or header with an example or a schema."""
    if isinstance(node, dict):
        if "schema" in node:
            yield node
        for part in node.values():
            yield from contents(part)
    elif isinstance(node, list):
        for part in node:
            yield from contents(part)


EVERY = [pytest.param(p, m, o, id=o["operationId"]) for p, m, o in operations()]


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_what_is_encoded_is_the_document() -> None:
    assert json.loads(json.dumps(document())) == DOCUMENT


def test_every_schema_is_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})


DIALECT = "https://json-schema.org/draft/2020-12/schema"


def test_every_reference_leads_somewhere() -> None:
    text = encoded().decode()
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= DOCUMENT["components"]["schemas"].keys()
    assert DOCUMENT["components"]["schemas"].keys() - names == set(), "no schema is left over"


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
def test_examples_fit_their_schemas(path: str, method: str, operation: dict[str, Any]) -> None:
    seen = 0
    for content in contents(operation):
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        examples = [example["value"] for example in content.get("examples", {}).values()]
        if "example" in content:
            examples.append(content["example"])
        for example in examples:
            validator.validate(example)
            seen += 1
    assert seen


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
def test_an_operation_says_what_it_needs(path: str, method: str, operation: dict[str, Any]) -> None:
    parameters = operation.get("parameters", [])
    in_path = {p["name"] for p in parameters if p["in"] == "path"}
    assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    for parameter in parameters:
        if parameter["name"] == "If-None-Match":
            continue  # HTTP's own: whatever it says is compared, and never refused
        assert parameter["schema"].keys() & {"pattern", "enum", "maximum", "maxLength"}
    if path.startswith("/v1/admin/"):
        assert operation["security"] in (
            [{who: []}, {"cookie": []}] for who in ("admin", "merchant", "person")
        )
        assert {"401", "403"} <= operation["responses"].keys()
        keys = [p for p in parameters if p["name"] == "Idempotency-Key"]
        assert bool(keys) == (method == "post")


def test_every_problem_is_one_of_the_codes() -> None:
    assert DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(KINDS)


@pytest.mark.parametrize("code", ["overloaded", "unavailable", "too_many_requests"])
def test_429_and_503_promise_a_retry_after(code: str) -> None:
    for _, _, operation in operations():
        answer = operation["responses"].get(str(KINDS[code].status))
        if answer is not None:
            assert answer["headers"]["Retry-After"]["required"]


def test_the_routes_know_both_lanes() -> None:
    routes = Routes(DOCUMENT["paths"])
    assert routes.methods("/v1/buy/abc.def-_g") == ("OPTIONS", "POST")
    assert routes.methods("/v1/admin/sales") == ("GET", "HEAD", "OPTIONS", "POST")
    assert routes.methods("/v1/orders") == ("GET", "HEAD", "OPTIONS")
    assert routes.methods("/v1/nothing") == ()
    assert routes.methods("/v1/sales/7/") == ()
    assert set(METHODS) >= {method for _, method, _ in operations()}


def test_the_written_page_knows_every_route_and_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for path, method, _ in operations():
        assert f"`{method.upper()} {path}`" in page
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.status} |" in page
