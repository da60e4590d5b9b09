"""What the simulator plans to tell, knob by knob; its page; and settings that cannot work."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sluice.domain.errors import Invalid, SettingsError
from sluice.domain.money import Money
from sluice.domain.simulation import PlannedCall, SimulatedCheckout
from sluice.payment.knobs import REORDER_MS, Knobs, read_knobs
from sluice.payment.setup import check
from sluice.payment.simulator import Simulator
from sluice.settings import Settings
from sluice.web.pages import checkout as page

REFERENCE = "sim_abc"


class OneCheckout:
    """Books with one checkout; what it plans is kept."""

    def __init__(self) -> None:
        self.checkout = SimulatedCheckout(
            REFERENCE, 31, 42, Money(39900, "CNY"), "open", 0, "https://shop.example/", b"", None
        )
        self.planned: list[PlannedCall] = []

    async def simulator_checkout(self, _reference: str) -> SimulatedCheckout:
        return self.checkout

    async def simulator_close(self, _ids: Sequence[int]) -> list[SimulatedCheckout | None]:
        raise AssertionError("nobody closes here")

    async def simulator_turn(self, _reference: str, knobs: bytes) -> bool:
        self.checkout = self.checkout._replace(knobs=knobs)
        return True

    async def simulator_settle(
        self,
        _reference: str,
        state: str,
        captured_minor: int,
        calls: Sequence[PlannedCall],
        before: Sequence[str] = ("open",),
    ) -> bool:
        if self.checkout.state not in before:
            return False
        self.checkout = self.checkout._replace(state=state, captured_minor=captured_minor)
        self.planned += calls
        return True


async def settled(
    action: str = "pay",
    knobs: Knobs | None = None,
    dice: Callable[[], float] = lambda: 0.5,
    books: OneCheckout | None = None,
) -> OneCheckout:
    books = books or OneCheckout()
    simulator = Simulator(
        books,  # type: ignore[arg-type]
        keys=[bytes(32)],
        public_url="",
        return_url="",
        knobs=knobs,
        dice=dice,
    )
    await simulator.settle(REFERENCE, action)
    return books


def told(call: PlannedCall) -> tuple[str, str]:
    body = json.loads(call.body)
    return body["type"], body["data"]["amount"]


# --- knobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "state", "kind"),
    [
        ("pay", "captured", "payment.captured"),
        ("fail", "failed", "payment.failed"),
        ("cancel", "void", "payment.voided"),
    ],
)
async def test_without_knobs_what_happened_is_told_once_and_at_once(
    action: str, state: str, kind: str
) -> None:
    books = await settled(action)
    assert books.checkout.state == state
    (call,) = books.planned
    assert told(call) == (kind, "399.00")
    assert (call.after_ms, call.forged) == (0, False)


async def test_what_is_settled_stays_settled() -> None:
    books = await settled("pay")
    await settled("cancel", books=books)
    assert books.checkout.state == "captured"
    assert len(books.planned) == 1


async def test_repeat_tells_the_same_event_twice() -> None:
    first, second = (await settled(knobs=Knobs(repeat=1))).planned
    assert first == second


async def test_drop_tells_nothing_though_the_money_was_taken() -> None:
    books = await settled(knobs=Knobs(drop=1))
    assert books.checkout.state == "captured"
    assert books.planned == []


async def test_forge_lets_a_stranger_speak_first_under_another_name() -> None:
    forged, real = (await settled(knobs=Knobs(forge=1))).planned
    assert (forged.forged, real.forged) == (True, False)
    assert forged.event_id != real.event_id


async def test_wrong_amount_takes_a_unit_less_and_says_so() -> None:
    books = await settled(knobs=Knobs(wrong_amount=1))
    assert books.checkout.captured_minor == 39899
    assert told(books.planned[0])[1] == "398.99"


async def test_fail_lets_nobody_pay() -> None:
    books = await settled(knobs=Knobs(fail=1))
    assert books.checkout.state == "failed"
    assert told(books.planned[0])[0] == "payment.failed"


async def test_delay_spread_and_reorder_put_a_call_off() -> None:
    (call,) = (await settled(knobs=Knobs(delay_ms=1000, spread_ms=500))).planned
    assert call.after_ms == 1250
    (call,) = (await settled(knobs=Knobs(reorder=1))).planned
    assert 0 < call.after_ms <= REORDER_MS + 1


async def test_pay_after_close_takes_late_money() -> None:
    books = await settled("cancel")
    await settled("pay", books=books)
    assert books.checkout.state == "void"
    await settled("pay", Knobs(pay_after_close=True), books=books)
    assert books.checkout.state == "captured"


async def test_a_chance_is_drawn_for_each_call() -> None:
    dice = deque([0.29, 0.31, 0.9, 0.9, 0.9])
    knobs = Knobs(repeat=0.3, drop=0.3)
    dropped = await settled(knobs=knobs, dice=lambda: dice.popleft())
    assert len(dropped.planned) == 1


async def test_the_knobs_of_a_checkout_stand_before_those_of_the_settings() -> None:
    books = OneCheckout()
    await books.simulator_turn(REFERENCE, Knobs(repeat=1).encoded())
    assert len((await settled(knobs=Knobs(drop=1), books=books)).planned) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"drop": 2}', '{"drip": 1}', '{"delay_ms": -1}', '{"settle": "maybe"}']
)
def test_knobs_that_there_are_not(text: str) -> None:
    with pytest.raises(Invalid):
        read_knobs(text)


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2,zh-TW;q=0.3", "zh"),
        ("fr,zh;q=0", "en"),
        ("zh;q=x", "en"),
        ("*", "en"),
    ],
)
def test_the_page_speaks_the_readers_language(accepted: str, language: str) -> None:
    assert page.language_of(accepted) == language


@pytest.mark.parametrize(("accepted", "words"), [("en", "This is a simulator"), ("zh", "模拟器")])
def test_the_page_says_plainly_what_it_is(accepted: str, words: str) -> None:
    text = page.render(OneCheckout().checkout, accepted).decode()
    assert words in text
    assert "399.00 CNY" in text
    assert text.count("<button") == 3
    assert "<script" not in text
    assert "style=" not in text


@pytest.mark.parametrize("state", ["captured", "failed", "void"])
def test_what_is_settled_has_no_buttons(state: str) -> None:
    checkout = OneCheckout().checkout._replace(state=state)
    assert b"<button" not in page.render(checkout, "en")


def test_the_page_links_only_where_the_web_is() -> None:
    checkout = OneCheckout().checkout
    evil = checkout._replace(return_url='https://x/"><script>')
    assert b"<script" not in page.render(evil, "en")
    assert b"<a " not in page.render(checkout._replace(return_url="javascript:alert(1)"), "en")


# --- settings -------------------------------------------------------------------------------------

STRIPE = {
    "payment_provider": "stripe",
    "stripe_api_key": "sk_test_1",
    "stripe_webhook_secrets": ("whsec_1",),
    "public_url": "https://drop.example",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "set SLUICE_PAYMENT_SECRET"),
        ({"payment_keys": (bytes(32),), "simulator_knobs": "{"}, "SLUICE_SIMULATOR_KNOBS cannot"),
        ({**STRIPE, "stripe_api_key": ""}, "Set SLUICE_STRIPE_API_KEY"),
        ({**STRIPE, "stripe_webhook_secrets": ()}, "Set SLUICE_STRIPE_WEBHOOK_SECRET"),
        ({**STRIPE, "public_url": ""}, "Set SLUICE_PUBLIC_URL"),
    ],
)
def test_settings_that_cannot_work_say_so_in_one_sentence(
    changes: dict[str, object], says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        check(Settings(**changes))  # type: ignore[arg-type]
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.payment.setup.find_spec", lambda _name: None)
    check(Settings(payment_keys=(bytes(32),)))
    for changes in (STRIPE, {**STRIPE, "payment_provider": "simulator"}):
        settings = Settings(payment_keys=(bytes(32),), **changes)  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=r"install sluice\[stripe\]"):
            check(settings)


def test_settings_that_can_work() -> None:
    check(Settings(secret_keys=(bytes(32),)))
    check(Settings(payment_keys=(bytes(32),)))
    check(Settings(**STRIPE))  # type: ignore[arg-type]


def test_keys_that_nobody_chose_come_from_those_that_all_processes_share() -> None:
    both = Settings(secret_keys=(b"new" * 11, b"old" * 11)).callback_keys
    assert len(set(both)) == 2
    assert Settings(secret_keys=(b"old" * 11,)).callback_keys == both[1:]
    assert Settings(secret_keys=(b"old" * 11,), payment_keys=(b"x",)).callback_keys == (b"x",)


def test_secrets_are_not_in_what_settings_look_like(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        payment_keys=(b"payment-key",),
        **{**STRIPE, "stripe_api_key": "sk_live"},  # type: ignore[arg-type]
    )
    for secret in ("payment-key", "sk_live", "whsec_1"):
        assert secret not in repr(settings)
