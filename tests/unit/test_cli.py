"""The command line's manners: help, exit codes, one sentence and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice import __version__
from sluice.cli.main import COMMANDS, guarded
from sluice.domain.errors import (
    Conflict,
    GateUnavailable,
    Invalid,
    InvalidFields,
    LedgerUnavailable,
    NotFound,
    SettingsError,
)
from sluice.settings import token_hash

KEY = "k" * 32
HEAVY = ("litestar", "sqlalchemy", "redis", "granian", "alembic", "matplotlib")


def sluice(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sluice.cli.main", *words]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={**kept, **environ}
    )


def test_help_names_every_command() -> None:
    done = sluice("--help")
    assert done.returncode == 0
    for command, what in COMMANDS.items():
        assert f"  {command} " in done.stdout
        assert what.split()[0] in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = sluice(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: sluice {command}" in done.stdout


def test_the_version_is_told() -> None:
    assert sluice("--version").stdout == f"sluice {__version__}\n"


@pytest.mark.parametrize("words", [["nonsense"], ["up", "--nonsense"], ["sale"], ["token"]])
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    done = sluice(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("Change this."), 2),
        (Invalid("stock", "must be more than 0"), 2),
        (InvalidFields([("title", "is missing"), ("items", "are missing")]), 2),
        (Conflict("It has ended."), 1),
        (NotFound("There is no sale 7."), 1),
        (GateUnavailable("The gate\ndid not answer."), 3),
        (LedgerUnavailable(), 3),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert guarded(command) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"sluice: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize(
    "modules", ["sluice.cli.main", "sluice.cli.main, sluice.cli.up, sluice.embedded.up"]
)
def test_help_and_the_supervisor_start_without_heavy_imports(modules: str) -> None:
    code = f"import sys, {modules}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_token_is_signed_with_the_folders_secret(tmp_path: Path) -> None:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    kept = {"secret_keys": [KEY], "identity_secret": KEY, "admin_token_hash": token_hash("t")}
    (tmp_path / "secrets.json").write_text(json.dumps(kept))
    done = sluice("token", "ada", "--ttl", "60", "--data", str(tmp_path))
    claims = jwt.decode(done.stdout.strip(), OctKey.import_key(KEY)).claims
    assert (claims["sub"], claims["aud"]) == ("ada", "sluice")


def test_a_token_without_a_secret_says_where_to_get_one(tmp_path: Path) -> None:
    done = sluice("token", "ada", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        "sluice: There is no identity secret: set SLUICE_IDENTITY_SECRET, or name with --data a "
        "folder on which `sluice up` ran.\n"
    )


@pytest.mark.parametrize("command", ["up", "serve", "work", "migrate", "doctor", "audit"])
def test_a_bad_setting_stops_every_command_with_one_sentence(tmp_path: Path, command: str) -> None:
    done = sluice(command, "--data", str(tmp_path), SLUICE_SHARDS="none")
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr == "sluice: SLUICE_SHARDS must be a whole number from 1 to 256, not 'none'.\n"
    )


def test_serve_without_keys_says_where_to_get_them(tmp_path: Path) -> None:
    done = sluice("serve", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("sluice: There are no secret keys: set SLUICE_SECRET_KEYS")


@pytest.mark.parametrize("words", [["sale", "list"], ["audit"], ["doctor"]])
def test_a_folder_without_a_ledger_is_not_made_into_one(tmp_path: Path, words: list[str]) -> None:
    done = sluice(*words, "--data", str(tmp_path / "typo"))
    assert done.returncode == 2
    assert "There is no ledger in" in done.stderr
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [("title = 1", "title"), ("not toml at all", "is not TOML")],
)
def test_a_sale_file_that_is_wrong_is_refused_before_any_store_is_asked(
    tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "sale.toml"
    file.write_text(content)
    done = sluice("sale", "create", str(file), "--data", str(tmp_path))
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_sale_file_that_is_missing_is_named(tmp_path: Path) -> None:
    done = sluice("sale", "create", str(tmp_path / "no.toml"), "--data", str(tmp_path))
    assert done.returncode == 2
    assert "no.toml cannot be read" in done.stderr
