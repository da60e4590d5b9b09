"""The three ledgers, set as by default: a file, and the system's servers where it has them."""

from __future__ import annotations

import getpass
import glob
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import BenchError, free_port, running, wait_until

START_S = 60.0
NAME = "sluice"


def servers_user(*names: str) -> str | None:
    """Database servers refuse to run as root: then the first of these users that exists."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def postgres_program(name: str) -> str | None:
    """On PATH, or where Debian keeps it (newest version first)."""
    places = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")  # noqa: PTH207 - an absolute pattern
    places.sort(key=lambda place: int(place.split("/")[4]), reverse=True)
    return next(iter([*places, *filter(None, [shutil.which(name)])]), None)


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'sluice.db'}"


@contextmanager
def postgresql(folder: Path) -> Iterator[str | None]:
    """A server of its own with default settings; None where PostgreSQL is not installed."""
    initdb, server = postgres_program("initdb"), postgres_program("postgres")
    if initdb is None or server is None:
        yield None
        return
    user = servers_user("postgres")
    data, port = _owned(folder, user) / "data", free_port()
    _call([initdb, "-D", str(data), "-U", NAME, "-A", "trust", "-E", "UTF8"], folder, user)
    command = [server, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    url = f"postgresql://{NAME}@127.0.0.1:{port}/"
    log = folder / "server.log"
    with running(command, log=log, cwd=folder, user=user) as child:
        create = [postgres_program("createdb") or "createdb", "-h", "127.0.0.1", "-p", str(port)]
        wait_until(
            "PostgreSQL",
            lambda: _succeeds([*create, "-U", NAME, NAME], folder, user),
            seconds=START_S,
            child=child,
            log=log,
            every_s=0.1,
        )
        yield url + NAME


@contextmanager
def mariadb(folder: Path) -> Iterator[str | None]:
    """A server of its own with default settings; None where MariaDB is not installed."""
    install, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd")
    client = shutil.which("mariadb")
    if install is None or server is None or client is None:
        yield None
        return
    user = servers_user("mysql")
    data, port, socket = _owned(folder, user) / "data", free_port(), folder / "db.sock"
    own = user or getpass.getuser()
    make = [install, "--no-defaults", f"--datadir={data}", "--skip-test-db", f"--user={own}"]
    _call([*make, "--auth-root-authentication-method=normal"], folder, user)
    command = [server, "--no-defaults", f"--datadir={data}", f"--socket={socket}"]
    command += [f"--port={port}", "--bind-address=127.0.0.1", f"--user={own}"]
    rights = f"CREATE DATABASE {NAME}; CREATE USER {NAME}@'127.0.0.1'; "
    rights += f"GRANT ALL ON {NAME}.* TO {NAME}@'127.0.0.1';"
    log = folder / "server.log"
    with running(command, log=log, cwd=folder, user=user) as child:
        words = [client, "--no-defaults", f"--socket={socket}", "-uroot", "-e"]
        wait_until(
            "MariaDB",
            lambda: _succeeds([*words, "SELECT 1"], folder, user),
            seconds=START_S,
            child=child,
            log=log,
            every_s=0.1,
        )
        _call([*words, rights], folder, user)
        yield f"mariadb://{NAME}@127.0.0.1:{port}/{NAME}"


def _owned(folder: Path, user: str | None) -> Path:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def _call(command: list[str], folder: Path, user: str | None) -> None:
    done = subprocess.run(
        command, cwd=folder, user=user, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def _succeeds(command: list[str], folder: Path, user: str | None) -> bool:
    done = subprocess.run(command, cwd=folder, user=user, capture_output=True, check=False)
    return done.returncode == 0
