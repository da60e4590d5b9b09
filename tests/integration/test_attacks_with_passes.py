"""Passes that were changed, stolen, kept too long or made by somebody else, against the running
product: they all get the same answer, and whoever has a good one buys beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.support.bots import (
    PROXY,
    Answer,
    Sale,
    Street,
    honest_buyers,
    statuses,
    street,
    together,
)
from tests.support.product import Product
from tests.support.tokens import identity_token

from sluice.accounts.identity import token_identity
from sluice.admission.keyring import decode, encode
from sluice.admission.passes import Pass, Passes
from sluice.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
ME = "mei"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("forged") / "data"
    with Product(folder, "--workers", "2", SLUICE_TRUSTED_PROXIES=PROXY) as running:
        yield running
        assert '"level": "error"' not in running.log(), running.log()[-4000:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(product: Product) -> AsyncIterator[Street]:
    async with street(product) as found:
        yield found


@pytest.fixture(scope="module")
def passes(product: Product) -> Passes:
    """What signs as the product does: whoever stole its key could still not do more than this."""
    return Passes(Settings.read({}, product.data).secret_keys)


async def refused_like_any_other(sale: Sale, tried: list[Answer]) -> None:
    """403 `bad_pass`, and nothing in the answer that tells one forgery from another."""
    plain = await sale.buy(ME, "no.such.pass")
    assert (plain.status, plain.code) == (403, "bad_pass")
    assert {_told(each) for each in tried} == {_told(plain)}


def _told(answer: Answer) -> tuple[int, str, str]:
    """All but what names the request and counts it."""
    body = {name: value for name, value in answer.body.items() if name != "request_id"}
    counted = {"x-request-id", "date", "ratelimit", "content-length"}
    headers = {name: value for name, value in answer.headers.items() if name not in counted}
    return answer.status, json.dumps(body, sort_keys=True), json.dumps(headers, sort_keys=True)


async def a_good_pass(sale: Sale) -> str:
    answer = await sale.a_pass(ME)
    assert answer.status == 200, answer
    return str(answer.body["pass"])


async def test_a_pass_with_any_one_character_changed_is_no_pass(town: Street) -> None:
    sale = await town.sale()
    text = await a_good_pass(sale)
    forged = [
        text[:at] + other + text[at + 1 :]
        for at in range(len(text))
        for other in ("A", "b", ".", "-", "~")
        if text[at] != other
    ]
    forged += [text[:at] + text[at + 1 :] for at in range(len(text))]
    async with honest_buyers(sale, "198.18"):
        tried = await together(sale.buy(ME, each) for each in forged)
    assert len(tried) > 500
    await refused_like_any_other(sale, tried)
    assert (await sale.buy(ME, text)).status == 202


async def test_a_pass_with_any_one_bit_changed_is_no_pass(town: Street) -> None:
    """Every bit of every field: version, publication, item, expiry, nonce, buyer and session, and
    the signature itself."""
    sale = await town.sale()
    text = await a_good_pass(sale)
    kid, payload, signature = text.split(".")
    forged = []
    for part, made in ((payload, "{0}.{1}.{2}"), (signature, "{0}.{3}.{1}")):
        raw = decode(part)
        assert raw is not None
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            forged.append(made.format(kid, encode(bytes(flipped)), signature, payload))
    tried = await together(sale.buy(ME, each) for each in forged)
    assert len(tried) == (48 + 18) * 8
    await refused_like_any_other(sale, tried)
    assert (await sale.buy(ME, text)).status == 202


async def test_parts_of_two_good_passes_make_no_third(town: Street) -> None:
    sale, other_sale = await town.sale(), await town.sale()
    one, two = (await a_good_pass(sale)).split("."), (await a_good_pass(other_sale)).split(".")
    mixed = [".".join(parts) for parts in ((one[0], one[1], two[2]), (one[0], two[1], one[2]))]
    tried = [await sale.buy(ME, each) for each in mixed]
    await refused_like_any_other(sale, tried)


async def test_a_signed_pass_with_another_field_is_refused_like_a_forgery(
    town: Street, passes: Passes
) -> None:
    """Even with the right signature: of another buyer, another session, another publication, or
    first used after its time."""
    sale = await town.sale()
    good = passes.verify(await a_good_pass(sale))
    assert good is not None

    def fresh(n: int) -> bytes:
        return n.to_bytes(12, "big")

    stranger = token_identity("", "somebody else", 1 << 40)
    assert stranger is not None
    swapped = {
        "buyer and session": good._replace(binding=stranger.binding),
        "no buyer": good._replace(binding=bytes(16)),
        "publication before": good._replace(publication=good.publication - 1, nonce=fresh(1)),
        "publication to come": good._replace(publication=good.publication + 1, nonce=fresh(2)),
        "expired": good._replace(expires_at_s=good.expires_at_s - 3600, nonce=fresh(3)),
        "expired for ever": good._replace(expires_at_s=0, nonce=fresh(4)),
    }
    tried = {what: await sale.buy(ME, passes.sign(each)) for what, each in swapped.items()}
    await refused_like_any_other(sale, list(tried.values()))
    assert (await sale.buy(ME, passes.sign(good))).status == 202


async def test_a_pass_is_for_its_own_item_and_sale(town: Street, passes: Passes) -> None:
    """The item stands in the pass and not in the address, so another one takes a forgery; and the
    publication that was signed is not the other sale's."""
    sale, other = await town.sale(), await town.sale()
    first = passes.verify(await a_good_pass(sale))
    second = passes.verify(await a_good_pass(other))
    assert first is not None
    assert second is not None
    swapped = first._replace(item_id=second.item_id, publication=second.publication + 1)
    tried = [await sale.buy(ME, passes.sign(swapped))]
    await refused_like_any_other(sale, tried)


