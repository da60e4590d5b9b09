"""Which addresses a delivery may be sent to: public ones, and networks that the operator names.

The standard library's `is_global` is not the question asked here: it takes multicast, 6to4 and the
old site-local addresses for public, and what it says changes between releases of Python.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; one cloud's metadata service
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; most clouds' metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "168.63.129.16/32",  # a public address that is one cloud's own host service
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that was ever given out; loopback, mapped, link-local, unique local, multicast and
every other special address lie outside of it, and so will those that are thought up later."""
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",
        "3ffe::/16",
        "3fff::/20",
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def plain(address: Address) -> Address:
    """An IPv4 address that is spelt as IPv6 (`::ffff:10.0.0.1`) as what it is."""
    if isinstance(address, ipaddress.IPv6Address) and address in _MAPPED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether it can be a stranger's host on the internet, and nobody's inner network."""
    address = plain(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None or address not in _PUBLIC_6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_6)


def is_named(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the operator allows this address by name."""
    address = plain(address)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    return any(address.version == n.version and address in n for n in networks)
