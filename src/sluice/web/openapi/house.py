"""Operations for machines around the service, and for its readers."""

from __future__ import annotations

from sluice.web.openapi import samples
from sluice.web.openapi.parts import Json, answer, operation, ref

_TAG = "House"
_HTML: Json = {"type": "string"}
_PROMETHEUS = "# TYPE sluice_http_workers gauge\nsluice_http_workers 1.0\n"

PATHS: dict[str, Json] = {
    "/livez": {
        "get": operation(
            "isAlive",
            _TAG,
            "Whether this process answers",
            answers={200: answer("It does.", ref("Alive"), {"alive": True})},
        )
    },
    "/readyz": {
        "get": operation(
            "isReady",
            _TAG,
            "Whether sales can be made here now",
            description="503 while a shard's gate is not armed, or a store is away.",
            answers={
                200: answer("Yes.", ref("Ready"), samples.READY),
                503: answer(
                    "Not now; the body says why.",
                    ref("Ready"),
                    samples.NOT_READY,
                    headers={
                        "Retry-After": {"required": True, "schema": {"type": "integer"}},
                    },
                ),
            },
        )
    },
    "/metrics": {
        "get": operation(
            "getMetrics",
            _TAG,
            "Counts of all workers of this machine, for Prometheus",
            description="Holds no names of buyers. Keep it from the public all the same.",
            answers={
                200: answer(
                    "Prometheus' text format.",
                    {"type": "string"},
                    _PROMETHEUS,
                    media_type="text/plain",
                )
            },
        )
    },
    "/openapi.json": {
        "get": operation(
            "getDocument",
            _TAG,
            "This document",
            answers={200: answer("OpenAPI 3.1.", {"type": "object"}, {"openapi": "3.1.0"})},
        )
    },
    "/docs": {
        "get": operation(
            "readDocument",
            _TAG,
            "This document, to read",
            answers={200: answer("A page.", _HTML, "<!doctype html>…", media_type="text/html")},
        )
    },
    "/inbox": {
        "get": operation(
            "showInbox",
            _TAG,
            "The codes that were sent of late, for development",
            description="It asks for an admin's token, and is gone once a hook delivers codes.",
            answers={200: answer("A page.", _HTML, "<!doctype html>…", media_type="text/html")},
            problem_codes=["not_found"],
            instance="/inbox",
        )
    },
    "/docs/problems": {
        "get": operation(
            "readProblems",
            _TAG,
            "Every problem code, explained",
            answers={200: answer("A page.", _HTML, "<!doctype html>…", media_type="text/html")},
        )
    },
}
