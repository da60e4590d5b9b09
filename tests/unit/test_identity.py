"""A bearer token names its buyer, or it names nobody."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jwt

from sluice.accounts.admin import AdminTokens
from sluice.accounts.hs256 import SharedSecret
from sluice.accounts.identities import GENERATION_MAX, Identities
from sluice.accounts.identity import Identity, token_identity
from sluice.domain.errors import SettingsError, Unauthenticated
from sluice.settings import Settings, kept_path, token_hash

NOW = 1_800_000_000
SECRET = b"a secret of the shop, long enough."
KEY = jwk.OctKey.import_key(SECRET)


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"iss": "shop", "sub": "42", "aud": "sluice", "exp": NOW + 60}
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not None}


def signed(header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(header or {"alg": "HS256"}, claims(**changes), KEY)


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def crafted(header: object, payload: object, secret: bytes = SECRET) -> str:
    """A genuine HMAC over whatever header and payload."""
    head = f"{segment(header)}.{segment(payload)}"
    return f"{head}.{segment(hmac.digest(secret, head.encode(), 'sha256'))}"


def identities() -> Identities:
    return Identities(SharedSecret(SECRET))


def asked(token: str, now_s: int = NOW) -> Identity:
    identity = identities().of_bearer(token, now_s)
    assert identity is not None
    return identity


def test_a_token_of_the_shop_names_its_buyer() -> None:
    identity = asked(signed())
    assert identity.buyer == "jwt:shop:42"
    assert (len(identity.digest), len(identity.binding)) == (16, 16)
    assert identity.digest != identity.binding
    assert identity.expires_at_s == NOW + 60


def test_a_token_without_an_issuer_has_an_empty_one() -> None:
    assert asked(signed(iss=None)).buyer == "jwt::42"


def test_a_refreshed_token_is_the_same_buyer_with_the_same_binding() -> None:
    first, refreshed = asked(signed()), asked(signed(exp=NOW + 600, jti="2"))
    assert (first.buyer, first.binding) == (refreshed.buyer, refreshed.binding)


def test_no_two_pairs_of_issuer_and_subject_are_one_buyer() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("", "a:b:c")]
    found = {asked(signed(iss=issuer, sub=subject)).buyer for issuer, subject in pairs}
    assert len(found) == len(pairs)
    assert asked(signed(iss="https://shop.example")).buyer == "jwt:https%3A//shop.example:42"


@pytest.mark.parametrize("audience", ["sluice", ["sluice"], ["other", "sluice"]])
def test_the_audience_is_us_alone_or_among_others(audience: object) -> None:
    assert asked(signed(aud=audience))


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": "at+jwt"}, {"kid": "any"}])
def test_usual_headers_are_fine(header: dict[str, str]) -> None:
    assert asked(signed({"alg": "HS256", **header}))


GOOD = claims()
FORGERIES: dict[str, str] = {
    "nothing": "",
    "an opaque token": "s" * 43,
    "two segments": "a.b",
    "four segments": signed() + ".x",
    "empty segments": "..",
    "not ASCII": signed() + "é",
    "a lone surrogate": signed() + "\ud800",
    "padded": signed() + "=",
    "without a signature": signed().rpartition(".")[0] + ".",
    "another secret": crafted({"alg": "HS256"}, GOOD, b"another secret of the same length."),
    "alg none": f"{segment({'alg': 'none'})}.{segment(GOOD)}.",
    "alg none, signed": crafted({"alg": "none"}, GOOD),
    "alg in small letters": crafted({"alg": "hs256"}, GOOD),
    "alg HS512": crafted({"alg": "HS512"}, GOOD),
    "alg RS256": crafted({"alg": "RS256"}, GOOD),
    "no alg": crafted({"typ": "JWT"}, GOOD),
    "alg a list": crafted({"alg": ["HS256"]}, GOOD),
    "a critical header": crafted({"alg": "HS256", "crit": ["exp"]}, GOOD),
    "an unencoded payload": crafted({"alg": "HS256", "b64": False}, GOOD),
    "another type": crafted({"alg": "HS256", "typ": "secevent+jwt"}, GOOD),
    "header a list": crafted(["HS256"], GOOD),
    "header not JSON": crafted(b"\xff\xfe", GOOD),
    "payload not JSON": crafted({"alg": "HS256"}, b"{"),
    "payload too deep": crafted({"alg": "HS256"}, b'{"x":' + b"[" * 2000),
    "payload a list": crafted({"alg": "HS256"}, [GOOD]),
    "no subject": signed(sub=None),
    "an empty subject": signed(sub=""),
    "a number as subject": crafted({"alg": "HS256"}, claims(sub=42)),
    "a control character": signed(sub="4\n2"),
    "a NUL": signed(sub="4\x002"),
    "a lone surrogate as subject": crafted({"alg": "HS256"}, claims(sub="\ud800")),
    "a control character in the issuer": signed(iss="sh\rop"),
    "a subject too long": signed(sub="x" * 247),
    "a subject too long in bytes": signed(sub="秒" * 83),
    "issuer a number": crafted({"alg": "HS256"}, claims(iss=7)),
    "no expiry": signed(exp=None),
    "expiry a text": crafted({"alg": "HS256"}, claims(exp=str(NOW + 60))),
    "expiry true": crafted({"alg": "HS256"}, claims(exp=True)),
    "expiry beyond numbers": crafted({"alg": "HS256"}, b'{"sub":"42","aud":"sluice","exp":1e999}'),
    "not yet": signed(nbf=NOW + 60),
    "not-before a text": crafted({"alg": "HS256"}, claims(nbf="0")),
    "no audience": signed(aud=None),
    "another audience": signed(aud="slui"),
    "other audiences": signed(aud=["a", "sluice2"]),
    "an empty list of audiences": signed(aud=[]),
    "audience an object": crafted({"alg": "HS256"}, claims(aud={"sluice": 1})),
    "too large": signed(pad="x" * 4096),
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
def test_what_is_not_a_valid_token_names_nobody(token: str) -> None:
    with pytest.raises(Unauthenticated) as raised:
        identities().of_bearer(token, NOW)
    assert not raised.value.expired


def test_every_changed_character_spoils_a_token() -> None:
    token = signed()
    mine = identities()
    for at, letter in enumerate(token):
        changed = token[:at] + ("A" if letter != "A" else "B") + token[at + 1 :]
        with pytest.raises(Unauthenticated):
            mine.of_bearer(changed, NOW)


def test_an_expired_token_is_said_to_be_expired_remembered_or_not() -> None:
    mine, token = identities(), signed()
    assert mine.of_bearer(token, NOW + 59)
    for asking in (mine, identities()):
        with pytest.raises(Unauthenticated) as raised:
            asking.of_bearer(token, NOW + 60)
        assert raised.value.expired


def test_a_forged_token_is_never_called_expired() -> None:
    old = crafted({"alg": "HS256"}, claims(exp=1), b"another secret of the same length.")
    with pytest.raises(Unauthenticated) as raised:
        identities().of_bearer(old, NOW)
    assert not raised.value.expired


def test_a_clock_of_the_shop_that_is_a_little_ahead_is_forgiven() -> None:
    assert asked(signed(nbf=NOW + 3))


def test_the_memory_of_tokens_is_bounded_and_forgets_nothing_wrongly() -> None:
    mine = identities()
    first = signed()
    assert mine.of_bearer(first, NOW)
    fill = Identity("x", b"", b"", NOW + 60)
    for n in range(3 * GENERATION_MAX):
        mine._remember(str(n), fill)
    assert len(mine._young) + len(mine._old) <= 2 * GENERATION_MAX
    again = mine.of_bearer(first, NOW)
    assert again is not None
    assert again.buyer == "jwt:shop:42"


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_no_text_makes_anything_but_a_refusal(token: str) -> None:
    with pytest.raises(Unauthenticated):
        identities().of_bearer(token, NOW)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_no_signed_payload_makes_anything_but_a_refusal(payload: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        identities().of_bearer(crafted({"alg": "HS256"}, payload), NOW)


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_buyer_key_is_bounded_and_without_control_characters(issuer: str, subject: str) -> None:
    identity = token_identity(issuer, subject, NOW)
    if identity is not None:
        assert len(identity.buyer.encode()) <= 255
        assert "\n" not in identity.buyer
        assert "\x00" not in identity.buyer


async def test_an_opaque_token_is_nobodys_until_there_are_sessions() -> None:
    with pytest.raises(Unauthenticated):
        await identities().of_bearer_slow("s" * 43, NOW)


def test_one_kind_of_identity_is_set() -> None:
    for settings in (Settings(), Settings(identity_secret=SECRET, identity_jwks="keys.json")):
        with pytest.raises(SettingsError):
            Identities.from_settings(settings)
    assert Identities.from_settings(Settings(identity_secret=SECRET)).of_bearer(signed(), NOW)


def test_the_admin_is_known_by_the_token_that_was_set(tmp_path: Path) -> None:
    admin = AdminTokens(Settings(data_dir=tmp_path, admin_token="the admin's own"))
    assert admin.verify("the admin's own")
    for token in ("", "the admin's owN", "the admin's own ", "é", "\ud800", "x" * 5000):
        assert not admin.verify(token)


def test_the_admin_is_known_by_the_hash_that_was_set_or_kept(tmp_path: Path) -> None:
    digest = token_hash("the admin's own")
    kept = {"secret_keys": ["k" * 32], "identity_secret": "i" * 32, "admin_token_hash": digest}
    kept_path(tmp_path).write_text(json.dumps(kept))
    set_apart = {"SLUICE_ADMIN_TOKEN_HASH": digest}
    for settings in (Settings.read({}, tmp_path), Settings.read(set_apart, tmp_path / "other")):
        admin = AdminTokens(settings)
        assert admin.verify("the admin's own")
        assert not admin.verify(digest)


def test_without_an_admin_token_nobody_is_admin(tmp_path: Path) -> None:
    assert not AdminTokens(Settings(data_dir=tmp_path)).verify("")
