"""The embedded servers' program, folder and secrets, without a running server."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from sluice.domain.errors import SettingsError
from sluice.embedded.binary import Binary, ask_version, find_binary
from sluice.embedded.folder import can_load, check_stamp, hold, make_private
from sluice.embedded.probe import claim_port, url_of
from sluice.embedded.secrets import keep_secrets
from sluice.embedded.store import Store
from sluice.settings import Settings, kept_path, read_kept, token_hash

VALKEY = Binary(Path("/bin/valkey-server"), "valkey", (9, 1, 2))
REDIS = Binary(Path("/bin/redis-server"), "redis", (7, 0, 15))


def program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_the_valkey_of_the_packages_is_found_and_can_run() -> None:
    binary = find_binary()
    assert binary.family == "valkey"
    assert binary.version >= (9, 1)


def test_a_redis_on_the_path_is_the_second_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.embedded.binary.packaged_valkey", lambda: None)
    program(tmp_path, "redis-server", "Redis server v=7.2.4 sha=00000000:0 malloc=libc bits=64")
    binary = find_binary(path=str(tmp_path))
    assert (binary.family, binary.version) == ("redis", (7, 2, 4))


def test_a_folder_of_redis_stays_with_the_redis_on_the_path(tmp_path: Path) -> None:
    program(tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    (tmp_path / "server").write_text("redis 7\n")
    assert find_binary(path=str(tmp_path), fits=partial(can_load, tmp_path)).family == "redis"


@pytest.mark.parametrize("says", ["Redis server v=6.2.14 sha=0", "Something else"])
def test_a_server_that_is_too_old_or_strange_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr("sluice.embedded.binary.packaged_valkey", lambda: None)
    program(tmp_path, "redis-server", says)
    with pytest.raises(SettingsError, match=r"install valkey-server or redis-server, or point"):
        find_binary(path=str(tmp_path))


def test_a_program_that_cannot_run_here_has_no_version(tmp_path: Path) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    assert ask_version(broken) is None
    assert ask_version(tmp_path / "missing") is None


def test_a_folder_is_stamped_by_the_server_that_wrote_it(tmp_path: Path) -> None:
    check_stamp(tmp_path, VALKEY)
    assert (tmp_path / "server").read_text() == "valkey 9\n"
    check_stamp(tmp_path, VALKEY)


@pytest.mark.parametrize("stamp", ["valkey 9", "redis 8", ""])
def test_another_family_or_an_older_server_does_not_load_it(tmp_path: Path, stamp: str) -> None:
    (tmp_path / "server").write_text(stamp)
    with pytest.raises(SettingsError, match="move the folder away"):
        check_stamp(tmp_path, REDIS)
    assert (tmp_path / "server").read_text() == stamp


def test_a_newer_server_of_the_family_takes_the_folder_over(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("valkey 8\n")
    check_stamp(tmp_path, VALKEY)
    assert (tmp_path / "server").read_text() == "valkey 9\n"


def test_a_store_without_its_stamp_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(SettingsError, match="unknown server"):
        check_stamp(tmp_path, VALKEY)


def test_a_second_holder_of_a_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    settings = Settings.read({}, tmp_path / "data")
    with ExitStack() as first:
        first.enter_context(hold(settings))
        with pytest.raises(SettingsError, match="Another `sluice up` runs on"):
            first.enter_context(hold(settings))
    with hold(settings):
        pass


def test_everything_in_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    settings = Settings.read({}, tmp_path / "data")
    with hold(settings):
        keep_secrets(settings.data_dir, {})
        assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(settings.run_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(kept_path(settings.data_dir).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings.read({}, tmp_path / "file" / "data")
    with (
        pytest.raises(SettingsError, match="Not a directory"),
        hold(settings),
    ):
        pass


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    settings = Settings.read({}, tmp_path / "data")
    with pytest.raises(SettingsError, match="cannot be written"), hold(settings):
        pass


def test_a_socket_folder_that_somebody_else_laid_out_is_not_used(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="belongs to somebody else"):
        make_private(trap)


def test_a_socket_folder_open_to_others_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_are_made_on_the_first_start_only(tmp_path: Path) -> None:
    first = keep_secrets(tmp_path, {})
    kept = read_kept(tmp_path)
    assert first.first_start
    assert first.admin_token is not None
    assert kept["admin_token_hash"] == token_hash(first.admin_token)
    assert first.admin_token not in kept_path(tmp_path).read_text()

    second = keep_secrets(tmp_path, {})
    assert not second.first_start
    assert second.admin_token is None
    assert read_kept(tmp_path) == kept


def test_an_admin_token_that_was_given_is_neither_shown_nor_written(tmp_path: Path) -> None:
    kept = keep_secrets(tmp_path, {"SLUICE_ADMIN_TOKEN": "a-token-of-my-own"})
    assert kept.admin_token is None
    assert "a-token-of-my-own" not in kept_path(tmp_path).read_text()
    assert Settings.read({}, tmp_path).admin_token_hash == token_hash("a-token-of-my-own")


def test_a_folder_of_an_older_version_gets_the_secret_that_it_lacks(tmp_path: Path) -> None:
    keep_secrets(tmp_path, {})
    before = read_kept(tmp_path)
    made = before.pop("payment_secret")
    kept_path(tmp_path).write_text(json.dumps(before))
    assert Settings.read({}, tmp_path).payment_keys == ()

    assert not keep_secrets(tmp_path, {}).first_start
    after = read_kept(tmp_path)
    assert after.pop("payment_secret") not in ("", made)
    assert after == before
    assert len(Settings.read({}, tmp_path).payment_keys) == 1
    assert stat.S_IMODE(kept_path(tmp_path).stat().st_mode) == 0o600


def test_a_damaged_payment_secret_is_refused_in_one_sentence(tmp_path: Path) -> None:
    keep_secrets(tmp_path, {})
    kept_path(tmp_path).write_text(json.dumps({**read_kept(tmp_path), "payment_secret": "x"}))
    with pytest.raises(SettingsError, match="payment_secret"):
        Settings.read({}, tmp_path)


def test_a_draft_left_by_a_crash_does_not_stop_the_next_start(tmp_path: Path) -> None:
    kept_path(tmp_path).with_suffix(".new").write_text("{ torn")
    assert keep_secrets(tmp_path, {}).first_start
    assert json.loads(kept_path(tmp_path).read_text())["secret_keys"]


def test_the_gate_syncs_every_write_and_never_evicts() -> None:
    words = store(durable=True).command()
    assert option(words, "appendfsync") == "always"
    assert option(words, "maxmemory-policy") == "noeviction"
    assert option(words, "port") == "0"


def test_the_cache_forgets_what_would_expire_first() -> None:
    words = store(durable=False).command()
    assert option(words, "appendonly") == "no"
    assert option(words, "maxmemory-policy") == "volatile-ttl"


def store(*, durable: bool) -> Store:
    here = Path("/nowhere")
    return Store(
        name="gate", binary=VALKEY, socket=here, folder=here, log=here / "log", durable=durable
    )


def option(words: list[str], name: str) -> str:
    return words[words.index(f"--{name}") + 1]


def test_a_taken_port_is_refused_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"^Port {port} on 127.0.0.1 is taken; choose"):
            claim_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused_in_one_sentence(host: str) -> None:
    with pytest.raises(SettingsError, match="is no address of this machine"):
        claim_port(host, 0)


def test_port_0_takes_a_free_one() -> None:
    assert 0 < claim_port("127.0.0.1", 0) < 65536


def test_a_port_that_does_not_exist_is_refused_in_one_sentence() -> None:
    with pytest.raises(SettingsError, match="from 0 to 65535"):
        claim_port("127.0.0.1", 65536)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert url_of("::1", 8000) == "http://[::1]:8000"
    assert url_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
