"""The tour of the README, word for word: what it tells a newcomer to type, and what that prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import NamedTuple

import pytest
from tests.support import pages
from tests.support.product import free_port

READY_MAX_S = 90.0
STEP_MAX_S = 60.0
STOP_MAX_S = 40.0
END = "end-of-step"

READMES = ("README.md", "README.zh-CN.md")
FIRST_TERMINAL = "make up\n"
WANTS_THE_TOKEN = "read -r ADMIN\n"


class Step(NamedTuple):
    typed: str
    printed: str | None
    """What the README says that it prints, or None where it says nothing."""


def tour(readme: str) -> list[Step]:
    """The steps of the section that begins with `make up` in a block for a shell."""
    (section,) = (s for s in pages.sections(pages.read(readme)) if "```sh\nmake up" in s)
    steps: list[Step] = []
    for block in pages.blocks(section):
        if block.language == "sh":
            steps.append(Step(block.text, None))
        else:
            assert block.language == "text", f"a block of {block.language!r} in the tour"
            assert steps[-1].printed is None, "two outputs for one step"
            steps[-1] = steps[-1]._replace(printed=block.text)
    return steps


def as_promised(printed: str, promised: str) -> bool:
    """Whether all of it is there; `…` stands for anything in a line, or alone for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…\n" else re.escape(line).replace("…", ".*")
        for line in promised.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, printed) is not None


# --- the two terminals ----------------------------------------------------------------------------


class FirstTerminal:
    """Where `make up` runs, in the foreground, until Ctrl-C."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None
        self.admin_token = ""

    def make_up(self) -> None:
        """Start, or stop with Ctrl-C and start again; returns when it is ready."""
        self.ctrl_c()
        self._process = subprocess.Popen(
            _up_command(self._environ),
            cwd=pages.REPO,
            env=dict(self._environ),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        watchdog = threading.Timer(READY_MAX_S, self._process.kill)
        watchdog.start()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("admin token"):
                self.admin_token = line.split()[-1]
            if line.startswith("ready "):
                watchdog.cancel()
                return
        raise AssertionError("`make up` ended, or was not ready in time")

    def ctrl_c(self) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGINT)
        code = self._process.wait(STOP_MAX_S)
        # make itself dies of the interrupt, as it should; without make it is ours to be 0.
        assert code in (0, -signal.SIGINT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


class SecondTerminal:
    """One bash, typed at step by step; a command that fails ends it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
            cwd=pages.REPO,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def type(self, text: str) -> str:
        """What it printed. Fails where the shell ended or did not come back."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}echo {END}\n")
        self._process.stdin.flush()
        printed: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=STEP_MAX_S)
            except Empty:
                raise AssertionError(f"hangs:\n{text}\nafter:\n{''.join(printed)}") from None
            if line is None:
                raise AssertionError(f"failed:\n{text}\nprinted:\n{''.join(printed)}")
            if line == f"{END}\n":
                return "".join(printed)
            printed.append(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._lines.put(line)
        except ValueError:
            pass  # closed at the end of the test
        self._lines.put(None)


def _up_command(environ: Mapping[str, str]) -> list[str]:
    """`make up` where `make install` was here before; else what its recipe runs, by this Python."""
    if (pages.REPO / ".venv" / ".stamp").exists():
        return ["make", "up"]
    return [sys.executable, "-m", "sluice.cli.main", "up", *shlex.split(environ["ARGS"])]


@contextmanager
def terminals(tmp_path: Path) -> Iterator[tuple[FirstTerminal, SecondTerminal]]:
    """Both, with a data folder and a port of the test's own."""
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLUICE", "MAKE", "MFLAGS"))}
    environ = {
        **kept,
        "SLUICE_DATA_DIR": str(tmp_path / "data"),
        "SLUICE": f"http://127.0.0.1:{port}",
        "ARGS": f"--port {port}",
        "SLUICE_DEADLINE_MS": "5000",  # whoever types does not ask again
        "PATH": f"{_programs(tmp_path)}:{os.environ['PATH']}",
    }
    first, second = FirstTerminal(environ), SecondTerminal(environ)
    try:
        yield first, second
    finally:
        second.close()
        first.ctrl_c()


def _programs(tmp_path: Path) -> Path:
    """`sluice` and `python3` as `.venv/bin` has them, where the tests run from elsewhere."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("sluice", " -m sluice.cli.main"), ("python3", "")):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{words} "$@"\n')
        program.chmod(0o755)
    return folder


# --- the tests ------------------------------------------------------------------------------------


def test_the_tour_does_what_it_says_word_for_word(tmp_path: Path) -> None:
    with terminals(tmp_path) as (first, second):
        for step in tour("README.md"):
            if step.typed == FIRST_TERMINAL:
                first.make_up()
                continue
            typed = step.typed
            if typed == WANTS_THE_TOKEN:
                assert first.admin_token, "the first start printed no admin token"
                typed += f"{first.admin_token}\n"
            printed = second.type(typed)
            if step.printed is not None:
                assert as_promised(printed, step.printed), f"{step.typed}\nprinted:\n{printed}"
        _check_names(second.type("sluice audit --json\n"))


def _check_names(report: str) -> None:
    """While it runs: the page on invariants knows every check of the audit, and no other."""
    names = {invariant["name"] for invariant in json.loads(report)["invariants"]}
    assert names == set(re.findall(r"Audit: `(\w+)`", pages.read("docs/invariants.md")))


def test_the_tour_is_the_same_in_both_languages() -> None:
    assert tour(READMES[0]) == tour(READMES[1])


@pytest.mark.parametrize("word", ["sluice token", "sluice sale create", "/v1/buy/", "Receipt"])
def test_the_tour_shows_what_a_newcomer_came_for(word: str) -> None:
    assert any(word in step.typed for step in tour("README.md"))


def test_an_output_is_matched_whole_but_for_what_is_left_out() -> None:
    assert as_promised("queued\n", "queued\n")
    assert not as_promised("queued\nand more\n", "queued\n")
    assert as_promised('{\n  "a": 1,\n  "b": 2\n}\n', '{\n…\n  "b": …\n}\n')
    assert not as_promised('{\n  "a": 1\n}\n', '{\n…\n  "b": …\n}\n')
