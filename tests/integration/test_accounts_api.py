"""Getting in, over HTTP: what is answered, what is not told, and what is written down."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.polling import until_it_is
from tests.support.api import ADMIN, BUYER, Api, a_sale, api
from tests.support.http import TOLD_LATER

from sluice.domain.account import NewAction, Where
from sluice.domain.errors import LedgerUnavailable, TooManyRequests
from sluice.wiring import make_entry

PASSWORD = "correct horse battery"
OUR_PAGE = {"sec-fetch-site": "same-origin"}

pytestmark = pytest.mark.asyncio(loop_scope="module")
_serial = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole() -> AsyncIterator[Api]:
    async with api() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def http(whole: Api) -> Api:
    """Nobody is logged in, and no limit has been used up; accounts of other tests are there."""
    await whole.parts.cache.do("FLUSHALL")
    whole.cookies.clear()
    whole.again_on = TOLD_LATER
    return whole


@pytest.fixture
def mei() -> dict[str, str]:
    """Somebody who has no account yet."""
    return {"login": f"mei-{next(_serial)}", "password": PASSWORD}


@pytest.fixture
def phone() -> str:
    return f"+86138{next(_serial):08}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def code_of(http: Api, phone: str) -> str:
    """Asks for a code, and reads it in the inbox."""
    before = {each["id"] for each in await inbox(http)}
    asked = await http.post("/v1/login/code", json={"phone": phone})
    assert asked.status_code == 202, asked.text
    return await arrived(http, before)


async def arrived(http: Api, before: set[str]) -> str:
    new: list[dict[str, Any]] = []

    async def is_there() -> bool:
        new[:] = [each for each in await inbox(http) if each["id"] not in before]
        return bool(new)

    await until_it_is(is_there)
    return str(new[0]["code"])


async def inbox(http: Api) -> list[dict[str, Any]]:
    answer = await http.get("/v1/admin/inbox", headers=ADMIN)
    return list(answer.raise_for_status().json()["data"])


async def log_in(http: Api, person: dict[str, str]) -> dict[str, Any]:
    (await http.post("/v1/accounts", json=person)).raise_for_status()
    answer = await http.post("/v1/login", json=person)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def user_of(said: dict[str, Any]) -> str:
    """The admin's path of whoever logged in."""
    return f"/v1/admin/users/{said['buyer']['id'].removeprefix('acct:')}"


async def give(http: Api, said: dict[str, Any], *roles: str) -> None:
    given = await http.post(f"{user_of(said)}/roles", headers=ADMIN, json={"roles": list(roles)})
    assert given.status_code == 200, given.text


# --- by code --------------------------------------------------------------------------------------


async def test_a_phone_and_its_code_are_a_session(http: Api, phone: str) -> None:
    said = (
        await http.post("/v1/login", json={"phone": phone, "code": await code_of(http, phone)})
    ).json()
    assert said["token"].startswith("st_")
    account = await http.parts.ledger.account_by_phone(phone)
    assert account is not None
    masked = f"+86138****{phone[-4:]}"
    assert said["buyer"] == {"id": account.buyer, "phone": masked, "roles": ["buyer"]}
    me = (await http.get("/v1/me", headers=bearer(said["token"]))).json()
    assert me == {"buyer": said["buyer"], "csrf": said["csrf"]}
    national = phone.removeprefix("+86")
    code = await code_of(http, national)
    again = await http.post("/v1/login", json={"phone": f"0086 {national}", "code": code})
    assert again.json()["buyer"]["id"] == account.buyer


async def test_every_phone_gets_the_same_answer(http: Api, phone: str) -> None:
    await http.post("/v1/login", json={"phone": phone, "code": await code_of(http, phone)})
    known = await http.post("/v1/login/code", json={"phone": phone})
    unknown = await http.post("/v1/login/code", json={"phone": "+8613900138001"})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert _plain(known) == _plain(unknown)


async def test_of_a_crowd_with_one_code_one_gets_in(http: Api, phone: str) -> None:
    """As many as one address may fail; the thousand are in `test_sessions`."""
    person = {"phone": phone, "code": await code_of(http, phone)}
    http.again_on = ()  # a code is used up, whether or not its session arrived
    answers = await asyncio.gather(*(http.post("/v1/login", json=person) for _ in range(40)))
    statuses = [answer.status_code for answer in answers]
    # On a machine with much else to do some may be told that it is not known what came of it.
    assert set(statuses) <= {200, 401, 503}
    assert statuses.count(200) == 1 or (503 in statuses and 200 not in statuses)


async def test_a_bound_request_is_answered_with_its_word(http: Api, phone: str) -> None:
    before: set[str] = set()
    asked = await http.post("/v1/login/code", json={"phone": phone, "bind": True})
    word, code = asked.json()["request"], await arrived(http, before)
    without = await http.post("/v1/login", json={"phone": phone, "code": code})
    assert without.status_code == 401
    with_it = {"phone": phone, "code": code, "request": word}
    assert (await http.post("/v1/login", json=with_it)).status_code == 200


@pytest.mark.parametrize(
    "person",
    [
        {},
        {"phone": "+8613800138000"},
        {"code": "042117"},
        {"phone": "+8613800138000", "code": "42117"},
        {"phone": "+8613800138000", "code": 42117},
        {"phone": "12", "code": "042117"},
        {"phone": "+8613800138000", "code": "042117", "login": "mei"},
        {"login": "mei"},
        {"login": "mei", "password": None},
        {"login": "m", "password": "x"},
        {"login": "mei", "password": "x" * 257},
        {"login": "mei", "password": "x", "cookie": "yes"},
        [],
    ],
)
async def test_what_is_no_log_in_says_what_is_wrong(http: Api, person: Any) -> None:
    answer = await http.post("/v1/login", json=person)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


# --- by password, and who there is --------------------------------------------------------------


async def test_a_login_and_its_password_are_a_session(http: Api, mei: dict[str, str]) -> None:
    said = await log_in(http, mei)
    account = await http.parts.ledger.account_by_login(mei["login"])
    assert account is not None
    masked = f"m***{mei['login'][-1]}"
    assert said["buyer"] == {"id": account.buyer, "login": masked, "roles": ["buyer"]}
    upper = await http.post("/v1/login", json={**mei, "login": mei["login"].upper()})
    assert upper.json()["buyer"] == said["buyer"]


async def test_a_name_that_is_taken_is_answered_like_one_that_is_not(
    http: Api, mei: dict[str, str]
) -> None:
    first = await http.post("/v1/accounts", json=mei)
    taken = await http.post("/v1/accounts", json={**mei, "password": "another horse"})
    assert (first.status_code, first.json()) == (201, {"login": mei["login"]})
    assert (taken.status_code, taken.content) == (201, first.content)
    assert _plain(first) == _plain(taken)
    stolen = await http.post("/v1/login", json={**mei, "password": "another horse"})
    assert stolen.status_code == 401
    assert (await http.post("/v1/login", json=mei)).status_code == 200


async def test_an_unknown_login_is_answered_like_a_wrong_password(
    http: Api, mei: dict[str, str]
) -> None:
    await http.post("/v1/accounts", json=mei)
    wrong = await http.post("/v1/login", json={**mei, "password": "wrong"})
    unknown = await http.post("/v1/login", json={**mei, "login": "nobody"})
    assert wrong.status_code == unknown.status_code == 401
    assert _document(wrong) == _document(unknown)
    assert _plain(wrong) == _plain(unknown)


