"""Bots against a running product of two HTTP processes, and honest buyers beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio
from tests.polling import until_it_is
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
from tests.support.rush import rush

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORKERS = 2
NOBODY_LIMITED = {"per_buyer_per_minute": None, "per_address_per_minute": None}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("attacked") / "data"
    with Product(folder, "--workers", str(WORKERS), SLUICE_TRUSTED_PROXIES=PROXY) as product:
        yield product
        assert '"level": "error"' not in product.log(), product.log()[-4000:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(two_workers: Product) -> AsyncIterator[Street]:
    async with street(two_workers) as found:
        yield found


async def passes(sale: Sale, who: list[str], **how: str) -> list[Answer]:
    return await together(sale.a_pass(each, **how) for each in who)


# --- floods ---------------------------------------------------------------------------------------


async def test_a_buyer_who_floods_is_held_back_then_kept_out_then_let_off(town: Street) -> None:
    sale = await town.sale(limits={"per_buyer_per_minute": 10, "per_address_per_minute": None})
    async with honest_buyers(other := await town.sale(limits=NOBODY_LIMITED), "198.20"):
        answers = await passes(sale, ["flood"] * 200)
    counted = statuses(answers)
    assert 9 <= counted[200] <= 10, counted
    assert counted[200] + counted[429] == 200
    refused = next(each for each in answers if each.status == 429)
    assert refused.code == "too_many_requests"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == '"buyer";q=10;w=60'
    assert refused.headers["content-type"] == "application/problem+json"

    async def entries() -> list[Any]:
        listed = (await town.admin("GET", "/blacklist"))["data"]
        return [each for each in listed if "flood" in each.get("buyer", "")]

    async def is_listed() -> bool:
        return bool(await entries())

    await until_it_is(is_listed)
    [entry] = await entries()
    assert entry["reason"] == "10 refusals in a minute"

    async def kept_out_everywhere() -> bool:
        told = await passes(other, ["flood"] * 8)
        return all(each.status == 429 and each.body["limit"] == "blacklist" for each in told)

    await until_it_is(kept_out_everywhere)
    assert (await other.a_pass("honest")).status == 200

    await town.admin("DELETE", f"/blacklist/{entry['id']}")

    async def let_in_everywhere() -> bool:
        return statuses(await passes(other, ["flood"] * 8))[200] == 8

    await until_it_is(let_in_everywhere)
    assert await entries() == []


async def test_what_is_left_is_told_with_every_answer(town: Street) -> None:
    sale = await town.sale()
    told = (await sale.a_pass("counts")).headers
    assert told["ratelimit-policy"] == '"buyer";q=10;w=60, "address";q=120;w=60'
    assert told["ratelimit"].startswith('"buyer";r=9;t=60, "address";r=')


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_one_address_is_held_back_whatever_it_says_of_itself(
    town: Street, header: str
) -> None:
    sale = await town.sale()
    source = {"X-Forwarded-For": "127.0.0.11", "Forwarded": "127.0.0.12"}.get(header, "127.0.0.13")
    async with honest_buyers(sale, "198.21"):
        answers = await together(
            sale.a_pass(f"spoof{n}", source=source, **{header: f"203.0.113.{n % 200}"})
            for n in range(300)
        )
    counted = statuses(answers)
    assert 96 <= counted[200] <= 120, counted
    assert counted[200] + counted[429] == 300
    assert (await sale.a_pass("honest", source="127.0.0.14")).status == 200


async def test_a_network_of_64_bits_is_one_address_behind_a_trusted_proxy(town: Street) -> None:
    sale = await town.sale()
    answers = await together(
        sale.a_pass(f"six{n}", source=PROXY, X_Forwarded_For=f"2001:db8:7:7::{n:x}")
        for n in range(300)
    )
    counted = statuses(answers)
    assert 96 <= counted[200] <= 120, counted
    honest = await sale.a_pass("honest6", source=PROXY, X_Forwarded_For="2001:db8:7:8::1")
    assert honest.status == 200


@pytest.mark.parametrize(
    "addresses",
    [
        2_000,
        pytest.param(100_000, marks=[pytest.mark.verify, pytest.mark.timeout(300)]),
    ],
)
async def test_however_many_addresses_of_one_network_flood_they_get_what_one_gets(
    town: Street, two_workers: Product, addresses: int
) -> None:
    """Each request has an address of its own, and comes from one of a hundred buyers; neither
    the memory of a process nor the honest are the worse for it."""
    limits = {"per_buyer_per_minute": None, "per_address_per_minute": 120}
    sale = await town.sale(limits=limits)
    tokens = [town.token(f"of many {n}") for n in range(100)]
    requests = (
        _pass_request(sale, tokens[n % 100], f"2001:db8:{addresses % 9999:x}:7:{n:x}::{n:x}")
        for n in range(addresses)
    )
    before, began = memory_kib(two_workers), monotonic()
    async with honest_buyers(sale, "198.18"):
        counted = await rush("127.0.0.1", two_workers.port, PROXY, requests)
    minutes = 1 + (monotonic() - began) / 50
    # A process that does not hear from the cache server in time gives the quota by itself.
    most = 120 * minutes * WORKERS
    assert counted.total() == addresses
    assert set(counted) <= {200, 429, 503}
    assert 96 <= counted[200] <= most, counted
    assert memory_kib(two_workers) - before < 100_000


def _pass_request(sale: Sale, token: str, address: str) -> bytes:
    return (
        f"POST /v1/sales/{sale.id}/items/{sale.item}/pass HTTP/1.1\r\nHost: sluice\r\n"
        f"Authorization: Bearer {token}\r\nX-Forwarded-For: {address}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ).encode()


def memory_kib(product: Product) -> int:
    """Of the HTTP process that has most."""
    found = []
    for pid in product.children("serve"):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found += [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return max(found)


async def test_only_what_the_trusted_proxy_wrote_counts(town: Street) -> None:
    """From the right: what a client put in front of it is the client's own word."""
    sale = await town.sale()
    answers = await together(
        sale.a_pass(f"left{n}", source=PROXY, X_Forwarded_For=f"192.0.2.{n % 250}, 198.51.100.7")
        for n in range(300)
    )
    assert 96 <= statuses(answers)[200] <= 120
    honest = await sale.a_pass(
        "honest7", source=PROXY, X_Forwarded_For="198.51.100.7, 198.51.100.8"
    )
    assert honest.status == 200


