"""`sluice up` as a person runs it: one folder, one command, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from tests.support.product import Product

from sluice.settings import read_kept, token_hash

READY_WITHIN_S = 80.0
STOP_WITHIN_S = 30.0


class Up:
    """One `sluice up` that is running."""

    def __init__(self, data: Path, *words: str, **environ: str) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.stderr"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
        clean["SLUICE_DEADLINE_MS"] = "5000"  # the disk may be doing other things
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command("up", "--data", str(data), "--port", "0", *words),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**clean, **environ},
                cwd=data.parent,
            )
        self.said: list[str] = []
        self.url = ""

    def until_ready(self) -> Up:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("ready "):
                self.url = line.split()[1]
                return self
        raise AssertionError(f"it ended with {self.process.wait()}: {self.log.read_text()[-3000:]}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_WITHIN_S)

    def descendants(self, word: str = "") -> list[int]:
        return [pid for pid in below(self.process.pid) if word in words_of(pid)]


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "sluice.cli.main", *words]


def below(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def words_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except OSError:
        return 0


def until_ready(url: str) -> None:
    poll(f"{url} is ready", lambda: get(f"{url}/readyz") == 200)


def post(url: str, body: dict[str, str]) -> int:
    asked = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return int(answer.status)


def sales(up: Up) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{up.url}/v1/sales") as answer:
        data: list[dict[str, str]] = json.load(answer)["data"]
    return data


def poll(what: str, holds: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@contextmanager
def running(data: Path, *words: str, **environ: str) -> Iterator[Up]:
    up = Up(data, *words, **environ)
    try:
        yield up.until_ready()
    finally:
        if up.process.poll() is None:
            up.stop()
        assert up.process.stdout is not None
        up.process.stdout.close()


def refused(data: Path, *words: str, **environ: str) -> str:
    """What `sluice up` says when it does not start; it has to be one sentence and the code 2."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
    done = subprocess.run(
        command("up", "--data", str(data), *words),
        capture_output=True,
        text=True,
        timeout=READY_WITHIN_S,
        env={**clean, **environ},
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("sluice: ")]
    assert done.returncode in (2, 3), done.stderr
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout
    return said[0]


def test_an_empty_folder_becomes_a_running_product(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as up:
        # On stdout: the token, once, and the ready line.
        shown, ready = up.said
        token = shown.removeprefix("admin token (shown only now): ")
        assert token_hash(token) == read_kept(data)["admin_token_hash"]
        assert ready == f"ready {up.url}"
        until_ready(up.url)

        (sample,) = sales(up)
        assert sample["state"] == "live"
        assert up.stop() == 0
    assert token not in up.log.read_text()


def test_a_second_start_keeps_everything_and_shows_no_token(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as first:
        assert first.stop() == 0
    kept = read_kept(data)
    with running(data) as second:
        assert second.said == [f"ready {second.url}"]
        assert read_kept(data) == kept
        assert len(sales(second)) == 1


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.verify)]
)
def test_it_stops_in_order_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with running(tmp_path / "data", "--no-demo") as up:
        everyone = up.descendants()
        assert len(everyone) >= 5
        # A terminal sends Ctrl-C to the whole group; only the supervisor may act on it.
        assert os.getpgid(up.process.pid) not in {os.getpgid(pid) for pid in everyone}
        began = time.monotonic()
        assert up.stop(number) == 0
        assert time.monotonic() - began < STOP_WITHIN_S
    assert not [pid for pid in everyone if alive(pid)]


def test_a_stop_in_the_middle_of_the_start_ends_with_0(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", "--no-demo")
    poll("a process of ours runs", lambda: up.descendants("sluice.cli.main"))
    assert up.stop() == 0
    assert up.process.stdout is not None
    up.process.stdout.close()


@pytest.mark.verify
def test_killed_it_takes_everything_along_and_starts_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "--no-demo") as up:
        everyone = up.descendants()
        up.process.kill()
        up.process.wait()
        poll("everyone died", lambda: not [pid for pid in everyone if alive(pid)])
    with running(data, "--no-demo") as again:
        until_ready(again.url)


@pytest.mark.verify
def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--no-demo") as up:
        for word in ("serve", "work", "gate.sock", "cache.sock"):
            victim = up.descendants(word)[0]
            os.kill(victim, signal.SIGKILL)
            poll(f"another {word} runs", partial(runs_another, up, word, victim))
            poll(f"it is ready again without {word}", lambda: get(f"{up.url}/readyz") == 200)


def runs_another(up: Up, word: str, victim: int) -> bool:
    return bool(set(up.descendants(word)) - {victim})


def test_log_ins_go_on_when_the_process_for_passwords_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--no-demo") as up:
        word = "sluice.accounts.hashing"
        assert up.descendants(word) == []  # nobody has logged in yet
        person = {"login": "mei-1", "password": "correct horse battery"}
        assert post(f"{up.url}/v1/accounts", person) == 201
        (pid,) = up.descendants(word)
        os.kill(pid, signal.SIGKILL)
        assert post(f"{up.url}/v1/login", person) == 200
        (other,) = up.descendants(word)
        assert other != pid
        assert up.stop(signal.SIGINT) == 0
        assert not alive(other)
        assert "Traceback" not in up.log.read_text()


def test_a_second_start_on_a_running_folder_is_refused(product: Product) -> None:
    assert "Another `sluice up` runs on" in refused(product.data, "--port", "0")
    until_ready(product.url)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path / "data", "--port", str(port))
    assert said == f"sluice: Port {port} on 127.0.0.1 is taken; choose another with --port."


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SLUICE_REDIS_URL": "redis://127.0.0.1:1/0"}, "change SLUICE_REDIS_URL"),
        ({"SLUICE_CACHE_URL": "redis://127.0.0.1:1/0"}, "change SLUICE_CACHE_URL"),
        ({"SLUICE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "SLUICE_DATABASE_URL"),
        ({"SLUICE_DATABASE_URL": "sqlite:////proc/no/such.db"}, "SLUICE_DATABASE_URL"),
        ({"SLUICE_SECRET_KEYS": "short"}, "SLUICE_SECRET_KEYS"),
        ({"SLUICE_IDENTITY_JWKS": "/no/such/file"}, "SLUICE_IDENTITY_JWKS"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    assert says in refused(tmp_path / "data", "--port", "0", **environ)


def test_a_folder_written_by_another_kind_of_server_is_refused(tmp_path: Path) -> None:
    gate = tmp_path / "data" / "gate"
    gate.mkdir(parents=True)
    (gate / "server").write_text("redis 99\n")
    said = refused(tmp_path / "data", "--port", "0")
    assert "was written by redis 99 and cannot be loaded by valkey 9" in said


def test_a_gate_file_that_cannot_be_read_is_said_with_the_servers_own_words(tmp_path: Path) -> None:
    parts = tmp_path / "data" / "gate" / "appendonlydir"
    parts.mkdir(parents=True)
    (parts / "appendonly.aof.manifest").write_text("nonsense\n")
    (parts.parent / "server").write_text("valkey 9\n")
    said = refused(tmp_path / "data", "--port", "0")
    assert "The gate server did not start" in said
    assert str(tmp_path / "data" / "log" / "gate.log") in said


def test_two_of_them_run_side_by_side_and_no_demo_means_no_sale(
    product: Product, tmp_path: Path
) -> None:
    with running(tmp_path / "data", "--no-demo") as another:
        assert sales(another) == []
        until_ready(product.url)
        until_ready(another.url)
