"""The answers that controllers give: JSON, pages of a list, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from litestar import Response

from sluice.web.api.reading import AnyRequest, Page, cursor_of

T = TypeVar("T")
Answer = Response[bytes]

JSON = "application/json"
FOR_A_MOMENT = "public, max-age=1, stale-while-revalidate=5"


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return bytes_answer(msgspec.json.encode(value), status, JSON, headers)


def bytes_answer(
    content: bytes, status: int, media_type: str, headers: Mapping[str, str] | None = None
) -> Answer:
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def page_answer(
    found: Sequence[T], page: Page, render: Callable[[T], Any], id_of: Callable[[T], int]
) -> Answer:
    """A page of a list. `found` holds one more than the page's limit where there is more."""
    shown = found[: page.limit]
    more = cursor_of(id_of(shown[-1])) if len(found) > page.limit else None
    return json_answer({"data": [render(each) for each in shown], "next_cursor": more})


def counted_page(found: Sequence[T], page: Page, render: Callable[[T], Any]) -> Answer:
    """The same for a list without ids: its cursor says how many were shown before."""
    more = cursor_of((page.after or 0) + page.limit) if len(found) > page.limit else None
    shown = [render(each) for each in found[: page.limit]]
    return json_answer({"data": shown, "next_cursor": more})


def etag_of(parts: Sequence[str]) -> str:
    """A weak tag: it names the facts, not the time of day that goes with them."""
    digest = blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()
    return f'W/"{digest}"'


def has(request: AnyRequest, etag: str) -> bool:
    """Whether the caller has this version (If-None-Match, compared weakly)."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags
