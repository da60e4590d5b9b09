"""Where a request comes from: the connection's address, unless a trusted proxy says otherwise."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from sluice.telemetry import get_logger

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

V6_PREFIX = 64
"""One customer has at least this much: its addresses are one for limits."""
HOPS_MAX = 32
"""Entries of X-Forwarded-For that are read, from the right."""
KNOWN_MAX = 50_000
HOPS_CHARS_MAX = 256
"""A longer header is read each time instead of being remembered."""
LOCAL = "local"
"""A Unix socket's peer that names no address of a client."""
OWN = frozenset({LOCAL, "127.0.0.1", "::/64"})
"""This machine itself, as limits count it: a proxy which nobody said to trust, or somebody trying
things out. It stands for no customer, so its callers are not counted together: the 121st buyer in
a minute behind such a proxy would be shut out."""

log = get_logger("limits")


class Addresses:
    """Turns a connection and what it forwards into the address that limits count by:
    `203.0.113.9`, or `2001:db8:1:2::/64`.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self.trusting = bool(self._trusted)
        """Whether what is forwarded can matter at all."""
        self.stranger = ""
        """The first peer that forwarded for others without being trusted; empty: there was none."""
        self._known: dict[str, str] = {}
        """Peers, as the server names them, that forward for nobody; behind them their clients."""
        self._proxies: set[str] = set()

    def of(self, peer: str, forwarded: Iterable[str] | None) -> str:
        """`peer` as the server names it (`1.2.3.4:56`, `[::1]:56`), `forwarded` the values of
        X-Forwarded-For in their order; they count only where the peer is a trusted proxy.
        """
        host = peer.rpartition(":")[0]
        if host in self._proxies:
            host = f"{host},{','.join(forwarded or ())}"
        known = self._known.get(host)
        return self._learn(peer.rpartition(":")[0], forwarded) if known is None else known

    def notice(self, peer: str, forwarded: Iterable[str] | None) -> None:
        """Says once that somebody forwards whom nobody said to trust: a proxy that should be
        listed, or a client that pretends to be one. Not for the hot lane."""
        if self.stranger or not any(forwarded or ()):
            return
        address = read(peer.rpartition(":")[0])
        if self._trusts(address):
            return
        counted = self.stranger = written(address)
        log.warning(
            "Somebody sends X-Forwarded-For who is not in SLUICE_TRUSTED_PROXIES; it is not read."
            + (
                " It comes from this machine: if a proxy runs here, the limit of an address holds"
                " for nobody until it is listed."
                if counted in OWN
                else " If it is a proxy, all buyers behind it share its limit until it is listed."
            ),
            action="limits.stranger_forwards",
            address=counted,
        )

    def _learn(self, host: str, forwarded: Iterable[str] | None) -> str:
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        address = read(host)
        if not self._trusts(address):
            known = self._known[host] = written(address)
            return known
        hops = ",".join(forwarded or ())
        known = written(self._behind(address, hops))
        self._proxies.add(host)
        if len(hops) <= HOPS_CHARS_MAX:
            self._known[f"{host},{hops}"] = known
        return known

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )

    def _behind(self, proxy: Address | None, hops: str) -> Address | None:
        """From the right, the first address that no trusted proxy has: what stands left of it was
        written by whoever is there, and may say anything.
        """
        nearest = proxy
        for hop in reversed(hops.split(",")[-HOPS_MAX:]):
            address = read(hop)
            if address is None:
                break
            nearest = address
            if not self._trusts(address):
                break
        return nearest


def read(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, or bare; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def written(address: Address | None) -> str:
    """As limits count it: an IPv6 address is its network."""
    if address is None:
        return LOCAL
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, V6_PREFIX), strict=False))
