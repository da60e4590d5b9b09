"""Tokens signed with the shop's own keys: each key with its own algorithm, fetched when needed."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jws

from sluice.accounts.identities import Identities
from sluice.accounts.jwks import PublicKeys, check_source
from sluice.domain.errors import SettingsError, Unauthenticated
from sluice.settings import Settings

NOW = 1_800_000_000
CLAIMS = {"iss": "shop", "sub": "42", "aud": "sluice", "exp": NOW + 60}
RSA = jwk.RSAKey.generate_key(2048)
EC = jwk.ECKey.generate_key("P-256")
ED = jwk.OKPKey.generate_key("Ed25519")
STRANGER = jwk.ECKey.generate_key("P-256")


def public(key: Any, kid: str, **said: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, **said}


def signed(key: Any, algorithm: str, kid: str | None, **changes: Any) -> str:
    header = {"alg": algorithm} if kid is None else {"alg": algorithm, "kid": kid}
    payload = json.dumps({**CLAIMS, **changes})
    return jws.serialize_compact(header, payload, key, algorithms=[algorithm])


ALL = [public(RSA, "r"), public(EC, "e"), public(ED, "o")]


class Shop:
    """A clock and a file of keys, as the shop would keep them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.time = 0.0
        self.publish(ALL)
        self.identities = Identities(PublicKeys(str(path), clock=lambda: self.time))

    def publish(self, keys: list[dict[str, Any]]) -> None:
        self.path.write_text(json.dumps({"keys": keys}))

    async def ask(self, token: str) -> str:
        return (await self.identities.of_bearer_slow(token, NOW)).buyer


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "keys.json")


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (RSA, "RS256", "r"),
        (RSA, "PS256", "r"),
        (EC, "ES256", "e"),
        (ED, "EdDSA", "o"),
        (ED, "Ed25519", "o"),
    ],
)
async def test_a_token_of_the_shops_key_names_its_buyer(
    shop: Shop, key: Any, algorithm: str, kid: str
) -> None:
    token = signed(key, algorithm, kid)
    assert await shop.ask(token) == "jwt:shop:42"
    known = shop.identities.of_bearer(token, NOW)
    assert known is not None


def hmac_with_the_public_key() -> str:
    parts = [{"alg": "HS256", "kid": "r"}, CLAIMS]
    head = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    mac = hmac.digest(RSA.as_pem(private=False), head.encode(), "sha256")
    return f"{head}.{encoded(mac)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        hmac_with_the_public_key,
        lambda: signed(RSA, "RS256", None),
        lambda: signed(RSA, "RS256", "e"),
        lambda: signed(RSA, "RS512", "r"),
        lambda: signed(STRANGER, "ES256", "e"),
        lambda: signed(STRANGER, "ES256", "unknown"),
        lambda: signed(EC, "ES256", "e")[:-4] + "AAAA",
        lambda: signed(EC, "ES256", "e").rpartition(".")[0] + ".",
        lambda: signed(EC, "ES256", "e", aud="other"),
        lambda: signed(EC, "ES256", "e", exp=NOW),
    ],
)
async def test_a_key_counts_only_by_its_id_and_for_its_own_algorithm(shop: Shop, make: Any) -> None:
    token = make()
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await shop.ask(token)


@pytest.mark.parametrize(
    "key",
    [
        public(EC, "k", use="enc"),
        public(EC, "k", alg="ES384"),
        public(EC, "k", key_ops=["sign"]),
        {**public(EC, "k"), "alg": ["ES256"]},
        {**public(EC, "k"), "x": "AAAA"},
        {"kty": "oct", "kid": "k", "k": "c2VjcmV0"},
        {"kty": "EC", "kid": "k"},
        {"kid": 7},
    ],
)
async def test_a_key_that_is_not_for_this_is_left_out(shop: Shop, key: dict[str, Any]) -> None:
    shop.publish([key, public(RSA, "r")])
    with pytest.raises(Unauthenticated):
        await shop.ask(signed(EC, "ES256", "k"))
    assert await shop.ask(signed(RSA, "RS256", "r"))


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_weak_key_is_left_out(shop: Shop) -> None:
    weak = jwk.RSAKey.generate_key(1024)
    shop.publish([public(weak, "w"), public(RSA, "r")])
    with pytest.raises(Unauthenticated):
        await shop.ask(signed(weak, "RS256", "w"))
    assert await shop.ask(signed(RSA, "RS256", "r"))


async def test_an_unknown_key_is_asked_for_at_most_once_a_minute(shop: Shop) -> None:
    await shop.ask(signed(EC, "ES256", "e"))
    shop.publish([public(STRANGER, "new")])
    token = signed(STRANGER, "ES256", "new")
    shop.time += 59
    with pytest.raises(Unauthenticated):
        await shop.ask(token)
    shop.time += 1
    assert await shop.ask(token)


async def test_a_key_that_was_taken_back_stops_counting_for_remembered_tokens_too(
    shop: Shop,
) -> None:
    token = signed(EC, "ES256", "e")
    await shop.ask(token)
    shop.publish([public(RSA, "r")])
    shop.time += 60
    await shop.identities.refresh()
    with pytest.raises(Unauthenticated):
        await shop.ask(token)


async def test_keys_stay_while_their_source_is_away(shop: Shop) -> None:
    await shop.ask(signed(EC, "ES256", "e"))
    for trouble in ("", "{}", '{"keys": []}', "x" * 300_000):
        shop.path.write_text(trouble)
        shop.time += 60
        await shop.identities.refresh()
        assert await shop.ask(signed(EC, "ES256", "e", jti=trouble[:9]))


def test_a_file_without_keys_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SLUICE_IDENTITY_JWKS"):
        check_source(str(tmp_path / "missing.json"))
    with pytest.raises(SettingsError):
        Identities.from_settings(Settings(identity_jwks=str(tmp_path)))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = json.dumps({"keys": ALL}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Keys) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/keys", asked
        http.shutdown()
        thread.join()


async def test_keys_are_fetched_once_from_their_url(server: tuple[str, list[str]]) -> None:
    url, asked = server
    identities = Identities(PublicKeys(url))
    assert identities.of_bearer(signed(EC, "ES256", "e"), NOW) is None
    assert (await identities.of_bearer_slow(signed(EC, "ES256", "e"), NOW)).buyer == "jwt:shop:42"
    for n in range(20):
        with pytest.raises(Unauthenticated):
            await identities.of_bearer_slow(signed(EC, "ES256", f"x{n}"), NOW)
    assert asked == ["/keys"]


async def test_a_url_that_is_away_refuses_and_does_not_fail() -> None:
    identities = Identities(PublicKeys("http://127.0.0.1:1/keys"))
    with pytest.raises(Unauthenticated):
        await identities.of_bearer_slow(signed(EC, "ES256", "e"), NOW)