async def test_the_whole_sale_has_a_pace(town: Street) -> None:
    sale = await town.sale(limits={**NOBODY_LIMITED, "per_sale_per_second": 20})
    answers = await passes(sale, [f"pace{n}" for n in range(200)])
    counted = statuses(answers)
    # The first second's tokens, and those of the seconds that the crowd took.
    assert 20 <= counted[200] < 150, counted
    assert all(each.body["limit"] == "sale" for each in answers if each.status == 429)
    listed = (await town.admin("GET", "/blacklist"))["data"]
    assert not [each for each in listed if "pace" in each.get("buyer", "")], "not their doing"


async def test_an_operator_keeps_an_address_out(town: Street) -> None:
    sale = await town.sale()
    address = {"address": "2001:db8:9:9:1:2:3:4", "seconds": 60, "reason": "Scalpers."}
    entry = await town.admin("POST", "/blacklist", address)
    assert entry["address"] == "2001:db8:9:9::/64"

    async def kept_out() -> bool:
        told = [
            await sale.a_pass("black", source=PROXY, X_Forwarded_For=f"2001:db8:9:9::{n}")
            for n in range(4)
        ]
        return statuses(told)[429] == 4

    await until_it_is(kept_out)
    await town.admin("DELETE", f"/blacklist/{entry['id']}")
    again = await town.ask("DELETE", f"/v1/admin/blacklist/{entry['id']}", "admin")
    assert again.status == 404


async def test_one_pass_a_thousand_times_is_one_order(town: Street) -> None:
    sale = await town.sale()
    text = (await sale.a_pass("again")).body["pass"]
    async with honest_buyers(sale, "198.19"):
        answers = await together(
            sale.buy("again", text, source=f"127.0.0.{20 + n % 20}") for n in range(1000)
        )
    assert statuses(answers) == {202: 1000}
    assert len({each.body["order"]["id"] for each in answers}) == 1


