"""What a request carries to say who sends it, and what a browser must not be made to send."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sluice.accounts.csrf import Csrf
from sluice.accounts.tokens import new_token
from sluice.domain.errors import Unauthenticated
from sluice.web.credentials import PLAIN_COOKIE, SECURE_COOKIE, Credentials
from sluice.web.problems import Problem

KEYS = [b"k" * 32]
CSRF = Csrf(KEYS)
TOKEN, OTHER = new_token(), new_token()
HOST = "drop.example"


class Sent:
    """Headers of a request, as RSGI gives them."""

    def __init__(self, *items: tuple[str, str]) -> None:
        self._items = items

    def get(self, name: str, /) -> str | None:
        return next((value for n, value in self._items if n == name), None)

    def get_all(self, name: str, /) -> Iterable[str]:
        return [value for n, value in self._items if n == name]


def token(method: str, *items: tuple[str, str], public_url: str = "") -> str:
    return Credentials(CSRF, public_url).token(method, Sent(*items), HOST)


def cookie(value: str = TOKEN, name: str = SECURE_COOKIE) -> tuple[str, str]:
    return ("cookie", f"theme=dark; {name}={value}; lang=zh")


WORD = ("sluice-csrf", CSRF.word(TOKEN))
OURS = ("sec-fetch-site", "same-origin")


def test_a_bearer_token_is_taken_as_it_is_and_needs_no_word() -> None:
    assert token("POST", ("authorization", f"Bearer {TOKEN}")) == TOKEN
    assert token("POST", ("authorization", f"bearer  {TOKEN}"), cookie(OTHER)) == TOKEN


def test_a_cookie_is_enough_for_reading() -> None:
    assert token("GET", cookie()) == TOKEN
    assert token("HEAD", cookie(), ("sec-fetch-site", "cross-site")) == TOKEN


def test_cookies_may_come_in_several_headers() -> None:
    assert token("GET", ("cookie", "theme=dark"), ("cookie", f"{SECURE_COOKIE}={TOKEN}")) == TOKEN


@pytest.mark.parametrize(
    "items",
    [
        (),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {TOKEN}"),),
        (("cookie", "theme=dark"),),
        (("cookie", f"{SECURE_COOKIE}="),),
        (("cookie", f"x{SECURE_COOKIE}={TOKEN}"),),
    ],
)
def test_without_either_it_is_nobody(items: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthenticated):
        token("GET", *items)


def test_a_command_of_our_page_is_taken() -> None:
    assert token("POST", cookie(), WORD, OURS) == TOKEN
    assert token("DELETE", cookie(), WORD, ("origin", f"https://{HOST}")) == TOKEN
    assert token("PATCH", cookie(), WORD) == TOKEN  # no browser of today says neither


@pytest.mark.parametrize(
    "items",
    [
        (),
        (OURS,),
        (OURS, ("sluice-csrf", "")),
        (OURS, ("sluice-csrf", CSRF.word(OTHER))),
        (OURS, ("sluice-csrf", CSRF.word(TOKEN)[:-1])),
        (OURS, ("sluice-csrf", CSRF.word(TOKEN) + "x")),
        (OURS, ("sluice-csrf", "é" * 24)),
        (OURS, ("sluice-csrf", Csrf([b"n" * 32]).word(TOKEN))),
        (WORD, ("sec-fetch-site", "cross-site")),
        (WORD, ("sec-fetch-site", "same-site")),
        (WORD, ("origin", "https://evil.example")),
        (WORD, ("origin", "null")),
        (WORD, ("origin", f"https://{HOST}.evil.example")),
        (WORD, ("origin", f"https://evil.example#{HOST}")),
        (WORD, ("origin", f"https://{HOST}:8443")),
        (WORD, ("origin", f"ftp://{HOST}")),
        (WORD, ("origin", "https://[")),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_command_of_another_page_is_not(method: str, items: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Problem) as refused:
        token(method, cookie(), *items)
    assert refused.value.code == "not_allowed"


def test_a_word_counts_while_the_secret_keys_are_changed() -> None:
    credentials = Credentials(Csrf([b"n" * 32, *KEYS]), "")
    assert credentials.token("POST", Sent(cookie(), WORD, OURS), HOST) == TOKEN


def test_our_origin_is_the_public_url_where_there_is_one() -> None:
    credentials = Credentials(CSRF, "https://drop.example")
    assert credentials.is_own("https://drop.example", "10.0.0.7:8000")
    assert credentials.is_own("https://DROP.example", None)
    assert not credentials.is_own("http://drop.example", "drop.example")
    assert not credentials.is_own("https://10.0.0.7:8000", "10.0.0.7:8000")


def test_over_tls_a_cookie_that_a_neighbour_could_have_set_is_nobodys() -> None:
    with pytest.raises(Unauthenticated):
        token("GET", cookie(name=PLAIN_COOKIE), public_url="https://drop.example")
    assert token("GET", cookie(name=PLAIN_COOKIE)) == TOKEN
    assert token("GET", cookie(OTHER, PLAIN_COOKIE), cookie(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ((cookie(), ("origin", f"https://{HOST}")), TOKEN),
        ((cookie(), ("origin", "https://evil.example")), None),
        ((cookie(), ("origin", "null")), None),
        ((cookie(),), None),
        ((("origin", f"https://{HOST}"),), None),
    ],
)
def test_a_websocket_has_a_cookie_from_our_own_pages_alone(
    items: tuple[tuple[str, str], ...], found: str | None
) -> None:
    assert Credentials(CSRF, "").socket_token(Sent(*items), HOST) == found


@pytest.mark.parametrize(
    ("public_url", "scheme", "host", "begins", "secure"),
    [
        ("", "http", "localhost:8000", "sluice=", False),
        ("", "http", "127.0.0.1:8000", "sluice=", False),
        ("", "http", "[::1]:8000", "sluice=", False),
        ("", "http", "10.0.0.7:8000", "__Host-sluice=", True),
        ("", "https", "localhost", "__Host-sluice=", True),
        ("", "http", None, "__Host-sluice=", True),
        ("http://10.0.0.7", "http", "10.0.0.7", "sluice=", False),
        ("https://drop.example", "http", "localhost", "__Host-sluice=", True),
    ],
)
def test_a_cookie_is_as_safe_as_the_place_allows(
    public_url: str, scheme: str, host: str | None, begins: str, secure: bool
) -> None:
    set_cookie = Credentials(CSRF, public_url).cookie(TOKEN, 60, scheme=scheme, host=host)
    parts = set_cookie.split("; ")
    assert parts[0] == f"{begins}{TOKEN}"
    assert ("Secure" in parts) is secure
    assert {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=60"} <= set(parts)
    assert "Domain" not in set_cookie
