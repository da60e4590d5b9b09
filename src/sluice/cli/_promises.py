"""What the stores' settings mean for what Sluice promises. No I/O: `doctor` brings the facts."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

Facts = Mapping[str, str]

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One setting of one store, and what it means. `ok` is None where it could not be read;
    with `warning` it breaks no promise, and is still not how buyers should be served."""

    store: str
    setting: str
    value: str
    ok: bool | None
    means: str
    warning: bool = False


def of_gate(servers: Sequence[Facts]) -> Iterator[Finding]:
    """One set of facts for every primary."""
    for number, facts in enumerate(servers, start=1):
        store = "gate" if len(servers) == 1 else f"gate {number}"
        yield _version(store, facts)
        yield _append_only(store, facts)
        if facts.get("appendonly") == "yes":
            yield _append_fsync(store, facts)
        yield _eviction(store, facts)


def of_ledger(facts: Facts) -> Iterator[Finding]:
    for setting, value in facts.items():
        if setting in _LEDGER_ADVICE:
            yield _advised("ledger", setting, value, *_LEDGER_ADVICE[setting])
            continue
        check = _LEDGER_CHECKS.get(setting)
        if check is None:
            yield Finding(store="ledger", setting=setting, value=value, ok=True, means="")
            continue
        good, kept, broken = check
        ok = None if value.lower() == UNKNOWN else value.lower() in good
        yield _judged("ledger", setting, value, ok, kept, broken)


def of_cache(gate_url: str, cache_url: str, eviction: str = UNKNOWN) -> Iterator[Finding]:
    yield _judged(
        "cache",
        "server",
        "its own" if gate_url != cache_url else "the gate's",
        gate_url != cache_url,
        "floods of sessions and counters do not reach the gate's disk",
        "every session and counter is synced to the gate's disk and slows sales down",
    )
    yield _advised("cache", "maxmemory-policy", eviction, *_EVICTION)


def of_payment(provider: str) -> Iterator[Finding]:
    means = {
        "simulator": "a button pays: no money moves, which is for trying out alone",
        "stripe": "this adapter has never been run live; try it in Stripe's test mode first",
    }
    yield Finding(
        store="payment",
        setting="provider",
        value=provider,
        ok=True,
        means=means.get(provider, ""),
        warning=provider in means,
    )


def of_codes(hook_url: str) -> Iterator[Finding]:
    """Where the codes go with which buyers log in by phone."""
    yield Finding(
        store="codes",
        setting="SLUICE_CODE_HOOK_URL",
        value="set" if hook_url else "not set",
        ok=True,
        means="codes are handed to your own service, signed"
        if hook_url
        else "codes go to the development inbox: no phone gets one, and every admin can read them "
        "and log in as anybody",
        warning=not hook_url,
    )


def of_addresses(
    trusted: Sequence[object], stranger: str, own: Container[str]
) -> Iterator[Finding]:
    """`stranger` forwarded for others of late without being trusted; empty: nobody did."""
    if not stranger:
        means = "X-Forwarded-For of these alone is believed"
        if not trusted:
            means = "addresses are the connections' own; list your proxy if there is one"
    else:
        means = f"{stranger} sends X-Forwarded-For and is not listed, so it is not read; " + (
            "if it is a proxy on this machine, no address is limited behind it: list it"
            if stranger in own
            else "if it is a proxy, all buyers behind it share the limit of one address: list it"
        )
    yield Finding(
        store="addresses",
        setting="SLUICE_TRUSTED_PROXIES",
        value=", ".join(map(str, trusted)) or "none",
        ok=True,
        means=means,
        warning=bool(stranger),
    )


def _version(store: str, facts: Facts) -> Finding:
    value = f"{facts.get('server', '')} {facts.get('version', UNKNOWN)}".strip()
    major = facts.get("version", "0").partition(".")[0]
    return _judged(
        store,
        "version",
        value,
        major.isdigit() and int(major) >= 7,
        "it has functions, which the gate is made of",
        "it has no functions; use Redis or Valkey 7.0 or newer",
    )


def _append_only(store: str, facts: Facts) -> Finding:
    return _judged(
        store,
        "appendonly",
        facts.get("appendonly", UNKNOWN),
        _equals(facts, "appendonly", "yes"),
        "an accepted order is in the gate's log",
        "an accepted order can be lost whenever the gate restarts; set appendonly to yes",
    )