async def test_a_flood_of_forged_passes_does_not_reach_honest_buyers(town: Street) -> None:
    sale = await town.sale()
    text = (await sale.a_pass("honest8")).body["pass"]
    forged = [text[:-1] + other for other in "abcdefgh" if other != text[-1]]
    answers = await together(sale.buy("forger", each) for each in forged * 20)
    assert set(statuses(answers)) == {403}
    assert {each.code for each in answers} == {"bad_pass"}
    assert (await sale.buy("honest8", text)).status == 202


# --- challenges -----------------------------------------------------------------------------------

KINDS = ["arithmetic", "slider", "proof_of_work"]


def solved(town: Street, challenge: Any) -> dict[str, str]:
    answer = town.given(challenge).answer
    text = f"{answer:064x}" if challenge["kind"] == "proof_of_work" else str(answer)
    return {"challenge_id": challenge["challenge_id"], "answer": text}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thousand_answers_to_one_challenge_give_one_pass(town: Street, kind: str) -> None:
    sale = await town.sale(challenge=kind, limits=NOBODY_LIMITED)
    solver = f"solver of {kind}"  # who is kept out afterwards, or meanwhile
    challenge = (await sale.challenge(solver)).body
    assert challenge["kind"] == kind
    assert ("parameters" in challenge) == (kind == "proof_of_work")
    right = solved(town, challenge)
    answers = await together(
        sale.a_pass(solver, right, source=f"127.0.9.{n % 2 + 1}") for n in range(1000)
    )
    counted = statuses(answers)
    assert counted[200] == 1, counted
    assert counted[403] + counted[429] == 999, counted
    assert counted[403] >= 10
    assert {each.code for each in answers if each.status == 403} == {"challenge_failed"}
    honest = f"honest solver of {kind}"
    other = solved(town, (await sale.challenge(honest)).body)
    passed = (await sale.a_pass(honest, other)).body["pass"]
    assert (await sale.buy(honest, passed)).status == 202


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_has_another_way(town: Street, kind: str) -> None:
    sale = await town.sale(challenge=kind, limits=NOBODY_LIMITED)
    first = (await sale.challenge("other way")).body
    second = (await town.ask("GET", first["alternative"]["url"], "other way")).body
    assert second["kind"] == first["alternative"]["kind"] != kind
    assert second["alternative"]["kind"] == kind
    assert (await sale.a_pass("other way", solved(town, second))).status == 200


async def test_a_challenge_is_for_its_buyer_and_sale_and_one_try(town: Street) -> None:
    one, other = [await town.sale(challenge="arithmetic") for _ in range(2)]
    refused = [await one.a_pass("tries"), await one.a_pass("tries", {"challenge_id": "x"})]
    challenge = (await one.challenge("tries")).body
    right = solved(town, challenge)
    refused.append(await one.a_pass("thief", right))
    refused.append(await other.a_pass("tries", right))
    assert {(each.status, each.code) for each in refused} == {(403, "challenge_failed")}
    wrong = {**right, "answer": str(int(right["answer"]) + 1)}
    assert (await one.a_pass("tries", wrong)).code == "challenge_failed"
    assert (await one.a_pass("tries", right)).code == "challenge_failed", "one try"
    assert (
        await one.a_pass("tries", solved(town, (await one.challenge("tries")).body))
    ).status == 200


async def test_nothing_can_be_solved_before_the_start(town: Street) -> None:
    sale = await town.sale(challenge="slider", starts_in_s=600)
    answer = await sale.challenge("early")
    assert (answer.status, answer.code) == (403, "not_started")
    assert answer.body["starts_at"]
    assert (await sale.a_pass("early")).code == "not_started"


async def test_a_sale_without_a_challenge_says_so(town: Street) -> None:
    answer = await (await town.sale()).challenge("calm")
    assert (answer.status, answer.body) == (204, b"")


