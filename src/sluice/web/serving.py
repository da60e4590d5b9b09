"""The pages' static files, answered in the hot lane's manner: from memory, without a framework."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from sluice.web import pages
from sluice.web.metrics import Counts
from sluice.web.pages.site import File, Site
from sluice.web.problems import SECURITY_HEADERS, Problem, instance_of, request_id_of

Headers = list[tuple[str, str]]

HEADERS = {
    **pages.HEADERS,
    # Challenges are pictures that come within the answer.
    "content-security-policy": pages.POLICY.replace("img-src 'self'", "img-src 'self' data:"),
}
FOREVER = "public, max-age=31536000, immutable"
NOT_KEPT = "no-cache"
_SAFE = ("GET", "HEAD")
_ALLOW = "GET, HEAD, OPTIONS"
_PREFIX = "/assets/"
_BASE: Headers = [header for header in SECURITY_HEADERS if header[0] not in HEADERS]


class Serving:
    """`find` says whether a path is ours; `__call__` answers it."""

    def __init__(self, site: Site, counts: Counts) -> None:
        self._site = site
        self._counts = counts

    def find(self, path: str) -> bool:
        if path.startswith("/v1/"):
            return False
        return path.startswith(_PREFIX) or self._site.page(path) is not None

    async def __call__(self, scope: Any, proto: Any) -> None:
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        status = 200
        try:
            status = self._answer(scope, proto, request_id)
        except Problem as problem:
            status = problem.status
            body = problem.encode(request_id, instance_of(scope.path))
            headers = problem.header_items(request_id)
            if scope.method == "HEAD":
                proto.response_empty(status, headers)
            else:
                proto.response_bytes(status, headers, body)
        route = "assets" if scope.path.startswith(_PREFIX) else "pages"
        self._counts.answered(route, status, perf_counter() - began)

    def _answer(self, scope: Any, proto: Any, request_id: str) -> int:
        told = [*_BASE, ("x-request-id", request_id)]
        if scope.method == "OPTIONS":
            proto.response_empty(204, [("allow", _ALLOW), *told])
            return 204
        if scope.method not in _SAFE:
            raise Problem("method_not_allowed", headers={"allow": _ALLOW})
        page = self._site.page(scope.path)
        if page is not None:
            return _send(scope, proto, page, [*HEADERS.items(), *told])
        release, _, name = scope.path[len(_PREFIX) :].partition("/")
        file = self._site.files.get(name)
        if file is None:
            raise Problem("not_found")
        # A page's policy is not its files'; theirs says that they are nothing by themselves.
        headers = [*SECURITY_HEADERS, ("x-request-id", request_id)]
        if release != self._site.release:
            # A shell of before an update, or of another machine: its modules are found here too,
            # and all of one release, since an import goes by where its module came from.
            where = ("location", f"{self._site.assets}/{name}")
            proto.response_empty(302, [where, ("cache-control", NOT_KEPT), *headers])
            return 302
        return _send(scope, proto, file, [("cache-control", FOREVER), *headers])


def _send(scope: Any, proto: Any, file: File, headers: Headers) -> int:
    headers = [*headers, ("etag", file.etag), ("vary", "accept-encoding")]
    if _has(scope.headers.get("if-none-match"), file.etag):
        proto.response_empty(304, headers)
        return 304
    headers.append(("content-type", file.media_type))
    content = file.content
    if _takes_gzip(scope.headers.get("accept-encoding")) and len(file.gzipped) < len(content):
        headers.append(("content-encoding", "gzip"))
        content = file.gzipped
    if scope.method == "HEAD":
        proto.response_empty(200, [*headers, ("content-length", str(len(content)))])
    else:
        proto.response_bytes(200, headers, content)
    return 200


def _has(given: str | None, etag: str) -> bool:
    """If-None-Match, compared weakly."""
    if given is None:
        return False
    wanted = etag.removeprefix("W/")
    return any(tag.strip().removeprefix("W/") in ("*", wanted) for tag in given.split(","))


def _takes_gzip(given: str | None) -> bool:
    for part in (given or "").lower().split(","):
        name, _, parameter = part.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