def _append_fsync(store: str, facts: Facts) -> Finding:
    return _judged(
        store,
        "appendfsync",
        facts.get("appendfsync", UNKNOWN),
        _equals(facts, "appendfsync", "always"),
        "an accepted order is on disk before the buyer hears of it",
        "orders accepted in the last second or more can be lost if the gate's machine fails; set "
        "appendfsync to always",
    )


def _eviction(store: str, facts: Facts) -> Finding:
    return _judged(
        store,
        "maxmemory-policy",
        facts.get("maxmemory-policy", UNKNOWN),
        _equals(facts, "maxmemory-policy", "noeviction"),
        "a full gate refuses and forgets nothing",
        "a full gate may forget who holds what and sell it twice; the ledger then rejects those "
        "orders; set maxmemory-policy to noeviction",
    )


def _advised(
    store: str, setting: str, value: str, good: frozenset[str], kept: str, else_: str
) -> Finding:
    """Of a setting that no promise hangs on."""
    if value.lower() == UNKNOWN:
        return _judged(store, setting, value, None, kept, else_)
    fine = value.lower() in good
    return Finding(
        store=store,
        setting=setting,
        value=value,
        ok=True,
        means=kept if fine else else_,
        warning=not fine,
    )


def _equals(facts: Facts, name: str, wanted: str) -> bool | None:
    value = facts.get(name, UNKNOWN)
    return None if value == UNKNOWN else value == wanted


def _judged(
    store: str, setting: str, value: str, ok: bool | None, kept: str, broken: str
) -> Finding:
    if ok is None:
        means = f"it could not be read; make sure yourself, otherwise: {broken}"
    else:
        means = kept if ok else broken
    return Finding(store=store, setting=setting, value=value, ok=ok, means=means)


_EVICTION = (
    frozenset({"volatile-ttl"}),
    "a full cache forgets first what ends first anyway",
    "a full cache may forget sessions, so that buyers are logged out, or refuse to count, so that "
    "each process limits for itself; set maxmemory-policy to volatile-ttl",
)
_LEDGER_ADVICE = {
    "autovacuum": (
        frozenset({"on"}),
        "tables are counted and cleared up as they change",
        "tables grow with every change and the planner knows them by hearsay; set autovacuum to on",
    ),
    "without_statistics": (
        frozenset({""}),
        "the planner knows how large every table is",
        "the planner guesses how large these tables are, and may read all of one to find a row; "
        "run ANALYZE once, and see why autovacuum did not",
    ),
}
_ON_DISK = "an order that is awaiting payment is on the ledger's disk"
_LAST_LOST = "orders of the last moments can be lost if the database's machine fails; set "

_LEDGER_CHECKS: dict[str, tuple[frozenset[str], str, str]] = {
    # SQLite
    "journal_mode": (
        frozenset({"wal"}),
        "readers do not hold up the recorder",
        "readers and the recorder wait for each other; use WAL",
    ),
    "synchronous": (
        frozenset({"2", "3", "full", "extra"}),
        _ON_DISK,
        _LAST_LOST + "synchronous to FULL",
    ),
    "foreign_keys": (
        frozenset({"1", "on"}),
        "rows that belong together stay together",
        "rows can lose what they belong to; foreign keys must be on",
    ),
    # PostgreSQL
    "synchronous_commit": (
        frozenset({"on", "remote_write", "remote_apply"}),
        _ON_DISK,
        _LAST_LOST + "synchronous_commit to on",
    ),
    "fsync": (frozenset({"on"}), _ON_DISK, "a power cut can ruin the database; set fsync to on"),
    "full_page_writes": (
        frozenset({"on"}),
        "a power cut leaves no half-written page",
        "a power cut can ruin the database; set full_page_writes to on",
    ),
    # MariaDB and MySQL
    "innodb_flush_log_at_trx_commit": (
        frozenset({"1"}),
        _ON_DISK,
        _LAST_LOST + "innodb_flush_log_at_trx_commit to 1",
    ),
    "innodb_doublewrite": (
        frozenset({"on", "1", "detect_and_recover"}),
        "a power cut leaves no half-written page",
        "a power cut can ruin the database; set innodb_doublewrite to ON",
    ),
}