async def test_wrong_answers_keep_a_guesser_out(town: Street) -> None:
    sale = await town.sale(challenge="arithmetic", limits=NOBODY_LIMITED)

    async def guess() -> Answer:
        challenge = (await sale.challenge("guesser")).body
        return await sale.a_pass(
            "guesser", {"challenge_id": challenge.get("challenge_id"), "answer": "0"}
        )

    async def kept_out() -> bool:
        answer = await guess()
        return answer.status == 429 and answer.body["limit"] == "blacklist"

    await until_it_is(kept_out)


# --- the line is no way round ---------------------------------------------------------------------


async def test_a_place_in_line_asks_for_the_challenge_and_once_taken_for_no_more(
    town: Street,
) -> None:
    sale = await town.sale(stock=1, challenge="arithmetic", limits=NOBODY_LIMITED)
    await sale.sell_out("first", solved(town, (await sale.challenge("first")).body))
    assert (await sale.a_place("bot")).code == "challenge_failed"
    right = solved(town, (await sale.challenge("queues")).body)
    # Fewer than keep somebody out: on a busy machine all but one may be told that it is used up.
    answers = await together(sale.a_place("queues", right) for _ in range(9))
    # One answer takes one place; whoever stands there already is shown it again.
    assert statuses(answers)[201] == 1, statuses(answers)
    assert {each.status for each in answers} <= {201, 200, 403}
    assert (await sale.a_place("queues")).status == 200
    assert (await sale.a_place("bot", right)).code == "challenge_failed"


async def test_a_paused_sale_takes_people_into_its_line_and_gives_no_answers_for_later(
    town: Street,
) -> None:
    sale = await town.sale(stock=1, challenge="arithmetic", limits=NOBODY_LIMITED)
    other = await town.sale(challenge="arithmetic", waitlist=False, limits=NOBODY_LIMITED)
    await sale.sell_out("first", solved(town, (await sale.challenge("first")).body))
    for each in (sale, other):
        await town.admin("POST", f"/sales/{each.id}/pause", {"reason": "A wrong photo."})

    async def paused(each: Sale) -> bool:
        told = await passes(each, ["anybody"] * 8)  # enough to meet both workers
        return {answer.code for answer in told} == {"paused"}

    for each in (sale, other):
        await until_it_is(lambda each=each: paused(each))  # type: ignore[misc]
    collected = [solved(town, (await sale.challenge("collector")).body) for _ in range(5)]
    assert (
        await sale.a_place("queues", solved(town, (await sale.challenge("queues")).body))
    ).status == 201
    assert (await other.challenge("queues")).code == "paused"
    await town.admin("POST", f"/sales/{sale.id}/resume")
    more = {"delta": 5, "reason": "More."}
    path = f"/v1/admin/items/{sale.item}/stock"
    assert (await town.ask("POST", path, "admin", more, Idempotency_Key="more")).status == 200

    async def sells() -> bool:
        right = solved(town, (await sale.challenge("honest")).body)
        return (await sale.a_pass("honest", right)).status == 200

    await until_it_is(sells)
    tried = [await sale.a_pass("collector", each) for each in collected]
    assert {each.code for each in tried} == {"challenge_failed"}


async def test_only_who_is_invited_stands_in_line(town: Street) -> None:
    sale = await town.sale(stock=1, invite_only=True)
    await town.admin("POST", f"/sales/{sale.id}/guests", {"buyers": ["jwt::one", "jwt::two"]})
    await sale.sell_out("one")
    assert (await sale.a_place("uninvited")).code == "not_allowed"
    assert (await sale.a_place("two")).status == 201


async def test_who_floods_the_line_is_held_back(town: Street) -> None:
    limits = {"per_buyer_per_minute": 5, "per_address_per_minute": None}
    sale = await town.sale(stock=1, limits=limits)
    await sale.sell_out("lucky")
    answers = await together(sale.a_place("flooder") for _ in range(9))
    assert statuses(answers)[429] >= 4
    refused = next(each for each in answers if each.status == 429)
    assert refused.headers["ratelimit-policy"] == '"buyer";q=5;w=60'
    assert (await sale.a_place("honest")).status == 201


# --- invitations ----------------------------------------------------------------------------------