async def test_an_unknown_login_costs_what_a_wrong_password_costs(
    http: Api, monkeypatch: pytest.MonkeyPatch, mei: dict[str, str]
) -> None:
    """Work is compared and not time: hashes, and questions to the stores."""
    await http.post("/v1/accounts", json=mei)
    work = _Work(http, monkeypatch)
    await http.post("/v1/login", json={**mei, "password": "wrong"})
    wrong = work.done()
    await http.post("/v1/login", json={**mei, "login": "nobody"})
    assert work.done() == wrong
    assert wrong["hashes"] == 1


async def test_registering_a_taken_name_costs_what_a_new_one_costs(
    http: Api, monkeypatch: pytest.MonkeyPatch, mei: dict[str, str]
) -> None:
    await http.post("/v1/accounts", json=mei)
    work = _Work(http, monkeypatch)
    await http.post("/v1/accounts", json=mei)
    taken = work.done()
    await http.post("/v1/accounts", json={**mei, "login": f"{mei['login']}-lan"})
    assert work.done() == taken
    assert taken["hashes"] == 1


async def test_an_account_of_codes_has_no_password_to_guess(http: Api, phone: str) -> None:
    await http.post("/v1/login", json={"phone": phone, "code": await code_of(http, phone)})
    for login in (phone.removeprefix("+86"), phone.removeprefix("+")):
        answer = await http.post("/v1/login", json={"login": login, "password": ""})
        assert answer.status_code == 401


# --- limits ---------------------------------------------------------------------------------------


async def test_a_phone_is_not_flooded_with_codes(http: Api, phone: str) -> None:
    for _ in range(http.parts.settings.codes_per_phone):
        assert (await http.post("/v1/login/code", json={"phone": phone})).status_code == 202
    refused = await http.post("/v1/login/code", json={"phone": phone})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.json()["limit"] == "codes_phone"
    assert refused.headers["ratelimit"].startswith('"codes_phone";r=0;t=')
    assert '"codes_phone";q=5;w=600' in refused.headers["ratelimit-policy"]
    assert 0 < int(refused.headers["retry-after"]) <= 700  # a sliding window is counted in sixths
    other = await http.post("/v1/login/code", json={"phone": "+8613900138001"})
    assert other.status_code == 202


@pytest.mark.parametrize(
    ("setting", "sources", "limit"),
    [("codes_per_address", 1, "codes_address"), ("codes_overall", 100, "codes")],
)
async def test_neither_one_address_nor_all_together_have_codes_sent_without_end(
    http: Api, setting: str, sources: int, limit: str
) -> None:
    seven: dict[str, Any] = {setting: 7}
    settings = dataclasses.replace(http.parts.settings, **seven)
    entry = make_entry(settings, http.parts.ledger, http.parts.cache, http.parts.clock.now_ms)

    async def ask(n: int) -> None:
        where = Where("", f"192.0.2.{n % sources}", "", [])
        await entry.logins.ask_code(f"+86137{next(_serial):08}", where)

    for n in range(7):
        await ask(n)
    with pytest.raises(TooManyRequests) as refused:
        await ask(7)
    assert refused.value.limit == limit
    await entry.close()


async def test_a_code_is_forgotten_after_ten_minutes(http: Api, phone: str) -> None:
    await http.post("/v1/login/code", json={"phone": phone})
    [key] = await http.parts.cache.do("KEYS", "sluice:code:*")
    assert phone.encode() not in key
    assert 590 < await http.parts.cache.do("TTL", key) <= 600


