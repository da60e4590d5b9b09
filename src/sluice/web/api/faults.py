"""Whatever a handler or the framework raises, as a problem document."""

from __future__ import annotations

from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from sluice.telemetry import get_logger
from sluice.web import problems
from sluice.web.api.reading import AnyRequest
from sluice.web.problems import Problem
from sluice.web.routes import Routes

log = get_logger("http")

_CODES = {
    400: "invalid",
    401: "unauthenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    503: "unavailable",
}


class Faults:
    """Turns exceptions into answers."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def answer(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        problem = self._problem(request, error)
        if problem.status == 500:
            log.error("A request failed.", action="http.failed", exc_info=error)
        request_id = request.scope["state"]["request_id"]
        path = request.scope["path"]
        headers = dict(problem.header_items(request_id))
        del headers["content-type"]
        return Response(
            problem.encode(request_id, path),
            status_code=problem.status,
            media_type=problems.MEDIA_TYPE,
            headers=headers,
        )

    def _problem(self, request: AnyRequest, error: Exception) -> Problem:
        if not isinstance(error, HTTPException):
            return problems.of(error)
        if error.status_code in (404, 405):
            return self._nowhere(request)
        code = _CODES.get(error.status_code)
        if code is None:
            return Problem("internal" if error.status_code >= 500 else "invalid")
        detail = error.detail if isinstance(error, ValidationException) else None
        return Problem(code, detail)

    def _nowhere(self, request: AnyRequest) -> Problem:
        """404, or 405 where the path is known, be it the hot lane's."""
        methods = self._routes.methods(request.scope["path"])
        if not methods:
            return Problem("not_found")
        return Problem("method_not_allowed", headers={"allow": ", ".join(methods)})