async def test_only_who_is_invited_gets_a_pass(town: Street) -> None:
    sale = await town.sale(invite_only=True)
    assert (await sale.a_pass("uninvited")).code == "not_allowed"
    guests = {"buyers": ["jwt::listed"], "priority": 3}
    assert await town.admin("POST", f"/sales/{sale.id}/guests", guests) == {"added": 1}
    assert (await sale.a_pass("listed")).status == 200
    shown = await town.ask("GET", f"/v1/sales/{sale.id}/invitation", "listed")
    assert shown.body == {"sale_id": sale.id, "invited": True, "priority": 3}
    removed = await town.admin(
        "POST", f"/sales/{sale.id}/guests/remove", {"buyers": ["jwt::listed"]}
    )
    assert removed == {"removed": 1}


async def test_a_single_use_code_invites_one_of_a_hundred(town: Street) -> None:
    sale = await town.sale(invite_only=True)
    made = await town.admin("POST", f"/sales/{sale.id}/codes", {"count": 3, "priority": 2})
    listed = (await town.admin("GET", made["codes_url"].removeprefix("/v1/admin")))["data"]
    code = listed[0]["code"].lower().replace("-", " ")
    path = f"/v1/sales/{sale.id}/invitation"
    answers = await together(
        town.ask("POST", path, f"guest{n}", {"code": code}, source=f"127.0.1.{n}")
        for n in range(1, 101)
    )
    assert statuses(answers) == {200: 1, 403: 99}
    winner = next(n for n, each in enumerate(answers, 1) if each.status == 200)
    assert answers[winner - 1].body["priority"] == 2
    assert (await sale.a_pass(f"guest{winner}")).status == 200
    again = await town.ask("POST", path, f"guest{winner}", {"code": code}, source="127.0.2.1")
    assert again.status == 200
    csv = await town.admin("GET", f"{made['codes_url'].removeprefix('/v1/admin')}?format=csv")
    assert csv.decode().splitlines()[:2] == [
        "code,uses,used,priority",
        f"{listed[0]['code']},1,1,2",
    ]


async def test_a_code_of_the_merchants_own_invites_as_many_as_it_says(town: Street) -> None:
    sale = await town.sale(invite_only=True)
    made = await town.admin("POST", f"/sales/{sale.id}/codes", {"code": "VIP 2026", "uses": 5})
    path = f"/v1/sales/{sale.id}/invitation"
    answers = await together(
        town.ask("POST", path, f"vip{n}", {"code": "vip2026"}, source=f"127.0.3.{n}")
        for n in range(1, 31)
    )
    assert statuses(answers) == {200: 5, 403: 25}
    await town.admin("DELETE", made["codes_url"].removeprefix("/v1/admin"))
    late = await town.ask("POST", path, "late", {"code": "vip2026"}, source="127.0.3.99")
    assert late.status == 403


async def test_nobody_tries_many_codes(town: Street) -> None:
    sale = await town.sale(invite_only=True)
    path = f"/v1/sales/{sale.id}/invitation"
    answers = await together(
        town.ask("POST", path, "thief of codes", {"code": f"WORD{n}"}, source=f"127.0.4.{n}")
        for n in range(1, 41)
    )
    assert statuses(answers)[403] <= 5
    refused = next(each for each in answers if each.status == 429)
    assert refused.headers["ratelimit-policy"] == '"buyer";q=5;w=60, "address";q=30;w=60'


async def test_honest_buyers_buy_beside_all_of_them(town: Street) -> None:
    sale = await town.sale(challenge="proof_of_work")

    async def honest(n: int) -> int:
        how = {"source": PROXY, "X_Forwarded_For": f"198.18.{n}.1"}
        challenge = (await sale.challenge(f"fair{n}", **how)).body
        text = (await sale.a_pass(f"fair{n}", solved(town, challenge), **how)).body["pass"]
        return (await sale.buy(f"fair{n}", text, **how)).status

    async def bot(n: int) -> None:
        await sale.a_pass("bot", {"challenge_id": "x", "answer": "1"}, source=f"127.0.5.{n % 9}")

    bots = [asyncio.ensure_future(bot(n)) for n in range(1, 500)]
    bought = await asyncio.gather(*(honest(n) for n in range(60)))
    await asyncio.gather(*bots)
    assert bought == [202] * 60