async def test_guessing_at_one_login_ends_soon_and_its_owner_elsewhere_gets_in(
    http: Api, mei: dict[str, str]
) -> None:
    await http.post("/v1/accounts", json=mei)
    guess = {**mei, "password": "a guess"}
    statuses = [(await http.post("/v1/login", json=guess)).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    here = await http.post("/v1/login", json=mei)
    assert here.status_code == 429
    elsewhere = httpx.ASGITransport(_app(http), client=("203.0.113.9", 5000))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://sluice.test") as owner:
        assert (await owner.post("/v1/login", json=mei)).status_code == 200


async def test_an_address_that_fails_often_has_to_wait_whatever_it_tries(
    http: Api, monkeypatch: pytest.MonkeyPatch, mei: dict[str, str]
) -> None:
    maximum = http.parts.settings.failed_logins_per_address
    wrong = [{"phone": f"+86138{n:08}", "code": "000000"} for n in range(maximum + 1)]
    statuses = [(await http.post("/v1/login", json=each)).status_code for each in wrong]
    assert statuses == [401] * maximum + [429]
    assert (await http.post("/v1/login", json={**mei, "login": "nobody"})).status_code == 429


async def test_what_is_left_does_not_tell_whether_a_login_is_used(
    http: Api, mei: dict[str, str]
) -> None:
    """Else its owner's log-in, which gives tries back, would say that there is an owner."""
    await http.post("/v1/accounts", json=mei)
    guess, nobody = {**mei, "password": "a guess"}, {**mei, "login": "nobody"}
    wrong = await http.post("/v1/login", json=guess)
    await http.post("/v1/login", json=mei)
    again = await http.post("/v1/login", json=guess)
    unknown = await http.post("/v1/login", json=nobody)
    left = [each.headers["ratelimit"] for each in (wrong, again, unknown)]
    assert left == [f'"failed_logins";r={n};t={t}' for n, t in ((99, 0), (98, 600), (97, 600))]


async def test_logging_in_again_and_again_is_no_guessing(http: Api, mei: dict[str, str]) -> None:
    await http.post("/v1/accounts", json=mei)
    for _ in range(15):
        assert (await http.post("/v1/login", json=mei)).status_code == 200


# --- sessions -------------------------------------------------------------------------------------


async def test_logging_out_counts_at_once(http: Api, mei: dict[str, str]) -> None:
    token = (await log_in(http, mei))["token"]
    left = await http.delete("/v1/session", headers=bearer(token))
    assert (left.status_code, left.content) == (204, b"")
    for method, path in (("GET", "/v1/me"), ("GET", "/v1/orders"), ("DELETE", "/v1/session")):
        assert (await http.request(method, path, headers=bearer(token))).status_code == 401


async def test_an_owner_sees_and_ends_their_sessions_and_nobody_elses(
    http: Api, mei: dict[str, str], phone: str
) -> None:
    here, there = [(await log_in(http, mei))["token"] for _ in range(2)]
    other = await http.post("/v1/login", json={"phone": phone, "code": await code_of(http, phone)})
    stranger = bearer(other.json()["token"])
    listed = (await http.get("/v1/sessions", headers=bearer(here))).json()["data"]
    assert [each["current"] for each in listed].count(True) == 1
    assert {each["address"] for each in listed} == {"127.0.0.1"}
    [ours] = [each["id"] for each in listed if not each["current"]]
    assert (await http.delete(f"/v1/sessions/{ours}", headers=stranger)).status_code == 404
    assert (await http.get("/v1/me", headers=bearer(there))).status_code == 200
    assert (await http.delete(f"/v1/sessions/{ours}", headers=bearer(here))).status_code == 204
    assert (await http.get("/v1/me", headers=bearer(there))).status_code == 401
    assert (await http.get("/v1/me", headers=bearer(here))).status_code == 200


async def test_a_token_of_the_shop_has_no_session(http: Api) -> None:
    assert (await http.get("/v1/me", headers=BUYER)).json() == {
        "buyer": {"id": "jwt::mei", "roles": ["buyer"]}
    }
    assert (await http.get("/v1/sessions", headers=BUYER)).status_code == 403
    assert (await http.delete("/v1/session", headers=BUYER)).status_code == 403


# --- another password -----------------------------------------------------------------------------

NEW = "wrong donkey socket"
CHANGE = {"current": PASSWORD, "new": NEW}


async def change(http: Api, token: str, wanted: Any) -> httpx.Response:
    return await http.post("/v1/me/password", headers=bearer(token), json=wanted)


async def test_a_changed_password_is_the_one_that_counts_and_other_sessions_end(
    http: Api, mei: dict[str, str]
) -> None:
    here, there, phone_ = [(await log_in(http, mei))["token"] for _ in range(3)]
    for token in (here, there, phone_):
        assert (await http.get("/v1/me", headers=bearer(token))).status_code == 200
    changed = await change(http, here, CHANGE)
    assert (changed.status_code, changed.json()) == (200, {"ended": 2})
    for token in (there, phone_):
        assert (await http.get("/v1/me", headers=bearer(token))).status_code == 401
    assert (await http.get("/v1/me", headers=bearer(here))).status_code == 200
    assert (await http.post("/v1/login", json=mei)).status_code == 401
    assert (await http.post("/v1/login", json={**mei, "password": NEW})).status_code == 200
    again = await change(http, here, CHANGE)
    assert (again.status_code, again.json()) == (200, {"ended": 1}), "for whoever lost the answer"


async def test_a_session_alone_is_not_enough_to_change_the_password(
    http: Api, mei: dict[str, str]
) -> None:
    here, there = [(await log_in(http, mei))["token"] for _ in range(2)]
    wrong = await change(http, here, {**CHANGE, "current": "a guess"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "current")
    assert wrong.headers["ratelimit-policy"].startswith('"failed_logins";q=100;w=600, "password_')
    assert (await http.get("/v1/me", headers=bearer(there))).status_code == 200
    guesses = [await change(http, here, {**CHANGE, "current": f"guess {n}"}) for n in range(11)]
    assert [each.status_code for each in guesses] == [422] * 9 + [429] * 2
    assert guesses[-1].json()["limit"] == "password_changes"
    assert (await change(http, here, CHANGE)).status_code == 429
    assert (await http.post("/v1/login", json=mei)).status_code == 200
    assert (await change(http, "", CHANGE)).status_code == 401
    shops = await http.post("/v1/me/password", headers=BUYER, json=CHANGE)
    assert (shops.status_code, shops.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"current": PASSWORD}, "new"),
        ({"new": NEW}, "current"),
        ({**CHANGE, "new": "short"}, "new"),
        ({**CHANGE, "new": "x" * 257}, "new"),
        ({**CHANGE, "new": None}, "new"),
        ({**CHANGE, "login": "mei"}, "login"),
    ],
)
async def test_a_new_password_keeps_to_the_rules_of_the_first(
    http: Api, mei: dict[str, str], wanted: dict[str, Any], field: str
) -> None:
    token = (await log_in(http, mei))["token"]
    answer = await change(http, token, wanted)
    assert answer.status_code == 422, answer.text
    assert field in [each["field"] for each in answer.json()["errors"]]
    assert (await http.post("/v1/login", json=mei)).status_code == 200


