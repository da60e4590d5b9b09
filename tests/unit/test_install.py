"""`make install` says what is missing, and does nothing where nothing has changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
LIBRARIES = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
"""Some Pythons do not run without."""
TOOLS = ("sh", "dirname", "cat", "rm", "echo", "env", "awk")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads, in a folder whose name has a space."""
    folder = tmp_path / "a checkout"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPO / "scripts" / "install", folder / "scripts")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(REPO / name, folder)
    return folder


def install(checkout: Path, *path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    tools = checkout.parent / "tools"
    tools.mkdir(exist_ok=True)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        link = tools / tool
        if not link.exists():
            link.symlink_to(found)
    search = os.pathsep.join(str(folder) for folder in (*path, tools))
    return subprocess.run(
        ["sh", str(checkout / "scripts" / "install")],
        env={**LIBRARIES, "PATH": search, "HOME": str(checkout.parent), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def python(folder: Path, name: str, *, answers: str) -> Path:
    """A Python that answers the script's questions with these shell lines."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{answers}\n")
    program.chmod(0o755)
    return folder


def test_without_any_python_it_says_which_to_install(checkout: Path) -> None:
    done = install(checkout)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no Python 3.11 or newer was found; install python3.13" in done.stderr


def test_a_python_that_is_too_old_does_not_count(checkout: Path, tmp_path: Path) -> None:
    old = python(tmp_path / "old", "python3", answers="exit 1")
    done = install(checkout, old)
    assert done.returncode == 2
    assert "no Python 3.11 or newer was found" in done.stderr


def test_a_python_without_venv_is_named_with_what_it_lacks(checkout: Path, tmp_path: Path) -> None:
    answers = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac'
    lacking = python(tmp_path / "lacking", "python3.12", answers=answers)
    done = install(checkout, lacking)
    assert done.returncode == 2
    assert "python3.12 has no venv module; install it" in done.stderr
    assert "apt install python3.12-venv" in done.stderr


def test_a_python_named_by_hand_that_cannot_be_used_is_named_back(checkout: Path) -> None:
    done = install(checkout, PYTHON="/no/such/python")
    assert done.returncode == 2
    assert "PYTHON=/no/such/python is not a Python 3.11 or newer" in done.stderr


def test_nothing_is_done_where_the_stamp_is_that_of_python_lock_and_project(
    checkout: Path,
) -> None:
    """A `.venv` made by hand, with the stamp that the script computes."""
    bin_folder = checkout / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    script = (checkout / "scripts" / "install").read_text()
    program = re.search(r"<<'END'\n(.*?)END\n", script, re.DOTALL)
    assert program is not None
    stamp = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    (checkout / ".venv" / ".stamp").write_text(stamp)
    done = install(checkout, PYTHON=sys.executable)
    assert (done.returncode, done.stderr) == (0, "")

    (checkout / "requirements.lock").write_text("other==0 --hash=sha256:00\n")
    without_registry = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    done = install(checkout, PYTHON=sys.executable, **without_registry)
    assert done.returncode == 1
    assert "setting up .venv" in done.stderr
    assert "could not be installed" in done.stderr


def test_the_lock_names_no_address_and_no_path() -> None:
    lock = (REPO / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^(-|\.|/)", lock, re.MULTILINE)
    assert not re.search(r"^sluice\b", lock, re.MULTILINE)


def test_every_line_of_the_lock_has_a_version_and_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", (REPO / "requirements.lock").read_text().strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+ ", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry
