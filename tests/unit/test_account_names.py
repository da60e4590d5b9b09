"""One person, one spelling: what is typed at the door."""

from __future__ import annotations

import pytest

from sluice.accounts.names import read_code, read_login, read_password, read_phone
from sluice.domain.account import account_of, masked_login, masked_phone
from sluice.domain.errors import Invalid


@pytest.mark.parametrize(
    "typed",
    [
        "+8613800138000",
        "13800138000",
        "008613800138000",
        " +86 138 0013 8000 ",
        "(138) 0013-8000",
        "+86.138.0013.8000",
    ],
)
def test_a_phone_has_one_spelling(typed: str) -> None:
    assert read_phone(typed, "86") == "+8613800138000"


def test_a_number_without_its_country_is_one_of_the_setting() -> None:
    assert read_phone("07700 900123", "44") == "+447700900123"
    assert read_phone("+49 1512 3456789", "44") == "+4915123456789"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "+",
        "12345",
        "+86013800138000",
        "+8623800138000",
        "+861380013800",
        "+86138001380001",
        "+0123456789",
        "+1234567890123456",
        "+86１3800138000",
        "+8613800138000\n1",
        "+8613800138000;ext=1",
        "phone",
    ],
)
def test_what_is_no_phone_is_refused(typed: str) -> None:
    with pytest.raises(Invalid, match="phone number"):
        read_phone(typed, "86")


def test_a_login_is_case_folded() -> None:
    assert read_login(" Mei.Lan@Example.com ") == "mei.lan@example.com"


@pytest.mark.parametrize("typed", ["", "me", "m" * 65, "méi", "mei lan", ".mei", "mei-", "mei\0x"])
def test_what_is_no_login_is_refused(typed: str) -> None:
    with pytest.raises(Invalid, match="must be 3 to 64"):
        read_login(typed)


def test_a_password_is_kept_as_it_is_typed() -> None:
    assert read_password("  correct horse  ") == "  correct horse  "
    assert read_password("密码密码密码密码") == "密码密码密码密码"


@pytest.mark.parametrize("typed", ["", "1234567", "x" * 257, "\ud800" * 8])
def test_what_is_no_password_is_refused(typed: str) -> None:
    with pytest.raises(Invalid):
        read_password(typed)


def test_a_code_is_six_plain_digits() -> None:
    assert read_code(" 042117 ") == "042117"
    for typed in ("", "42117", "0421170", "04211a", "０42117"):
        with pytest.raises(Invalid):
            read_code(typed)


def test_what_is_shown_is_recognised_by_its_owner_alone() -> None:
    assert masked_phone("+8613800138000") == "+86138****8000"
    assert masked_phone("+4915123456") == "+491***3456"
    assert masked_login("mei") == "m***i"
    assert masked_login("mei.lan@example.com") == "m***@example.com"


@pytest.mark.parametrize("buyer", ["acct:", "acct:x", "acct:01", "acct:0", "jwt::42", "acct:٤"])
def test_only_the_key_of_an_account_leads_to_one(buyer: str) -> None:
    assert account_of(buyer) is None
    assert account_of("acct:42") == 42
