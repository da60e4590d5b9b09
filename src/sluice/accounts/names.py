"""What people type to say who they are, in the one spelling that is kept and compared."""

from __future__ import annotations

import re

from sluice.accounts.passwords import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN
from sluice.domain.account import LOGIN_CHARS_MAX
from sluice.domain.errors import Invalid

LOGIN_CHARS_MIN = 3
CODE_DIGITS = 6

_LOGIN = re.compile(r"[a-z0-9]([a-z0-9._@+-]*[a-z0-9])?", re.ASCII)
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_CHINESE = re.compile(r"\+861[3-9][0-9]{9}", re.ASCII)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SPACING = re.compile(r"[ ().\-]")


def read_login(text: str) -> str:
    """A login name, case folded. Raises `Invalid`."""
    login = text.strip().lower()
    if not LOGIN_CHARS_MIN <= len(login) <= LOGIN_CHARS_MAX or not _LOGIN.fullmatch(login):
        raise Invalid(
            "login",
            f"must be {LOGIN_CHARS_MIN} to {LOGIN_CHARS_MAX} letters, digits and ._@+- "
            "(a to z), with a letter or digit at both ends",
        )
    return login


def read_password(text: str, field: str = "password") -> str:
    """Any characters, none of them changed. Raises `Invalid` of the `field` that it came in."""
    if not PASSWORD_CHARS_MIN <= len(text) <= PASSWORD_CHARS_MAX:
        raise Invalid(field, f"must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
    if not text.isascii() and _SURROGATE.search(text):
        raise Invalid(field, "must not hold lone surrogates")
    return text


def read_phone(text: str, country: str) -> str:
    """A number in E.164; without `+` or `00` it is one of `country` (its calling code).

    One phone must have one spelling, or it would be several buyers. Raises `Invalid`.
    """
    phone = _SPACING.sub("", text.strip())
    if phone.startswith("00"):
        phone = "+" + phone[2:]
    elif not phone.startswith("+"):
        phone = f"+{country}{phone.removeprefix('0')}"
    good = _CHINESE if phone.startswith("+86") else _PHONE
    if not good.fullmatch(phone):
        raise Invalid("phone", "must be a phone number, best with its country: +8613800138000")
    return phone


def read_code(text: str) -> str:
    """Raises `Invalid` for what no code can be."""
    code = text.strip()
    if len(code) != CODE_DIGITS or not (code.isascii() and code.isdigit()):
        raise Invalid("code", f"must be {CODE_DIGITS} digits")
    return code
