"""Where a request comes from, and what nobody can talk us into."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from sluice.admission.address import KNOWN_MAX, LOCAL, Addresses

TRUSTED = Addresses([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
NOBODY = Addresses([])


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2::/64"),
        ("[::ffff:203.0.113.9]:4711", "203.0.113.9"),
        ("[fe80::1%eth0]:4711", "fe80::/64"),
        ("", LOCAL),
        ("unix:/run/x", LOCAL),
    ],
)
def test_the_connection_says_it(peer: str, counted: str) -> None:
    assert NOBODY.of(peer, ["198.51.100.1"]) == counted
    assert NOBODY.of(peer, None) == counted


@pytest.mark.parametrize(
    ("forwarded", "counted"),
    [
        ([], "10.1.1.1"),
        (["198.51.100.1"], "198.51.100.1"),
        (["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        (["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (["198.51.100.1, fd00::7, 10.9.9.9"], "198.51.100.1"),
        (["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        (["198.51.100.1:8080"], "198.51.100.1"),
        (["[2001:db8::1]:8080"], "2001:db8::/64"),
        (["2001:db8::1"], "2001:db8::/64"),
        (["198.51.100.1, nonsense, 10.9.9.9"], "10.9.9.9"),
        (["nonsense"], "10.1.1.1"),
        ([",,,"], "10.1.1.1"),
        (["1.2.3.4," * 1000 + "198.51.100.1"], "198.51.100.1"),
    ],
)
def test_a_trusted_proxy_is_read_from_the_right(forwarded: list[str], counted: str) -> None:
    assert TRUSTED.of("10.1.1.1:80", forwarded) == counted
    assert TRUSTED.of("10.1.1.1:80", forwarded) == counted, "remembered"


def test_what_a_stranger_forwards_is_the_strangers_word() -> None:
    assert TRUSTED.of("203.0.113.9:1", ["198.51.100.1"]) == "203.0.113.9"


def test_a_crowd_of_addresses_fills_no_memory() -> None:
    addresses = Addresses([])
    addresses._known = {str(n): "" for n in range(KNOWN_MAX - 5)}
    for n in range(10):
        addresses.of(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1", None)
    assert len(addresses._known) <= KNOWN_MAX


def test_who_forwards_without_being_trusted_is_noticed_once() -> None:
    addresses = Addresses([ip_network("10.0.0.0/8")])
    for peer, forwarded in (
        ("203.0.113.9:1", []),
        ("203.0.113.9:1", None),
        ("10.1.1.1:1", ["192.0.2.1"]),
    ):
        addresses.notice(peer, forwarded)
        assert addresses.stranger == ""
    addresses.notice("127.0.0.1:1", ["192.0.2.1"])
    addresses.notice("203.0.113.9:1", ["192.0.2.1"])
    assert addresses.stranger == "127.0.0.1"
