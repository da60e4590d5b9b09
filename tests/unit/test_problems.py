"""What a problem document says, and what it never says."""

from __future__ import annotations

import json
import os
import time

import pytest

from sluice.domain.errors import (
    Conflict,
    GateNotArmed,
    IdempotencyMismatch,
    Invalid,
    InvalidFields,
    LedgerUnavailable,
    NotFound,
    Overloaded,
    Unauthenticated,
)
from sluice.domain.outcome import Outcome
from sluice.web import problems
from sluice.web.problems import KINDS, FieldError, Problem

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


@pytest.mark.parametrize("code", KINDS)
def test_every_code_has_the_members_of_the_contract(code: str) -> None:
    document = json.loads(Problem(code).encode("a-request-id", "/v1/sales"))
    assert document.keys() == MEMBERS
    assert document["code"] == code
    assert document["status"] == KINDS[code].status
    assert document["type"] == f"/docs/problems#{code}"


@pytest.mark.parametrize("code", KINDS)
def test_the_fast_encoding_says_the_same_as_the_slow_one(code: str) -> None:
    problem = Problem(code)
    fast = problems.encode_fast(code, "a-request-id", "/v1/buy")
    assert json.loads(fast) == json.loads(problem.encode("a-request-id", "/v1/buy/secret"))
    assert problems.headers_fast(code, "a-request-id") == problem.header_items("a-request-id")


def test_the_fast_encoding_takes_further_members() -> None:
    fast = problems.encode_fast("sold_out", "r", members=',"may_return":true')
    assert json.loads(fast)["may_return"] is True


def test_the_fast_encoding_is_fast() -> None:
    best = min(_seconds_of_a_thousand() for _ in range(20))
    assert best / 1000 < 0.5e-6 * 4, "0.5 µs, with room for a busy machine"


def _seconds_of_a_thousand() -> float:
    start = time.perf_counter()
    for _ in range(1000):
        problems.encode_fast("sold_out", "0123456789abcdef0123456789")
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("/v1/buy/k1.payload.signature", "/v1/buy"),
        ("/v1/sales/7?token=secret", "/v1/sales/7"),
        ('/v1/"><script>\x00\ud800', "/v1/script"),
        ("", "/"),
        ("/" + "a" * 5000, "/" + "a" * 199),
    ],
)
def test_an_instance_is_a_plain_path_without_secrets(path: str, instance: str) -> None:
    document = json.loads(Problem("not_found").encode("r", path))
    assert document["instance"] == instance


def test_field_errors_are_listed() -> None:
    problem = Problem("invalid", errors=[FieldError("items[0].stock", "must be a whole number")])
    document = json.loads(problem.encode("r", "/v1/admin/sales"))
    assert document["errors"] == [{"field": "items[0].stock", "message": "must be a whole number"}]


def test_an_extra_member_cannot_overwrite_a_fixed_one() -> None:
    with pytest.raises(ValueError, match="overwrite"):
        Problem("paused", extra={"status": 200})


@pytest.mark.parametrize("code", ["too_many_requests", "overloaded", "unavailable"])
def test_429_and_503_say_when_to_come_back(code: str) -> None:
    assert int(dict(Problem(code).header_items("r"))["retry-after"]) >= 1


def test_401_says_how_to_authenticate() -> None:
    headers = dict(Problem("unauthenticated").header_items("r"))
    assert headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), "not_found"),
        (Conflict("the sale has begun"), "conflict"),
        (IdempotencyMismatch(), "idempotency_mismatch"),
        (Overloaded(), "overloaded"),
        (GateNotArmed(), "unavailable"),
        (LedgerUnavailable("connect to db.internal:5432 failed"), "unavailable"),
        (Invalid("title", "is too long"), "invalid"),
        (InvalidFields([("title", "is required"), ("", "is odd")]), "invalid"),
        (Unauthenticated(), "unauthenticated"),
        (RuntimeError("boom"), "internal"),
    ],
)
def test_a_fault_of_the_domain_becomes_its_problem(error: Exception, code: str) -> None:
    assert problems.of(error).code == code


def test_a_fault_of_a_store_does_not_tell_where_the_store_is() -> None:
    text = problems.of(LedgerUnavailable("connect to db.internal:5432 failed")).encode("r", "/")
    assert b"db.internal" not in text


def test_a_conflict_says_what_is_in_the_way() -> None:
    assert problems.of(Conflict("the sale has begun")).detail == "the sale has begun"


def test_an_invalid_field_is_named() -> None:
    assert problems.of(Invalid("title", "is too long")).errors == (
        FieldError("title", "is too long"),
    )


def test_all_invalid_fields_are_named() -> None:
    assert problems.of(InvalidFields([("title", "is required"), ("", "is odd")])).errors == (
        FieldError("title", "is required"),
        FieldError("body", "is odd"),
    )


def test_an_expired_token_is_said_to_be_expired() -> None:
    problem = problems.of(Unauthenticated(expired=True))
    assert "expired" in problem.detail
    assert "invalid_token" in problem.headers["www-authenticate"]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.ACCEPTED, Outcome.REPLAYED}))
def test_every_refusal_is_a_problem(outcome: Outcome) -> None:
    problem = problems.for_outcome(outcome)
    assert problem.code == problems.code_of(outcome)
    assert 400 <= problem.status <= 503


def test_an_acceptance_is_no_problem() -> None:
    assert problems.code_of(Outcome.ACCEPTED) is None
    assert problems.code_of(Outcome.REPLAYED) is None


def test_refusals_carry_what_the_contract_adds() -> None:
    for_outcome = problems.for_outcome
    assert for_outcome(Outcome.SOLD_OUT, may_return=True, waitlist=True).extra == {
        "may_return": True,
        "waitlist": True,
    }
    assert for_outcome(Outcome.SOLD_OUT).extra == {"may_return": False}
    starts_at = "2026-11-11T12:00:00Z"
    assert for_outcome(Outcome.NOT_STARTED, starts_at=starts_at).extra == {"starts_at": starts_at}
    assert for_outcome(Outcome.LIMIT_REACHED, order_id="42").extra == {"order_id": "42"}
    assert "a broken page" in for_outcome(Outcome.PAUSED, reason="a broken page").detail
    assert for_outcome(Outcome.OTHER_QUANTITY).errors[0].field == "quantity"


def test_request_ids_are_unique_and_of_one_length() -> None:
    ids = {problems.new_request_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {len(i) for i in ids} == {26}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside other tests' threads
def test_a_forked_worker_does_not_reuse_its_parents_ids() -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, problems.new_request_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 64).decode()[:16] != problems.new_request_id()[:16]


@pytest.mark.parametrize("given", ["abcdef12-3456", "A.b_c-12345678"])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert problems.request_id_of(given) == given


@pytest.mark.parametrize(
    "given", [None, "", "short", "a" * 65, 'quote"quote"', "line\nline1234", "ünïcödé12"]
)
def test_any_other_request_id_is_replaced(given: str | None) -> None:
    assert problems.request_id_of(given) != given
