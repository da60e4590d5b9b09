"""Every setting, read once from the environment into one frozen object."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sluice.domain.errors import SettingsError
from sluice.domain.number import SHARDS_MAX
from sluice.domain.signature import key_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECRET_KEY_BYTES_MIN = 32
KEPT_KEYS = {"secret_keys", "identity_secret", "admin_token_hash"}
NAME_MAX = 100
SOCKET_PATH_MAX = 90
"""Unix socket paths are limited to about 104 bytes; some room is left for the file's name."""


def _setting(env: str, doc: str, default: Any) -> Any:
    metadata = {"env": env, "doc": doc}
    if isinstance(default, (list, dict)):
        raise TypeError("defaults are immutable")
    return field(default=default, metadata=metadata, repr="secret" not in doc.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. `Settings.read` is the only place that looks at the environment."""

    data_dir: Path = _setting(  # noqa: RUF009 - a field, as dataclasses want it
        "SLUICE_DATA_DIR", "Folder for everything that is written.", Path("data")
    )
    redis_url: str = _setting(
        "SLUICE_REDIS_URL",
        "The gate: Redis or Valkey ≥ 7.0 with AOF on (`redis://`, `rediss://`, `unix://`, "
        "`redis+cluster://`). Empty: the embedded server of the data folder.",
        "",
    )
    cache_url: str = _setting(
        "SLUICE_CACHE_URL",
        "Sessions, limits, cache and push; another server or database than the gate. "
        "Empty: the embedded server of the data folder.",
        "",
    )
    database_url: str = _setting(
        "SLUICE_DATABASE_URL",
        "The ledger: `sqlite:///FILE`, `postgresql://…` or `mariadb://…`. "
        "Empty: `sluice.db` in the data folder.",
        "",
    )
    secret_keys: tuple[bytes, ...] = _setting(
        "SLUICE_SECRET_KEYS",
        "Secret keys for passes and receipts, comma separated, 32 bytes or more each; "
        "the first signs, all verify. `sluice up` makes one.",
        (),
    )
    admin_token: str = _setting(
        "SLUICE_ADMIN_TOKEN",
        "Secret token for `/v1/admin`. Empty: the one that `sluice up` printed on its first start.",
        "",
    )
    admin_token_hash: str = _setting(
        "SLUICE_ADMIN_TOKEN_HASH",
        "SHA-256 of the secret admin token in hex, where the token itself should not stand in an "
        "environment. `SLUICE_ADMIN_TOKEN` wins.",
        "",
    )
    identity_secret: bytes = _setting(
        "SLUICE_IDENTITY_SECRET",
        "Secret shared with the shop that signs identity tokens (HS256), 32 bytes or more. "
        "`sluice up` makes one.",
        b"",
    )
    identity_jwks: str = _setting(
        "SLUICE_IDENTITY_JWKS",
        "Path or URL of the shop's public keys (JWKS), instead of `SLUICE_IDENTITY_SECRET`.",
        "",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        "SLUICE_TRUSTED_PROXIES",
        "Networks whose X-Forwarded-For is believed, comma separated. Empty: none.",
        (),
    )
    refusals_max: int = _setting(
        "SLUICE_REFUSALS_MAX",
        "Refusals of a buyer's own doing within a minute that put them on the blacklist.",
        10,
    )
    blacklist_s: int = _setting(
        "SLUICE_BLACKLIST_S", "How long the blacklist keeps a buyer out, in seconds.", 600
    )
    public_url: str = _setting(
        "SLUICE_PUBLIC_URL",
        "Where buyers reach Sluice, such as `https://drop.example`; checkout pages lead there. "
        "Empty: the address that `sluice serve` listens on.",
        "",
    )
    own_url: str = _setting(
        "SLUICE_OWN_URL",
        "Where an HTTP process reaches itself, for the simulator's callbacks. `sluice serve` sets "
        "it to the address that it listens on.",
        "",
    )
    payment_provider: str = _setting(
        "SLUICE_PAYMENT_PROVIDER",
        "The payment provider of new payments: `simulator` or `stripe`.",
        "simulator",
    )
    payment_keys: tuple[bytes, ...] = _setting(
        "SLUICE_PAYMENT_SECRET",
        "Secret of the simulator's callbacks (`whsec_…`); of several, comma separated, the first "
        "signs and all verify. `sluice up` makes one; else it is derived from "
        "`SLUICE_SECRET_KEYS`.",
        (),
    )
    payment_return_url: str = _setting(
        "SLUICE_PAYMENT_RETURN_URL",
        "Where buyers go after paying; `{order}` stands for the order's id. "
        "Empty: the order's page below `SLUICE_PUBLIC_URL`.",
        "",
    )
    simulator_knobs: str = _setting(
        "SLUICE_SIMULATOR_KNOBS",
        'What goes wrong with the simulator, as JSON: `{"drop": 0.1, "delay_ms": 500}`; see '
        "docs/payments.md.",
        "",
    )
    stripe_api_key: str = _setting(
        "SLUICE_STRIPE_API_KEY",
        "Stripe's secret key (`sk_…`), or better a restricted one (`rk_…`).",
        "",
    )
    stripe_webhook_secrets: tuple[str, ...] = _setting(
        "SLUICE_STRIPE_WEBHOOK_SECRET",
        "Secret of the webhook endpoint at Stripe (`whsec_…`); several, comma separated, while it "
        "is changed.",
        (),
    )
    webhook_networks: tuple[Network, ...] = _setting(
        "SLUICE_WEBHOOK_NETWORKS",
        "Private networks that webhooks to the merchant may reach, and over plain http too, comma "
        "separated, such as `10.1.0.0/16`. Empty: public addresses over https alone.",
        (),
    )
    session_ttl_s: int = _setting(
        "SLUICE_SESSION_TTL_S",
        "How long a session lasts after it was last used, in seconds; 90 days in all.",
        7 * 86_400,
    )
    phone_country: str = _setting(
        "SLUICE_PHONE_COUNTRY",
        "Calling code of phones that are given without one.",
        "86",
    )
    code_hook_url: str = _setting(
        "SLUICE_CODE_HOOK_URL",
        "Where log-in codes are POSTed for delivery. Empty: the inbox for development, which "
        "only an admin can read.",
        "",
    )
    code_hook_keys: tuple[bytes, ...] = _setting(
        "SLUICE_CODE_HOOK_SECRET",
        "Secret that signs what is sent to `SLUICE_CODE_HOOK_URL` (`whsec_…`); of several, comma "
        "separated, all sign.",
        (),
    )
    codes_per_phone: int = _setting(
        "SLUICE_CODES_PER_PHONE", "Log-in codes sent to one phone in ten minutes.", 5
    )
    codes_per_address: int = _setting(
        "SLUICE_CODES_PER_ADDRESS",
        "Log-in codes sent for one address in ten minutes.",
        100,
    )
    codes_overall: int = _setting(
        "SLUICE_CODES_OVERALL", "Log-in codes sent to everybody in ten minutes.", 10_000
    )
    failed_logins_per_address: int = _setting(
        "SLUICE_FAILED_LOGINS_PER_ADDRESS",
        "Wrong passwords and codes from one address in ten minutes; then it has to wait.",
        100,
    )
    registrations_per_address: int = _setting(
        "SLUICE_REGISTRATIONS_PER_ADDRESS",
        "Accounts that one address may register in ten minutes.",
        100,
    )
    password_threads: int = _setting(
        "SLUICE_PASSWORD_THREADS",
        "Threads for hashing passwords in one HTTP worker, of 19 MiB each.",
        2,
    )
    password_queue_max: int = _setting(
        "SLUICE_PASSWORD_QUEUE_MAX",
        "Passwords that may wait for a thread in one HTTP worker; more get 503.",
        32,
    )
    shards: int = _setting(
        "SLUICE_SHARDS", "Shards that new items are spread over (1–256). May grow, never shrink.", 1
    )
    workers: int = _setting("SLUICE_WORKERS", "HTTP worker processes.", 1)
    worker_name: str = _setting(
        "SLUICE_WORKER_NAME",
        "Name under which `sluice work` owns shards; no two that run at once may share one. "
        "Empty: the host's name and the process id.",
        "",
    )
    queue_max: int = _setting(
        "SLUICE_QUEUE_MAX",
        "Attempts that may wait for the gate in one HTTP worker; more get 503.",
        4096,
    )
    queue_target_ms: int = _setting(
        "SLUICE_QUEUE_TARGET_MS",
        "How long requests of a crowd may wait for a look at them, in milliseconds, before cheap "
        "work is turned away; 0: never. See docs/overload.md.",
        100,
    )
    batch_max: int = _setting("SLUICE_BATCH_MAX", "Attempts in one call to the gate.", 256)
    deadline_ms: int = _setting(
        "SLUICE_DEADLINE_MS", "Longest wait for a store in one request, in milliseconds.", 900
    )
    gate_lease_ms: int = _setting(
        "SLUICE_GATE_LEASE_MS",
        "How long the gate may sell without hearing from its worker, in milliseconds.",
        5000,
    )
    backlog_max: int = _setting(
        "SLUICE_BACKLOG_MAX",
        "Log entries that may wait for the recorder before the gate closes itself.",
        1_000_000,
    )
    record_max: int = _setting("SLUICE_RECORD_MAX", "Orders in one ledger transaction.", 8000)
    trim_after_s: int = _setting(
        "SLUICE_TRIM_AFTER_S",
        "How long the gate's log is kept after it was recorded, in seconds.",
        300,
    )
    room_after_s: int = _setting(
        "SLUICE_ROOM_AFTER_S",
        "After so many seconds of turning buyers away, sales that are on get a waiting room until "
        "the crowd is served, whatever their policy says. 0: never.",
        10,
    )
    live_max: int = _setting(
        "SLUICE_LIVE_MAX",
        "Live connections (WebSockets) of one HTTP worker; fewer where the limit of open files "
        "does not allow so many.",
        20_000,
    )
    pages_tokens: str = _setting(
        "SLUICE_PAGES_TOKENS",
        "A CSS file with your own values of the pages' variables (colours, space, type), put "
        "behind ours; see docs/pages.md.",
        "",
    )
    log_level: str = _setting("SLUICE_LOG_LEVEL", "`debug`, `info`, `warning` or `error`.", "info")

    @classmethod
    def read(
        cls, environ: Mapping[str, str] | None = None, data_dir: Path | None = None
    ) -> Settings:
        """Settings from the environment, completed by what `sluice up` keeps in the data folder.

        Raises `SettingsError` with one sentence that says what to change.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for f in fields(cls):
            text = environ.get(f.metadata["env"], "").strip()
            if text:
                values[f.name] = _PARSERS.get(f.name, _text)(f.metadata["env"], text)
        if data_dir is not None:
            values["data_dir"] = data_dir
        values["data_dir"] = Path(values.get("data_dir", "data")).absolute()
        kept = read_kept(values["data_dir"])
        if kept:
            values.setdefault("secret_keys", tuple(k.encode() for k in kept["secret_keys"]))
            values.setdefault("admin_token_hash", kept["admin_token_hash"])
            if "payment_secret" in kept:
                values.setdefault("payment_keys", _kept_keys(values["data_dir"], kept))
            if "identity_jwks" not in values:
                values.setdefault("identity_secret", kept["identity_secret"].encode())
        if "admin_token" in values:
            values["admin_token_hash"] = token_hash(values["admin_token"])
        settings = cls(**values)
        if settings.redis_url and settings.redis_url == settings.cache_url:
            raise SettingsError(
                "SLUICE_CACHE_URL must name another server or database than SLUICE_REDIS_URL."
            )
        return settings

    @property
    def gate_url(self) -> str:
        return self.redis_url or f"unix://{self.run_dir / 'gate.sock'}"

    @property
    def cache_server_url(self) -> str:
        return self.cache_url or f"unix://{self.run_dir / 'cache.sock'}"

    @property
    def ledger_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'sluice.db'}"

    @property
    def callback_keys(self) -> tuple[bytes, ...]:
        """Of the simulator's callbacks; the first signs, all verify. They go from one process of
        ours to another, so the keys that those share anyway are enough to make some from."""
        return self.payment_keys or tuple(
            hashlib.blake2b(key, digest_size=32, person=b"sluice-payment").digest()
            for key in self.secret_keys
        )

    @property
    def shown_url(self) -> str:
        """Where buyers find pages of ours; no slash at its end."""
        return (self.public_url or self.own_url).rstrip("/")

    @property
    def run_dir(self) -> Path:
        """Where sockets live: the data folder, or a private folder where its path is too long."""
        run = self.data_dir / "run"
        if len(str(run)) <= SOCKET_PATH_MAX:
            return run
        digest = hashlib.blake2b(str(self.data_dir).encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}-{digest}"


