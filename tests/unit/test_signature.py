"""Standard Webhooks signatures: the published example, and everything that must not pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.signature import (
    KEY_BYTES,
    SIGNATURES_MAX,
    TOLERANCE_S,
    BadSignature,
    Message,
    key_of,
    secret_of,
    signed_headers,
    verified,
)

# The example that the specification's own libraries test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

KEY = key_of(SECRET)
OTHER = bytes(range(KEY_BYTES))


def headers(**changes: str) -> dict[str, str]:
    made = signed_headers([KEY], MESSAGE)
    return made | {name.replace("_", "-"): value for name, value in changes.items()}


def refuse(given: dict[str, str], *, body: bytes = MESSAGE.body, after_s: float = 0) -> str:
    with pytest.raises(BadSignature) as refused:
        verified([KEY], given, body, MESSAGE.timestamp_s + after_s)
    return str(refused.value)


def test_the_published_example_is_signed_as_published() -> None:
    assert signed_headers([KEY], MESSAGE) == {
        "webhook-id": MESSAGE.id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_a_signed_message_is_the_one_that_was_signed() -> None:
    assert verified([KEY], headers(), MESSAGE.body, MESSAGE.timestamp_s + 7.5) == MESSAGE


def test_while_a_secret_is_changed_either_of_two_is_enough() -> None:
    both = signed_headers([OTHER, KEY], MESSAGE)
    for keys in ([KEY], [OTHER], [KEY, OTHER]):
        assert verified(keys, both, MESSAGE.body, MESSAGE.timestamp_s) == MESSAGE
    assert verified([OTHER, KEY], headers(), MESSAGE.body, MESSAGE.timestamp_s) == MESSAGE


def test_signatures_of_other_schemes_are_passed_over() -> None:
    mixed = headers(webhook_signature=f"v1a,abc {SIGNATURE} v2,def")
    assert verified([KEY], mixed, MESSAGE.body, MESSAGE.timestamp_s) == MESSAGE


def test_nothing_signed_can_be_changed() -> None:
    refuse(headers(), body=MESSAGE.body + b" ")
    refuse(headers(webhook_id="msg_other"))
    refuse(headers(webhook_timestamp=str(MESSAGE.timestamp_s + 1)))
    refuse(signed_headers([OTHER], MESSAGE))


def test_without_any_key_nothing_passes() -> None:
    with pytest.raises(BadSignature):
        verified([], headers(), MESSAGE.body, MESSAGE.timestamp_s)


def test_a_recording_does_not_pass_five_minutes_later_nor_one_from_the_future() -> None:
    for after_s in (TOLERANCE_S, -TOLERANCE_S):
        verified([KEY], headers(), MESSAGE.body, MESSAGE.timestamp_s + after_s)
    assert "too long ago" in refuse(headers(), after_s=TOLERANCE_S + 0.5)
    assert "too long ago" in refuse(headers(), after_s=-TOLERANCE_S - 0.5)


@pytest.mark.parametrize(
    "stamp", ["", "now", "-1", "+1614265330", "1_614_265_330", "１６１４２６５３３０", "9" * 13]
)
def test_a_timestamp_is_plain_digits(stamp: str) -> None:
    assert "webhook-timestamp" in refuse(headers(webhook_timestamp=stamp))


@pytest.mark.parametrize("text", ["", "v1", "v1,", "v2,abc", SIGNATURE[3:], SIGNATURE.upper()])
def test_what_holds_no_good_signature_is_refused(text: str) -> None:
    refuse(headers(webhook_signature=text))


def test_a_message_without_a_name_is_refused() -> None:
    assert "webhook-id" in refuse(headers(webhook_id=""))


def test_a_signature_that_is_not_ascii_is_refused_and_does_not_raise_anything_else() -> None:
    refuse(headers(webhook_signature="v1,é"))


def test_only_so_many_signatures_are_looked_at() -> None:
    flood = " ".join(["v1,AAAA"] * SIGNATURES_MAX)
    refuse(headers(webhook_signature=f"{flood} {SIGNATURE}"))


def test_secrets_are_text_and_back() -> None:
    assert secret_of(KEY) == SECRET
    assert key_of(secret_of(OTHER)) == OTHER


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_Zm9v",
        "whsec_" + "A" * 88,
        "whsec_***",
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as refused:
        key_of(secret)
    assert not secret or secret == "whsec_" or secret not in str(refused.value)


def test_the_lines_that_receivers_are_shown_verify_what_we_sign() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    shown: dict[str, Any] = {}
    exec(code, shown)
    message = Message("msg_1", int(time.time()), b'{"type":"order.paid"}')
    ours = signed_headers([OTHER, KEY], message)
    assert shown["verified"](SECRET, ours, message.body)
    assert not shown["verified"](SECRET, ours, message.body + b" ")
    assert not shown["verified"](secret_of(b"x" * 32), ours, message.body)
    old = signed_headers([KEY], message._replace(timestamp_s=message.timestamp_s - 301))
    assert not shown["verified"](SECRET, old, message.body)


def test_a_key_has_neither_too_few_bytes_nor_too_many() -> None:
    for size in (0, 23, 65):
        with pytest.raises(ValueError):
            secret_of(bytes(size))