async def test_a_pass_of_another_key_or_purpose_is_no_pass(
    town: Street, product: Product, passes: Passes
) -> None:
    sale = await town.sale()
    text = await a_good_pass(sale)
    good = passes.verify(text)
    assert good is not None
    elsewhere = Passes([b"another key, of thirty-two bytes!"]).sign(good)
    own_kid = text.split(".")[0]
    receipt = (await sale.buy(ME, text)).body["receipt"]
    forged = [elsewhere, ".".join([own_kid, *elsewhere.split(".")[1:]]), receipt, f"{text}.x"]
    forged += ["x" * 5000, "%00", "..", "..%2F..", "é"]
    tried = await together(sale.buy(ME, each) for each in forged)
    await refused_like_any_other(sale, [each for each in tried if each.status != 404])
    assert statuses(tried)[403] >= 7, statuses(tried)


async def test_a_stolen_pass_buys_nothing_for_the_thief_and_still_does_for_its_owner(
    town: Street,
) -> None:
    sale = await town.sale()
    text = await a_good_pass(sale)
    async with honest_buyers(sale, "198.19"):
        thieves = await together(
            sale.buy(f"thief{n}", text, source=f"127.0.6.{n % 200 + 1}") for n in range(200)
        )
    await refused_like_any_other(sale, thieves)
    assert (await sale.buy(ME, text)).status == 202
    again = await together(sale.buy(f"thief{n}", text) for n in range(20))
    await refused_like_any_other(sale, again)


async def test_a_refreshed_token_of_the_same_buyer_still_goes_with_the_pass(
    town: Street, product: Product
) -> None:
    sale = await town.sale()
    text = await a_good_pass(sale)
    token = identity_token(product.identity_secret(), ME, ttl_s=7200)
    answer = await town.ask(
        "POST", f"/v1/buy/{text}", "", {"quantity": 1}, Authorization=f"Bearer {token}"
    )
    assert answer.status == 202


async def test_the_fields_that_are_tried_are_all_that_there_are() -> None:
    assert Pass._fields == ("publication", "item_id", "expires_at_s", "nonce", "binding")


async def test_one_nonce_is_one_order_whatever_else_the_pass_says(
    town: Street, passes: Passes
) -> None:
    """Also with another expiry, under the same key: the attempt is the nonce."""
    sale = await town.sale()
    text = await a_good_pass(sale)
    good = passes.verify(text)
    assert good is not None
    order: Any = (await sale.buy(ME, text)).body["order"]["id"]
    later = passes.sign(good._replace(expires_at_s=good.expires_at_s + 60))
    answers = [await sale.buy(ME, each) for each in (later, text)]
    assert {each.body["order"]["id"] for each in answers} == {order}