def token_hash(token: str) -> str:
    """What is kept of the admin token: its SHA-256 in hex. A random token needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def kept_path(data_dir: Path) -> Path:
    """The file (mode 0600) in which `sluice up` keeps the secrets that it made."""
    return data_dir / "secrets.json"


def read_kept(data_dir: Path) -> dict[str, Any]:
    """`{"secret_keys": [...], "identity_secret": "...", "admin_token_hash": "..."}`, or empty.

    `payment_secret` is there too, but for a folder on which only an older version ran.
    """
    try:
        kept = json.loads(kept_path(data_dir).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        raise SettingsError(
            f"{kept_path(data_dir)} belongs to another user; "
            "run as its owner or choose another --data."
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{kept_path(data_dir)} cannot be read ({error}); restore it or move it away."
        ) from None
    if not isinstance(kept, dict) or not kept.keys() >= KEPT_KEYS:
        raise SettingsError(f"{kept_path(data_dir)} is incomplete; restore it or move it away.")
    return kept


def _kept_keys(data_dir: Path, kept: dict[str, Any]) -> tuple[bytes, ...]:
    try:
        return (key_of(str(kept["payment_secret"])),)
    except ValueError:
        raise SettingsError(
            f"The payment_secret in {kept_path(data_dir)} is damaged; restore the file or move it "
            "away."
        ) from None


def _text(_env: str, text: str) -> str:
    return text


def _path(_env: str, text: str) -> Path:
    return Path(text).expanduser()


def _int(low: int, high: int) -> Any:
    def parse(env: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SettingsError(f"{env} must be a whole number from {low} to {high}, not {text!r}.")
        return value

    return parse


def _url(*schemes: str) -> Any:
    def parse(env: str, text: str) -> str:
        if text.partition("://")[0] not in schemes:
            expected = ", ".join(f"{s}://" for s in schemes)
            raise SettingsError(f"{env} must start with one of {expected}.")
        try:
            url = urlsplit(text)
            has_place = bool(url.port or url.hostname or url.path)
        except ValueError as error:
            raise SettingsError(f"{env} is not a URL that can be read: {error}.") from None
        if not has_place:
            raise SettingsError(f"{env} names no server and no file.")
        return text

    return parse


def _secret(env: str, text: str) -> bytes:
    secret = text.encode()
    if len(secret) < SECRET_KEY_BYTES_MIN:
        raise SettingsError(f"{env} must be at least {SECRET_KEY_BYTES_MIN} bytes long.")
    return secret


def _secrets(env: str, text: str) -> tuple[bytes, ...]:
    keys = tuple(_secret(env, part.strip()) for part in text.split(",") if part.strip())
    if not keys or len(set(keys)) != len(keys):
        raise SettingsError(f"{env} must hold one or more different keys, comma separated.")
    return keys


def _webhook_keys(env: str, text: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(key_of(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"{env} cannot be used: {error}.") from None
    if not keys:
        raise SettingsError(f"{env} must hold one or more secrets, comma separated.")
    return keys


def _stripe_key(env: str, text: str) -> str:
    if not text.startswith(("sk_", "rk_")) or not text.isascii() or not text.isprintable():
        raise SettingsError(f"{env} must be a key of Stripe's that begins with sk_ or rk_.")
    return text


def _stripe_secrets(env: str, text: str) -> tuple[str, ...]:
    secrets = tuple(part.strip() for part in text.split(",") if part.strip())
    if not secrets or not all(secret.startswith("whsec_") for secret in secrets):
        raise SettingsError(f"{env} must be one or more secrets that begin with whsec_.")
    return secrets


def _web_address(env: str, text: str) -> str:
    found = _url("http", "https")(env, text)
    if not urlsplit(found).hostname:
        raise SettingsError(f"{env} names no host.")
    return str(found)


def _own_address(env: str, text: str) -> str:
    """Plain HTTP: nobody encrypts to themselves, and the simulator could not."""
    return _web_address(env, str(_url("http")(env, text)))


def _networks(env: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"{env} must be a comma separated list of networks: {error}.") from None


def _country(env: str, text: str) -> str:
    code = text.removeprefix("+")
    if not (code.isascii() and code.isdigit() and 1 <= len(code) <= 3) or code.startswith("0"):
        raise SettingsError(f"{env} must be a calling code of 1 to 3 digits, such as 86.")
    return code


def _choice(*choices: str) -> Any:
    def parse(env: str, text: str) -> str:
        if text not in choices:
            raise SettingsError(f"{env} must be one of {', '.join(choices)}, not {text!r}.")
        return text

    return parse


def _token(env: str, text: str) -> str:
    if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{env} must be 16 or more printable ASCII characters without spaces.")
    return text


def _sha256(env: str, text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise SettingsError(f"{env} must be a SHA-256 in hex: 64 digits from 0 to f.")
    return text.lower()


def _name(env: str, text: str) -> str:
    if len(text) > NAME_MAX or not text.isprintable():
        raise SettingsError(f"{env} must be {NAME_MAX} or fewer printable characters.")
    return text


def _jwks(env: str, text: str) -> str:
    if urlsplit(text).scheme in ("http", "https"):
        return text
    if not Path(text).is_file():
        raise SettingsError(f"{env} is neither a URL nor a file that exists: {text}.")
    return text


_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
_PARSERS: dict[str, Any] = {
    "data_dir": _path,
    "redis_url": _url(*_REDIS_SCHEMES),
    "cache_url": _url("redis", "rediss", "unix"),
    "database_url": _url("sqlite", "postgresql", "mariadb", "mysql"),
    "secret_keys": _secrets,
    "admin_token": _token,
    "admin_token_hash": _sha256,
    "identity_secret": _secret,
    "identity_jwks": _jwks,
    "trusted_proxies": _networks,
    "webhook_networks": _networks,
    "refusals_max": _int(2, 10_000),
    "blacklist_s": _int(1, 30 * 86_400),
    "public_url": _web_address,
    "own_url": _own_address,
    "payment_provider": _choice("simulator", "stripe"),
    "payment_keys": _webhook_keys,
    "payment_return_url": _web_address,
    "stripe_api_key": _stripe_key,
    "stripe_webhook_secrets": _stripe_secrets,
    "session_ttl_s": _int(60, 90 * 86_400),
    "phone_country": _country,
    "code_hook_url": _web_address,
    "code_hook_keys": _webhook_keys,
    "codes_per_phone": _int(1, 1000),
    "codes_per_address": _int(1, 1_000_000),
    "codes_overall": _int(1, 10_000_000),
    "failed_logins_per_address": _int(1, 1_000_000),
    "registrations_per_address": _int(1, 1_000_000),
    "password_threads": _int(1, 64),
    "password_queue_max": _int(0, 10_000),
    "shards": _int(1, SHARDS_MAX),
    "workers": _int(1, 64),
    "worker_name": _name,
    "queue_max": _int(16, 1_000_000),
    "queue_target_ms": _int(0, 10_000),
    "batch_max": _int(1, 1000),
    "deadline_ms": _int(50, 60_000),
    "gate_lease_ms": _int(500, 60_000),
    "backlog_max": _int(1000, 100_000_000),
    "record_max": _int(1, 10_000),
    "trim_after_s": _int(0, 86_400),
    "live_max": _int(0, 1_000_000),
    "room_after_s": _int(0, 3600),
    "log_level": _choice("debug", "info", "warning", "error"),
}
