"""`doctor` says which setting breaks which promise."""

from __future__ import annotations

from typing import cast

import pytest

from sluice.admission.address import OWN
from sluice.cache.server import CacheServer
from sluice.cache.strangers import Strangers
from sluice.cli._promises import (
    Finding,
    of_addresses,
    of_cache,
    of_codes,
    of_gate,
    of_ledger,
    of_payment,
)

GATE = {
    "server": "valkey",
    "version": "9.1.2",
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
}


def broken(findings: list[Finding]) -> list[str]:
    return [finding.setting for finding in findings if finding.ok is False]


def test_the_embedded_gates_settings_keep_every_promise() -> None:
    assert broken(list(of_gate([GATE]))) == []


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("appendonly", "no", "can be lost whenever the gate restarts"),
        ("appendfsync", "everysec", "accepted in the last second"),
        ("maxmemory-policy", "allkeys-lru", "sell it twice"),
        ("version", "6.2.1", "use Redis or Valkey 7.0"),
    ],
)
def test_a_gate_that_breaks_a_promise_is_told_which(setting: str, value: str, says: str) -> None:
    findings = list(of_gate([GATE | {setting: value}]))
    assert broken(findings) == [setting]
    assert says in next(f.means for f in findings if f.setting == setting)


def test_every_primary_of_a_cluster_is_judged_by_itself() -> None:
    findings = list(of_gate([GATE, GATE | {"appendfsync": "no"}]))
    assert [f.store for f in findings if f.ok is False] == ["gate 2"]


def test_a_managed_server_that_hides_its_settings_is_neither_praised_nor_blamed() -> None:
    findings = list(of_gate([GATE | {"appendonly": "unknown", "maxmemory-policy": "unknown"}]))
    assert broken(findings) == []
    assert {f.setting for f in findings if f.ok is None} == {"appendonly", "maxmemory-policy"}


@pytest.mark.parametrize(
    "facts",
    [
        {"server": "sqlite 3.45", "journal_mode": "wal", "synchronous": "2"},
        {"server": "PostgreSQL 16", "synchronous_commit": "on", "fsync": "on"},
        {"server": "MariaDB 10.11", "innodb_flush_log_at_trx_commit": "1"},
    ],
)
def test_a_durable_ledger_keeps_every_promise(facts: dict[str, str]) -> None:
    assert broken(list(of_ledger(facts))) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synchronous", "1"),
        ("synchronous_commit", "off"),
        ("fsync", "off"),
        ("innodb_flush_log_at_trx_commit", "2"),
    ],
)
def test_a_ledger_that_confirms_before_the_disk_breaks_a_promise(setting: str, value: str) -> None:
    assert broken(list(of_ledger({setting: value}))) == [setting]


def test_a_cache_on_the_gates_server_is_advised_against() -> None:
    assert broken(list(of_cache("redis://host/0", "redis://host/0"))) == ["server"]
    assert broken(list(of_cache("redis://host/0", "redis://other/0"))) == []


def test_who_takes_no_money_is_told_so() -> None:
    (finding,) = of_payment("simulator")
    assert finding.ok
    assert "no money moves" in finding.means
    assert finding.warning


def test_codes_that_no_phone_gets_are_warned_of() -> None:
    (inbox,) = of_codes("")
    assert inbox.warning
    assert "log in as anybody" in inbox.means
    (hook,) = of_codes("https://sms.example/")
    assert not hook.warning


def test_a_proxy_that_nobody_listed_is_warned_of_with_what_it_does_to_limits() -> None:
    (nobody,) = of_addresses([], "", OWN)
    assert (nobody.warning, nobody.value) == (False, "none")
    (local,) = of_addresses([], "127.0.0.1", OWN)
    assert local.warning
    assert "no address is limited" in local.means
    (other,) = of_addresses(["10.0.0.0/8"], "172.16.0.9", OWN)
    assert other.warning
    assert "share the limit of one address" in other.means


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("autovacuum", "off", "set autovacuum to on"),
        ("without_statistics", "orders, outbox", "run ANALYZE"),
    ],
)
def test_a_database_that_will_be_slow_is_warned_of(setting: str, value: str, says: str) -> None:
    (finding,) = of_ledger({setting: value})
    assert (finding.ok, finding.warning) == (True, True)
    assert says in finding.means
    (fine,) = of_ledger({setting: {"autovacuum": "on"}.get(setting, "")})
    assert not fine.warning


def test_a_cache_that_forgets_the_wrong_things_is_warned_of() -> None:
    urls = ("redis://host/0", "redis://other/0")
    warned = [f.warning for each in ("volatile-ttl", "allkeys-lru") for f in of_cache(*urls, each)]
    assert warned == [False, False, False, True]


@pytest.mark.parametrize("answer", [{}, []])
async def test_a_cache_server_that_does_not_say_what_it_forgets_is_unknown(answer: object) -> None:
    class Managed:
        async def do(self, *_: object) -> object:
            return answer

    eviction = await Strangers(cast(CacheServer, Managed()), str).eviction()
    [finding] = [f for f in of_cache("redis://a", "redis://b", eviction) if f.ok is None]
    assert (eviction, finding.setting) == ("unknown", "maxmemory-policy")
