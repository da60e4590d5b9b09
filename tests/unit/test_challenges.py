"""Challenges: sealed, bound, answered once; drawn so that their answers are right."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import altcha
import pytest
from PIL import Image, ImageChops

from sluice.admission.challenges import answers, difficulty, stock, work
from sluice.admission.challenges.challenges import TTL_S, Challenges
from sluice.admission.challenges.making import Maker
from sluice.admission.challenges.stock import SHOWN_AGAIN_MAX, Stock
from sluice.admission.challenges.tokens import Tokens
from sluice.domain.challenge import (
    ALTERNATIVE_LEVEL,
    ALTERNATIVES,
    LEVEL_MAX,
    SHELVES,
    Made,
    Shelf,
    shelves_for,
)
from sluice.domain.errors import CacheUnavailable, Overloaded
from sluice.domain.sale import Challenge

OLD, NEW = b"o" * 32, b"n" * 32
ANN, BOB = b"a" * 16, b"b" * 16
NOW_S = 1_700_000_000
KINDS = [kind for kind in Challenge if kind is not Challenge.NONE]


# --- the id ---------------------------------------------------------------------------------------


def test_an_id_says_what_it_was_given_for_and_hides_the_answer() -> None:
    tokens = Tokens([NEW])
    text = tokens.sign(Challenge.SLIDER, 7, NOW_S, ANN, 123)
    given = tokens.open(text)
    assert given is not None
    assert (given.kind, given.sale_id, given.expires_at_s, given.binding, given.answer) == (
        *(Challenge.SLIDER, 7, NOW_S, ANN),
        123,
    )
    payload = base64.urlsafe_b64decode(text.split(".")[1])
    assert (123).to_bytes(4) not in payload
    sealed = {
        base64.urlsafe_b64decode(tokens.sign(Challenge.SLIDER, 7, NOW_S, ANN, 123).split(".")[1])[
            -4:
        ]
        for _ in range(50)
    }
    assert len(sealed) > 45, "the same answer never looks the same"


@pytest.mark.parametrize("at", range(0, 98, 7))
def test_a_forged_id_is_none(at: int) -> None:
    tokens = Tokens([NEW])
    text = tokens.sign(Challenge.SLIDER, 7, NOW_S, ANN, 123)
    forged = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    assert tokens.open(forged) is None
    assert tokens.open(text[:at]) is None
    assert Tokens([OLD]).open(text) is None


def test_keys_rotate_without_a_gap() -> None:
    text = Tokens([OLD]).sign(Challenge.ARITHMETIC, 7, NOW_S, ANN, 42)
    given = Tokens([NEW, OLD]).open(text)
    assert given is not None
    assert given.answer == 42


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "right"),
    [
        (Challenge.ARITHMETIC, "42", True),
        (Challenge.ARITHMETIC, " 42 ", True),
        (Challenge.ARITHMETIC, "４２", True),
        (Challenge.ARITHMETIC, "43", False),
        (Challenge.ARITHMETIC, "42.0", False),
        (Challenge.ARITHMETIC, "-42", False),
        (Challenge.ARITHMETIC, "", False),
        (Challenge.ARITHMETIC, "4" * 10_000, False),
        (Challenge.SLIDER, "42", True),
        (Challenge.SLIDER, "47", True),
        (Challenge.SLIDER, "37", True),
        (Challenge.SLIDER, "48", False),
        (Challenge.SLIDER, "36", False),
        (Challenge.PROOF_OF_WORK, f"{42:064x}", True),
        (Challenge.PROOF_OF_WORK, f"{43:064x}", False),
        (Challenge.PROOF_OF_WORK, "42", False),
        (Challenge.PROOF_OF_WORK, "z" * 64, False),
        (Challenge.PROOF_OF_WORK, "e30=", False),
        (Challenge.PROOF_OF_WORK, "é", False),
    ],
)
def test_what_is_right(kind: Challenge, text: str, right: bool) -> None:
    assert answers.right(kind, text, 42) is right


# --- drawing --------------------------------------------------------------------------------------


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def shown(made: Made) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(b"{" + made.shown + b"}")
    return told


def test_a_sliders_piece_fits_where_the_answer_says() -> None:
    made = Maker([NEW]).make_now(Challenge.SLIDER, 0)
    told = shown(made)
    scene = picture(told["image"]).convert("L")
    piece = picture(told["piece"]["image"]).convert("RGBA")
    mask = piece.getchannel("A").point(lambda alpha: 255 if alpha > 200 else 0)
    size = piece.size

    def differs(x: int) -> float:
        # The hole is the scene made darker: with the right piece the rest is even.
        there = scene.crop((x, told["piece"]["y"], x + size[0], told["piece"]["y"] + size[1]))
        bright = there.point(lambda value: min(255, int(value / 0.42)))
        difference = ImageChops.difference(bright, piece.convert("L"))
        histogram = difference.histogram(mask=mask)
        return sum(n * count for n, count in enumerate(histogram)) / max(1, sum(histogram))

    best = min(range(60, told["width"] - size[0]), key=differs)
    assert abs(best - made.answer) <= answers.SLIDER_TOLERANCE


def test_sums_are_whole_and_never_below_0() -> None:
    from sluice.admission.challenges.arithmetic import _sum

    for _ in range(300):
        text, answer = _sum()
        assert eval(text.removesuffix("=?").replace("×", "*")) == answer
        assert 0 <= answer < 1000


def test_pictures_differ_and_are_small() -> None:
    maker = Maker([NEW])
    for kind, bytes_max in ((Challenge.ARITHMETIC, 10_000), (Challenge.SLIDER, 25_000)):
        made = [maker.make_now(kind, 0) for _ in range(3)]
        assert len({each.shown for each in made}) == 3
        assert max(len(each.shown) for each in made) < bytes_max


def test_work_is_what_altcha_solves_and_verifies() -> None:
    made = work.make(NEW, 0)
    challenge = altcha.Challenge.from_dict(shown(made))
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    payload = altcha.Payload(challenge, solution).to_base64()
    assert altcha.verify_solution(payload, NEW).verified
    assert work.answer_of(payload) == work.answer_of(solution.derived_key) == made.answer
    assert work.NUMBERS // 2 <= solution.counter < work.NUMBERS


# --- how hard -------------------------------------------------------------------------------------


def test_work_grows_with_what_buyer_and_address_asked_for() -> None:
    assert [difficulty.level_of(n, 1) for n in range(1, 9)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [difficulty.level_of(1, n) for n in (1, 49, 50, 100, 200, 400)] == [0, 0, 1, 2, 3, 4]
    assert difficulty.level_of(10**6, 10**6) == LEVEL_MAX


# --- the stock ------------------------------------------------------------------------------------


class Pool:
    """A shared pool that is as full as a test says."""

    def __init__(self, *made: Made) -> None:
        self.made = list(made)

    async def take(self, shelf: Shelf, count: int) -> list[Made]:
        taken, self.made = self.made[:count], self.made[count:]
        return taken


class Slow(Maker):
    """Makes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__([NEW], threads=1)
        self.go = asyncio.Event()
        self.count = 0

    async def make(self, kind: Challenge, level: int) -> Made:
        self.count += 1
        await self.go.wait()
        return Made(self.count, b'"image":"x"')


