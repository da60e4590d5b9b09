"""What the first start makes up: the keys, and the admin's token."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.domain.signature import KEY_BYTES, secret_of
from sluice.settings import kept_path, read_kept, token_hash


@dataclass(frozen=True, slots=True)
class Kept:
    first_start: bool
    admin_token: str | None
    """The one that was made up just now: it is shown once, and only its hash is kept."""


def keep_secrets(data_dir: Path, environ: Mapping[str, str]) -> Kept:
    """On the first start in a folder, make its secrets and write them down (mode 0600)."""
    kept = read_kept(data_dir)
    if kept:
        if "payment_secret" not in kept:  # made by a version that knew of no payments
            _write(kept_path(data_dir), {**kept, "payment_secret": _payment_secret()})
        return Kept(first_start=False, admin_token=None)
    given = environ.get("SLUICE_ADMIN_TOKEN", "").strip()
    made = None if given else secrets.token_urlsafe(24)
    _write(
        kept_path(data_dir),
        {
            "secret_keys": [secrets.token_urlsafe(32)],
            "identity_secret": secrets.token_urlsafe(32),
            "admin_token_hash": token_hash(given or made or ""),
            "payment_secret": _payment_secret(),
        },
    )
    return Kept(first_start=True, admin_token=made)


def _payment_secret() -> str:
    return secret_of(secrets.token_bytes(KEY_BYTES))


def name_of(data_dir: Path) -> str:
    """A name that no other data folder has, and that tells nothing."""
    first_key = str(read_kept(data_dir)["secret_keys"][0])
    return "up-" + hashlib.blake2b(first_key.encode(), digest_size=8, person=b"name").hexdigest()


def _write(path: Path, values: Mapping[str, object]) -> None:
    """All of it or nothing: a torn file would lock everybody out."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
