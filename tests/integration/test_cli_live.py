"""The commands on a running product, and on stores that are not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.http import Client
from tests.support.people import somebody
from tests.support.product import ADMIN_TOKEN, Product, free_port, until

REPO = Path(__file__).parents[2]
DROP = str(REPO / "examples" / "drop.toml")
KEY = "k" * 32


def sluice(product: Product, *words: str) -> subprocess.CompletedProcess[str]:
    return run(*words, "--data", str(product.data), **product.environ)


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sluice.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, env=environ)


def clean_environ() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}


def created(product: Product) -> dict[str, Any]:
    sale: dict[str, Any] = json.loads(product.run("sale", "create", DROP, "--json"))
    return sale


def state(product: Product, sale: str) -> str:
    shown = json.loads(product.run("sale", "show", sale, "--json"))
    return str(shown["state"])


def test_a_sale_is_led_from_draft_to_end(product: Product) -> None:
    sale = created(product)["id"]
    assert state(product, sale) == "draft"
    product.run("sale", "publish", sale)
    assert state(product, sale) == "live"
    product.run("sale", "pause", sale, "--reason", "A pallet fell over.")
    assert state(product, sale) == "paused"
    product.run("sale", "resume", sale)
    assert state(product, sale) == "live"
    product.run("sale", "close", sale)
    assert state(product, sale) == "ended"


def test_the_same_step_again_changes_nothing_and_is_well(product: Product) -> None:
    sale = created(product)["id"]
    assert product.run("sale", "publish", sale) == product.run("sale", "publish", sale)


def test_a_step_that_the_state_does_not_allow_ends_with_1(product: Product) -> None:
    sale = created(product)["id"]
    done = sluice(product, "sale", "resume", sale)
    assert done.returncode == 1
    assert done.stderr.startswith("sluice: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("step", ["show", "publish", "close"])
def test_a_sale_that_is_not_there_ends_with_1(product: Product, step: str) -> None:
    done = sluice(product, "sale", step, "999999")
    assert (done.returncode, done.stdout) == (1, "")


def test_sales_are_listed_for_people_and_for_scripts(product: Product) -> None:
    sale = created(product)["id"]
    ids = [shown["id"] for shown in json.loads(product.run("sale", "list", "--json"))]
    assert sale in ids
    first_line, *rows = product.run("sale", "list").splitlines()
    assert first_line.split() == ["SALE", "STATE", "STARTS", "TITLE"]
    assert sale in [row.split()[0] for row in rows]


def test_a_token_from_the_command_line_buys(product: Product) -> None:
    sale = created(product)
    product.run("sale", "publish", sale["id"])
    token = product.run("token", "ada-of-the-command-line").strip()
    item = sale["items"][2]["id"]
    with Client(product.url) as http:
        place = f"/v1/sales/{sale['id']}/items/{item}/pass"
        status, answer = until(
            lambda: (given := http.post(place, token, {}))[0] == 200 and given,
            within_s=30,
            what="a pass for a published sale",
        )
        assert status == 200
        status, answer = http.post(f"/v1/buy/{answer['pass']}", token, {"quantity": 1})
        assert (status, answer["order"]["state"]) == (202, "queued")


def test_the_audit_of_a_sound_product_ends_with_0(product: Product) -> None:
    done = sluice(product, "audit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Every invariant holds.\n")
    assert json.loads(product.run("audit", "--json", "--repair"))["ok"] is True


def test_the_doctor_finds_the_embedded_stores_sound(product: Product) -> None:
    done = sluice(product, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Every promise is kept.\n")
    findings = json.loads(product.run("doctor", "--json"))["findings"]
    stores = {"gate", "cache", "ledger", "payment", "codes", "addresses"}
    assert stores == {finding["store"] for finding in findings}
    warned = {finding["setting"] for finding in findings if finding["warning"]}
    assert warned == {"provider", "SLUICE_CODE_HOOK_URL"}


def test_the_doctor_says_who_forwards_without_being_trusted(product: Product) -> None:
    with Client(product.url) as http:
        http.post(
            "/v1/login", "", {"login": "nobody", "password": "x"}, X_Forwarded_For="192.0.2.1"
        )

    def said() -> bool:
        done = sluice(product, "doctor")
        assert done.returncode == 0, done.stdout + done.stderr
        return "warning   addresses: SLUICE_TRUSTED_PROXIES = none\n" in done.stdout

    until(said, within_s=30, what="the doctor has heard of it")
    lines = [line for line in product.log().splitlines() if "stranger_forwards" in line]
    assert len(lines) == 1
    assert json.loads(lines[0])["address"] == "127.0.0.1"


def test_the_doctor_ends_with_1_when_a_promise_is_not_kept(product: Product) -> None:
    """The embedded cache, taken for a gate: no log, and it forgets."""
    cache = f"unix://{product.data / 'run' / 'cache.sock'}"
    environ = product.environ | {"SLUICE_REDIS_URL": cache}
    done = run("doctor", "--json", "--data", str(product.data), **environ)
    assert done.returncode == 1
    broken = {f["setting"] for f in json.loads(done.stdout)["findings"] if f["ok"] is False}
    assert {"appendonly", "maxmemory-policy"} <= broken


@pytest.mark.parametrize("command", [["doctor"], ["audit"], ["sale", "list"], ["serve"], ["work"]])
def test_a_store_that_is_away_ends_with_3_and_one_sentence(
    tmp_path: Path, command: list[str]
) -> None:
    environ = clean_environ() | {
        "SLUICE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "SLUICE_REDIS_URL": "redis://127.0.0.1:1/0",
        "SLUICE_SECRET_KEYS": KEY,
    }
    done = run(*command, "--data", str(tmp_path), **environ)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.startswith("sluice: ")
    assert done.stderr.count("\n") == 1


def test_serve_and_work_run_as_processes_of_their_own(product: Product, tmp_path: Path) -> None:
    """On the stores of a running product, as a second machine would be."""
    environ = clean_environ() | {
        "SLUICE_REDIS_URL": f"unix://{product.data / 'run' / 'gate.sock'}",
        "SLUICE_CACHE_URL": f"unix://{product.data / 'run' / 'cache.sock'}",
        "SLUICE_DATABASE_URL": f"sqlite:///{product.data / 'sluice.db'}",
        "SLUICE_SECRET_KEYS": KEY,
        "SLUICE_IDENTITY_SECRET": KEY,
    }
    port = free_port()
    with (
        process("serve", "--port", str(port), "--data", str(tmp_path), **environ) as serve,
        process("work", "--data", str(tmp_path), **environ) as work,
    ):
        until(
            lambda: status_of(f"http://127.0.0.1:{port}/readyz") == 200,
            within_s=60,
            what="a second HTTP process is ready",
        )
        assert work.poll() is None
        assert serve.poll() is None


def test_serve_before_any_migration_says_what_to_run(product: Product, tmp_path: Path) -> None:
    environ = clean_environ() | {
        "SLUICE_REDIS_URL": f"unix://{product.data / 'run' / 'gate.sock'}",
        "SLUICE_CACHE_URL": f"unix://{product.data / 'run' / 'cache.sock'}",
        "SLUICE_SECRET_KEYS": KEY,
    }
    done = run("serve", "--port", "0", "--data", str(tmp_path), **environ)
    assert done.returncode == 2
    assert "run `sluice migrate`" in done.stderr
    assert run("migrate", "--data", str(tmp_path), **environ).returncode == 0
    again = run("migrate", "--data", str(tmp_path), **environ)
    assert again.stdout == "The ledger's schema is up to date.\n"


@contextmanager
def process(*words: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until SIGTERM, and then ends with 0."""
    command = [sys.executable, "-P", "-m", "sluice.cli.main", *words]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                code = running.wait(60)
            finally:
                running.kill()
    assert code == 0


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except OSError:
        return 0