async def filled(pool: Pool, maker: Maker, shelf: Shelf) -> Stock:
    made = Stock(pool, maker, lambda: [shelf])
    await made.fill()
    return made


async def test_a_picture_of_the_stock_costs_no_drawing_and_is_shown_again_in_a_rush() -> None:
    maker = Slow()
    kept = await filled(Pool(Made(1, b"a"), Made(2, b"b")), maker, SHELVES[0])
    given = [await kept.take(Challenge.ARITHMETIC, 0) for _ in range(2 * SHOWN_AGAIN_MAX)]
    assert maker.count == 0
    assert {each.answer for each in given} == {1, 2}
    waiting = asyncio.ensure_future(kept.take(Challenge.ARITHMETIC, 0))
    maker.go.set()
    assert (await waiting).shown == b'"image":"x"', "each picture only so often"


async def test_work_is_never_given_twice() -> None:
    maker = Slow()
    maker.go.set()
    shelf = next(s for s in SHELVES if s.kind is Challenge.PROOF_OF_WORK)
    kept = await filled(Pool(Made(7, b"w")), maker, shelf)
    given = [await kept.take(Challenge.PROOF_OF_WORK, 0) for _ in range(3)]
    assert [each.answer for each in given] == [7, 1, 2]


async def test_more_than_can_be_made_is_refused_at_once() -> None:
    maker = Slow()
    kept = Stock(Pool(), maker, list)
    waiting = [
        asyncio.ensure_future(kept.take(Challenge.PROOF_OF_WORK, 3))
        for _ in range(stock.MAKING_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await kept.take(Challenge.PROOF_OF_WORK, 3)
    maker.go.set()
    assert len({made.answer for made in await asyncio.gather(*waiting)}) == 1


def test_the_shelves_hold_what_sales_ask_and_its_alternative() -> None:
    assert shelves_for({Challenge.NONE}) == []
    for kind in KINDS:
        shelves = {(shelf.kind, shelf.level) for shelf in shelves_for({kind})}
        other = ALTERNATIVES[kind]
        level = ALTERNATIVE_LEVEL if other is Challenge.PROOF_OF_WORK else 0
        assert shelves == {(kind, 0), (other, level)}


# --- giving and judging ---------------------------------------------------------------------------


class Spent:
    def __init__(self) -> None:
        self.there: set[bytes] = set()
        self.away = False

    async def __call__(self, answered: Sequence[tuple[bytes, int]]) -> list[bool]:
        if self.away:
            raise CacheUnavailable
        first = []
        for nonce, left_ms in answered:
            assert 0 < left_ms <= (TTL_S + 1) * 1000
            first.append(nonce not in self.there)
            self.there.add(nonce)
        return first


class Booth:
    def __init__(self) -> None:
        self.now_ms = NOW_S * 1000
        self.spent = Spent()
        maker = Slow()
        maker.go.set()
        self.tokens = Tokens([NEW])
        self.challenges = Challenges(
            self.tokens,
            Stock(Pool(), maker, list),
            self.spent,
            lambda: self.now_ms,
            queue_max=1000,
        )

    async def given(self) -> tuple[str, str]:
        offered = await self.challenges.offer(Challenge.ARITHMETIC, False, 7, ANN, 0)
        found = self.tokens.open(offered.id)
        assert found is not None
        return offered.id, str(found.answer)

    async def passes(self, text: str, answer: str, *, sale: int = 7, who: bytes = ANN) -> bool:
        return await self.challenges.passes(Challenge.ARITHMETIC, sale, who, text, answer)


async def test_the_right_answer_passes_once() -> None:
    booth = Booth()
    text, answer = await booth.given()
    assert await asyncio.gather(*(booth.passes(text, answer) for _ in range(100))) == [
        True,
        *[False] * 99,
    ]


async def test_neither_another_buyer_nor_sale_nor_kind_nor_late_is_right() -> None:
    booth = Booth()
    text, answer = await booth.given()
    assert not await booth.passes(text, answer, who=BOB)
    assert not await booth.passes(text, answer, sale=8)
    asked = booth.challenges.passes(Challenge.SLIDER, 7, ANN, text, answer)
    assert not await asked, "arithmetic is no way into a sale with a slider"
    booth.now_ms += TTL_S * 1000
    assert not await booth.passes(text, answer)
    assert booth.spent.there == set(), "and nothing of it uses the buyer's own up"


async def test_while_the_store_is_away_each_process_remembers_for_itself() -> None:
    booth = Booth()
    booth.spent.away = True
    text, answer = await booth.given()
    assert await booth.passes(text, answer)
    assert not await booth.passes(text, answer)
    booth.spent.away = False
    assert not await booth.passes(text, answer)
    assert booth.challenges.alone == 1
