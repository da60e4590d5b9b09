"""The URL of an endpoint: what it may be, and which addresses behind it may be connected to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sluice.delivery.address import Address, Network, is_named, is_public
from sluice.domain.errors import SluiceError
from sluice.domain.text import has_control
from sluice.domain.webhook import URL_CHARS_MAX

_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?",
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?", re.ASCII | re.IGNORECASE)


class Forbidden(SluiceError):  # noqa: N818 - named by what it is, like the other faults
    """Deliveries may not be sent to this address."""


class Target(NamedTuple):
    """Where a delivery goes, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    """With its query."""

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str) -> Target:
    """Raises ValueError with what is wrong, as a phrase that follows the field's name."""
    if not 1 <= len(url) <= URL_CHARS_MAX:
        raise ValueError(f"must be a URL of at most {URL_CHARS_MAX} characters")
    if not url.isascii() or has_control(url) or set(url) & set(' "<>\\^`{|}'):
        raise ValueError("must be written in plain ASCII, other characters percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL that can be read") from None
    if parts.scheme not in _PORTS:
        raise ValueError("must begin with https:// (or http:// inside a network of yours)")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if parts.fragment or url.endswith("#"):
        raise ValueError("must not have a fragment")
    if port == 0:
        raise ValueError("must not name port 0")
    host = _host(parts.hostname or "")
    path = parts.path or "/"
    return Target(
        parts.scheme,
        host,
        port or _PORTS[parts.scheme],
        f"{path}?{parts.query}" if parts.query else path,
    )


def _host(host: str) -> str:
    """A name, or an address in its one plain spelling."""
    if "%" in host:
        raise ValueError("must name a host without a zone")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise ValueError("must name a host")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        # 2130706433, 0x7f.1, 0177.0.0.1, 127.1: the C library reads them all as an address.
        raise ValueError("must spell an IPv4 address as four decimal numbers")
    return host.lower()


def check_literal(target: Target, networks: Sequence[Network]) -> None:
    """What can be said without asking the DNS; `check_addresses` decides when it is connected.

    Raises ValueError like `parse_target`.
    """
    try:
        address = ipaddress.ip_address(target.host)
    except ValueError:
        if target.scheme == "http" and not networks:
            raise ValueError("must begin with https://") from None
        return
    try:
        check_addresses(target.scheme, [address], networks)
    except Forbidden as refused:
        raise ValueError(str(refused)) from None


def check_addresses(scheme: str, found: Sequence[Address], networks: Sequence[Network]) -> None:
    """All addresses of a host must be allowed: a name that leads to the public and to the inside
    at once is a mistake or an attack, and one good address among them excuses neither.

    `http` is for the operator's own networks alone: messages name buyers. Raises `Forbidden`.
    """
    for address in found:
        if is_named(address, networks):
            continue
        if not is_public(address):
            raise Forbidden(
                f"leads to {address}, which is not a public address; SLUICE_WEBHOOK_NETWORKS names "
                "the networks where that is allowed"
            )
        if scheme == "http":
            raise Forbidden(
                "must begin with https://: plain http is for the networks that "
                "SLUICE_WEBHOOK_NETWORKS names"
            )
    if not found:
        raise Forbidden("has no address")