def test_roles_are_given_and_taken_at_the_machine_and_the_trail_says_by_whom(
    product: Product,
) -> None:
    token = somebody(product, "cli-mei")
    with Client(product.url) as client:
        assert client.get("/v1/admin/users", token)[0] == 403
        product.run("user", "grant", "cli-mei", "admin")
        assert client.get("/v1/admin/users", token)[0] == 200
        [shown] = json.loads(product.run("user", "show", "CLI-mei", "--json"))
        assert shown["roles"] == ["buyer", "admin"]
        assert shown["id"] in product.run("user", "list", "--role", "admin")
        assert json.loads(product.run("user", "show", shown["id"], "--json")) == [shown]
        product.run("user", "revoke", "cli-mei", "admin")
        assert client.get("/v1/admin/users", token)[0] == 403
        created(product)
        _, said = client.get("/v1/admin/actions?limit=3", ADMIN_TOKEN)
    actions = [(each["action"], each["target"], each["status"]) for each in said["data"]]
    assert actions == [
        ("sluice sale create", DROP, 200),
        ("sluice user revoke", "cli-mei", 200),
        ("sluice user grant", "cli-mei", 200),
    ]
    assert all(each["actor"].startswith("cli:") for each in said["data"])


def test_nobody_cannot_be_given_a_role(product: Product) -> None:
    done = sluice(product, "user", "grant", "cli-nobody", "admin")
    assert done.returncode == 1
    assert "no account cli-nobody" in done.stderr
