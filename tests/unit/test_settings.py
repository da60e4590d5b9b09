"""Settings are read once, say what is wrong in one sentence, and are all documented."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from sluice.domain.errors import SettingsError
from sluice.settings import Settings, kept_path, read_kept, token_hash

KEY = "k" * 32
OTHER_KEY = "o" * 32
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def read(data_dir: Path, **environ: str) -> Settings:
    return Settings.read(environ, data_dir)


def keep(data_dir: Path, **changes: object) -> None:
    kept: dict[str, object] = {
        "secret_keys": [KEY],
        "identity_secret": OTHER_KEY,
        "admin_token_hash": token_hash("the token that was printed"),
    }
    kept_path(data_dir).write_text(json.dumps(kept | changes))


def test_an_empty_environment_means_embedded_stores_in_the_data_folder(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.gate_url == f"unix://{settings.run_dir / 'gate.sock'}"
    assert settings.cache_server_url == f"unix://{settings.run_dir / 'cache.sock'}"
    assert settings.ledger_url == f"sqlite:///{tmp_path / 'sluice.db'}"


def test_the_data_folder_becomes_an_absolute_path() -> None:
    assert Settings.read({"SLUICE_DATA_DIR": "somewhere"}).data_dir == Path("somewhere").absolute()


def test_a_folder_given_by_name_wins_over_the_environment(tmp_path: Path) -> None:
    settings = Settings.read({"SLUICE_DATA_DIR": "/elsewhere"}, tmp_path)
    assert settings.data_dir == tmp_path


def test_sockets_move_to_a_private_folder_when_the_data_folders_path_is_too_long() -> None:
    short = Settings.read({"SLUICE_DATA_DIR": "/srv/" + "d" * 60})
    long = Settings.read({"SLUICE_DATA_DIR": "/srv/" + "d" * 120})
    assert short.run_dir == short.data_dir / "run"
    assert len(str(long.run_dir)) <= 90
    assert long.run_dir != Settings.read({"SLUICE_DATA_DIR": "/srv/" + "e" * 120}).run_dir


def test_kept_secrets_complete_the_environment(tmp_path: Path) -> None:
    keep(tmp_path)
    settings = read(tmp_path)
    assert settings.secret_keys == (KEY.encode(),)
    assert settings.identity_secret == OTHER_KEY.encode()
    assert settings.admin_token_hash == token_hash("the token that was printed")


def test_the_environment_wins_over_kept_secrets(tmp_path: Path) -> None:
    keep(tmp_path)
    settings = read(
        tmp_path,
        SLUICE_SECRET_KEYS=f"{OTHER_KEY}, {KEY}",
        SLUICE_ADMIN_TOKEN="a-token-of-my-own",
        SLUICE_IDENTITY_SECRET=KEY,
    )
    assert settings.secret_keys == (OTHER_KEY.encode(), KEY.encode())
    assert settings.admin_token_hash == token_hash("a-token-of-my-own")
    assert settings.identity_secret == KEY.encode()


def test_a_shops_public_keys_switch_the_kept_shared_secret_off(tmp_path: Path) -> None:
    keep(tmp_path)
    jwks = tmp_path / "jwks.json"
    jwks.write_text("{}")
    assert read(tmp_path, SLUICE_IDENTITY_JWKS=str(jwks)).identity_secret == b""


def test_secrets_do_not_show_when_settings_are_printed(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        SLUICE_SECRET_KEYS=KEY,
        SLUICE_ADMIN_TOKEN="a-token-of-my-own",
        SLUICE_IDENTITY_SECRET=OTHER_KEY,
    )
    assert KEY not in repr(settings)
    assert OTHER_KEY not in repr(settings)
    assert "a-token-of-my-own" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SLUICE_REDIS_URL", "localhost:6379", "must start with one of redis://"),
        ("SLUICE_REDIS_URL", "redis://", "names no server"),
        ("SLUICE_REDIS_URL", "redis://host:port", "is not a URL"),
        ("SLUICE_CACHE_URL", "redis+cluster://host", "must start with one of redis://"),
        ("SLUICE_DATABASE_URL", "oracle://host/db", "must start with one of sqlite://"),
        ("SLUICE_SECRET_KEYS", "short", "at least 32 bytes"),
        ("SLUICE_SECRET_KEYS", f"{KEY},{KEY}", "different keys"),
        ("SLUICE_SECRET_KEYS", ",", "one or more different keys"),
        ("SLUICE_ADMIN_TOKEN", "short", "16 or more"),
        ("SLUICE_ADMIN_TOKEN", "sixteen chars with spaces", "without spaces"),
        ("SLUICE_ADMIN_TOKEN_HASH", "abc", "64 digits"),
        ("SLUICE_IDENTITY_SECRET", "short", "at least 32 bytes"),
        ("SLUICE_IDENTITY_JWKS", "/no/such/file", "neither a URL nor a file"),
        ("SLUICE_TRUSTED_PROXIES", "10.0.0.0/99", "list of networks"),
        ("SLUICE_WEBHOOK_NETWORKS", "10.0.0.1/8", "list of networks"),
        ("SLUICE_PAYMENT_PROVIDER", "cash", "must be one of simulator, stripe"),
        ("SLUICE_PAYMENT_SECRET", "secret", "begins with whsec_"),
        ("SLUICE_PAYMENT_SECRET", "whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("SLUICE_PAYMENT_SECRET", ",", "one or more secrets"),
        ("SLUICE_PUBLIC_URL", "drop.example", "must start with one of http://"),
        ("SLUICE_OWN_URL", "https://host", "must start with one of http://"),
        ("SLUICE_PAYMENT_RETURN_URL", "https:///orders", "names no host"),
        ("SLUICE_STRIPE_API_KEY", "pk_live_1", "begins with sk_ or rk_"),
        ("SLUICE_STRIPE_WEBHOOK_SECRET", "secret", "begin with whsec_"),
        ("SLUICE_SHARDS", "0", "from 1 to 256"),
        ("SLUICE_SHARDS", "257", "from 1 to 256"),
        ("SLUICE_WORKERS", "many", "whole number"),
        ("SLUICE_WORKER_NAME", "n" * 101, "100 or fewer"),
        ("SLUICE_QUEUE_MAX", "-1", "whole number"),
        ("SLUICE_BATCH_MAX", "1001", "from 1 to 1000"),
        ("SLUICE_DEADLINE_MS", "1.5", "whole number"),
        ("SLUICE_GATE_LEASE_MS", "1", "from 500"),
        ("SLUICE_BACKLOG_MAX", "1", "from 1000"),
        ("SLUICE_RECORD_MAX", "0", "from 1"),
        ("SLUICE_TRIM_AFTER_S", "-5", "from 0"),
        ("SLUICE_LOG_LEVEL", "loud", "must be one of debug"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        Settings.read({name: value}, tmp_path)
    sentence = str(refused.value)
    assert sentence.startswith(name)
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_gate_and_cache_must_be_different_servers_or_databases(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="another server or database"):
        read(tmp_path, SLUICE_REDIS_URL="redis://host/0", SLUICE_CACHE_URL="redis://host/0")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"secret_keys": []}'])
def test_damaged_secrets_are_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    kept_path(tmp_path).write_text(content)
    with pytest.raises(SettingsError, match="restore it or move it away"):
        read(tmp_path)
    assert kept_path(tmp_path).read_text() == content


def test_a_folder_without_secrets_has_none(tmp_path: Path) -> None:
    assert read_kept(tmp_path) == {}


def test_every_setting_is_documented_with_its_own_words() -> None:
    page = OPERATIONS.read_text()
    for setting in fields(Settings):
        row = f"| `{setting.metadata['env']}` | {setting.metadata['doc']} |"
        assert row in page, f"docs/operations.md lacks: {row}"