async def test_a_page_changes_the_password_with_its_word_alone(
    http: Api, mei: dict[str, str]
) -> None:
    await http.post("/v1/accounts", json=mei)
    said = await http.post("/v1/login", json={**mei, "cookie": True}, headers=OUR_PAGE)
    cookie = {"cookie": said.headers["set-cookie"].partition(";")[0]}
    refused = await http.post("/v1/me/password", headers={**cookie, **OUR_PAGE}, json=CHANGE)
    assert refused.status_code == 403
    word = {"sluice-csrf": said.json()["csrf"]}
    done = await http.post("/v1/me/password", headers={**cookie, **OUR_PAGE, **word}, json=CHANGE)
    assert done.status_code == 200


async def test_who_logs_in_by_code_has_no_password_to_change(http: Api, phone: str) -> None:
    said = await http.post("/v1/login", json={"phone": phone, "code": await code_of(http, phone)})
    answer = await change(http, said.json()["token"], CHANGE)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_of_two_changes_at_once_one_counts(http: Api, mei: dict[str, str]) -> None:
    here, there = [(await log_in(http, mei))["token"] for _ in range(2)]
    wanted = ["one new password", "other new password"]
    answers = await asyncio.gather(
        *(
            change(http, token, {**CHANGE, "new": new})
            for token, new in zip((here, there), wanted, strict=True)
        )
    )
    done = [place for place, each in enumerate(answers) if each.status_code == 200]
    assert len(done) == 1, [each.text for each in answers]
    for place, new in enumerate(wanted):
        got_in = (await http.post("/v1/login", json={**mei, "password": new})).status_code
        assert got_in == (200 if place in done else 401)


async def test_a_log_in_that_a_change_overtakes_is_no_session(
    http: Api, monkeypatch: pytest.MonkeyPatch, mei: dict[str, str]
) -> None:
    """The old password is right when it is compared; the session would open after the others
    have ended."""
    here = (await log_in(http, mei))["token"]
    sessions = http.parts.entry.sessions
    opened = sessions.open

    async def late(*arguments: Any) -> Any:
        monkeypatch.undo()
        changed = await change(http, here, CHANGE)
        assert changed.status_code == 200, changed.text
        return await opened(*arguments)

    monkeypatch.setattr(sessions, "open", late)
    assert (await http.post("/v1/login", json=mei)).status_code == 401
    listed = await http.get("/v1/sessions", headers=bearer(here))
    assert [each["current"] for each in listed.json()["data"]] == [True]


# --- with the cookie ------------------------------------------------------------------------------


async def test_a_page_logs_in_and_gives_commands_with_its_word(
    http: Api, mei: dict[str, str]
) -> None:
    await http.post("/v1/accounts", json=mei)
    said = await http.post("/v1/login", json={**mei, "cookie": True}, headers=OUR_PAGE)
    assert "token" not in said.json()
    assert "HttpOnly" in said.headers["set-cookie"]
    assert said.headers["set-cookie"].startswith("__Host-sluice=st_")
    cookie = {"cookie": said.headers["set-cookie"].partition(";")[0]}
    assert (await http.get("/v1/me", headers=cookie)).status_code == 200
    for headers in (cookie, {**cookie, **OUR_PAGE}, {**cookie, "sluice-csrf": "x" * 24}):
        refused = await http.delete("/v1/session", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    word = {"sluice-csrf": said.json()["csrf"]}
    abroad = {**cookie, **word, "origin": "https://evil.example"}
    assert (await http.delete("/v1/session", headers=abroad)).status_code == 403
    left = await http.delete("/v1/session", headers={**cookie, **word, **OUR_PAGE})
    assert left.status_code == 204
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert (await http.get("/v1/me", headers=cookie)).status_code == 401


async def test_another_sites_page_cannot_log_its_visitor_in(http: Api, mei: dict[str, str]) -> None:
    await http.post("/v1/accounts", json=mei)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        refused = await http.post("/v1/login", json={**mei, "cookie": True}, headers=headers)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers


async def test_an_admins_cookie_needs_the_word_as_well(http: Api, mei: dict[str, str]) -> None:
    await give(http, await log_in(http, mei), "admin")
    said = await http.post("/v1/login", json={**mei, "cookie": True}, headers=OUR_PAGE)
    cookie = {"cookie": said.headers["set-cookie"].partition(";")[0]}
    assert (await http.get("/v1/admin/sales", headers=cookie)).status_code == 200
    refused = await http.post("/v1/admin/sales", headers=cookie, json=a_sale())
    assert refused.status_code == 403
    word = {"sluice-csrf": said.json()["csrf"]}
    made = await http.post("/v1/admin/sales", headers={**cookie, **word}, json=a_sale())
    assert made.status_code == 201


# --- roles and the trail --------------------------------------------------------------------------


async def test_roles_count_from_the_next_request_on_in_both_directions(
    http: Api, mei: dict[str, str]
) -> None:
    said = await log_in(http, mei)
    path, mine = f"{user_of(said)}/roles", bearer(said["token"])
    assert (await http.get("/v1/admin/sales", headers=mine)).status_code == 403
    for roles, sales, users in (
        (["merchant"], 200, 403),
        (["admin"], 200, 200),
        ([], 403, 403),
    ):
        given = await http.post(path, headers=ADMIN, json={"roles": roles})
        assert given.json()["roles"] == ["buyer", *roles]
        assert (await http.get("/v1/admin/sales", headers=mine)).status_code == sales
        assert (await http.get("/v1/admin/users", headers=mine)).status_code == users


@pytest.mark.parametrize("roles", [None, "admin", ["root"], [1], ["buyer"], {"admin": True}])
async def test_a_role_that_there_is_not_is_refused(http: Api, roles: Any) -> None:
    answer = await http.post("/v1/admin/users/1/roles", headers=ADMIN, json={"roles": roles})
    assert answer.status_code == 422


async def test_an_admin_ends_all_sessions_of_an_account(http: Api, mei: dict[str, str]) -> None:
    said = [await log_in(http, mei) for _ in range(2)]
    ended = await http.post(f"{user_of(said[0])}/logout", headers=ADMIN)
    assert ended.json() == {"ended": 2}
    for each in said:
        assert (await http.get("/v1/me", headers=bearer(each["token"]))).status_code == 401


async def test_every_command_is_in_the_trail_with_what_came_of_it(
    http: Api, mei: dict[str, str]
) -> None:
    said = await log_in(http, mei)
    token, buyer = said["token"], said["buyer"]["id"]
    await give(http, said, "merchant")
    made = await http.post("/v1/admin/sales", headers=bearer(token), json=a_sale())
    sale = made.json()["id"]
    await http.post(f"/v1/admin/sales/{sale}/resume", headers=bearer(token))
    refused = await http.post(
        f"{user_of(said)}/roles", headers=bearer(token), json={"roles": ["admin"]}
    )
    assert refused.status_code == 403
    await http.get("/v1/admin/sales", headers=ADMIN)
    stranger = await log_in(http, {**mei, "login": f"{mei['login']}-stranger"})
    nobody = await http.post(
        f"{user_of(said)}/roles", headers=bearer(stranger["token"]), json={"roles": ["admin"]}
    )
    assert nobody.status_code == 403
    told = (await http.get("/v1/admin/actions?limit=4", headers=ADMIN)).json()["data"]
    first, *trail = told
    assert (first["actor"], first["action"], first["status"]) == (
        *(buyer, "POST /v1/admin/users/{user}/roles", 403),
    )
    assert [(each["actor"], each["action"], each["status"]) for each in trail] == [
        (buyer, "POST /v1/admin/sales/{sale}/resume", 409),
        (buyer, "POST /v1/admin/sales", 201),
        ("admin", "POST /v1/admin/users/{user}/roles", 200),
    ]
    assert trail[1]["request_id"] == made.headers["x-request-id"]
    assert trail[1]["address"] == "127.0.0.1"
    assert '"title":"The November drop"' in trail[1]["detail"]
    mine = (await http.get(f"/v1/admin/actions?actor={buyer}&limit=1", headers=ADMIN)).json()
    assert len(mine["data"]) == 1
    more = f"/v1/admin/actions?actor={buyer}&cursor={mine['next_cursor']}"
    assert len((await http.get(more, headers=ADMIN)).json()["data"]) == 2


async def test_a_command_that_fails_is_in_the_trail_too(http: Api) -> None:
    for body in ({"title": 1}, {"password": "hunter2", "nested": {"api_token": "abc"}}):
        await http.post("/v1/admin/sales", headers=ADMIN, json=body)
    await http.post("/v1/admin/sales", headers=ADMIN, content=b"{no json")
    trail = (await http.get("/v1/admin/actions?limit=3", headers=ADMIN)).json()["data"]
    assert [each["status"] for each in trail] == [422, 422, 422]
    assert trail[0]["detail"] == "8 bytes"
    assert "hunter2" not in trail[1]["detail"]
    assert "abc" not in trail[1]["detail"]


async def test_what_cannot_be_noted_is_not_done(http: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_action: NewAction) -> int:
        raise LedgerUnavailable

    monkeypatch.setattr(http.parts.ledger, "note_action", away)
    before = await http.parts.ledger.list_sales(drafts=True, limit=1)
    answer = await http.post("/v1/admin/sales", headers=ADMIN, json=a_sale())
    assert answer.status_code == 503
    assert await http.parts.ledger.list_sales(drafts=True, limit=1) == before


async def test_what_was_done_is_answered_although_its_end_cannot_be_noted(
    http: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise LedgerUnavailable

    monkeypatch.setattr(http.parts.ledger, "note_result", away)
    answer = await http.post("/v1/admin/sales", headers=ADMIN, json=a_sale())
    assert answer.status_code == 201
    [noted] = (await http.get("/v1/admin/actions?limit=1", headers=ADMIN)).json()["data"]
    assert (noted["action"], noted["status"]) == ("POST /v1/admin/sales", None)


async def test_two_merchants_may_choose_the_same_idempotency_key(
    http: Api, mei: dict[str, str]
) -> None:
    said = await log_in(http, mei)
    await give(http, said, "merchant")
    made = [
        await http.post(
            "/v1/admin/sales",
            headers={**who, "Idempotency-Key": f"first-{mei['login']}"},
            json=a_sale(title=title),
        )
        for who, title in ((ADMIN, "Tea"), (bearer(said["token"]), "Cups"))
    ]
    assert [each.status_code for each in made] == [201, 201]


# --- the page -------------------------------------------------------------------------------------


async def test_the_inbox_has_a_page_without_anything_in_it(http: Api) -> None:
    page = await http.get("/inbox")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert (await http.get("/v1/admin/inbox")).status_code == 401


async def test_where_a_hook_delivers_codes_there_is_no_inbox(http: Api) -> None:
    settings = http.parts.settings
    hooked = dataclasses.replace(
        settings, code_hook_url="https://sms.example/", code_hook_keys=(b"k" * 32,)
    )
    entry = make_entry(hooked, http.parts.ledger, http.parts.cache, http.parts.clock.now_ms)
    assert entry.inbox is None
    await entry.close()


# --- what these tests are made of ---------------------------------------------------------------


class _Work:
    """Counts what is asked of the password pool and of the stores."""

    def __init__(self, http: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passwords = http.parts.entry.logins.passwords
        self._calls: dict[str, int] = {}
        for store, name in (
            (http.parts.ledger, "_read"),
            (http.parts.ledger, "_write"),
            (http.parts.cache, "do"),
            (http.parts.cache, "do_all"),
            (http.parts.cache, "run"),
        ):
            self._count(monkeypatch, store, name)
        self.done()

    def _count(self, monkeypatch: pytest.MonkeyPatch, store: Any, name: str) -> None:
        asked = getattr(store, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self._calls[name] = self._calls.get(name, 0) + 1
            return asked(*arguments, **named)

        monkeypatch.setattr(store, name, counted)

    def done(self) -> dict[str, int]:
        """Since it was asked last."""
        hashes = self._passwords.done
        done = {**self._calls, "hashes": hashes - getattr(self, "_hashes", hashes)}
        self._calls.clear()
        self._hashes = hashes
        return done


def _app(http: Api) -> Any:
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app


def _plain(answer: httpx.Response) -> dict[str, str]:
    """The headers, without what counts the requests."""
    other = ("x-request-id", "date", "ratelimit")
    return {k: v for k, v in answer.headers.items() if k not in other}


def _document(answer: httpx.Response) -> dict[str, Any]:
    return {k: v for k, v in answer.json().items() if k != "request_id"}
