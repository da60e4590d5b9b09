"""Identity tokens signed with the shop's own keys (JWKS, from a file or a URL).

Keys are looked up by (key id, algorithm): a token cannot have a key used with another algorithm
than it was made for, and a shared-secret algorithm finds nothing here.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from sluice.accounts.claims import decode_segment, read_claims, read_header
from sluice.accounts.identity import Identity
from sluice.domain.errors import SettingsError, Unauthenticated
from sluice.telemetry import get_logger

RELOAD_S_MIN = 60.0
"""An unknown key id asks for the keys again at most this often."""
RETRY_S_MIN = 5.0
"""The same while there are no keys at all."""
FETCH_S_MAX = 2.0
BYTES_MAX = 256 * 1024
KEYS_MAX = 100
ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA", "Ed25519"})

Keys = dict[tuple[str, str], Any]
"""(key id, algorithm) → joserfc key."""

log = get_logger("accounts")


class KeyUnknown(Exception):  # noqa: N818 - a turn in the road, not a fault
    """The token names a key that is not here; it may be at its source by now."""


class PublicKeys:
    """Verifies tokens against the keys at `source`, a path or an http(s) URL."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._keys: Keys = {}
        self._asked_at = float("-inf")
        self._reloading: asyncio.Task[bool] | None = None

    def verify(self, token: bytes, now_s: int) -> Identity:
        """Raises `Unauthenticated`, or `KeyUnknown` where `reload` may help."""
        signed, _, signature = token.rpartition(b".")
        segment, _, payload = signed.partition(b".")
        header = read_header(segment)
        if header.alg not in ALGORITHMS or header.kid is None:
            raise Unauthenticated
        key = self._keys.get((header.kid, header.alg))
        if key is None:
            if any(kid == header.kid for kid, _ in self._keys):
                raise Unauthenticated
            raise KeyUnknown
        if not _genuine(header.alg, signed, signature, key):
            raise Unauthenticated
        return read_claims(payload, now_s)

    async def reload(self) -> bool:
        """Ask the source again, unless that was done just now; True if the keys have changed.

        Callers at the same time share one request. Where the source is away the keys stay.
        """
        if self._reloading is None:
            wait_s = RELOAD_S_MIN if self._keys else RETRY_S_MIN
            if self._clock() - self._asked_at < wait_s:
                return False
            self._reloading = asyncio.ensure_future(self._load())
            self._reloading.add_done_callback(self._reloaded)
        return await asyncio.shield(self._reloading)

    def _reloaded(self, _task: asyncio.Task[bool]) -> None:
        self._reloading = None

    async def _load(self) -> bool:
        self._asked_at = self._clock()
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                data = await asyncio.to_thread(fetch, self._source)
            keys = read_keys(data)
        except (OSError, ValueError, HTTPException) as error:
            log.warning("The shop's keys cannot be read.", action="jwks.away", detail=str(error))
            return False
        finally:
            self._asked_at = self._clock()
        changed = _kinds(keys) != _kinds(self._keys)
        self._keys = keys
        return changed


def check_source(source: str) -> None:
    """A file is there at the start, or `SettingsError`; a URL may come up later."""
    if not _is_url(source):
        try:
            read_keys(fetch(source))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"SLUICE_IDENTITY_JWKS names {source!r}, which holds no public keys: {error}."
            ) from None


def fetch(source: str) -> bytes:
    """The bytes of a path or URL. Raises OSError, or ValueError where there are too many."""
    if _is_url(source):
        # The scheme is http or https: checked just above.
        with urllib.request.urlopen(source, timeout=FETCH_S_MAX) as answer:  # noqa: S310
            data: bytes = answer.read(BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise ValueError(f"more than {BYTES_MAX} bytes")
    return data


def read_keys(data: bytes) -> Keys:
    """The usable keys of a JWKS document; others are left out. Raises ValueError for none."""
    document = msgspec.json.decode(data, type=_Document)
    keys: Keys = {}
    for raw in document.keys[:KEYS_MAX]:
        for name in _algorithms(raw):
            key = _import(raw)
            if key is not None:
                keys.setdefault((raw["kid"], name), key)
    if not keys:
        raise ValueError("no public key for signatures with a key id in it")
    return keys


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def _is_url(source: str) -> bool:
    return urlsplit(source).scheme in ("http", "https")


def _kinds(keys: Keys) -> set[tuple[str, str, str]]:
    return {(kid, alg, key.thumbprint()) for (kid, alg), key in keys.items()}


def _algorithms(raw: dict[str, Any]) -> frozenset[str]:
    """What this key may verify: by its kind, and by what it says of itself."""
    by_kind = {
        ("RSA", None): frozenset({"RS256", "PS256"}),
        ("EC", "P-256"): frozenset({"ES256"}),
        ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    }
    kid, kty, use, operations = raw.get("kid"), raw.get("kty"), raw.get("use"), raw.get("key_ops")
    if not isinstance(kid, str) or not kid or not isinstance(kty, str):
        return frozenset()
    if use not in (None, "sig") or (isinstance(operations, list) and "verify" not in operations):
        return frozenset()
    curve = raw.get("crv") if kty != "RSA" else None
    kind = by_kind.get((kty, curve if isinstance(curve, str) else None), frozenset())
    said = raw.get("alg")
    return frozenset(name for name in kind if said is None or said == name)


def _import(raw: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # joserfc warns where a key is too weak
            key = jwk.import_key(raw)
    except (JoseError, Warning, ValueError, TypeError, KeyError) as error:
        log.warning("A key of the shop is unusable.", action="jwks.bad_key", detail=str(error))
        return None
    return key


def _genuine(algorithm: str, signed: bytes, signature: bytes, key: Any) -> bool:
    model = JWSRegistry.algorithms[algorithm]
    try:
        model.check_key(key)
        return model.verify(signed, decode_segment(signature), key)
    except (JoseError, ValueError, TypeError):
        return False
