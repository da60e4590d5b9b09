"""Buyers prepared before the clock runs: an identity token and a pass each, as whole requests.

They are signed in this process with the product's own keys. Asking for them over HTTP would give
the same bytes and take minutes.
"""

from __future__ import annotations

import hmac
import json
import time
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.accounts.identity import token_identity
from sluice.admission.passes import Passes
from sluice.settings import Settings

VALID_S = 7200
"""Tokens and passes outlive any run, so that none expires in a timed stretch."""
_BODY = '{"quantity":1}'
_TO_URL = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class Target:
    """What a pass is for, and where it is sent."""

    port: int
    publication: int
    item_id: int
    sale_id: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file of requests of `width` bytes, one buyer each."""

    file: Path
    width: int
    buyers: int


def buyer_name(group: int, index: int) -> str:
    """Fixed width, so that every request has the same length."""
    return f"b{group:04d}-{index:08d}"


@contextmanager
def prepared(
    folder: Path, data_dir: Path, target: Target, *, group: int, buyers: int
) -> Iterator[Prepared]:
    """`buyers` different buyers in a file that is gone afterwards. Groups never share a buyer."""
    with written(folder, group, requests(data_dir, target, group, buyers)) as made:
        yield made


@contextmanager
def written(folder: Path, group: int, made: Iterable[bytes]) -> Iterator[Prepared]:
    """Whole requests of one width in a file that is gone afterwards."""
    file = folder / f"requests-{group}.bin"
    widths: set[int] = set()
    count = 0
    try:
        with file.open("wb") as out:
            for request in made:
                out.write(request)
                widths.add(len(request))
                count += 1
        assert len(widths) == 1, "requests must have one width"
        yield Prepared(file, widths.pop(), count)
    finally:
        file.unlink(missing_ok=True)


def for_passes(target: Target, tokens: Iterable[str]) -> Iterator[bytes]:
    """A request for a pass with each token, as the pages send it where no challenge is asked."""
    path = f"/v1/sales/{target.sale_id}/items/{target.item_id}/pass"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
    head += "Content-Length: 0\r\nAuthorization: Bearer "
    for token in tokens:
        yield f"{head}{token}\r\n\r\n".encode()


def tokens_of_the_shop(data_dir: Path, group: int, buyers: int) -> Iterator[str]:
    secret = Settings.read({}, data_dir).identity_secret
    expires_at_s = int(time.time()) + VALID_S
    for index in range(buyers):
        yield identity_token(secret, buyer_name(group, index), expires_at_s)


def requests(data_dir: Path, target: Target, group: int, buyers: int) -> Iterator[bytes]:
    """A purchase by each buyer of a group."""
    settings = Settings.read({}, data_dir)
    passes = Passes(settings.secret_keys)
    expires_at_s = int(time.time()) + VALID_S
    head = f"HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(_BODY)}\r\nAuthorization: Bearer "
    for index in range(buyers):
        name = buyer_name(group, index)
        identity = token_identity("", name, expires_at_s)
        assert identity is not None
        text = passes.issue(target.publication, target.item_id, expires_at_s, identity.binding)
        token = identity_token(settings.identity_secret, name, expires_at_s)
        yield f"POST /v1/buy/{text} {head}{token}\r\n\r\n{_BODY}".encode()


def identity_token(secret: bytes, name: str, expires_at_s: int) -> str:
    """What the merchant's shop would sign (HS256)."""
    claims = json.dumps({"sub": name, "aud": "sluice", "exp": expires_at_s}, separators=(",", ":"))
    signed = _segment(b'{"alg":"HS256","typ":"JWT"}') + b"." + _segment(claims.encode())
    return (signed + b"." + _segment(hmac.digest(secret, signed, "sha256"))).decode()


def _segment(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL)
